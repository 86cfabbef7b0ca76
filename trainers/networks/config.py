"""Configurations of the networks: everything needed to build one again, without Keras."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from edge.compat import Self
from edge.errors import ConfigError
from edge.types import Resampling

Norm = Literal["batch", "none"]
OverTime = Literal["none", "conv1d", "conv3d"]
STRIDES = (8, 16, 32)
BACKBONES = ("nano", "slim", "squeezenet", "vgg16", "resnet18", "resnet50")

# Hidden channels of each MiniFASNet block as its authors pruned them, by stage ("1.8M")
BRANCH_BLOCKS = {
    "plain": ((13, 13, 13, 13), (231, 52, 26, 77, 26, 26), (26, 26)),
    "squeeze": ((13, 26, 13, 52), (154, 52, 26, 52, 26, 26), (26, 26)),
}


def _check_resampling(resampling: str) -> None:
    if resampling not in get_args(Resampling):
        raise ConfigError(
            f"resampling must be {' or '.join(get_args(Resampling))}, got {resampling!r}"
        )


def _freeze(value: object) -> object:
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that can be stored as JSON."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `to_json` returned; lists become tuples again, unknown keys are ignored."""
        known = {field.name for field in fields(cls)}
        arguments: dict[str, Any] = {k: _freeze(v) for k, v in values.items() if k in known}
        return cls(**arguments)


@dataclass(frozen=True, slots=True)
class NetworkConfig(Config):
    """The YOLO network of a detector or face detector.

    Attributes:
        classes: Names by class_id.
        input_wh: Network pixels, multiples of 32.
        backbone: Name of the backbone.
        width: Width multiplier of the backbone; 0 selects the published one.
        activation: ``silu`` or ``relu``.
        convention: Of the backbone: ``published``, the activation and the input that published
            weights were trained with, or ``plain``: ``activation``, and pixels in [-1, 1] where the
            backbone scales them.
        norm: ``batch``, or ``none`` where weights come from an exported file.
        depthwise: Depthwise 3x3 convolutions (nano and slim).
        neck: ``pafpn`` (top-down and bottom-up), or ``fpn`` (top-down only): faster, a little
            worse.
        neck_channels: Channels of the three levels; empty uses the backbone's.
        head: ``free`` (decoupled, anchor-free) or ``anchor``.
        head_channels: Raising it helps with many classes and costs time at stride 8.
        head_depth: 3x3 convolutions in each branch.
        shared_head: One branch serves classes and boxes, at half the cost.
        anchors_wh: For the anchor head, three ``(w, h)`` in network pixels per stride.
        landmarks: Predict five points per row.
        points_in: Unit of the points: ``sizes`` of the face from its center, or ``strides`` from
            the cell, as in YuNet.
    """

    classes: tuple[str, ...]
    input_wh: tuple[int, int] = (416, 416)
    backbone: str = "nano"
    width: float = 0.0
    activation: str = "silu"
    convention: Literal["plain", "published"] = "plain"
    norm: Norm = "batch"
    depthwise: bool = True
    neck: Literal["pafpn", "fpn"] = "pafpn"
    neck_channels: tuple[int, ...] = ()
    head: Literal["free", "anchor"] = "free"
    head_channels: int = 64
    head_depth: int = 2
    shared_head: bool = False
    anchors_wh: tuple[tuple[tuple[float, float], ...], ...] = ()
    landmarks: bool = False
    points_in: Literal["sizes", "strides"] = "sizes"

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("classes must name at least one class")
        if any(side <= 0 or side % STRIDES[-1] for side in self.input_wh):
            raise ConfigError(f"input_wh must be multiples of {STRIDES[-1]}, got {self.input_wh}")
        if self.head == "anchor" and len(self.anchors_wh) != len(STRIDES):
            raise ConfigError("the anchor head needs anchors_wh for three strides: see anchors.py")

    @property
    def num_anchors(self) -> int:
        """Rows predicted per cell."""
        return len(self.anchors_wh[0]) if self.head == "anchor" else 1


@dataclass(frozen=True, slots=True)
class ClassifierConfig(Config):
    """The network of a classifier.

    Attributes:
        classes: Names by class_id.
        input_wh: Network pixels, multiples of 32.
        independent: Any number of the labels may hold, instead of exactly one.
        backbone: Name of the backbone.
        width: Width multiplier of the backbone; 0 selects the published one.
        activation: ``silu`` or ``relu``.
        convention: See `NetworkConfig`.
        norm: ``batch``, or ``none`` where weights come from an exported file.
        cut: Layer of the backbone behind which it ends; empty takes all of it.
        dropout: Fraction of the features that are left out in each step of training.
        margin: By which a box is enlarged before it is cut out, as a fraction of its sides.
        temperature: By which logits are divided; found on the validation data.
    """

    classes: tuple[str, ...]
    input_wh: tuple[int, int] = (96, 96)
    independent: bool = False
    backbone: str = "slim"
    width: float = 0.0
    activation: str = "relu"
    convention: Literal["plain", "published"] = "plain"
    norm: Norm = "batch"
    cut: str = ""
    dropout: float = 0.2
    margin: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("classes must name at least one class")
        if any(side <= 0 or side % STRIDES[-1] for side in self.input_wh):
            raise ConfigError(f"input_wh must be multiples of {STRIDES[-1]}, got {self.input_wh}")
        if not (0 <= self.dropout < 1 and 0 <= self.margin <= 1 and self.temperature > 0):
            raise ConfigError(
                f"dropout must be in [0, 1), margin in [0, 1] and temperature positive, got "
                f"{self.dropout}, {self.margin} and {self.temperature}"
            )


@dataclass(frozen=True, slots=True)
class LivenessConfig(Config):
    """The MiniFASNet liveness network.

    Attributes:
        scales: Side of each crop, in sides of the face box.
        input_wh: Size of a crop, multiples of 16 from 80 on.
        frames: T, frames per clip; 1 unless there is a convolution over time.
        over_time: ``none`` averages class probabilities, ``conv1d`` convolves the branches'
            features along time, ``conv3d`` the crops themselves.
        branches: Architecture per scale: ``plain``, or ``squeeze`` with squeeze-and-excitation.
        resampling: How crops are resized; runs older than this entry have ``halved_bilinear``.
    """

    scales: tuple[float, ...] = (2.7, 4.0)
    input_wh: tuple[int, int] = (80, 80)
    frames: int = 1
    over_time: OverTime = "none"
    branches: tuple[str, ...] = ("plain", "squeeze")
    resampling: Resampling = "halved_bilinear"

    def __post_init__(self) -> None:
        if not self.scales or len(self.branches) != len(self.scales):
            raise ConfigError(
                f"branches must name one per scale, got {self.branches} for {self.scales}"
            )
        if not all(name in BRANCH_BLOCKS for name in self.branches):
            raise ConfigError(
                f"branches must be of {', '.join(BRANCH_BLOCKS)}, got {self.branches}"
            )
        _check_resampling(self.resampling)
        if any(side % 16 or side < 80 for side in self.input_wh):
            raise ConfigError(f"input_wh must be multiples of 16 from 80 on, got {self.input_wh}")
        if self.over_time not in ("none", "conv1d", "conv3d"):
            raise ConfigError(f"over_time must be none, conv1d or conv3d, got {self.over_time!r}")
        if (self.frames > 1) != (self.over_time != "none") or self.frames < 1:
            raise ConfigError(f"{self.frames} frame(s) do not go with over_time {self.over_time!r}")

    @property
    def crops(self) -> int:
        """C, crops per clip: each frame, oldest first, at each scale."""
        return self.frames * len(self.scales)


@dataclass(frozen=True, slots=True)
class LandmarkConfig(Config):
    """The network of 68 points on an aligned face.

    Attributes:
        input_wh: Network pixels, equal multiples of 32.
        width: Width multiplier of the backbone.
        shape: Numbers that each of two maps is squeezed to before the points: raising it fits
            rarer shapes and costs weights.
        margin: By which the crop is wider than those of embedders, as a fraction, half on each
            side.
        norm: ``batch``, or ``none`` where weights come from an exported file.
    """

    input_wh: tuple[int, int] = (96, 96)
    width: float = 0.25
    shape: int = 64
    margin: float = 0.3
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        width, height = self.input_wh
        if width != height or width <= 0 or width % STRIDES[-1]:
            raise ConfigError(
                f"input_wh must be two equal multiples of {STRIDES[-1]}, got {self.input_wh}"
            )
        if not (self.width > 0 and self.shape > 0 and 0 <= self.margin <= 1):
            raise ConfigError(
                f"width and shape must be positive and margin in [0, 1], got {self.width}, "
                f"{self.shape} and {self.margin}"
            )


@dataclass(frozen=True, slots=True)
class EncoderConfig(Config):
    """The MobileFaceNet encoder of an embedder.

    Attributes:
        dimension: D of the embeddings.
        stem: Channels at stride 2; most of the time is spent there.
        widths: Channels between the blocks of the three stages; each block is residual.
        depths: Blocks of each stage after the one that halves the map.
        inner: Channels inside those blocks.
        down: Channels inside the block that halves the map.
        last: Channels of the last map.
        norm: ``batch`` to train from scratch; ``none`` where weights come from an exported file.
        fading: Activations start as PReLU and fade into ReLU, see ``Fading``.
        activation: Behind convolutions, ``relu`` or ``prelu``.
        resampling: How pictures are resized where faces are aligned; runs older than this entry
            have ``halved_bilinear``.
    """

    dimension: int = 128
    stem: int = 32
    widths: tuple[int, int, int] = (64, 128, 128)
    depths: tuple[int, int, int] = (4, 6, 2)
    inner: tuple[int, int, int] = (64, 256, 256)
    down: tuple[int, int, int] = (64, 256, 512)
    last: int = 512
    norm: Norm = "batch"
    fading: bool = False
    activation: Literal["relu", "prelu"] = "relu"
    resampling: Resampling = "halved_bilinear"

    def __post_init__(self) -> None:
        _check_resampling(self.resampling)


ENCODERS = {
    "pico": EncoderConfig(depths=(1, 2, 1), inner=(64, 128, 128), down=(64, 128, 256), last=256),
    "nano": EncoderConfig(),
    "full": EncoderConfig(stem=64, inner=(128, 256, 256), down=(128, 256, 512)),  # the original
}
