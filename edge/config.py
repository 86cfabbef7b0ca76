"""The configuration: a frozen tree from TOML. An unknown key is an error that names its path."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

log = logging.getLogger(__name__)


class Table(BaseModel):
    """A TOML table: frozen, unknown keys refused.

    ``renamed`` maps keys of earlier versions to the present ones, or to nothing: they are still
    accepted, with a warning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    renamed: ClassVar[dict[str, str]] = {}

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


def _in_unit_square(point: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= value <= 1 for value in point):
        raise ValueError(f"must lie in 0..1 of the picture, got {list(point)}")
    return point


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Ratio = Annotated[float, Field(ge=0, le=1)]
Point = Annotated[tuple[float, float], AfterValidator(_in_unit_square)]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3)]


class Zone(Table):
    """A place in the picture.

    Attributes:
        name: shown on the wire.
        polygon: at least three corners, shares of width and height.
        labels: classes it cares about; empty means all.
        dwell_s: after so many seconds inside a track reports `dwelled`; 0 never.
    """

    name: Name
    polygon: Polygon
    labels: tuple[str, ...] = ()
    dwell_s: float = Field(default=0, ge=0)


class Line(Table):
    """A line whose crossing is reported.

    Attributes:
        name: shown on the wire.
        a: one end; looking from `a` to `b`, `left_to_right` means crossing towards the right.
        b: the other end.
        labels: classes it cares about; empty means all.
    """

    name: Name
    a: Point
    b: Point
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.a == self.b:
            raise ValueError("a and b must differ")
        return self


class Tracking(Table):
    """Two-stage association in the manner of ByteTrack.

    Attributes:
        high_score: detections above it are associated first and may begin tracks; raising it
            begins fewer tracks on clutter.
        low_score: detections between it and `high_score` only continue tracks.
        min_iou: predicted and found box, both grown by a fifth on each side, must overlap so
            much; raising it breaks tracks of fast objects, lowering it swaps identities in crowds.
        confirm_frames: a track is reported once it was seen in so many frames.
        max_missed_s: a track unseen for longer ends; raising it bridges longer occlusions.
    """

    high_score: Ratio = 0.5
    low_score: Ratio = 0.1
    min_iou: Ratio = 0.2
    confirm_frames: int = Field(default=2, ge=1)
    max_missed_s: float = Field(default=1.5, gt=0)


class Camera(Table):
    """One camera.

    Attributes:
        name: in topics, metrics and logs.
        source: `kind` and the options of that plug-in.
        fps: frames a second that are looked at; the rest is decoded and dropped.
        labels: classes that are reported; empty means all.
        min_score: per class, on top of the model's own threshold.
        min_height: per class, share of the picture's height.
        masks: polygons in which nothing is reported (the foot point of a box decides).
        zones: places.
        lines: lines.
        tracking: how objects are followed.
        frozen_after_s: the same picture for so long means `frozen`; 0 never.
        jpeg_hz: thumbnails a second on the detections topic; 0 none.
        jpeg_max_px: longest side of a thumbnail.
    """

    name: Name
    source: dict[str, Any]
    fps: float = Field(default=10, gt=0, le=1000)
    labels: tuple[str, ...] = ()
    min_score: dict[str, Ratio] = Field(default_factory=dict)
    min_height: dict[str, Ratio] = Field(default_factory=dict)
    masks: tuple[Polygon, ...] = ()
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    tracking: Tracking = Tracking()
    frozen_after_s: float = Field(default=30, ge=0)
    jpeg_hz: float = Field(default=0, ge=0, le=30)
    jpeg_max_px: int = Field(default=320, ge=16, le=4096)

    @model_validator(mode="after")
    def _places_are_unique(self) -> Self:
        _unique(
            "zone or line", [zone.name for zone in self.zones] + [line.name for line in self.lines]
        )
        return self


def _path_or_table(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


class ModelFile(Table):
    """A model: a path, or a table with a pinned hash.

    Attributes:
        path: an ONNX file of the model contract, relative to the configuration, or `zoo:NAME`.
        sha256: refuse any other bytes.
    """

    path: str = Field(min_length=1)
    sha256: str = Field(default="", pattern=r"^([0-9a-fA-F]{64})?$")


Model = Annotated[ModelFile, BeforeValidator(_path_or_table)]
ModelOrNone = Annotated[Model | None, BeforeValidator(lambda v: None if v is False else v)]


class Models(Table):
    """Which models look at the frames."""

    detector: Model
    faces: Model | None = None


class Recognition(Table):
    """Who people are. Nobody is named by default who is not seen to be alive.

    Attributes:
        gallery: its file, relative to the configuration.
        key_file: its master key, or `credential:NAME`.
        embedder: the model the gallery was enrolled with; `edge enroll` takes the same by default.
        liveness: the model that tells faces from pictures of faces; false for none.
        require_liveness: name only who that model takes for alive; without one, nobody.
        require_motion: name only whose face changed as no flat picture of it can.
        threshold: similarity a name needs; 0 takes what `edge people calibrate` measured, and
            before that the embedder's own. Raising it names fewer people and fewer wrongly.
        min_margin: by which the nearest person must be ahead of the second.
        min_votes: looks that must agree.
        min_share: of all looks, that must agree.
        live_score: from there on a face is alive; raising it keeps more pictures out.
        spoof_score: down from there it is a picture, and stays one for the whole track.
        live_window_s: what was seen earlier says nothing about liveness.
        budget: faces looked at in one batch of frames; raising it costs time a batch.
        look_every_s: until a face is decided, it is looked at so often.
        refresh_s: afterwards.
        hold_s: a name that was not seen again for so long is withdrawn.
    """

    renamed = {"budget": "max_faces_per_batch", "min_share": "min_vote_ratio"}

    gallery: str = Field(min_length=1)
    key_file: str = Field(min_length=1)
    embedder: Model = ModelFile(path="zoo:embed-nano")
    liveness: ModelOrNone = ModelFile(path="zoo:liveness-nano")
    require_liveness: bool = True
    require_motion: bool = True
    threshold: Ratio = 0
    min_margin: Ratio = 0.05
    min_votes: int = Field(default=3, ge=1, le=15)
    min_vote_ratio: Ratio = 0.6
    live_score: Ratio = 0.7
    spoof_score: Ratio = 0.3
    live_window_s: float = Field(default=10, gt=0)
    max_faces_per_batch: int = Field(default=4, ge=1, le=256)
    look_every_s: float = Field(default=0.2, ge=0)
    refresh_s: float = Field(default=2, gt=0)
    hold_s: float = Field(default=5, gt=0)

    @model_validator(mode="after")
    def _times_and_scores_fit(self) -> Self:
        if self.spoof_score >= self.live_score:
            raise ValueError("spoof_score must be below live_score")
        if self.refresh_s >= min(self.hold_s, self.live_window_s / 3):
            raise ValueError("refresh_s must be below hold_s and a third of live_window_s")
        return self


class Batching(Table):
    """How frames of several cameras meet in one batch.

    Attributes:
        max_batch_size: Frames per batch at most; 0 chooses one per camera, and as many as wait
            of files that are read with `every_frame`.
        max_queue_delay_ms: How long a frame waits for others to share its batch, at most a
            quarter of the time that a batch takes.
    """

    renamed = {"most": "max_batch_size", "patience_ms": "max_queue_delay_ms"}

    max_batch_size: int = Field(default=0, ge=0, le=256)
    max_queue_delay_ms: float = Field(default=10, ge=0, le=1000)


class Http(Table):
    """The HTTP server of metrics and health.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        token_file: file with a bearer token that /metrics and /readyz ask for.
        tls_cert: certificate chain; with `tls_key` turns on TLS.
        tls_key: private key.
        max_connections: more are refused with 503.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=9470, ge=0, le=65535)
    token_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    max_connections: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key belong together: give both or none")
        return self


class Log(Table):
    """Logs: one line an event on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


def _with_names_of_their_own(cameras: tuple[Camera, ...]) -> tuple[Camera, ...]:
    _unique("camera", [camera.name for camera in cameras])
    return cameras


Cameras = Annotated[
    tuple[Camera, ...], Field(min_length=1), AfterValidator(_with_names_of_their_own)
]


class Config(Table):
    """The whole configuration of a node."""

    renamed = {"state_dir": ""}

    node: Name = "edge"
    models: Models
    runtime: dict[str, Any] = Field(default_factory=lambda: {"kind": "onnx"})
    recognition: Recognition | None = None
    cameras: Cameras
    sinks: tuple[dict[str, Any], ...] = ({"kind": "zeromq"},)
    batching: Batching = Batching()
    http: Http = Http()
    log: Log = Log()

    @model_validator(mode="after")
    def _recognition_has_faces(self) -> Self:
        if self.recognition and self.models.faces is None:
            raise ValueError("recognition needs models.faces: name a model that finds faces")
        return self


def _unique(noun: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{noun} {twice[0]!r} is there twice: give each its own name")
