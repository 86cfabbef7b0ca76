"""Messages, version 1: what a subscriber reads, and their bytes.

One struct per topic family. Readers ignore fields they do not know, parts that are absent
are left out, and vocabularies (``change``, ``state``, ``outcome``, ``liveness``, ``label``,
``reason_code``)
are open: a newer daemon may say a word that an older reader has not heard.

Boxes and landmarks are pixels of the source image, rounded to 0.1; scores have 4 digits.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edge.wire import topics

SCHEMA: Final = "edge/1"
Format = Literal["json", "msgpack"]

Box = Annotated[
    tuple[float, float, float, float], Meta(description="x1 y1 x2 y2, pixels of the source image")
]
Point = tuple[float, float]
Landmarks = Annotated[
    tuple[Point, Point, Point, Point, Point],
    Meta(description="left eye, right eye, nose, mouth corners as seen in the image, pixels"),
]


class Model(Struct, frozen=True, gc=False):
    """Which detector looked: its name and the first 12 hex digits of its SHA-256."""

    name: str
    sha256: str


class Envelope(Struct, frozen=True, kw_only=True, gc=False, tag_field="schema", tag=SCHEMA):
    """What every message says.

    Attributes:
        node: name of the box.
        boot: random per start of the daemon; ``seq`` begins anew with it.
        seq: counts the messages of this topic from 1; a gap is a loss.
        captured_at: Unix seconds of what it is about: the frame, the change, the heartbeat.
        published_at: Unix seconds when it was handed to the socket.
        age_s: from capture to publication, by the monotonic clock.
        model: the detector.
        cached: true when it was sent again for a late joiner; it is state, not news.
    """

    node: str
    boot: str
    seq: int
    captured_at: float
    published_at: float
    age_s: float
    model: Model
    cached: bool | UnsetType = UNSET


class CameraEnvelope(Envelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """What every message about a camera says.

    Attributes:
        camera: its name.
        epoch: new at every reconnect, 0 before the first one.
        frame: number of the frame within the epoch, for status the latest one known.
        width: of the source image in pixels, 0 when unknown.
        height: of the source image in pixels, 0 when unknown.
    """

    camera: str
    epoch: int
    frame: int
    width: int
    height: int


class Face(Struct, frozen=True, kw_only=True, gc=False):
    """A face, and who it is once somebody decided.

    The fields from ``outcome`` on are absent where nobody looked.

    Attributes:
        box: where it is.
        landmarks: five points.
        score: the face finder's, 0..1.
        quality: fitness for recognition, 0..1.
        outcome: known, unknown, spoof, undecided or rejected.
        person: id of an enrolled person, for known only.
        name: the person's name, for known only.
        similarity: to the best template, -1..1.
        margin: similarity minus that of the second-best person.
        liveness: live, spoof, undecided or not_checked.
        live_score: 0..1.
        votes: how many looks agree.
        reason: why it was decided so, one sentence.
        reason_code: the same as a stable word, e.g. too_small or no_3d_motion.
    """

    box: Box
    landmarks: Landmarks
    score: float
    quality: float
    outcome: str | UnsetType = UNSET
    person: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    similarity: float | UnsetType = UNSET
    margin: float | UnsetType = UNSET
    liveness: str | UnsetType = UNSET
    live_score: float | UnsetType = UNSET
    votes: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    reason_code: str | UnsetType = UNSET


class TrackedObject(Struct, frozen=True, kw_only=True, gc=False):
    """An object that is followed.

    Attributes:
        track: id, never reused.
        label: class name.
        score: the detector's, 0..1.
        box: where it is.
        zones: names of the zones it stands in.
        face: its face, when one was found.
    """

    track: int
    label: str
    score: float
    box: Box
    zones: tuple[str, ...]
    face: Face | UnsetType = UNSET


class DetectionsMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """All that was seen in one frame; empty when nothing was.

    Attributes:
        objects: objects that are followed.
        faces: faces that belong to none of the objects.
    """

    objects: tuple[TrackedObject, ...]
    faces: tuple[Face, ...]


class TracksMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """Something happened to a track.

    Attributes:
        track: which one.
        label: class name.
        change: began, ended, entered, left, dwelled or crossed.
        place: name of the zone or line, empty for began and ended.
        direction: for crossed, a_to_b or b_to_a; else empty.
        dwell_s: seconds in the zone for dwelled and left, of the whole track for ended.
        score: the latest.
        box: where it was.
    """

    track: int
    label: str
    change: str
    place: str
    direction: str
    dwell_s: float
    score: float
    box: Box


class FacesMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """A decision about the face of a track.

    Attributes:
        track: whose face it is.
        face: the face with its decision.
    """

    track: int
    face: Face


class StatusMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """A camera's state changed.

    Attributes:
        state: online, offline or frozen.
        reason: one sentence.
    """

    state: str
    reason: str


class HeartbeatMessage(Envelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """The daemon lives.

    Attributes:
        last_seq: last sequence number of every topic, its own excepted. Who has not received
            it before the next heartbeat has lost something.
    """

    last_seq: dict[str, int]


Body = DetectionsMessage | TracksMessage | FacesMessage | StatusMessage | HeartbeatMessage

BODIES: Final[dict[str, type[Body]]] = {
    "detections": DetectionsMessage,
    "tracks": TracksMessage,
    "faces": FacesMessage,
    "status": StatusMessage,
    "heartbeat": HeartbeatMessage,
}


class Message(Struct, frozen=True, gc=False):
    """A body on its way to subscribers.

    Attributes:
        topic: where it belongs, ends with ``/``.
        body: what it says.
        jpeg: the picture, an own part of the multipart message.
        captured_monotonic_s: for its age; stays on this box.
    """

    topic: str
    body: Body
    jpeg: bytes | None = None
    captured_monotonic_s: float = 0.0


_ENCODE = {"json": msgspec.json.Encoder().encode, "msgpack": msgspec.msgpack.Encoder().encode}
_JSON = {name: msgspec.json.Decoder(body).decode for name, body in BODIES.items()}
_MSGPACK = {name: msgspec.msgpack.Decoder(body).decode for name, body in BODIES.items()}


def encode(body: Body, format: Format = "json") -> bytes:  # noqa: A002 - the word of the option
    """The body's bytes."""
    return _ENCODE[format](body)


def encode_line(topic: str, body: Body) -> bytes:
    """``{"topic": ..., ...body}`` and a newline: how messages lie in files and pipes."""
    return b'{"topic":"%b",%b\n' % (topic.encode(), encode(body)[1:])


def decode(topic: str, payload: bytes) -> Body:
    """The body of a message, typed by its topic. JSON and MessagePack are told apart.

    Raises:
        ValueError: no topic of this version, or bytes that are no such message.
    """
    decoders = _JSON if payload[:1] == b"{" else _MSGPACK  # a MessagePack map never begins so
    try:
        return decoders[topics.family(topic)](payload)
    except KeyError:
        raise ValueError(f"{topic!r} is no topic of version {topics.VERSION!r}") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"{topic}: {error}") from error
