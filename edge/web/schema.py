"""What the API takes and answers: one type each, from which its OpenAPI document is generated."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import msgspec

from edge.compat import StrEnum
from edge.event import BestView, Severity
from edge.recording.records import FileKind
from edge.web.problem import Mistake

Limit = Annotated[int, msgspec.Meta(ge=1, le=500)]
Height = Annotated[int, msgspec.Meta(ge=0, le=4320)]
Moment = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
Text = Annotated[str, msgspec.Meta(max_length=200)]


class Role(StrEnum):
    """What somebody may do; each may do what those before may."""

    VIEWER = "viewer"
    ENROLLER = "enroller"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether it may do what ``other`` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No parameters."""


# --- events -----------------------------------------------------------------------------------


class EventQuery(Query, frozen=True, kw_only=True):
    """Which events are listed.

    Attributes:
        camera: Of this camera; may be given several times.
        label: With an object of this class.
        place: With a trigger in this zone or at this line.
        person: With this person, by id; needs the role enroller.
        severity: Of this severity.
        after: Begun at or after this Unix time.
        before: Begun before this Unix time.
        seen: Marked as seen, or not.
        protected: Protected, or not.
        limit: How many at most.
        cursor: `next` of the page before.
    """

    camera: tuple[Text, ...] = ()
    label: Text = ""
    place: Text = ""
    person: Text = ""
    severity: Severity | None = None
    after: float | None = None
    before: float | None = None
    seen: bool | None = None
    protected: bool | None = None
    limit: Limit = 50
    cursor: Text = ""


class PictureQuery(Query, frozen=True, kw_only=True):
    """How a picture is shown.

    Attributes:
        boxes: With what was found.
        height: Height in pixels, if the picture has more; 0 leaves it as it is.
        t: Without a meaning: makes an address that a browser has not loaded yet.
    """

    boxes: bool = False
    height: Height = 0
    t: Text = ""


class ClipQuery(Query, frozen=True, kw_only=True):
    """How a clip is sent.

    Attributes:
        download: As a file to keep, with a name.
    """

    download: bool = False


class EventPerson(msgspec.Struct, frozen=True):
    """An enrolled person in an event.

    Attributes:
        person: Id; empty for who may not see names.
        name: Name; "known person" for who may not see names, empty once forgotten.
    """

    person: str
    name: str


class EventEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What happened before a camera.

    Attributes:
        id: Short and unique on this node.
        severity: `alert` wants attention, `detection` is there to be found.
        triggers: What began it and was added since, in the words of the rules.
        labels: Classes of its objects.
        places: Zones and lines that its triggers name.
        people: Enrolled people who were named.
        tracks: Ids of its tracks.
        began_s: Unix time of the first trigger.
        ended_s: Unix time at which the last of it was seen; null while it goes on.
        best: Where its object is seen best; null for what has no box.
        seen: Whether somebody has marked it as seen.
        protected: Whether it stays however old it is, and however much room is wanted.
        files: Which files are there: `snapshot`, `thumbnail`, `clip`.
    """

    id: str
    camera: str
    severity: Severity
    triggers: tuple[str, ...]
    labels: tuple[str, ...]
    places: tuple[str, ...]
    people: tuple[EventPerson, ...]
    tracks: tuple[int, ...]
    began_s: float
    ended_s: float | None
    best: BestView | None
    seen: bool
    protected: bool
    files: tuple[FileKind, ...]


class EventPage(msgspec.Struct, frozen=True):
    """Events, newest first.

    Attributes:
        next: `cursor` of the next page; empty after the last one.
    """

    events: tuple[EventEntry, ...]
    next: str


class Protection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an event is protected."""

    protected: bool


class SeenMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an event is marked as seen."""

    seen: bool


class ExplanationEntry(msgspec.Struct, frozen=True):
    """Why the detector saw the object of an event.

    Attributes:
        label: Class of the object.
        score: Of the object in the whole picture.
        largest_loss: How much of the score is lost where a patch covers the picture, at most.
        inside: Share of the loss within the object's box; null where nothing lowers the score.
        patches: Patches that were tried.
        planned: Patches that there are; more than were tried if the time was over.
    """

    label: str
    score: float
    largest_loss: float
    inside: float | None
    patches: int
    planned: int


# --- cameras ----------------------------------------------------------------------------------


class StatePlace(msgspec.Struct, frozen=True):
    """A place whose state a classifier says.

    Attributes:
        name: Name of the state.
        polygon: Its corners, as fractions of width and height.
    """

    name: str
    polygon: tuple[tuple[float, float], ...]


class CameraEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A camera.

    Attributes:
        state: `online`, `offline`, `frozen`, `blind` or `degraded`; empty before the first one.
        reason: Why, in one sentence.
        reason_code: The same for programs.
        since_s: Unix time of the last change of state; null before the first one.
        size_wh: Width and height of its picture; 0, 0 when unknown.
        aspect: Width over height as the picture is meant to be seen; 0 is what its pixels say.
        fps: Frames per second that are looked at.
        live: Whether its stream can be shown as it is sent.
        hide: What is made unrecognizable in its pictures.
        places: Places whose states classifiers say.
        states: What they have decided, by the name of the state; of a classifier with independent
            labels the names are `NAME.LABEL`.
    """

    name: str
    state: str
    reason: str
    reason_code: str
    since_s: float | None
    size_wh: tuple[int, int]
    aspect: float
    fps: float
    live: bool
    hide: tuple[str, ...]
    places: tuple[StatePlace, ...]
    states: dict[str, str]


class CameraList(msgspec.Struct, frozen=True):
    """The cameras, in the order of the configuration."""

    cameras: tuple[CameraEntry, ...]


class RangeQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
                 rename={"from_s": "from", "to_s": "to"}):  # fmt: skip
    """A range of time.

    Attributes:
        from_s: Its beginning, Unix time.
        to_s: Its end, Unix time; at most an hour later.
    """

    from_s: Moment
    to_s: Moment


class SpanQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
                rename={"from_s": "from", "to_s": "to"}):  # fmt: skip
    """A range of time.

    Attributes:
        from_s: Its beginning, Unix time.
        to_s: Its end, Unix time; at most eight days later.
    """

    from_s: Moment
    to_s: Moment


class Recording(msgspec.Struct, frozen=True):
    """Video without a gap.

    Attributes:
        began_s: Unix time of its beginning.
        ended_s: Unix time of its end, as far as it is written.
    """

    began_s: float
    ended_s: float


class RecordingList(msgspec.Struct, frozen=True):
    """What is kept of a camera, oldest first.

    Attributes:
        kept: Whether this node keeps video at all.
    """

    kept: bool
    recordings: tuple[Recording, ...]


# --- health -----------------------------------------------------------------------------------


class CameraHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a camera does, since it was added.

    Attributes:
        age_s: How old its frames are when they have been looked at, in seconds, the median of the
            latest; null before the first.
        max_age_s: The oldest of these; null before the first.
        lag_s: How much later than its own stamps say the last frame was read, in seconds.
        looked: Frames that were looked at.
        dropped: Frames that were due and were not looked at: a newer one was there, or the camera
            was late.
        damaged: Packets and pictures that could not be decoded whole.
        reconnects: Connections after the first one.
    """

    name: str
    age_s: float | None
    max_age_s: float | None
    lag_s: float
    looked: int
    dropped: int
    damaged: int
    reconnects: int


class Health(msgspec.Struct, frozen=True):
    """How the node is.

    Attributes:
        node: Name of the node.
        version: Of Edgewatch.
        ready: Whether it does what it should.
        problems: What is at fault.
        figures: Measured values; the names end in their units.
        cameras: How each camera does.
        recognizes: Whether it recognizes people, who can be enrolled.
    """

    node: str
    version: str
    ready: bool
    problems: tuple[str, ...]
    figures: dict[str, float]
    cameras: tuple[CameraHealth, ...]
    recognizes: bool


# --- sessions ---------------------------------------------------------------------------------


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who logs in: a name with a password, or the one-time token of `edge open`."""

    user: Text = ""
    password: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    token: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class Session(msgspec.Struct, frozen=True):
    """Who is asking.

    Attributes:
        user: Name; empty where nobody has to log in.
        role: What they may do; null before the login.
        login: Whether this node asks for a login.
    """

    user: str
    role: Role | None
    login: bool


# --- live -------------------------------------------------------------------------------------


class LiveStart(msgspec.Struct, frozen=True):
    """The text message at the beginning of a live stream, and where its parameters change.

    Attributes:
        mime: For `MediaSource.addSourceBuffer`.
        codecs: As RFC 6381 names them.
    """

    mime: str
    codecs: str


class FoundObject(msgspec.Struct, frozen=True):
    """An object in a frame.

    Attributes:
        track: Id of its track.
        label: Its class.
        name: Who it is; empty where nobody was named, "known person" for who may not see names.
        xyxy: Its box, pixels of the frame.
        attributes: What classifiers have decided of it, by the name of the attribute.
    """

    track: int
    label: str
    name: str
    xyxy: tuple[float, float, float, float]
    attributes: dict[str, str]


class FrameObjects(msgspec.Struct, frozen=True):
    """What was found in a frame.

    Attributes:
        captured_s: When the frame was captured, Unix seconds: the clock of live video.
        size_wh: Width and height of the frame, in pixels.
        objects: What was found.
        states: What classifiers have decided of the camera's places, by the name of the state.
    """

    captured_s: float
    size_wh: tuple[int, int]
    objects: tuple[FoundObject, ...]
    states: dict[str, str]


# --- changes ----------------------------------------------------------------------------------


class CameraState(msgspec.Struct, frozen=True):
    """A camera's state changed.

    Attributes:
        state: `online`, `offline`, `frozen`, `blind` or `degraded`.
        reason: Why, in one sentence.
        reason_code: The same for programs.
        since_s: Unix time of the change.
        size_wh: Width and height of its picture; 0, 0 when unknown.
    """

    camera: str
    state: str
    reason: str
    reason_code: str
    since_s: float
    size_wh: tuple[int, int]


# --- people -----------------------------------------------------------------------------------


class PersonEntry(msgspec.Struct, frozen=True):
    """An enrolled person.

    Attributes:
        person: Id.
        templates: Number of looks that names are found by.
        enrolled_s: When, Unix seconds.
        until: Last day the data is kept, as in 2027-12-31; empty without an end.
        state: `active`, or why the person is not recognized.
    """

    person: str
    name: str
    templates: int
    enrolled_s: float
    until: str
    state: str


class PersonList(msgspec.Struct, frozen=True):
    """Everybody who is enrolled."""

    people: tuple[PersonEntry, ...]


class EnrollQuery(Query, frozen=True, kw_only=True):
    """Who is enrolled.

    Attributes:
        name: Name; of an enrolled person it adds to what is known of them.
        consent: The person agreed; nothing is stored otherwise.
        until: Last day the data is kept, as in 2027-12-31.
    """

    name: Text
    consent: bool = False
    until: date | None = None


class EventEnrollment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom the snapshot of an event shows.

    Attributes:
        event: Id of the event.
        name: Name; of an enrolled person it adds to what is known of them.
        consent: The person agreed; nothing is stored otherwise.
        until: Last day the data is kept, as in 2027-12-31.
    """

    event: Text
    name: Text
    consent: bool = False
    until: date | None = None


class Denial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom an event does not show.

    Attributes:
        event: Id of the event.
    """

    event: Text


# --- configuration ----------------------------------------------------------------------------


class ConfigurationText(msgspec.Struct, frozen=True):
    """The configuration file.

    Attributes:
        text: Its text; whatever is secret is `[hidden ...]`, which is put back when it is written.
        revision: Names this state of the file, for the header `if-match`; also in `etag`.
        needs_restart: Tables that cannot change while the node runs: until it is restarted, it
            refuses all of what was written.
    """

    text: str
    revision: str
    needs_restart: tuple[str, ...] = ()


class NewText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A configuration as it should be.

    Attributes:
        text: The whole text.
    """

    text: Annotated[str, msgspec.Meta(max_length=1 << 20)]


class Check(msgspec.Struct, frozen=True):
    """What a change of the configuration would do.

    Attributes:
        mistakes: Why it cannot be used; empty if it can.
        difference: From the present file, as a unified difference without secrets.
        text: The whole text as it would be written, without secrets.
    """

    mistakes: tuple[Mistake, ...]
    difference: str
    text: str


Point = tuple[float, float]
Labels = tuple[Text, ...]


class ZoneEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A region of the picture; see `cameras.zones` of the configuration.

    Attributes:
        polygon: At least three corners, as fractions of width and height.
        labels: Classes that count; empty means all.
        dwell_s: Time after which somebody dwells, in seconds; null is what it was, or the default.
        margin: See the configuration; null is what it was, or the default.
        debounce_s: See the configuration; null is what it was, or the default.
    """

    name: Text
    polygon: tuple[Point, ...]
    labels: Labels = ()
    dwell_s: float | None = None
    margin: float | None = None
    debounce_s: float | None = None


class LineEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line whose crossing is reported; see `cameras.lines` of the configuration.

    Attributes:
        a: One end, as fractions of width and height.
        b: The other end.
        labels: Classes that count; empty means all.
        margin: See the configuration; null is what it was, or the default.
        debounce_s: See the configuration; null is what it was, or the default.
    """

    name: Text
    a: Point
    b: Point
    labels: Labels = ()
    margin: float | None = None
    debounce_s: float | None = None


class Places(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things are reported before a camera, and where nothing is.

    Attributes:
        masks: Polygons in which nothing is reported, as fractions of width and height.
        motion_masks: Polygons in which motion does not count.
    """

    zones: tuple[ZoneEntry, ...] = ()
    lines: tuple[LineEntry, ...] = ()
    masks: tuple[tuple[Point, ...], ...] = ()
    motion_masks: tuple[tuple[Point, ...], ...] = ()


class DryQuery(Query, frozen=True, kw_only=True):
    """Whether a change is made.

    Attributes:
        dry: Only say what it would do.
    """

    dry: bool = False


class CameraPlaces(msgspec.Struct, frozen=True):
    """The places of a camera.

    Attributes:
        revision: Of the configuration file, for the header `if-match`; empty for who may not
            change it.
    """

    places: Places
    revision: str
