"""What the page and its API need of the node: filled by the daemon, and by functions in tests."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal, Protocol

from edge.config import Camera, Config, ModelFile
from edge.errors import StorageError
from edge.recording.archive import INDEX
from edge.recording.index import Index
from edge.types import F32, CameraStatus, Frame
from edge.web.changes import ChangeFeed
from edge.web.schema import CameraHealth

Stay = Literal["watching", "working"]  # without an end, or until something is done or sent
Hidden = Literal["face", "person"]


class Connection(Protocol):
    """The connection of a request, which the server puts into ``scope["edge.connection"]``."""

    def stay(self, why: Stay, who: str) -> str:
        """Take a place among those that last; why there is none, or nothing.

        Args:
            why: What for: each has places of its own.
            who: User or address, who has a share of the places.
        """
        ...


@dataclass(slots=True)
class Archive:
    """What is kept: the storage folder, and a connection to its index, which may come later.

    Attributes:
        folder: The folder; the node creates it, and its index.
    """

    folder: Path
    _index: Index | None = None
    _file: tuple[int, int] | None = None  # that the connection is to
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def index(self) -> Index:
        """The index that is in the folder now.

        Raises:
            StorageError: There is none, or it cannot be used.
        """
        path = self.folder / INDEX
        try:
            status = path.stat()
        except OSError as error:
            raise StorageError("the storage of events cannot be used: see the health") from error
        with self._lock:
            file = status.st_dev, status.st_ino
            if self._index is None or file != self._file:
                if self._index:
                    self._index.close()
                self._index, self._file = Index(path), file
            return self._index


@dataclass(frozen=True, slots=True)
class CameraSight:
    """A camera as it is now.

    Attributes:
        settings: Its table of the configuration.
        status: Its last state; None before the first one.
        fps: Frames per second that are looked at, measured.
        live: Whether its stream can be shown as it is sent.
    """

    settings: Camera
    status: CameraStatus | None
    fps: float
    live: bool


@dataclass(frozen=True, slots=True, eq=False)
class LatestPicture:
    """The newest frame of a camera with what was found in it.

    Attributes:
        xyxy: ``(N, 4)`` boxes of objects, pixels of the frame.
        labels: Their N classes.
        track_ids: Their N tracks.
        names: Who they are, N names; empty where nobody was named.
        faces_xyxy: ``(M, 4)`` boxes of faces, pixels of the frame.
        hide: What must not be recognizable.
        attributes: What was decided of each of the N objects, by the name of the attribute.
        states: What was decided of the camera's places, by the name of the state.
    """

    frame: Frame
    xyxy: F32
    labels: tuple[str, ...]
    track_ids: tuple[int, ...]
    names: tuple[str, ...]
    faces_xyxy: F32
    hide: tuple[Hidden, ...] = ()
    attributes: tuple[Mapping[str, str], ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamStart:
    """The beginning of a live stream, and of each that goes on with other parameters.

    Attributes:
        codecs: As RFC 6381 names them: ``avc1.4d401f``.
        header: Initialization segment of fragmented MP4, ``ftyp`` and ``moov``.
    """

    codecs: str
    header: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment of a live stream: ``moof`` and ``mdat``.

    Attributes:
        key: Whether it begins with a key frame.
        captured_s: Wall clock of its first picture, Unix seconds.
        media_s: Time of that picture on the stream's own clock (``tfdt``), in seconds.
    """

    data: bytes
    key: bool
    captured_s: float
    media_s: float


LiveStream = AsyncGenerator[StreamStart | Fragment, None]


@dataclass(frozen=True, slots=True)
class EnrolledPerson:
    """Somebody in the gallery.

    Attributes:
        person: Id.
        templates: Number of looks that names are found by.
        enrolled_s: When, Unix seconds.
        until: Last day the data is kept, ISO; empty without an end.
        state: Such as ``active``.
    """

    person: str
    name: str
    templates: int
    enrolled_s: float
    until: str
    state: str


class People(Protocol):
    """The gallery. Every method may take seconds and is called in a thread; of those that change
    something one runs at a time.

    Raises:
        EdgeError: It cannot be done; the problem says why.
        LookupError: There is no such person or event.
    """

    def list_people(self) -> Sequence[EnrolledPerson]:
        """Everybody."""
        ...

    def enroll_photo(self, name: str, photo: bytes, until: date | None) -> EnrolledPerson:
        """Enroll the one face in a JPEG or PNG, or add it to what is known of that person."""
        ...

    def enroll_event(self, name: str, event_id: str, until: date | None) -> EnrolledPerson:
        """Enroll the face that the snapshot of an event shows."""
        ...

    def deny(self, person: str, event_id: str) -> None:
        """Never again take the face of that event for the person."""
        ...

    def forget(self, person: str) -> None:
        """Destroy what is stored about a person, by id."""
        ...


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """The configuration of the node.

    Attributes:
        reload: Asks the node to read it again.
        classes: What its detector detects; labels are checked against it where it is not empty.
        list_waiting: Tables for which a configuration is refused until the node is restarted.
        detector: What detects ``classes``; where another is written, labels are not checked.
    """

    path: Path
    reload: Callable[[], None]
    classes: tuple[str, ...] = ()
    list_waiting: Callable[[Config], Sequence[str]] = lambda _: ()
    detector: ModelFile | None = None


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """How the node is.

    Attributes:
        ready: Whether it does what it should.
        problems: What is at fault, in sentences without secrets.
        figures: Measured values by name and unit, such as ``disk_free_bytes``.
        cameras: How each camera does.
    """

    ready: bool
    problems: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    cameras: tuple[CameraHealth, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """What an answer of the detector rests on.

    Attributes:
        jpeg: The picture, warm where covering it lowers the score.
        label: Class of the object.
        score: Of the object in the whole picture.
        largest_loss: Of the score, where it is highest.
        inside: Share of the loss within the object's box; None where nothing lowers the score.
        patches: Patches that were tried.
        planned: Patches that there are; more than that if the time was over.
    """

    jpeg: bytes
    label: str
    score: float
    largest_loss: float
    inside: float | None
    patches: int
    planned: int


Explain = Callable[[Path, str, tuple[float, float]], Explained]
Export = Callable[[str, float, float, Callable[[bytes], None]], None]


@dataclass(slots=True)
class Node:
    """What there is to see. What a reload changes is replaced while it is served.

    Attributes:
        name: Of the node.
        list_cameras: All cameras, in the order of the configuration.
        health: How the node is.
        changes: What happens.
        archive: What is kept; None where nothing is.
        get_latest: The newest picture of a camera; None before the first one.
        open_live: Opens the stream of a camera, in the event loop. One is open at a time per
            camera, however many watch.
        export: Writes the video of a camera from one Unix time to another as fragmented MP4, in
            pieces of at most some hundred kB, in a thread. Raises `LookupError` before the first
            piece where there is none; what the writer raises passes through.
        people: The gallery; None without recognition.
        configuration: The file; None where there is none.
        explain: Says why the detector saw an object of a class in a picture file, whose middle is
            given as fractions of width and height; takes up to a minute, in a thread.
    """

    name: str
    list_cameras: Callable[[], Sequence[CameraSight]]
    health: Callable[[], NodeHealth]
    changes: ChangeFeed
    archive: Archive | None = None
    get_latest: Callable[[str], LatestPicture | None] | None = None
    open_live: Callable[[str], LiveStream] | None = None
    export: Export | None = None
    people: People | None = None
    configuration: ConfigurationFile | None = None
    explain: Explain | None = None
