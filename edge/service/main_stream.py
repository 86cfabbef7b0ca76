"""The thread of a camera's main stream: its packets are kept, none of them is decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.errors import SourceDeniedError, SourceError
from edge.ports import CodedSource, Source, SparingSource
from edge.recording.ring import PacketRing
from edge.repeated_warning import RepeatedWarnings
from edge.service.backoff import Backoff
from edge.service.workers import Worker
from edge.types import CodedPacket, Decoding, StreamPacket

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MainStream:
    """Reads a main stream into its ring, and connects again after every failure.

    Attributes:
        camera: The camera's name.
        report: Called with why no packets come, or with nothing when they do.
    """

    camera: str
    source: Source
    ring: PacketRing
    backoff: Backoff
    report: Callable[[str], None]
    _is_up: bool = False
    _warnings: RepeatedWarnings = field(default_factory=lambda: RepeatedWarnings(log))

    def run(self, worker: Worker) -> None:
        """Run until stopped, or until a file ended."""
        self.report("it is not connected yet")
        source = self.source
        if isinstance(source, SparingSource):
            source.decoding = Decoding.NONE
        if isinstance(source, CodedSource):
            source.tap = lambda packet: self._take(packet, worker)
        while not worker.stop.is_set():
            try:
                with source.connect(worker.stop) as captures:
                    for _ in captures:
                        worker.mark_progress()
                if not worker.stop.is_set():
                    self._lose("it ended")
                    worker.finish()
                return
            except SourceError as error:
                self._lose(str(error))
                self._warnings.tell("main", f"{self.camera}: main stream: {error}")
                denied = isinstance(error, SourceDeniedError)
                self._wait(worker, self.backoff.growing() if denied else self.backoff.short())

    def _take(self, packet: StreamPacket, worker: Worker) -> None:
        worker.mark_progress()
        self.ring.put(packet)
        if not self._is_up and isinstance(packet, CodedPacket):
            self._is_up = True
            self.report("")
            self.backoff.reset()

    def _lose(self, problem: str) -> None:
        """No packets come: clips are made of the stream that is looked at."""
        self._is_up = False
        self.ring.clear()
        self.report(problem)

    def _wait(self, worker: Worker, delay_s: float) -> None:
        while delay_s > 0 and not worker.stop.wait(min(delay_s, 1)):
            worker.mark_progress()
            self._warnings.sum_up()
            delay_s -= 1
