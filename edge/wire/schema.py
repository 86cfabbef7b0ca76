"""Messages, version 1: what a subscriber reads, and their bytes.

One struct per topic family. Readers must ignore fields they do not know. Fields without a value
are left out. The vocabularies of ``change``, ``state``, ``severity``, ``triggers``,
``outcome``, ``liveness``, ``label``, ``value`` and
``reason_code`` are open: a newer daemon may send a word that an older reader does not know.

Boxes and landmarks are in pixels of the source image, rounded to 0.1; scores have 4 digits.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edge.printable import escape_controls
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
    """The detector that looked at the frame.

    Attributes:
        name: Name of the model.
        sha256: First 12 hex digits of its SHA-256.
    """

    name: str
    sha256: str


class Envelope(Struct, frozen=True, kw_only=True, gc=False, tag_field="schema", tag=SCHEMA):
    """Fields of every message.

    Attributes:
        node: Name of the node.
        boot: Random id of this start of the daemon; `seq` starts again with it.
        seq: Number of the message within its topic, from 1; a gap is a loss.
        captured_at: Unix time of the frame, change or heartbeat, in seconds.
        published_at: Unix time at which the message was handed to the socket, in seconds.
        age_s: Time from capture to publication by the monotonic clock, in seconds.
        model: The detector.
        cached: True when a message is sent again for a late subscriber: it is state, not news.
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
    """Fields of every message about a camera.

    Attributes:
        camera: Name of the camera.
        epoch: Id of the connection; changes at every reconnect, 0 before the first one.
        frame: Number of the frame within the epoch; for status messages the latest one.
        width: Width of the source image in pixels, 0 when unknown.
        height: Height of the source image in pixels, 0 when unknown.
    """

    camera: str
    epoch: int
    frame: int
    width: int
    height: int


class Face(Struct, frozen=True, kw_only=True, gc=False):
    """A face, and the decision about it.

    The fields from `outcome` on are absent where recognition is off.

    Attributes:
        box: Box of the face.
        landmarks: Five facial landmarks.
        score: Score of the face detector, 0..1.
        quality: Fitness for recognition, 0..1.
        outcome: `known`, `unknown`, `spoof`, `undecided` or `rejected`.
        person: Id of the enrolled person; only for `known`.
        name: Name of the person; only for `known`.
        similarity: Cosine similarity to the best template, -1..1.
        margin: Lead over the second-best person, in similarity.
        liveness: `live`, `spoof`, `undecided` or `not_checked`.
        live_score: Liveness score fused over the track, 0..1.
        votes: Number of frames that agree.
        reason: Reason for the decision, one sentence for people.
        reason_code: The same as a stable word for programs, such as `too_small`.
        evidence: What speaks for (above 0) and against a living face, in nats of log-odds: `model`
            for the liveness model, and the witnesses `motion`, `blink`, `surroundings`, `screen`.
        track: Id of the track that the decision is about: the person's, or the face's own where
            there is no person.
        looks: Number of frames whose votes count.
        needs: What a name needs at least now: `similarity`, `margin`, `votes`, the number of looks
            that must agree, a share of `looks` and so growing with them, and `live_score` where
            liveness is required, which is lower for a face that was live before; absent while no
            one can be named.
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
    evidence: dict[str, float] | UnsetType = UNSET
    track: int | UnsetType = UNSET
    looks: int | UnsetType = UNSET
    needs: dict[str, int | float] | UnsetType = UNSET


class Attribute(Struct, frozen=True, kw_only=True, gc=False):
    """What a classifier says of an object, all looks fused.

    Attributes:
        value: The class, or `undecided`; `yes` or `no` where the classifier has independent labels.
        score: Probability of the value, of the likeliest one while undecided, 0..1.
        votes: Number of looks that agree.
        looks: Number of looks that count.
    """

    value: str
    score: float
    votes: int
    looks: int


class TrackedObject(Struct, frozen=True, kw_only=True, gc=False):
    """An object that is being tracked.

    Attributes:
        track: Id of the track, never reused.
        label: Class name.
        score: Score of the detector, 0..1.
        box: Box of the object.
        zones: Names of the zones it is in.
        face: Face of the person, when one was detected.
        stationary: Whether it has stood in one place for three seconds.
        attributes: What classifiers say of it, by the name of the attribute; absent before the
            first look. Of a classifier with independent labels the names are `NAME.LABEL`.
    """

    track: int
    label: str
    score: float
    box: Box
    zones: tuple[str, ...]
    face: Face | UnsetType = UNSET
    stationary: bool | UnsetType = UNSET
    attributes: dict[str, Attribute] | UnsetType = UNSET


class DetectionsMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """Everything that was detected in one frame; empty when nothing was.

    Attributes:
        objects: Tracked objects.
        faces: Faces that belong to none of the objects.
        looked: False when no network looked at the frame, since nothing moved: `objects` are then
            those that stood still at the last look. Absent when one did.
    """

    objects: tuple[TrackedObject, ...]
    faces: tuple[Face, ...]
    looked: bool | UnsetType = UNSET


class TracksMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """An event in the life of a track.

    Attributes:
        track: Id of the track.
        label: Class name.
        change: `began`, `ended`, `entered`, `left`, `dwelled`, `crossed` or `attribute`.
        place: Name of the zone or line; empty for `began`, `ended` and `attribute`.
        direction: For `crossed` `left_to_right` or `right_to_left`, looking from the line's `a`
            to its `b`; else empty.
        dwell_s: Seconds in the zone for `dwelled` and `left`, seconds between the first and the
            last detection for `ended`; else 0.
        score: Latest score.
        box: Latest box.
        name: For `attribute` the name of the attribute that was decided, or is in doubt again.
        attribute: For `attribute` what is said of it now.
    """

    track: int
    label: str
    change: str
    place: str
    direction: str
    dwell_s: float
    score: float
    box: Box
    name: str | UnsetType = UNSET
    attribute: Attribute | UnsetType = UNSET


class FacesMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """A new decision about the face of a track.

    Attributes:
        track: Id of the person's track, or of the face's own where there is no person.
        face: The face with the decision.
    """

    track: int
    face: Face


class RecentMessage(FacesMessage, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """What was decided last about a face that is or was lately in view, without names.

    Sent only to late subscribers, always with `cached`: see `edge people why`.
    """


class StatusMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """A camera changed its state.

    Attributes:
        state: `online`, `offline`, `frozen`, `blind` (pictures that show nothing) or `degraded` (a
            damaged stream).
        reason: Reason, one sentence for people.
        reason_code: The same as a stable word for programs: `delivers`, `connecting`,
            `source_failed`, `access_denied`, `flapping`, `hangs`, `frozen_picture`,
            `black_picture`, `overexposed_picture`, `uniform_picture`, `damaged_stream`,
            `end_of_file` or `stopped`.
    """

    state: str
    reason: str
    reason_code: str | UnsetType = UNSET


class StateMessage(CameraEnvelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """The state of a fixed place was decided, or changed.

    Attributes:
        name: Name of the state, `NAME.LABEL` where the classifier has independent labels.
        value: The class; `undecided` where looks contradict each other for long, and once nobody
            looks at the place any more.
        before: The value that was decided before; empty for the first one.
        score: Probability of the value, 0..1.
        votes: Number of looks that agree.
        looks: Number of looks that count.
    """

    name: str
    value: str
    before: str
    score: float
    votes: int
    looks: int


class EventPerson(Struct, frozen=True, kw_only=True, gc=False):
    """An enrolled person who was named.

    Attributes:
        person: Id of the person.
        name: Name of the person.
    """

    person: str
    name: str


class EventMessage(Envelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """An event began, went on or ended.

    Attributes:
        camera: Name of the camera.
        event: Id of the event, short, and greater than those of earlier ones of this node.
        change: `begun`, `updated` or `ended`. At `ended` its pictures and its clip are complete.
        severity: `alert` for what wants attention, or `detection`.
        triggers: What began it and was added since, such as `entered:entrance`.
        labels: Classes of its objects.
        places: Zones, lines and states that its triggers name.
        people: Enrolled people who were named.
        tracks: Ids of its tracks.
        began_at: Unix time of the first trigger, in seconds.
        ended_at: Unix time at which the last of it was seen; absent while it goes on.
        track: Id of the track that is seen best; absent where a place is.
        label: Class of that object, or name of the place.
        score: Its score there.
        box: Its box there.
        best_at: Unix time at which it is seen best.
        width: Width of the image that `box` refers to, in pixels.
        height: Height of that image, in pixels.
        snapshot: Whether a picture is kept.
        clip: Whether a clip is kept; at `ended` for good.
    """

    camera: str
    event: str
    change: str
    severity: str
    triggers: tuple[str, ...]
    labels: tuple[str, ...]
    places: tuple[str, ...]
    people: tuple[EventPerson, ...]
    tracks: tuple[int, ...]
    began_at: float
    ended_at: float | UnsetType = UNSET
    track: int | UnsetType = UNSET
    label: str | UnsetType = UNSET
    score: float | UnsetType = UNSET
    box: Box | UnsetType = UNSET
    best_at: float | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    snapshot: bool
    clip: bool


class HeartbeatMessage(Envelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """A sign of life, once per second.

    Attributes:
        last_seq: Last sequence number of every topic except this one. A message with a number up
            to it that has not arrived before the next heartbeat was lost. With `cached`, which
            answers a late subscriber, it is what was sent so far, and `seq` is 0.
    """

    last_seq: dict[str, int]


class AuditMessage(Envelope, frozen=True, kw_only=True, gc=False, tag=SCHEMA):
    """An entry of the audit log of a gallery: who was enrolled, compared or forgotten, by whom.

    Sent by sinks that are told to. `boot` is the log and not a start of the daemon, and `seq` the
    number of the entry in it, so that neither changes when the daemon is started anew. People
    appear by id, never by name.

    Attributes:
        actor: Who did it: the system user, `uid:N`.
        action: What was done, such as `enroll`, `rename`, `forget`, `verify` or `calibrate`.
        person: Id of the person concerned; may be empty.
        detail: More, as JSON.
        mac: HMAC of the entry and of those before it, hex: with the gallery's key it can be proved
            that the log was not changed since.
    """

    actor: str
    action: str
    person: str
    detail: str
    mac: str


Body = (
    DetectionsMessage
    | TracksMessage
    | FacesMessage
    | RecentMessage
    | StatusMessage
    | StateMessage
    | EventMessage
    | HeartbeatMessage
    | AuditMessage
)

BODIES: Final[dict[str, type[Body]]] = {
    "detections": DetectionsMessage,
    "tracks": TracksMessage,
    "faces": FacesMessage,
    "recent": RecentMessage,
    "status": StatusMessage,
    "states": StateMessage,
    "events": EventMessage,
    "heartbeat": HeartbeatMessage,
    "audit": AuditMessage,
}


class Message(Struct, frozen=True, gc=False):
    """A message on its way to subscribers.

    Attributes:
        topic: Topic, ends with ``/``.
        body: Content.
        jpeg: Thumbnail, sent as a part of its own.
        captured_monotonic_s: Monotonic time of capture; stays on this machine.
    """

    topic: str
    body: Body
    jpeg: bytes | None = None
    captured_monotonic_s: float = 0.0


_ENCODE = {"json": msgspec.json.Encoder().encode, "msgpack": msgspec.msgpack.Encoder().encode}
_JSON = {name: msgspec.json.Decoder(body).decode for name, body in BODIES.items()}
_MSGPACK = {name: msgspec.msgpack.Decoder(body).decode for name, body in BODIES.items()}


def encode(body: Body, format: Format = "json") -> bytes:  # noqa: A002 - the word of the option
    """The bytes of a body."""
    return _ENCODE[format](body)


def encode_line(topic: str, body: Body) -> bytes:
    """``{"topic": ..., ...body}`` and a newline: the form of messages in files and pipes."""
    return b'{"topic":"%b",%b\n' % (topic.encode(), encode(body)[1:])


class _Line(Struct):
    """What a line says before its body."""

    topic: str


_LINE = msgspec.json.Decoder(_Line)


def decode_line(line: bytes) -> tuple[str, Body]:
    """Topic and body of a line of `encode_line`.

    Raises:
        ValueError: It is none.
    """
    try:
        topic = _LINE.decode(line).topic
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not a line of a message: {escape_controls(str(error))}") from error
    return topic, decode(topic, line)


def decode(topic: str, payload: bytes) -> Body:
    """The body of a message, typed by its topic; JSON or MessagePack.

    Raises:
        ValueError: The topic is not one of this version, or the bytes are not such a message.
    """
    decoders = _JSON if payload[:1] == b"{" else _MSGPACK  # a MessagePack map never begins with it
    try:
        return decoders[topics.parse_family(topic)](payload)
    except KeyError:
        raise ValueError(f"{topic!r} is not a topic of version {topics.VERSION!r}") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(escape_controls(f"{topic}: {error}")) from error
