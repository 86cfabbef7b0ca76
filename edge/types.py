"""The values that flow through Edgewatch: frozen numpy columns, one type per stage.

Letters used in shapes: B batch, N detections or tracks, M faces, K rows of a model output,
D embedding length, H W height and width in pixels, h w the network's.

Boxes are float32 xyxy in pixels of the source image unless stated otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edge.columns import Columns
from edge.compat import StrEnum

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Resampling = Literal["bilinear", "halved_bilinear"]


# --- pictures ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class RgbPicture:
    """A decoded picture as ``(H, W, 3)`` uint8 RGB, read-only.

    Attributes:
        pixel_aspect: Width of a pixel over its height, as shown; boxes stay in pixels.
    """

    rgb: U8
    pixel_aspect: float = 1.0

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise ValueError(f"rgb must be (H, W, 3) uint8, got {self.rgb.shape} {self.rgb.dtype}")
        self.rgb.flags.writeable = False

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels, as seen upright."""
        return self.rgb.shape[1], self.rgb.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class YuvPicture:
    """A picture as decoded: three planes, converted only where needed.

    Attributes:
        y: Luma, ``(H, W)`` uint8.
        u: Blue difference, ``(h, w)`` uint8, any subsampling.
        v: Red difference, in the shape of ``u``.
        bt709: Whether the matrix coefficients are BT.709; BT.601 otherwise.
        full_range: Whether luma spans 0..255; 16..235 otherwise.
        quarter_turns: Counter-clockwise quarter turns that make the picture upright, 0..3.
        pixel_aspect: Width of a pixel over its height, as shown upright; boxes stay in pixels.
    """

    y: U8
    u: U8
    v: U8
    bt709: bool
    full_range: bool
    quarter_turns: int = 0
    pixel_aspect: float = 1.0

    def __post_init__(self) -> None:
        for name, plane in (("y", self.y), ("u", self.u), ("v", self.v)):
            if plane.dtype != np.uint8 or plane.ndim != 2:
                raise ValueError(f"{name} must be 2-D uint8, got {plane.shape} {plane.dtype}")
            plane.flags.writeable = False
        if self.u.shape != self.v.shape:
            raise ValueError(f"u and v must match, got {self.u.shape} and {self.v.shape}")
        if self.quarter_turns not in (0, 1, 2, 3):
            raise ValueError(f"quarter_turns must be 0..3, got {self.quarter_turns}")

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels, as seen upright."""
        height, width = self.y.shape
        return (height, width) if self.quarter_turns % 2 else (width, height)


Picture = RgbPicture | YuvPicture


@lru_cache(maxsize=64)
def make_black(size_wh: tuple[int, int]) -> RgbPicture:
    """A black picture that takes no memory."""
    return RgbPicture(np.broadcast_to(np.uint8(0), (size_wh[1], size_wh[0], 3)))


class Decoding(StrEnum):
    """How much of a stream is decoded."""

    ALL = "all"
    NO_LOOP_FILTER = "no-loop-filter"
    KEY_FRAMES = "keyframes"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How the packets of a stream are coded.

    Attributes:
        codec: FFmpeg's name: ``h264``, ``hevc``, ``mjpeg``.
        header: Parameter sets that the stream names outside of its packets, if any.
        time_base: Seconds of a unit of its stamps.
        sound: The sound that comes along; None where there is none, or nobody wants it.
    """

    codec: str
    header: bytes
    time_base: Fraction
    sound: SoundFormat | None = None


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How the sound of a stream is coded.

    Attributes:
        codec: FFmpeg's name: ``aac``, ``opus``.
        header: What a decoder must know: AudioSpecificConfig (ISO/IEC 14496-3), or
            OpusHead (RFC 7845).
        time_base: Seconds of a unit of its stamps.
        sample_rate: In Hz.
        channels: 1, or 2.
    """

    codec: str
    header: bytes
    time_base: Fraction
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True, eq=False)
class SoundPacket:
    """A piece of sound as the camera coded it.

    Attributes:
        data: The bytes, without headers of a stream.
        pts: When it is heard, in units of the format; None where the stream does not say.
        captured_s: Wall clock, Unix seconds, on the scale of `CodedPacket.captured_s`.
        monotonic_s: The same moment on the scale of `CodedPacket.monotonic_s`.
    """

    is_key: ClassVar[bool] = False

    format: SoundFormat
    data: bytes
    pts: int | None
    captured_s: float
    monotonic_s: float


@dataclass(frozen=True, slots=True, eq=False)
class CodedPacket:
    """A picture as the camera coded it.

    Attributes:
        data: The bytes; of H.264 and H.265 with start codes (Annex B).
        pts: When it is shown, in units of the format; None where the stream does not say.
        dts: When it is decoded; None where the stream does not say.
        is_key: Whether decoding may begin with it.
        captured_s: Wall clock, Unix seconds, on the scale of `Capture.captured_s`.
        monotonic_s: The same moment on the scale of `Capture.monotonic_s`.
    """

    format: StreamFormat
    data: bytes
    pts: int | None
    dts: int | None
    is_key: bool
    captured_s: float
    monotonic_s: float


StreamPacket = CodedPacket | SoundPacket


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """What a source yields: a picture and its times.

    A live source stamps a picture when it reaches this machine, or when it would have had it been
    read in time. A recording stamps it by the recording's own clock: its stamps, counted from the
    moment it was opened.

    Attributes:
        captured_s: Wall clock, Unix seconds, for messages.
        monotonic_s: The clock of tracks, zones and recognition, in seconds; it never steps back.
        arrived_s: Monotonic clock when it reached this machine, for ages; None is ``monotonic_s``.
        key_frame: Whether it was coded without reference to other pictures.
        damaged: Packets and pictures that could not be decoded whole since the last capture.
        undecoded: Pictures since the last capture that were not to be decoded.
        late: Pictures since the last capture that were passed over because the camera was late.
        lag_s: How much later than the stream's own stamps say it was read, in seconds.
        passed: Pictures since the last capture that came sooner than they were asked for.
    """

    picture: Picture
    captured_s: float
    monotonic_s: float
    arrived_s: float | None = None
    key_frame: bool = True
    damaged: int = 0
    undecoded: int = 0
    late: int = 0
    lag_s: float = 0.0
    passed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A capture with its camera, connection and number.

    Attributes:
        epoch: Changes at every reconnect; grows, and is never reused on this machine.
        seq: Number of the capture within the epoch; gaps are drops. Pictures that were not decoded
            have none.
        arrived_s: Monotonic clock when it reached this machine; None is ``monotonic_s``.
        blind: Whether the camera is known to show nothing that lives: frozen, black, covered.
        moving: Whether something moves in it, or did in one since the last that was queued; None
            where nobody measures it, and every frame is looked at.
        regions: Where something moves, ``(R, 4)`` xyxy; None where nobody asks.
    """

    camera: str
    epoch: int
    seq: int
    captured_s: float
    monotonic_s: float
    picture: Picture
    arrived_s: float | None = None
    blind: bool = False
    moving: bool | None = None
    regions: F32 | None = None

    @property
    def age_from_s(self) -> float:
        """The moment its age counts from, monotonic clock."""
        return self.monotonic_s if self.arrived_s is None else self.arrived_s

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels of the source image."""
        return self.picture.size_wh


@dataclass(frozen=True, slots=True)
class Placement:
    """How a network wants pictures to be placed into its input.

    Attributes:
        align: Where the picture lies, or ``stretch``: over all of it, without keeping its aspect.
        fill: Gray level around it.
        rounding: Whether the shorter side's length is rounded ``down`` or to the ``nearest`` pixel.
        resampling: How it is resized, see `edge.vision.resize`.
    """

    align: Literal["top_left", "center", "stretch"] = "top_left"
    fill: int = 114
    rounding: Literal["nearest", "down"] = "nearest"
    resampling: Resampling = "halved_bilinear"


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a source image was placed into a network's input.

    Attributes:
        scale_xy: Network pixels per source pixel, horizontally and vertically; unless the image
            is stretched, the two differ by less than a pixel's rounding.
        pad_xy: Offset of the image within the input, in network pixels.
        source_wh: Size of the source image, to which boxes are clipped.
    """

    scale_xy: tuple[float, float]
    pad_xy: tuple[float, float]
    source_wh: tuple[int, int]

    def to_source(self, xyxy: F32) -> F32:
        """``(N, 4)`` xyxy, network pixels -> ``(N, 4)`` xyxy, source pixels, clipped."""
        scale, pad, limit = _corner_arrays(self)
        source: F32 = (xyxy - pad) / scale
        np.minimum(source, limit, out=source)
        np.maximum(source, 0, out=source)
        return source

    def points_to_source(self, points: F32) -> F32:
        """``(..., 2)`` x y in network pixels -> source pixels, clipped to the image."""
        scale, pad, limit = (array[:2] for array in _corner_arrays(self))
        source: F32 = np.clip((points - pad) / scale, 0, limit)
        return source

    def to_network(self, xyxy: F32) -> F32:
        """``(N, 4)`` xyxy, source pixels -> ``(N, 4)`` xyxy, network pixels."""
        scale, pad, _ = _corner_arrays(self)
        network: F32 = xyxy * scale + pad
        return network


@lru_cache(maxsize=256)
def _corner_arrays(placed: Letterbox) -> tuple[F32, F32, F32]:
    """Scale, padding and limit as x y x y, ``(4,)`` each; cached, since letterboxes are few."""
    columns = (placed.scale_xy, placed.pad_xy, placed.source_wh)
    scale, pad, limit = (np.array([*column, *column], np.float32) for column in columns)
    return scale, pad, limit


# --- detections -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Detections(Columns):
    """Objects detected in one image.

    Attributes:
        xyxy: ``(N, 4)`` float32, source pixels.
        score: ``(N,)`` float32 in [0, 1].
        class_id: ``(N,)`` int32, index into the model's classes.
    """

    xyxy: F32
    score: F32
    class_id: I32

    layout: ClassVar = {
        "xyxy": (np.float32, (4,)),
        "score": (np.float32, ()),
        "class_id": (np.int32, ()),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Tracks(Columns):
    """Objects tracked over time in one camera's epoch, as of one frame.

    Attributes:
        xyxy: ``(N, 4)`` float32, source pixels, of the latest detection.
        score: ``(N,)`` float32, of the latest detection.
        class_id: ``(N,)`` int32.
        track_id: ``(N,)`` int64, never reused across reconnects or restarts.
        age: ``(N,)`` int32, frames since the track began.
        missed: ``(N,)`` int32, frames since the last detection; 0 is this frame.
        stationary: ``(N,)`` bool, whether it has stood in one place for three seconds.
    """

    xyxy: F32
    score: F32
    class_id: I32
    track_id: I64
    age: I32
    missed: I32
    stationary: Bool

    layout: ClassVar = {
        "xyxy": (np.float32, (4,)),
        "score": (np.float32, ()),
        "class_id": (np.int32, ()),
        "track_id": (np.int64, ()),
        "age": (np.int32, ()),
        "missed": (np.int32, ()),
        "stationary": (np.bool_, ()),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Faces(Columns):
    """Faces detected in one image.

    Attributes:
        xyxy: ``(M, 4)`` float32, source pixels.
        score: ``(M,)`` float32 in [0, 1].
        landmarks: ``(M, 5, 2)`` float32, source pixels: left eye, right eye, nose, left and
            right mouth corner, left and right as seen in the image.
        track_row: ``(M,)`` int32, row of the person in the frame's Tracks, or -1.
        quality: ``(M,)`` float32 in [0, 1].
    """

    xyxy: F32
    score: F32
    landmarks: F32
    track_row: I32
    quality: F32

    layout: ClassVar = {
        "xyxy": (np.float32, (4,)),
        "score": (np.float32, ()),
        "landmarks": (np.float32, (5, 2)),
        "track_row": (np.int32, ()),
        "quality": (np.float32, ()),
    }


# --- decisions --------------------------------------------------------------------------------


class Outcome(StrEnum):
    """The decision about a face: unknown is not enrolled, rejected is too poor to be compared."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    SPOOF = "spoof"
    UNDECIDED = "undecided"
    REJECTED = "rejected"


class Liveness(StrEnum):
    """Whether a face is live."""

    LIVE = "live"
    SPOOF = "spoof"
    UNDECIDED = "undecided"
    NOT_CHECKED = "not_checked"


class Motion(StrEnum):
    """When a face must have moved as no flat picture can, to be live."""

    ALWAYS = "always"
    UNSURE = "unsure"
    NEVER = "never"


class ReasonCode(StrEnum):
    """Why a face got its outcome."""

    VOTES_AGREE = "votes_agree"
    NOT_ENROLLED = "not_enrolled"
    AMBIGUOUS = "ambiguous"
    SPOOF = "spoof"
    NOT_COMPARED = "not_compared"
    TOO_FEW_VOTES = "too_few_votes"
    NOT_SEEN_LATELY = "not_seen_lately"
    GALLERY_CLOSED = "gallery_closed"
    NO_LIVENESS_MODEL = "no_liveness_model"
    LIVENESS_MODEL_NAN = "liveness_model_nan"
    LIVENESS_PENDING = "liveness_pending"
    LIVENESS_STALE = "liveness_stale"
    LIVENESS_UNCERTAIN = "liveness_uncertain"
    LIVE = "live"
    NO_3D_MOTION = "no_3d_motion"
    FROZEN_PICTURE = "frozen_picture"
    TOO_FAINT = "too_faint"
    TOO_SMALL = "too_small"
    TURNED_AWAY = "turned_away"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    LOW_CONTRAST = "low_contrast"


@dataclass(frozen=True, slots=True)
class Decision:
    """Who a face is, and why.

    Attributes:
        track_id: Track of the person, or of the face alone if it belongs to none.
        person: Id of the person if known, else empty.
        name: Name of the person if known, else empty.
        similarity: Cosine to the nearest person, -1..1; NaN before the first look.
        margin: By which that person is ahead of the second; NaN before the first look.
        live_score: Fused over the track, 0..1; NaN before the first look.
        votes: Number of looks that agree.
        reason: A sentence without names.
        reason_code: The same for programs.
        evidence: What the liveness model and each witness add to `live_score`, by name: nats of
            log-odds for a living face.
        looks: Number of looks whose votes count.
        needs: What a name needs at least, by the name of what is measured: ``similarity``,
            ``margin``, ``votes``, ``live_score``.
    """

    track_id: int
    outcome: Outcome
    person: str
    name: str
    similarity: float
    margin: float
    liveness: Liveness
    live_score: float
    votes: int
    reason: str
    reason_code: ReasonCode
    evidence: tuple[tuple[str, float], ...] = ()
    looks: int = 0
    needs: tuple[tuple[str, float], ...] = ()


# --- classes ----------------------------------------------------------------------------------

UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Classified:
    """What a classifier says of a tracked object or of a fixed place, all looks fused.

    Attributes:
        name: The attribute or state as it is configured; of a classifier with independent labels
            ``NAME.LABEL``.
        value: The class, or ``undecided``; of an independent label ``yes`` or ``no``.
        score: Fused probability of the value, of the likeliest one while undecided.
        votes: Number of looks that agree.
        looks: Number of looks that count.
        before: The value that was decided before this one; empty without one.
    """

    name: str
    value: str
    score: float
    votes: int
    looks: int
    before: str = ""


# --- events -----------------------------------------------------------------------------------


class TrackEventType(StrEnum):
    """What happened to a track."""

    BEGAN = "began"
    ENDED = "ended"
    ENTERED = "entered"
    LEFT = "left"
    DWELLED = "dwelled"
    CROSSED = "crossed"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True, slots=True)
class TrackEvent:
    """An event in the life of a track.

    Attributes:
        xyxy: The box at that moment, source pixels.
        place: Name of the zone or line; empty for BEGAN and ENDED.
        direction: For CROSSED "left_to_right" or "right_to_left", looking from the line's `a`
            to its `b`; else empty.
        dwell_s: Seconds in the zone for DWELLED and LEFT; for ENDED seconds between the first
            and the last detection; else 0.
    """

    track_id: int
    change: TrackEventType
    class_id: int
    xyxy: tuple[float, float, float, float]
    score: float
    place: str = ""
    direction: str = ""
    dwell_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class TrackLoss:
    """Tracks that ended because their camera was lost.

    Attributes:
        frame: The last frame before, with a black picture.
    """

    frame: Frame
    changes: tuple[TrackEvent, ...]


class Look(StrEnum):
    """Why networks looked at a frame, or that they did not."""

    ALWAYS = "always"
    MOTION = "motion"
    FOLLOWED = "followed"
    INTERVAL = "interval"
    NONE = "none"


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The result of one processed frame.

    Attributes:
        tracks: Confirmed tracks detected in this frame (``missed == 0``); in one that no network
            looked at, those of the last look.
        zones: For each row of ``tracks``, the names of the zones it is in.
        faces: Detected faces; ``track_row`` points into ``tracks``.
        decisions: One decision per row of ``faces``; empty without recognition.
        decided: Rows of ``faces`` whose decision is new.
        loss: Tracks of an earlier epoch, which ended before this frame.
        look: Why the frame was looked at.
        followed: Whether somebody is in it who must be looked at in the next one, too.
        attributes: For each row of ``tracks``, what classifiers say of it; empty where nobody asks.
        told_attributes: Rows of ``tracks``, and what of their attributes is new.
        states: What classifiers say of the camera's places.
        told_states: What of that is new.
    """

    frame: Frame
    tracks: Tracks
    zones: tuple[tuple[str, ...], ...]
    faces: Faces
    changes: tuple[TrackEvent, ...]
    decisions: tuple[Decision, ...] = ()
    decided: tuple[int, ...] = ()
    loss: TrackLoss | None = None
    look: Look = Look.ALWAYS
    followed: bool = True
    attributes: tuple[tuple[Classified, ...], ...] = ()
    told_attributes: tuple[tuple[int, Classified], ...] = ()
    states: tuple[Classified, ...] = ()
    told_states: tuple[Classified, ...] = ()

    @property
    def looked(self) -> bool:
        """Whether networks looked at the frame."""
        return self.look is not Look.NONE


class CameraState(StrEnum):
    """The state of a camera: whether it shows what happens.

    A blind camera delivers pictures that show nothing, a degraded one a stream that is damaged.
    """

    ONLINE = "online"
    OFFLINE = "offline"
    FROZEN = "frozen"
    BLIND = "blind"
    DEGRADED = "degraded"


class StatusReason(StrEnum):
    """Why a camera is in its state."""

    CONNECTING = "connecting"
    DELIVERS = "delivers"
    SOURCE_FAILED = "source_failed"
    ACCESS_DENIED = "access_denied"
    FROZEN_PICTURE = "frozen_picture"
    BLACK_PICTURE = "black_picture"
    OVEREXPOSED_PICTURE = "overexposed_picture"
    UNIFORM_PICTURE = "uniform_picture"
    DAMAGED_STREAM = "damaged_stream"
    FLAPPING = "flapping"
    HANGS = "hangs"
    END_OF_FILE = "end_of_file"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera's state and the reason for it.

    Attributes:
        epoch: The connection, 0 before the first one.
        reason: One sentence without secrets.
        reason_code: The same for programs.
        at_s: Unix time of the change, in seconds.
        size_wh: Width and height of the image, (0, 0) when unknown.
    """

    camera: str
    epoch: int
    state: CameraState
    reason: str
    reason_code: StatusReason
    at_s: float
    size_wh: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry of a gallery's audit log, with what proves it.

    Attributes:
        seq: Counts from 1 without gaps.
        at_s: When, Unix time.
        actor: The system user who did it, ``uid:N``.
        action: What was done.
        person: The id of the person concerned, or empty.
        detail: More, as JSON, without names.
        mac: HMAC of this entry and those before it.
    """

    seq: int
    at_s: float
    actor: str
    action: str
    person: str
    detail: str
    mac: bytes
