"""The configuration schema: a frozen tree of tables. The docstrings are the reference manual."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edge.bounded_call import call_within
from edge.compat import Self

log = logging.getLogger(__name__)


class Table(BaseModel):
    """A TOML table: frozen, unknown keys refused.

    ``renamed`` maps keys of earlier versions to the present ones, or to nothing: they are still
    accepted, with a warning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}

    @field_validator("*", mode="before")
    @classmethod
    def _is_what_it_says(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what would be converted, such as "10" for 10."""
        field = cls.model_fields[str(info.field_name)]
        if any(isinstance(each, BeforeValidator) for each in field.metadata):
            return value  # it converts, and refuses, itself
        annotation = field.annotation
        if _takes(annotation, float) and not _takes(annotation, str):
            for leaf in _list_leaves(value):
                if isinstance(leaf, str):
                    raise ValueError("must be a number: remove the quotes")
                if isinstance(leaf, bool):
                    raise ValueError("must be a number")
        optional = value is None and annotation is not bool
        if annotation in (bool, bool | None) and not isinstance(value, bool) and not optional:
            raise ValueError("must be true or false")
        return value

    @model_validator(mode="before")
    @classmethod
    def _read_renamed(cls, table: object) -> object:
        if not isinstance(table, dict) or not cls.renamed.keys() & table.keys():
            return table
        table = dict(table)
        for old in cls.renamed.keys() & table.keys():
            new, value = cls.renamed[old], table.pop(old)
            if not new:
                log.warning("the configuration key %s has no effect any more: remove it", old)
            elif new in table:
                raise ValueError(f"{old} is the former name of {new}: remove {old}")
            else:
                log.warning("the configuration key %s is now called %s: rename it", old, new)
                table[new] = value
        return table


def _list_leaves(value: object) -> Iterator[object]:
    """The values in tables and arrays."""
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _list_leaves(inner)
    else:
        yield value


def _takes(annotation: object, kind: type) -> bool:
    """Whether a type, or a type in it, is ``kind``; the keys of tables do not count."""
    if annotation in ((float, int) if kind is float else (kind,)):
        return True
    inner = get_args(annotation)
    if get_origin(annotation) is dict:
        inner = inner[1:]
    return any(_takes(argument, kind) for argument in inner)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # an interface, a name
        return False


def _in_unit_square(point: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= value <= 1 for value in point):
        raise ValueError(f"must lie within the image, 0..1, got {list(point)}")
    return point


FILE_SYSTEM_S = 3.0  # for it to answer
MAX_S = 7 * 86400.0
MAX_LABELS = 10_000
MIN_AREA = 1e-6  # of the picture: less than a pixel
DEFAULT_MAX_MISSED_S = 1.5
VEHICLES_MISSED_S = dict.fromkeys(
    ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"), 120.0
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Labels = Annotated[tuple[str, ...], Field(max_length=MAX_LABELS)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=MAX_S)]
SecondsPerClass = Annotated[  # tags that begin with ~ are not part of a key
    Annotated[Seconds, Tag("~number")] | Annotated[dict[str, Seconds], Tag("~table")],
    Discriminator(lambda value: "~table" if isinstance(value, dict) else "~number"),
]
Point = Annotated[tuple[float, float], AfterValidator(_in_unit_square)]
Decode = Literal["all", "no-loop-filter", "keyframes"]


def _has_area(polygon: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    edges = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    turns = [
        (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        for a, b in edges
        for c in polygon
    ]
    if not any(abs(turn) > MIN_AREA for turn in turns):
        raise ValueError("all corners lie on one line: it contains nothing")
    return polygon


Polygon = Annotated[
    tuple[Point, ...], Field(min_length=3, max_length=200), AfterValidator(_has_area)
]


class Zone(Table):
    """A region of the image.

    Attributes:
        name: Name of the zone in messages.
        polygon: At least three corners, as fractions of width and height.
        labels: Classes that count; empty means all.
        dwell_s: Report `dwelled` after this time inside, in seconds; 0 turns it off.
        margin: The zone is left when the foot point is outside by more than this fraction of the
            object's height; entering needs no margin.
        debounce_s: The zone is left once the object stayed outside for this long, in seconds;
            entering is reported at once.
    """

    name: Name
    polygon: Polygon
    labels: Labels = ()
    dwell_s: float = Field(default=0, ge=0, le=MAX_S)
    margin: float = Field(default=0.05, ge=0, le=10)
    debounce_s: float = Field(default=0.5, ge=0, le=MAX_S)


class Line(Table):
    """A line whose crossing is reported.

    Attributes:
        name: Name of the line in messages.
        a: One end, as fractions of width and height. Looking from `a` to `b`, `left_to_right`
            is a crossing towards the right.
        b: The other end.
        labels: Classes that count; empty means all.
        margin: The line is crossed when the foot point is beyond it by more than this fraction of
            the object's height.
        debounce_s: The line is crossed once the object stayed beyond it for this long, in seconds;
            an object that vanishes beyond it has crossed it, too.
    """

    name: Name
    a: Point
    b: Point
    labels: Labels = ()
    margin: float = Field(default=0.05, ge=0, le=10)
    debounce_s: float = Field(default=0.5, ge=0, le=MAX_S)

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.a == self.b:
            raise ValueError("a and b must differ")
        return self


class Tracking(Table):
    """Two-stage association in the manner of ByteTrack.

    Attributes:
        high_score: Detections above this score are associated first and may start tracks. Raising
            it starts fewer tracks on clutter.
        low_score: Detections between this score and `high_score` only continue tracks.
        min_iou: Least IoU of the predicted box and a detection, both enlarged by a fifth on each
            side. Raising it breaks tracks of fast objects, lowering it swaps identities in crowds.
        confirm_frames: Report a track once it was detected in this many frames.
        max_missed_s: End a track that was not detected for this long, in seconds; a table gives
            it per class, and 1.5 to the others. Raising it bridges longer occlusions.
        still_max_missed_s: `max_missed_s` for objects that stood still before they were hidden,
            per class: the track is kept as long as the object had stood still, at most this long,
            in seconds. An object that is found in the same place after the camera was lost for
            less than this gets its track back.
    """

    high_score: Ratio = 0.5
    low_score: Ratio = 0.1
    min_iou: Ratio = 0.2
    confirm_frames: int = Field(default=2, ge=1, le=1000)
    max_missed_s: SecondsPerClass = DEFAULT_MAX_MISSED_S
    still_max_missed_s: dict[str, Seconds] = Field(default_factory=lambda: dict(VEHICLES_MISSED_S))

    @model_validator(mode="after")
    def _scores_fit(self) -> Self:
        if self.low_score > self.high_score:
            raise ValueError("low_score must not be above high_score")
        return self


class Motion(Table):
    """When networks look at a camera: where something moves, and at whoever is followed.

    A track is looked at in every frame until it ends, also of somebody who sits still; what stands
    still and may (`still_max_missed_s`), such as a parked car, is not.

    Attributes:
        enabled: Look only then; `false` looks at every frame. By default `true`, but `false` for
            recordings that are read with `every_frame`.
        look_every_s: Look at least this often, in seconds. Raising it saves little, and finds later
            what came without moving in the picture.
        min_change: Least change of brightness that counts as motion, in levels of 255. Raising it
            overlooks more in the dark.
        masks: Polygons in which motion does not count, such as a tree or a road. The clock that a
            camera writes into its picture needs none.
        decode_asleep: `decode` while for two seconds nothing has moved and nobody was followed, if
            it is less (`rtsp` and `http`). `keyframes` costs least, and notices motion at key
            frames only; everything is decoded again from the one that shows it.
    """

    enabled: bool | None = None
    look_every_s: Seconds = 10
    min_change: float = Field(default=5, ge=1, le=100)
    masks: tuple[Polygon, ...] = Field(default=(), max_length=200)
    decode_asleep: Decode = "no-loop-filter"


def _path_or_table(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


class ModelFile(Table):
    """A model: a path, or a table with a pinned hash.

    Attributes:
        path: ONNX file of the model contract, relative to the configuration file, `zoo:NAME`, or
            `catalog:NAME` for a downloaded one.
        sha256: Refuse a file with any other SHA-256.
    """

    path: str = Field(min_length=1)
    sha256: str = Field(default="", pattern=r"^([0-9a-fA-F]{64})?$")


Model = Annotated[ModelFile, BeforeValidator(_path_or_table)]
ModelOrNone = Annotated[Model | None, BeforeValidator(lambda v: None if v is False else v)]


class State(Table):
    """A fixed place whose state a classifier says, such as a gate that is open or closed.

    The box around the polygon is cut out of the picture, with the margin that the model asks for,
    also while nothing moves.

    Attributes:
        name: Name of the state in messages.
        polygon: At least three corners, as fractions of width and height.
        model: Classifier (`edge-train classifier`).
        every_s: Interval at which it is looked at, in seconds.
        min_votes: Looks in a row that must agree on another class before the state changes.
        min_score: Fused probability that a class needs; below it the state is `undecided` at first,
            and later stays what it was.
    """

    name: Name
    polygon: Polygon
    model: Model
    every_s: Seconds = 1
    min_votes: int = Field(default=3, ge=1, le=15)
    min_score: float = Field(default=0.9, ge=0.5, le=0.999)


PLACED_TRIGGERS = ("entered", "left", "dwelled", "crossed")
CLASSIFIED_TRIGGERS = ("attribute", "state")
PLAIN_TRIGGERS = ("began", "known", "unknown", "spoof", "offline")


def _is_trigger(trigger: str) -> str:
    word, colon, place = trigger.partition(":")
    if word in PLACED_TRIGGERS and (place or not colon):
        return trigger
    if word in CLASSIFIED_TRIGGERS:
        name, equals, value = place.partition("=")
        if (name or not colon) and (value or not equals):
            return trigger
    if trigger in PLAIN_TRIGGERS:
        return trigger
    words = ", ".join(
        [
            *(f"{word}:NAME" for word in PLACED_TRIGGERS),
            *(f"{word}:NAME=CLASS" for word in CLASSIFIED_TRIGGERS),
            *PLAIN_TRIGGERS,
        ]
    )
    raise ValueError(
        f"is no trigger: use one of {words}, with the NAME of a zone, line, attribute or state"
    )


Trigger = Annotated[str, AfterValidator(_is_trigger)]


def split_trigger(trigger: str) -> tuple[str, str, str]:
    """``state:gate=open`` -> word, name of a place or attribute, and class; empty where without.

    Of ``attribute:gear.helmet=yes``, a label of an attribute, the name is ``gear``.
    """
    word, _, rest = trigger.partition(":")
    name, _, value = rest.partition("=")
    return word, name.partition(".")[0], value


class EventRule(Table):
    """What makes an event.

    While an event goes on, whatever else happens before the camera belongs to it.

    Attributes:
        when: What begins it, any of `entered:ZONE`, `left:ZONE`, `dwelled:ZONE` and
            `crossed:LINE`, without `:NAME` for all zones or lines; `began` for an object that
            appears; `attribute:NAME=CLASS` for what a classifier has decided of an object, and
            `state:NAME=CLASS` for a place whose state has changed to that, without `=CLASS` for
            any; `known`, `unknown` and `spoof` for what recognition says of a face; `offline` for a
            camera that shows nothing.
        labels: Classes that count; empty means all.
        severity: `alert` for what wants attention, `detection` for what is there to be found.
        cooldown_s: Time after an event in which the same trigger of the same class begins no other,
            in seconds. Raising it makes fewer events of people who come and go.
        min_frames: Frames in which an object must have been detected before it counts. Raising it
            makes fewer events of things that are seen for a moment by mistake.
    """

    when: tuple[Trigger, ...] = Field(min_length=1, max_length=100)
    labels: Labels = ()
    severity: Literal["detection", "alert"] = "detection"
    cooldown_s: float = Field(default=0, ge=0, le=MAX_S)
    min_frames: int = Field(default=3, ge=1, le=1000)


class Record(Table):
    """What is recorded of a camera; it needs `[storage]`.

    Pictures are stored as the camera codes them, so that recording costs next to nothing. A clip
    begins at a key frame, which may be earlier than `pre_s`.

    Attributes:
        clips: Keep a clip of each event.
        pre_s: Time before an event that its clip shows, in seconds.
        post_s: Time after an event that its clip shows, in seconds.
        max_clip_s: A clip ends after this time, even where its event goes on, in seconds.
        continuous: Keep everything.
        audio: Record sound as well, as the camera codes it: AAC or Opus. Many places forbid to
            record what people say, or demand that they are told.
    """

    clips: bool = True
    pre_s: float = Field(default=5, ge=0, le=60)
    post_s: float = Field(default=8, ge=0, le=300)
    max_clip_s: float = Field(default=300, ge=10, le=3600)
    continuous: bool = False
    audio: bool = False


class Camera(Table):
    """A camera.

    Attributes:
        name: Name of the camera in topics, metrics and logs.
        source: Where frames come from: `kind` and the options of that kind.
        main: A second stream of the same camera, with more pixels: `kind` and the options of that
            kind, `rtsp` or `http`. Clips and pictures of events are taken from it, and it is
            decoded for those pictures alone. Without it they are taken from `source`.
        faces_from: Which stream faces are recognized in. `main` has more pixels, and is decoded
            while faces are in view; they are found in `source` all the same.
        fps: Frames per second to run inference on; other frames are decoded and dropped.
        decode: How much of a stream to decode (`rtsp` and `http`; other sources are decoded
            whole): `all`; `no-loop-filter`, which costs a fifth less and lets blocks show, and
            which hardware decoders ignore; or `keyframes`, which is `no-loop-filter` where they
            are more than 20 s apart.
        aspect: Width over height of the picture as it is meant to be seen, such as 1.7778 for a
            squeezed one of 704x576, at least 0.1; 0 takes what the stream says. Boxes stay in
            pixels.
        labels: Classes to report; empty means all.
        min_score: Minimum score per class, on top of the model's own threshold.
        min_height: Minimum height per class, as a fraction of the image height.
        masks: Polygons in which nothing is reported; the bottom center of a box decides.
        zones: Regions in which entering, leaving and dwelling are reported.
        lines: Lines whose crossing is reported.
        states: Places whose state a classifier says.
        tracking: How objects are tracked.
        motion: When networks look at the camera.
        zoom: Look closer where something moves or is followed: up to four windows of the picture
            go through the detector besides the whole; more of them take turns. Finds people farther
            away, and costs an inference a window.
        tiles: Look closer everywhere instead: columns and rows of tiles that go through the
            detector besides the whole picture, such as "2x1" for a wide or 4K picture.
        frozen_after_s: Report `frozen` after the same image for this long, in seconds; 0 turns
            it off. A recording that loops is never frozen.
        events: What makes an event.
        record: What is recorded.
        hide: What is pixelated in all pictures that are shown or kept, `face` or `person`. Clips
            are stored as the camera sends them and cannot be changed: none are kept then, unless
            `record.clips` is set.
        jpeg_hz: Thumbnails per second on the detections topic; 0 sends none.
        jpeg_max_px: Longest side of a thumbnail, in pixels.
    """

    name: Name
    source: dict[str, Any]
    main: dict[str, Any] | None = None
    faces_from: Literal["source", "main"] = "source"
    fps: float = Field(default=10, ge=0.001, le=1000)
    decode: Decode = "all"
    aspect: float = Field(default=0, ge=0, le=10)
    labels: Labels = ()
    min_score: dict[str, Ratio] = Field(default_factory=dict, max_length=MAX_LABELS)
    min_height: dict[str, Ratio] = Field(default_factory=dict, max_length=MAX_LABELS)
    masks: tuple[Polygon, ...] = Field(default=(), max_length=200)
    zones: tuple[Zone, ...] = Field(default=(), max_length=200)
    lines: tuple[Line, ...] = Field(default=(), max_length=200)
    states: tuple[State, ...] = Field(default=(), max_length=50)
    tracking: Tracking = Tracking()
    motion: Motion = Motion()
    zoom: bool = False
    tiles: str = Field(default="", pattern=r"^([1-8]x[1-8])?$")
    frozen_after_s: float = Field(default=30, ge=0, le=MAX_S)
    events: tuple[EventRule, ...] = Field(default=(), max_length=100)
    record: Record = Record()
    hide: tuple[Literal["face", "person"], ...] = ()
    jpeg_hz: float = Field(default=0, ge=0, le=30)
    jpeg_max_px: int = Field(default=320, ge=16, le=4096)

    @field_validator("aspect")
    @classmethod
    def _is_no_sliver(cls, aspect: float) -> float:
        if 0 < aspect < 0.1:
            raise ValueError("must be 0, or between 0.1 and 10: change it")
        return aspect

    @field_validator("tiles")
    @classmethod
    def _is_more_than_the_whole(cls, tiles: str) -> str:
        if tiles == "1x1":
            raise ValueError("1x1 is the whole picture, which is looked at anyway: remove it")
        return tiles

    @model_validator(mode="after")
    def _looks_closer_in_one_way(self) -> Self:
        if self.zoom and self.tiles:
            raise ValueError(
                "zoom looks closer where something moves, tiles everywhere: remove one of the two"
            )
        return self

    @model_validator(mode="after")
    def _places_are_unique(self) -> Self:
        _unique(
            "zone or line", [zone.name for zone in self.zones] + [line.name for line in self.lines]
        )
        _unique("state", [state.name for state in self.states])
        return self

    @model_validator(mode="after")
    def _triggers_name_what_there_is(self) -> Self:
        zones, lines, states = (
            {place.name for place in places} for places in (self.zones, self.lines, self.states)
        )
        for rule in self.events:
            for trigger in rule.when:
                word, place, _ = split_trigger(trigger)
                if word == "attribute":
                    continue
                noun, known = {"crossed": ("line", lines), "state": ("state", states)}.get(
                    word, ("zone", zones)
                )
                if place and place not in known:
                    has = ", ".join(sorted(known)) or "none"
                    raise ValueError(
                        f"{trigger!r} names a {noun} that the camera does not have: it has {has}"
                    )
        return self

    @model_validator(mode="after")
    def _has_the_stream_of_its_faces(self) -> Self:
        if self.faces_from == "main" and self.main is None:
            raise ValueError('faces_from = "main" needs main: add that stream')
        return self

    @property
    def keeps_clips(self) -> bool:
        """Whether clips of events are kept."""
        return self.record.clips and (not self.hide or "clips" in self.record.model_fields_set)


class Models(Table):
    """Which models look at the frames.

    Attributes:
        detector: Object detector.
        faces: Face detector; needed for recognition.
    """

    detector: Model
    faces: Model | None = None


class Attribute(Table):
    """What a classifier says of tracked objects, such as whether a worker wears a vest.

    The looks at an object are fused; a class is decided once enough of them agree, and stays until
    others in a row agree on another one.

    Attributes:
        name: Name of the attribute in messages; by default that of the model's file.
        model: Classifier (`edge-train classifier`).
        of: Classes of the objects that it is asked about.
        every_s: Interval at which an undecided object is looked at, in seconds.
        refresh_s: Interval at which a decided object is looked at again, in seconds.
        min_votes: Looks that must agree on a class.
        min_score: Fused probability that a class needs; below it the attribute is `undecided`.
        max_looks_per_frame: Objects looked at per frame; cameras whose frames share a batch share
            these looks. Raising it decides sooner in a crowd, and costs time per frame.
    """

    name: Name
    model: Model
    of: Annotated[Labels, Field(min_length=1)] = ("person",)
    every_s: float = Field(default=0.2, ge=0, le=MAX_S)
    refresh_s: Seconds = 2
    min_votes: int = Field(default=3, ge=1, le=15)
    min_score: float = Field(default=0.9, ge=0.5, le=0.999)
    max_looks_per_frame: int = Field(default=1, ge=1, le=256)

    @model_validator(mode="before")
    @classmethod
    def _is_named_after_its_model(cls, table: object) -> object:
        if not isinstance(table, dict) or "name" in table:
            return table
        model = table.get("model")
        path = model.get("path") if isinstance(model, dict) else model
        if not isinstance(path, str):
            return table
        stem = PurePath(path.rpartition(":")[2]).stem
        return {**table, "name": re.sub(r"[^A-Za-z0-9_-]", "_", stem)[:64]}


class Recognition(Table):
    """Who people are. By default only enrolled people who pass the liveness check are named.

    Attributes:
        gallery: Gallery file, relative to the configuration file.
        key_file: File with the gallery's master key, relative to the configuration file, or
            `credential:NAME` for a systemd credential.
        embedder: Face embedding model. It must be the one the gallery was enrolled with.
        liveness: Liveness model (presentation attack detection); `false` uses none.
        require_liveness: Name only faces that the liveness model takes for live; without a
            model, no one is named.
        require_motion: When a face must have moved in a way that no flat picture can: "unsure"
            where the liveness model alone does not suffice (below `sure_score`), `true` always,
            `false` never. `true` is for doors: with it a face that was taken for a spoof also
            stays one for the rest of its track.
        threshold: Similarity that a name needs. 0 uses the calibrated threshold
            (`edge people calibrate`), which all looks fused must reach, or the embedder's own
            before calibration; that one, or a number here, every frame that agrees must reach.
            Raising it names fewer people, and fewer wrongly.
        min_margin: Least lead of the best match over the second best, in similarity; of all
            looks fused.
        min_votes: Number of frames that must agree on a name.
        min_vote_ratio: Fraction of all frames that must agree on a name.
        live_score: Faces at or above this liveness score are live if they moved. Raising it keeps
            out more attacks.
        sure_score: Faces at or above this liveness score are live without having moved.
        spoof_score: Faces at or below this liveness score are spoofs.
        live_window_s: Frames older than this do not count for liveness, in seconds.
        max_faces_per_batch: Faces examined per batch of frames. Raising it costs time per batch.
        look_every_s: Interval at which an undecided face is examined, in seconds.
        refresh_s: Interval at which a decided face is examined again, in seconds.
        hold_s: Withdraw a name that was not confirmed for this long, in seconds.
    """

    renamed: ClassVar[dict[str, str]] = {
        "budget": "max_faces_per_batch",
        "min_share": "min_vote_ratio",
    }

    gallery: str = Field(min_length=1)
    key_file: str = Field(min_length=1)
    embedder: Model = ModelFile(path="zoo:embed-nano")
    liveness: ModelOrNone = ModelFile(path="zoo:liveness-nano")
    require_liveness: bool = True
    require_motion: Literal["unsure"] | bool = "unsure"
    threshold: Ratio = 0
    min_margin: Ratio = 0.05
    min_votes: int = Field(default=3, ge=1, le=15)
    min_vote_ratio: Ratio = 0.6
    live_score: float = Field(default=0.8, ge=0.01, le=0.99)
    sure_score: float = Field(default=0.95, ge=0.01, le=0.99)
    spoof_score: float = Field(default=0.3, ge=0.01, le=0.99)
    live_window_s: float = Field(default=10, gt=0, le=MAX_S)
    max_faces_per_batch: int = Field(default=4, ge=1, le=256)
    look_every_s: float = Field(default=0.2, ge=0, le=MAX_S)
    refresh_s: float = Field(default=1, gt=0, le=MAX_S)
    hold_s: float = Field(default=5, gt=0, le=MAX_S)

    @model_validator(mode="after")
    def _times_and_scores_fit(self) -> Self:
        if self.spoof_score >= self.live_score:
            raise ValueError("spoof_score must be below live_score")
        if self.sure_score < self.live_score:
            raise ValueError("sure_score must not be below live_score")
        if self.refresh_s >= min(self.hold_s, self.live_window_s / 3):
            raise ValueError("refresh_s must be below hold_s and a third of live_window_s")
        return self


_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _read_bytes(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number of bytes")
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?B)?", value)
    if match is None:
        raise ValueError('must be a number of bytes, or a text such as "200GB"')
    return round(float(match[1]) * _BYTES[match[2] or "B"])


Bytes = Annotated[int, BeforeValidator(_read_bytes), Field(ge=0, le=10**18)]
Days = Annotated[float, Field(gt=0, le=36500)]


class KeepDays(Table):
    """How long things are kept, in days; less where `max_bytes` is reached.

    Attributes:
        events: Events and their pictures.
        clips: Clips of events.
        continuous: Continuous video.
    """

    events: Days = 90
    clips: Days = 30
    continuous: Days = 3


class Storage(Table):
    """Where pictures and clips of events are kept.

    Attributes:
        folder: The folder, relative to the configuration file.
        max_bytes: What all files may take, in bytes or as a text such as `"200GB"`: beyond it the
            oldest go, continuous video first, then clips, then events with their pictures.
        min_free_bytes: What is left free on the disk; beyond it the oldest go as well.
        keep_days: How long things are kept.
    """

    folder: str = Field(min_length=1)
    max_bytes: Bytes = 50 * 10**9
    min_free_bytes: Bytes = 10**9
    keep_days: KeepDays = KeepDays()


class Batching(Table):
    """How frames of several cameras share a batch.

    Attributes:
        max_batch_size: Frames per batch at most. 0 chooses: on a processor, where a batch takes as
            long as its frames one by one, a single one; on a GPU one per camera; several of files
            that are read with `every_frame`.
        max_queue_delay_ms: How long the first frame waits for others to share its batch, in
            milliseconds; never longer than a quarter of a batch's duration.
    """

    renamed: ClassVar[dict[str, str]] = {
        "most": "max_batch_size",
        "patience_ms": "max_queue_delay_ms",
    }

    max_batch_size: int = Field(default=0, ge=0, le=256)
    max_queue_delay_ms: float = Field(default=10, ge=0, le=1000)


def _is_network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither an address nor a network: write 10.0.0.1 or 10.0.0.0/24"
        ) from None
    return text


Network = Annotated[str, AfterValidator(_is_network)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$")]


class Http(Table):
    """The HTTP server for the page, its API, metrics and health.

    The page is there on an address that only this machine can reach, or with `users_file`.

    Attributes:
        host: Address to listen on.
        insecure: Allow an address that other machines can reach, without `token_file` or TLS. With
            `users_file`, passwords then cross the network in clear.
        port: Port to listen on; 0 picks a free one.
        token_file: File with a bearer token that /metrics and /readyz require.
        tls_cert: File with the certificate chain; together with `tls_key` it turns on TLS.
        tls_key: File with the private key.
        max_connections: Requests that are answered at a time. One more waits for its turn, and
            closes the oldest whose answer is not taken.
        max_viewers: Connections beside these that watch: live video, changes. As many more may
            download or enroll. A user, or without a login an address, has a quarter of each at
            most, and at least four.
        users_file: File of who may log in, written by `edge users`, relative to the configuration
            file. With it everybody must, and other machines can use the page. Changes of the file
            take effect at once.
        trusted_proxies: Addresses or networks of proxies that log people in: what they say in the
            headers `remote-user` and `remote-role` (`viewer`, `enroller` or `admin`) is believed.
        public_names: Names under which browsers reach the node, besides `localhost` and addresses.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    insecure: bool = False
    port: int = Field(default=9470, ge=0, le=65535)
    token_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    max_connections: int = Field(default=32, ge=1, le=10_000)
    max_viewers: int = Field(default=64, ge=1, le=10_000)
    users_file: str = ""
    trusted_proxies: tuple[Network, ...] = Field(default=(), max_length=100)
    public_names: tuple[HostName, ...] = Field(default=(), max_length=100)

    @property
    def needs_token(self) -> bool:
        """Whether camera names and states must not be seen without a login, as on the page."""
        return bool(self.users_file) and not (is_loopback(self.host) or self.insecure)

    @property
    def shows_page(self) -> bool:
        """Whether the page and its API are there."""
        return is_loopback(self.host) or bool(self.users_file) or bool(self.trusted_proxies)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key belong together: set both or none")
        return self

    @model_validator(mode="after")
    def _is_protected(self) -> Self:
        if not (is_loopback(self.host) or self.token_file or self.tls_cert or self.insecure):
            raise ValueError(
                f"host {self.host!r} would show metrics and camera states to the network: "
                "listen on 127.0.0.1, set token_file or tls_cert, or set insecure = true"
            )
        return self

    @model_validator(mode="after")
    def _passwords_are_protected(self) -> Self:
        protected = self.tls_cert or self.trusted_proxies or self.insecure
        if self.users_file and not (is_loopback(self.host) or protected):
            raise ValueError(
                f"passwords would cross the network in clear to host {self.host!r}: set tls_cert, "
                "name the proxy that speaks TLS in trusted_proxies, or set insecure = true"
            )
        return self


class Log(Table):
    """Log output, one line per event on standard error.

    Attributes:
        level: Least severity to write.
        format: Plain text, or one JSON object per line.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


def _with_names_of_their_own(cameras: tuple[Camera, ...]) -> tuple[Camera, ...]:
    _unique("camera", [camera.name for camera in cameras])
    return cameras


def _resolve(path: str) -> str:
    """The path without links, unless its file system does not answer."""
    try:
        return call_within(FILE_SYSTEM_S, lambda: os.path.realpath(path))
    except TimeoutError:
        problem = f"the file system of {path!r} did not answer within {FILE_SYSTEM_S:g} s"
        raise ValueError(f"{problem}: check the mount") from None


def _with_files_of_their_own(sinks: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    paths = [str(path) for sink in sinks if (path := sink.get("path")) and "\0" not in str(path)]
    if len(paths) < 2:
        return sinks
    places = [path if path == "-" else _resolve(path) for path in paths]
    twice = [path for path, place in zip(paths, places, strict=True) if places.count(place) > 1]
    if twice:
        raise ValueError(f"two sinks write to {twice[0]!r}: give each its own path")
    return sinks


Sinks = Annotated[
    tuple[dict[str, Any], ...],
    Field(max_length=100),
    AfterValidator(_with_files_of_their_own),
]


def _of_one_name_each(attributes: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
    _unique("attribute", [attribute.name for attribute in attributes])
    return attributes


Attributes = Annotated[
    tuple[Attribute, ...], Field(max_length=50), AfterValidator(_of_one_name_each)
]

Cameras = Annotated[
    tuple[Camera, ...],
    Field(min_length=1, max_length=1000),
    AfterValidator(_with_names_of_their_own),
]


class Config(Table):
    """The configuration of a node.

    Attributes:
        node: Name of this node in messages.
        models: Which models look at the frames.
        runtime: What executes the models: `kind` and the options of that kind.
        recognition: Face recognition; left out, no one is recognized.
        attributes: What classifiers say of tracked objects.
        cameras: The cameras to watch.
        sinks: Where messages go: a list of `kind` and the options of that kind.
        storage: Where pictures and clips of events are kept; left out, none are.
        batching: How frames of several cameras share a batch.
        http: The HTTP server for the page, its API, metrics and health.
        log: Log output.
    """

    renamed: ClassVar[dict[str, str]] = {"state_dir": ""}

    node: Name = "edge"
    models: Models
    runtime: dict[str, Any] = Field(default_factory=lambda: {"kind": "onnx"})
    recognition: Recognition | None = None
    attributes: Attributes = ()
    cameras: Cameras
    sinks: Sinks = ({"kind": "zeromq"},)
    storage: Storage | None = None
    batching: Batching = Batching()
    http: Http = Http()
    log: Log = Log()

    @model_validator(mode="after")
    def _recognition_has_faces(self) -> Self:
        if self.recognition and self.models.faces is None:
            raise ValueError("recognition needs models.faces: set it to a face detector")
        return self

    @field_validator("cameras")
    @classmethod
    def _triggers_name_attributes(
        cls, cameras: tuple[Camera, ...], info: ValidationInfo
    ) -> tuple[Camera, ...]:
        known = {attribute.name for attribute in info.data.get("attributes", ())}
        for camera in cameras if "attributes" in info.data else ():
            for trigger in (trigger for rule in camera.events for trigger in rule.when):
                word, name, _ = split_trigger(trigger)
                if word == "attribute" and name and name not in known:
                    has = ", ".join(sorted(known)) or "none"
                    raise ValueError(
                        f"{trigger!r} of {camera.name} names an attribute that is not there: "
                        f"[[attributes]] has {has}"
                    )
        return cameras


def _unique(noun: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{noun} {min(twice)!r} is defined twice: give each its own name")
