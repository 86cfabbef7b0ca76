"""YuNet's topology (Wu et al. 2023): faces and five points in 76 thousand weights.

Every block is a 1x1 convolution and a depthwise 3x3 on top of it, the other way around than in a
MobileNet. Rows are those of `trainers.networks.yolo`, with points in strides from the cell.
"""

from __future__ import annotations

import keras
from keras import layers

from trainers.networks.backbone import Tensor
from trainers.networks.config import NetworkConfig

BRANCHES = ("cls", "box", "obj", "points")
BACKBONE = ("stem1", *(f"stage{s}_{i}" for s in range(1, 6) for i in range(2)))
UNITS = (
    *(f"backbone_{name}" for name in BACKBONE),
    *(f"neck_{level}" for level in (2, 1, 0)),
    *(f"head_{level}_share" for level in range(3)),
    *(f"head_{level}_{branch}" for branch in BRANCHES for level in range(3)),
)
CONVOLUTIONS = (
    "backbone_stem0",
    *(f"{unit}_{part}" for unit in UNITS for part in ("pconv", "dconv")),
)  # in the order of a published file


def _unit(x: Tensor, channels: int, name: str, bias: float | None = None) -> Tensor:
    """1x1, depthwise 3x3, ReLU; a prediction has an initial ``bias`` instead of the ReLU."""
    x = layers.Conv2D(channels, 1, name=f"{name}_pconv")(x)
    start = keras.initializers.Constant(bias or 0.0)
    x = layers.DepthwiseConv2D(3, padding="same", bias_initializer=start, name=f"{name}_dconv")(x)
    return layers.Activation("relu", name=f"{name}_act")(x) if bias is None else x


def build(config: NetworkConfig) -> keras.Model:
    """The network: float ``(B, h, w, 3)`` RGB 0..255 -> raw rows ``(B, A, 5 + C + 10)``."""
    width, height = config.input_wh
    images = keras.Input((height, width, 3), name="images")
    x = layers.ZeroPadding2D(((1, 0), (1, 0)), name="backbone_stem0_pad")(images)  # as torch pads
    x = layers.Conv2D(16, 3, 2, activation="relu", name="backbone_stem0")(x)
    x = _unit(x, 16, "backbone_stem1")
    found = []
    for stage, channels in enumerate((64, 64, 64, 64, 64), start=1):
        if stage != 2:
            x = layers.MaxPooling2D(2, name=f"backbone_pool{stage}")(x)
        x = _unit(x, 16 if stage == 1 else channels, f"backbone_stage{stage}_0")
        x = _unit(x, channels, f"backbone_stage{stage}_1")
        found.append(x)
    levels = _neck(found[2:])
    rows = [_head(x, config, level) for level, x in enumerate(levels)]
    raw = layers.Concatenate(1, name="raw", dtype="float32")(rows)
    return keras.Model(images, raw, name="edge_yunet")


def _neck(features: list[Tensor]) -> list[Tensor]:
    """A feature pyramid of sums."""
    levels = list(features)
    levels[2] = _unit(levels[2], 64, "neck_2")
    for level in (1, 0):
        above = layers.UpSampling2D(2, name=f"neck_up{level}")(levels[level + 1])
        x = layers.Add(name=f"neck_add{level}")([levels[level], above])
        levels[level] = _unit(x, 64, f"neck_{level}")
    return levels


def _head(x: Tensor, config: NetworkConfig, level: int) -> Tensor:
    x = _unit(x, 64, f"head_{level}_share")
    count = len(config.classes)
    sizes = {"box": (4, 0.0), "obj": (1, -4.6), "cls": (count, -4.6), "points": (10, 0.0)}
    parts = [
        layers.Reshape((-1, size), name=f"head_{level}_{branch}_rows")(
            _unit(x, size, f"head_{level}_{branch}", bias)
        )
        for branch, (size, bias) in sizes.items()
    ]
    return layers.Concatenate(-1, name=f"head_{level}_rows")(parts)
