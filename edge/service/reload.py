"""The reload: a configuration is read, checked and prepared beside the one that runs.

Everything that may fail or take long happens in a thread of its own, while cameras, models and
sinks go on. What comes out of it is put in place as a whole, or nothing of it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from edge.classification.observer import Observer
from edge.config import Config
from edge.errors import ConfigError, EdgeError, collect_errors, translate_unexpected
from edge.service.camera_pool import CameraSources
from edge.service.gallery_sync import GalleryFollower
from edge.service.http import HttpServer
from edge.service.model_set import ModelSet
from edge.service.workers import Worker
from edge.web.access import Access
from edge.wire.sink import Sink

FIXED: Final[Mapping[str, str]] = MappingProxyType({  # tables, and why they stay
    "runtime": "threads and memory are laid out for it",
    "storage": "clips that are being recorded and pages that are open belong to its folder",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration that can be put in place without fail.

    Attributes:
        sources: The streams of its cameras.
        sinks: Its sinks that do not run yet, by row.
        models: Its models, those that run already among them.
        recognition: What names people with them; the one that runs where nothing of it changes.
        observer: What asks classifiers; None where the one that does goes on.
        people: Ids of everybody in the gallery of another one.
        server: An HTTP server that does not serve yet; None where the one that runs goes on.
        access: Who may see its page.
    """

    settings: Config
    sources: Mapping[str, CameraSources]
    sinks: Mapping[int, Sink]
    models: ModelSet
    recognition: GalleryFollower | None
    observer: Observer | None
    people: frozenset[str] = frozenset()
    server: HttpServer | None = None
    access: Access | None = None

    def discard(self) -> None:
        """Give back what it holds."""
        if self.server:
            self.server.stop(time.monotonic())


class Preparation:
    """The thread that prepares a plan.

    Attributes:
        worker: Its thread.
        is_told: Whether somebody was told that it takes long.
    """

    def __init__(self, prepare: Callable[[Worker], Plan]) -> None:
        self._prepare = prepare
        self._began_s = time.monotonic()
        self.is_told = False
        self._plan: Plan | None = None
        self._error: EdgeError | None = None
        self.worker = Worker("reload", self._work, lambda _: None)
        self.worker.start()

    @property
    def is_done(self) -> bool:
        """Whether there is a plan, or an error."""
        return self.worker.finished

    @property
    def lasts_s(self) -> float:
        """For how long it has been going on, in seconds."""
        return time.monotonic() - self._began_s

    def get(self) -> Plan:
        """The plan, once it is done; only the first time, for it holds models that are replaced.

        Raises:
            EdgeError: The configuration cannot be put in place.
        """
        plan, self._plan = self._plan, None
        if plan is None:
            raise self._error or ConfigError("it was not prepared")
        return plan

    def _work(self, worker: Worker) -> None:
        try:
            with translate_unexpected(lambda e: ConfigError(f"{type(e).__name__}: {e}")):
                self._plan = self._prepare(worker)
        except EdgeError as error:
            self._error = error
        worker.finish()


def list_fixed(settings: Config, running: Config) -> list[str]:
    """Tables that differ from the running configuration in what cannot change while it runs."""
    folders = [table.storage and table.storage.folder for table in (settings, running)]
    differs = {"runtime": settings.runtime != running.runtime, "storage": folders[0] != folders[1]}
    return [key for key in FIXED if differs[key]]


def refuse_fixed(settings: Config, running: Config) -> None:
    """Check that a configuration can take the place of the running one.

    Raises:
        ConfigError: It differs in what cannot change; one error a table.
    """
    with collect_errors() as errors:
        for key in list_fixed(settings, running):
            with errors.catch():
                raise ConfigError(
                    f"cannot change while the node runs, since {FIXED[key]}: restart the node, or "
                    "leave it as it was",
                    key=key,
                )
