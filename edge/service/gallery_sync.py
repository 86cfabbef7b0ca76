"""Recognition in the daemon: the recognizer and the gallery it follows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.config import Recognition
from edge.errors import GalleryError
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.metadata import EmbedderId
from edge.people.recognition.recognizer import Recognizer
from edge.people.recognition.threshold import Calibration
from edge.service.workers import Worker

log = logging.getLogger(__name__)

POLL_S = 0.4  # who was enrolled or forgotten is noticed within a second


@dataclass(frozen=True, slots=True)
class GalleryFollower:
    """Gives the recognizer the people of the gallery as they are now.

    Attributes:
        settings: where the gallery and its key are.
        base: folder of relative paths.
        embedder: what the gallery must have been enrolled with.
        recognizer: is told.
        count: is told how many people can be recognised.
    """

    settings: Recognition
    base: Path
    embedder: ContractEmbedder
    recognizer: Recognizer
    count: Callable[[int], None]

    def load(self) -> None:
        """Read the gallery once.

        Raises:
            GalleryError: it cannot be used.
        """
        with self._open() as gallery:
            self._offer(gallery)
            if not (self.settings.threshold or gallery.calibration()):
                log.warning("the gallery is not calibrated: see `edge people calibrate`")

    def run(self, worker: Worker) -> None:
        """Follow the gallery until told to stop; nobody is named while it cannot be used."""
        told = ""
        while not worker.stop.is_set():
            try:
                with self._open() as gallery:
                    self._offer(gallery)
                    told = ""
                    self._follow(gallery, worker)
            except GalleryError as error:
                reason = "the gallery cannot be used"
                if self._is_of_another_embedder():
                    reason = "the gallery belongs to another embedder"
                self.recognizer.close(reason)
                self.count(0)
                if str(error) != told:
                    log.error("nobody is named: %s", error)  # noqa: TRY400
                told = str(error)
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
            gallery_path(self.settings, self.base),
            load_key(key_place(self.settings, self.base)),
            EmbedderId(embedder.name, embedder.sha256, embedder.dimension),
        )

    def _offer(self, gallery: Gallery) -> None:
        index, measured = gallery.index(), gallery.calibration()
        threshold = self.embedder.threshold
        if measured:
            threshold = Calibration.of(measured).threshold(len(index))
        self.recognizer.use(index, threshold)
        self.count(len(index))
        log.info("gallery: %d people can be recognised", len(index))

    def _is_of_another_embedder(self) -> bool:
        try:
            key = load_key(key_place(self.settings, self.base))
            with Gallery(gallery_path(self.settings, self.base), key) as gallery:
                return gallery.embedder.sha256 != self.embedder.sha256
        except GalleryError:
            return False


def gallery_path(settings: Recognition, base: Path) -> Path:
    """The gallery's file; a relative one lies beside the configuration, in ``base``."""
    return base / Path(settings.gallery).expanduser()


def key_place(settings: Recognition, base: Path) -> str:
    """Of the master key: a file, as `gallery_path` finds it, or credential:NAME."""
    where = settings.key_file
    return where if ":" in where else str(base / Path(where).expanduser())


def follow_gallery(
    settings: Recognition,
    base: Path,
    embedder: ContractEmbedder,
    liveness: ContractLiveness | None,
    ids: Iterator[int],
    count: Callable[[int], None],
) -> GalleryFollower:
    """A recognizer that knows the people of the gallery, and what keeps it so.

    Raises:
        GalleryError: the gallery cannot be used.
    """
    if liveness is None and settings.require_liveness:
        log.warning(
            "nobody will be named: recognition.liveness is false; name a model, or set "
            "recognition.require_liveness = false"
        )
    recognizer = Recognizer(settings, embedder, liveness, ids)
    follower = GalleryFollower(settings, base, embedder, recognizer, count)
    follower.load()
    return follower
