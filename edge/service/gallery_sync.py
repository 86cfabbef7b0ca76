"""Gallery sync: the daemon's recognizer follows the changes of the gallery."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.config import Recognition
from edge.errors import GalleryError, GalleryRefusedError
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.location import resolve_gallery, resolve_key
from edge.people.gallery.metadata import get_embedder_id
from edge.people.recognition.recognizer import Recognizer
from edge.people.recognition.threshold import Calibration
from edge.ports import FaceFinder
from edge.printable import format_count
from edge.service.workers import Worker

log = logging.getLogger(__name__)

POLL_S = 0.4  # enrollment and forgetting take effect within a second


@dataclass(frozen=True, slots=True)
class GalleryFollower:
    """Keeps a recognizer up to date with the gallery.

    Attributes:
        settings: Where the gallery and its key are.
        base: The folder of relative paths.
        embedder: The model that the gallery must have been enrolled with.
        recognizer: Gets the people of the gallery.
        count: Called with the number of people that can be recognized.
        report: Called with why no one can be named; empty when the gallery is in use.
        retain: Called with the ids of everybody in the gallery.
        suspend: Called with why a hub has nobody named; empty where it allows that.
        clock: Unix time, for retention dates and leases.
    """

    settings: Recognition
    base: Path
    embedder: ContractEmbedder
    recognizer: Recognizer
    count: Callable[[int], None]
    report: Callable[[str], None] = lambda _: None
    retain: Callable[[frozenset[str]], None] = lambda _: None
    suspend: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.time

    def load(self) -> None:
        """Read the gallery once.

        Raises:
            GalleryError: It cannot be used.
        """
        with self._open() as gallery:
            self._offer(gallery)
            measured = gallery.calibration()
        if self.settings.threshold:
            return
        if not measured:
            log.warning("the gallery is not calibrated: see `edge people calibrate`")
        elif not Calibration.from_values(measured).of_tracks:
            log.warning(
                "the gallery was calibrated with single pictures: run `edge people calibrate` "
                "again, and more people are named"
            )

    def run(self, worker: Worker) -> None:
        """Follow the gallery until stopped; while it cannot be used, no one is named."""
        reported = ""
        while not worker.stop.is_set():
            try:
                with self._open() as gallery:
                    self._offer(gallery)
                    reported = ""
                    self._follow(gallery, worker)
            except GalleryError as error:
                reason = "the gallery cannot be used"
                if self._has_other_embedder():
                    reason = "the gallery belongs to another embedder"
                self.recognizer.close(reason)
                self.count(0)
                self.suspend("")
                self.report(str(error))
                if str(error) != reported:
                    log.error("no one is named: %s", error)  # noqa: TRY400
                reported = str(error)
                worker.mark_progress()
                worker.stop.wait(POLL_S)

    def _follow(self, gallery: Gallery, worker: Worker) -> None:
        while not worker.stop.wait(POLL_S):
            worker.mark_progress()
            if gallery.changed():
                self._offer(gallery)

    def _open(self) -> Gallery:
        embedder = self.embedder
        return Gallery(
            resolve_gallery(self.settings, self.base),
            load_key(resolve_key(self.settings, self.base)),
            get_embedder_id(embedder),
            clock=self.clock,
        )

    def _offer(self, gallery: Gallery) -> None:
        index, measured = gallery.index(), gallery.calibration()
        threshold, of_tracks = self.embedder.threshold, False
        if measured:
            calibration = Calibration.from_values(measured)
            threshold, of_tracks = calibration.threshold(len(index)), calibration.of_tracks
        self.retain(frozenset(person.id for person in gallery.people()))  # before one is named
        self.recognizer.use(index, threshold, of_tracks=of_tracks)
        self.count(len(index))
        self.report("")
        self.suspend(gallery.suspended)
        if gallery.suspended:
            self.recognizer.close(gallery.suspended)
            log.warning("no one is named: %s", gallery.suspended)
            return
        people = format_count(len(index), "person", "people")
        log.info("gallery: %s can be recognized", people)

    def _has_other_embedder(self) -> bool:
        try:
            key = load_key(resolve_key(self.settings, self.base))
            with Gallery(resolve_gallery(self.settings, self.base), key) as gallery:
                return gallery.embedder.sha256 != self.embedder.sha256
        except GalleryError:
            return False


def check_gallery(
    settings: Recognition,
    base: Path,
    embedder: ContractEmbedder,
    liveness: ContractLiveness | None,
    ids: Iterator[int],
    finder: FaceFinder | None,
) -> tuple[GalleryFollower, frozenset[str]]:
    """A follower that has read the gallery and told nobody, and the ids of everybody in it.

    Raises:
        GalleryError: The gallery cannot be used.
    """
    people: list[frozenset[str]] = []
    recognizer = create_recognizer(settings, embedder, liveness, ids, finder)
    follower = GalleryFollower(
        settings, base, embedder, recognizer, count=lambda _: None, retain=people.append
    )
    follower.load()
    return follower, people[-1]


def follow_gallery(
    settings: Recognition,
    base: Path,
    embedder: ContractEmbedder,
    liveness: ContractLiveness | None,
    ids: Iterator[int],
    count: Callable[[int], None],
    report: Callable[[str], None] = lambda _: None,
    *,
    finder: FaceFinder | None = None,
    retain: Callable[[frozenset[str]], None] = lambda _: None,
    suspend: Callable[[str], None] = lambda _: None,
) -> GalleryFollower:
    """Create a recognizer and the follower that keeps it up to date.

    Raises:
        GalleryError: The gallery cannot be used.
    """
    recognizer = create_recognizer(settings, embedder, liveness, ids, finder)
    follower = GalleryFollower(settings, base, embedder, recognizer, count, report, retain, suspend)
    try:
        follower.load()
    except GalleryRefusedError as error:  # cameras are watched all the same
        log.error("no one is named: %s", error)  # noqa: TRY400
        recognizer.close("the gallery cannot be used")
        report(str(error))
    return follower


def create_recognizer(
    settings: Recognition,
    embedder: ContractEmbedder,
    liveness: ContractLiveness | None,
    ids: Iterator[int],
    finder: FaceFinder | None,
) -> Recognizer:
    """Create a recognizer that knows nobody yet."""
    if liveness is None and settings.require_liveness:
        log.warning(
            "no one will be named, because recognition.liveness is false: set a model, or "
            "recognition.require_liveness = false"
        )
    return Recognizer(settings, embedder, liveness, ids, finder)
