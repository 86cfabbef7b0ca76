"""The audit forwarder: entries of the gallery's audit log, to the sinks that want them.

A sink says how far it has come, and gets what follows, so that none is lost when a queue is full,
a sink fails or the daemon is killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from edge.errors import GalleryError
from edge.people.gallery.audit_reader import AuditReader
from edge.repeated_warning import RepeatedWarnings
from edge.service.workers import Worker
from edge.types import AuditRow
from edge.wire.schema import Message
from edge.wire.sink import Audits

log = logging.getLogger(__name__)

POLL_S: Final = 2.0
AGAIN_S: Final = 30.0  # after which what a sink did not take is handed over again
AT_ONCE: Final = 200

Auditor = tuple[Audits, Callable[[Sequence[Message]], None]]


class AuditForwarder:
    """Hands over entries that sinks have not.

    Args:
        find_gallery: The path of the gallery, or None where there is none.
        list_auditors: The sinks that may want them, each with what queues messages for it.
        build: The message of an entry of a log.
    """

    def __init__(
        self,
        find_gallery: Callable[[], Path | None],
        list_auditors: Callable[[], Iterable[Auditor]],
        build: Callable[[str, AuditRow], Message],
    ) -> None:
        self._find_gallery, self._list_auditors, self._build = find_gallery, list_auditors, build
        self._handed: WeakKeyDictionary[Audits, tuple[str, int, float]] = WeakKeyDictionary()
        self._warnings = RepeatedWarnings(log)

    def run(self, worker: Worker) -> None:
        """Look every other second until stopped."""
        while not worker.stop.wait(POLL_S):
            worker.mark_progress()
            self.forward(time.monotonic())

    def forward(self, now_s: float) -> None:
        """Hand over what is new once."""
        path = self._find_gallery()
        auditors = list(self._list_auditors())
        if path is None or not auditors:
            return
        reader = AuditReader(path)
        try:
            log_id = ""
            for sink, put in auditors:
                if sink.find_audited("") is None:
                    continue
                log_id = log_id or reader.identify()
                self._hand_over(reader, log_id, sink, put, now_s)
        except GalleryError as error:
            self._warnings.tell("audit", f"the audit log is not forwarded: {error}")
        self._warnings.sum_up()

    def _hand_over(
        self,
        reader: AuditReader,
        log_id: str,
        sink: Audits,
        put: Callable[[Sequence[Message]], None],
        now_s: float,
    ) -> None:
        taken = sink.find_audited(log_id)
        if taken is None:
            return
        of, until, at_s = self._handed.get(sink, ("", 0, 0.0))
        if of == log_id and taken < until and now_s - at_s < AGAIN_S:
            return  # on its way
        if entries := reader.read_after(taken, AT_ONCE):
            put([self._build(log_id, entry) for entry in entries])
            self._handed[sink] = log_id, entries[-1].seq, now_s
