"""The configuration: a frozen tree from TOML. An unknown key is an error that names its path."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from edge import plugins
from edge.errors import ConfigError


class Table(BaseModel):
    """A TOML table: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _in_unit_square(point: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= value <= 1 for value in point):
        raise ValueError(f"must lie in 0..1 of the picture, got {list(point)}")
    return point


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
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

    high_score: Share = 0.5
    low_score: Share = 0.1
    min_iou: Share = 0.2
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
    min_score: dict[str, Share] = Field(default_factory=dict)
    min_height: dict[str, Share] = Field(default_factory=dict)
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

    gallery: str = Field(min_length=1)
    key_file: str = Field(min_length=1)
    embedder: Model = ModelFile(path="zoo:embed-nano")
    liveness: ModelOrNone = ModelFile(path="zoo:liveness-nano")
    require_liveness: bool = True
    require_motion: bool = True
    threshold: Share = 0
    min_margin: Share = 0.05
    min_votes: int = Field(default=3, ge=1, le=15)
    min_share: Share = 0.6
    live_score: Share = 0.7
    spoof_score: Share = 0.3
    live_window_s: float = Field(default=10, gt=0)
    budget: int = Field(default=4, ge=1, le=256)
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
        most: frames a batch at most; 0 is one per camera, and of a file whose every frame
            counts as many as wait.
        patience_ms: after the first frame wait at most so long for others, and never longer
            than a quarter of what a batch takes.
    """

    most: int = Field(default=0, ge=0, le=256)
    patience_ms: float = Field(default=10, ge=0, le=1000)


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

    node: Name = "edge"
    models: Models
    runtime: dict[str, Any] = Field(default_factory=lambda: {"kind": "onnx"})
    recognition: Recognition | None = None
    cameras: Cameras
    sinks: tuple[dict[str, Any], ...] = ({"kind": "zeromq"},)
    batching: Batching = Batching()
    http: Http = Http()
    log: Log = Log()
    state_dir: str = ""

    @model_validator(mode="after")
    def _recognition_has_faces(self) -> Self:
        if self.recognition and self.models.faces is None:
            raise ValueError("recognition needs models.faces: name a model that finds faces")
        return self


def _unique(noun: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{noun} {twice[0]!r} is there twice: give each its own name")


# --- reading ----------------------------------------------------------------------------------


def load(path: Path) -> Config:
    """Read and check a configuration file, its plug-in tables included.

    Raises:
        ConfigError: with file, line, key path and remedy; one line a problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError.at(path, None, "", f"{error.strerror}: check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError.at(path, None, "", "is no UTF-8 text: is it a TOML file?") from error
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        message = f"is no valid TOML ({error}): fix the syntax"
        raise ConfigError.at(path, int(line[1]) if line else None, "", message) from error
    return parse(tree, path, text)


def parse(tree: Mapping[str, Any], path: Path | str = "configuration", text: str = "") -> Config:
    """Check a configuration tree; ``path`` and ``text`` are for messages.

    Raises:
        ConfigError: with file, line, key path and remedy; one line a problem.
    """
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, path, text, ()) from None  # the input may hold a password
    _check_plugin("runtimes", config.runtime, ("runtime",), path, text)
    for row, sink in enumerate(config.sinks):
        _check_plugin("sinks", sink, ("sinks", row), path, text)
    for row, camera in enumerate(config.cameras):
        _check_plugin("sources", camera.source, ("cameras", row, "source"), path, text)
    return config


@contextlib.contextmanager
def naming(path: Path | None) -> Iterator[None]:
    """Add file and line to a ConfigError that begins with a key path, with a camera or neither."""
    try:
        yield
    except ConfigError as error:
        if path is None:
            raise
        text = path.read_text(encoding="utf-8")
        message = _by_number(str(error), text)
        found = re.match(r"([a-z_]+(?:\[\d+\]|\.[a-z_]+)*): ", message)
        line = None
        if found:
            parts = re.findall(r"[a-z_]+|\d+", found[1])
            key = tuple(int(part) if part.isdigit() else part for part in parts)
            line = _line_of(text, key)
        raise type(error).at(path, line, "", message) from error


def _by_number(message: str, text: str) -> str:
    """``camera 'door': labels: ..`` -> ``cameras[0].labels: ..``."""
    found = re.match(r"camera '([^']*)': (?=[a-z_\[\]\d.]+: )", message)
    names = [camera["name"] for camera in tomllib.loads(text)["cameras"]] if found else []
    if not found or found[1] not in names:
        return message
    return f"cameras[{names.index(found[1])}].{message[found.end() :]}"


def _check_plugin(
    folder: plugins.Folder,
    table: Mapping[str, Any],
    key: tuple[str | int, ...],
    path: Path | str,
    text: str,
) -> None:
    kind = table.get("kind")
    if not isinstance(kind, str):
        problem = f"needs a kind: one of {', '.join(plugins.kinds(folder))}"
        raise ConfigError.at(path, _line_of(text, key), _dotted(key), problem)
    try:
        plugins.validate(plugins.load(folder, kind), table)
    except ValidationError as error:
        raise _explain(error, path, text, key) from None
    except ConfigError as error:
        kind_key = (*key, "kind")
        raise ConfigError.at(
            path, _line_of(text, kind_key), _dotted(kind_key), f"{error}"
        ) from None


def _explain(
    error: ValidationError, path: Path | str, text: str, prefix: tuple[str | int, ...]
) -> ConfigError:
    """One line a problem: file, line, key path, what was wrong and what to do."""
    problems = error.errors(include_input=False, include_url=False)
    inner = [problem["loc"] for problem in problems]
    lines = []
    for problem in problems:
        if any(
            loc[: len(problem["loc"])] == problem["loc"] and loc != problem["loc"] for loc in inner
        ):
            continue  # a list whose entries failed is also said to be empty
        key = (*prefix, *problem["loc"])
        lines.append(str(ConfigError.at(path, _line_of(text, key), _dotted(key), _remedy(problem))))
    return ConfigError("\n".join(lines))


def _remedy(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    match problem["type"]:
        case "extra_forbidden":
            return "unknown key: remove it or correct its spelling"
        case "missing":
            return "is missing: add it"
        case "too_short":
            context = problem["ctx"]
            return f"has {context['actual_length']} entries, needs at least {context['min_length']}"
        case "string_pattern_mismatch":
            return f"must match {problem['ctx']['pattern']}: change it"
        case _:
            message = str(problem["msg"]).removeprefix("Value error, ")
            return message if ":" in message else f"{message}: change it"


def _dotted(key: tuple[str | int, ...]) -> str:
    """``("cameras", 1, "fps")`` -> ``cameras[1].fps``."""
    dotted = ""
    for part in key:
        dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else str(part)
    return dotted


def _line_of(text: str, key: tuple[str | int, ...]) -> int | None:
    """Line (from 1) of the deepest part of ``key`` that has one of its own in a TOML text."""
    table: tuple[str | int, ...] = ()
    rows: dict[str, int] = {}
    best: tuple[int, int] | None = None  # (depth, line)
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([A-Za-z0-9_.\-]+)\s*\]?\]", line):
            table = _table_key(header[1], rows, repeated=line.lstrip().startswith("[["))
            found = table
        elif assignment := re.match(r"\s*([A-Za-z0-9_\-.]+)\s*=", line):
            found = (*table, *assignment[1].split("."))
        else:
            continue
        depth = len(found)
        if key[:depth] == found and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else None


def _table_key(header: str, rows: dict[str, int], *, repeated: bool) -> tuple[str | int, ...]:
    """``cameras.zones`` -> ``("cameras", 0, "zones", 2)`` counting repeated tables in ``rows``."""
    key: tuple[str | int, ...] = ()
    parts = header.split(".")
    for depth, part in enumerate(parts, start=1):
        key = (*key, part)
        name = _dotted(key)
        if repeated and depth == len(parts):
            rows[name] = rows.get(name, -1) + 1
        if name in rows:
            key = (*key, rows[name])
    return key
