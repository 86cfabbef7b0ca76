"""The YOLO network: a backbone, a path-aggregating neck and a head over strides 8, 16 and 32.

Its output is one tensor of raw rows ``(B, A, 5 + C [+ 10])``, the same for both heads:

    p_x p_y  p_w p_h  object  C classes  [five points as x y pairs]

    center = (p_xy + cell) * stride,  size = exp(p_wh) * stride,  point = center + p * size
    (or, in strides, point = (p + cell) * stride)
    score = sigmoid(object) * sigmoid(class)

Points are relative to the size of the face, so that one shape fits faces of every size: far easier
to learn than distances in strides. Rows run over the strides, then over the cells (row by row),
then over the anchors of a cell. The anchor head folds its anchors into ``p``, so that nothing
downstream depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edge.types import F32
from trainers.networks import yunet
from trainers.networks.backbone import LayerFactory, Tensor, backbone, published
from trainers.networks.config import STRIDES, NetworkConfig

POINTS = 5


def build(config: NetworkConfig) -> keras.Model:
    """The network: float ``(B, h, w, 3)`` RGB 0..255 -> raw rows ``(B, A, 5 + C [+ 10])``."""
    if config.backbone == "yunet":
        return yunet.build(config)
    kit = LayerFactory(config.activation, config.norm, config.depthwise)
    width, height = config.input_wh
    images = keras.Input((height, width, 3), name="images")
    own = published(config.backbone) if config.convention == "published" else None
    features = backbone(config.backbone)(images, kit, config.width or None, own)
    levels = _neck(features, kit, config)
    rows = [_head(x, kit, config, i) for i, x in enumerate(levels)]
    raw = layers.Concatenate(1, name="raw", dtype="float32")(rows)  # (B, A, 5 + C [+ 10])
    model = keras.Model(images, raw, name="edge_yolo")
    if config.head == "free":
        _begin_four_cells_wide(model)
    return model


def _begin_four_cells_wide(model: keras.Model) -> None:
    """With boxes of one cell nothing overlaps, and dynamic assignment trains one row per box."""
    for level in range(len(STRIDES)):
        bias = model.get_layer(f"head_{level}_reg_pred").bias
        bias.assign([0, 0, np.log(4), np.log(4)])


def resize_network(
    network: keras.Model, config: NetworkConfig, input_wh: tuple[int, int]
) -> tuple[keras.Model, NetworkConfig]:
    """The network for another input size with the same weights: every layer is a convolution."""
    if input_wh == config.input_wh:
        return network, config
    other = replace(config, input_wh=input_wh)
    rebuilt = build(other)
    rebuilt.set_weights(network.get_weights())
    return rebuilt, other


# --- neck -------------------------------------------------------------------------------------


def _neck(features: tuple[Tensor, ...], kit: LayerFactory, config: NetworkConfig) -> list[Tensor]:
    """Feature pyramid, and the way up again for ``pafpn`` (Liu et al. 2018)."""
    c8, c16, c32 = features
    n8, n16, n32 = config.neck_channels or tuple(x.shape[-1] for x in features)

    def join(x: Tensor, other: Tensor, name: str, channels: int) -> Tensor:
        if config.neck == "fpn":
            return kit.conv3(
                layers.Add(name=f"neck_{name}_add")([x, other]), channels, f"neck_{name}"
            )
        x = layers.Concatenate(name=f"neck_{name}_join")([x, other])
        return kit.csp(x, channels, f"neck_{name}", 1, shortcut=False)

    def up(x: Tensor, name: str) -> Tensor:
        return layers.UpSampling2D(2, name=f"neck_{name}")(x)

    if config.neck == "fpn":
        p32 = kit.conv3(c32, n16, "neck_p5")
        p16 = join(up(p32, "up0"), kit.conv(c16, n16, "neck_side4"), "p4", n8)
        p8 = join(up(p16, "up1"), kit.conv(c8, n8, "neck_side3"), "p3", n8)
        return [p8, p16, p32]
    lateral = kit.conv(c32, n16, "neck_lateral")
    p16 = join(up(lateral, "up0"), c16, "p4", n16)
    reduced = kit.conv(p16, n8, "neck_reduce")
    p8 = join(up(reduced, "up1"), c8, "p3", n8)
    p16 = join(kit.conv3(p8, n8, "neck_down2", 2), reduced, "n3", n16)
    p32 = join(kit.conv3(p16, n16, "neck_down1", 2), lateral, "n4", n32)
    return [p8, p16, p32]


# --- heads ------------------------------------------------------------------------------------


def _head(x: Tensor, kit: LayerFactory, config: NetworkConfig, level: int) -> Tensor:
    """One stride's raw rows ``(B, cells * num_anchors, 5 + C [+ 10])``."""
    name, channels = f"head_{level}", config.head_channels
    x = kit.conv(x, channels, f"{name}_stem")

    def branch(x: Tensor, kind: str) -> Tensor:
        for i in range(config.head_depth):
            x = kit.conv3(x, channels, f"{name}_{kind}{i}")
        return x

    def predict(x: Tensor, kind: str, size: int, bias: float = 0.0) -> Tensor:
        layer = layers.Conv2D(
            size * config.num_anchors, 1, name=f"{name}_{kind}_pred",
            bias_initializer=keras.initializers.Constant(bias),
        )  # fmt: skip
        return layers.Reshape((-1, size), name=f"{name}_{kind}_rows")(layer(x))

    rare = -4.6  # sigmoid 0.01: nearly every cell is background when training begins
    class_features = branch(x, "cls")
    classes = predict(class_features, "cls", len(config.classes), rare)
    box_features = class_features if config.shared_head else branch(x, "reg")
    box = predict(box_features, "reg", 4)
    parts = [box, predict(box_features, "obj", 1, rare), classes]
    if config.landmarks:
        parts.append(predict(box_features, "points", 2 * POINTS))
    rows = layers.Concatenate(-1, name=f"{name}_rows")(parts)
    if config.head == "anchor":
        log_wh = np.log(np.array(config.anchors_wh[level], np.float32) / STRIDES[level])
        rows = FoldAnchors(log_wh.tolist(), name=f"{name}_fold")(rows)
    return rows


@keras.saving.register_keras_serializable("edgewatch")
class FoldAnchors(layers.Layer):
    """Center stays in its cell (sigmoid), size multiplies the anchor: classic YOLO as raw rows.

    ``log_wh`` is ``(num_anchors, 2)``, the logarithm of the size of the anchors in strides.
    """

    def __init__(self, log_wh: list[list[float]], **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.log_wh = log_wh

    def call(self, rows: Tensor) -> Tensor:
        """``(B, cells * num_anchors, R)`` -> the same, in the layout of the module's docstring."""
        cells = rows.shape[1] // len(self.log_wh)
        shift = ops.convert_to_tensor(np.tile(np.array(self.log_wh, np.float32), (cells, 1))[None])
        wh = ops.clip(rows[..., 2:4], -4.0, 4.0) + ops.cast(shift, rows.dtype)
        return ops.concatenate([ops.sigmoid(rows[..., :2]), wh, rows[..., 4:]], -1)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Unchanged."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "log_wh": self.log_wh}


# --- reading the rows -------------------------------------------------------------------------


def cells(input_wh: tuple[int, int], num_anchors: int = 1) -> tuple[F32, F32]:
    """Cell ``(A, 2)`` as column and row, and stride ``(A, 1)`` of each raw row."""
    places, strides = [], []
    for stride in STRIDES:
        column, row = np.meshgrid(*(np.arange(side // stride) for side in input_wh))
        place = np.stack([column, row], -1).reshape(-1, 2).repeat(num_anchors, 0)
        places.append(place)
        strides.append(np.full((len(place), 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Decoded rows.

    Attributes:
        xyxy: ``(B, A, 4)`` network pixels.
        object_logit: ``(B, A)``.
        class_logit: ``(B, A, C)``.
        points: ``(B, A, 5, 2)`` network pixels; all zero for a network without landmarks.
    """

    xyxy: Tensor
    object_logit: Tensor
    class_logit: Tensor
    points: Tensor

    @property
    def score(self) -> Tensor:
        """``(B, A, C)`` in [0, 1]."""
        return ops.sigmoid(self.object_logit)[..., None] * ops.sigmoid(self.class_logit)


def decode(raw: Tensor, config: NetworkConfig) -> Decoded:
    """Raw rows ``(B, A, 5 + C [+ 10])`` -> boxes in network pixels, logits and points."""
    raw = ops.cast(raw, "float32")
    place, stride = map(ops.convert_to_tensor, cells(config.input_wh, config.num_anchors))
    count = len(config.classes)
    center = (raw[..., :2] + place) * stride
    size = ops.exp(ops.clip(raw[..., 2:4], -8.0, 8.0)) * stride
    xyxy = ops.concatenate([center - size / 2, center + size / 2], -1)
    shape = (-1, raw.shape[1], POINTS, 2)
    if config.landmarks and config.points_in == "strides":
        moved = ops.reshape(raw[..., 5 + count :], shape)
        points = (moved + place[:, None]) * stride[:, None]
    elif config.landmarks:
        points = ops.reshape(raw[..., 5 + count :], shape)
        center, size = (ops.stop_gradient(x)[:, :, None] for x in (center, size))
        points = center + points * size
    else:
        points = ops.reshape(ops.tile(raw[..., :1] * 0, (1, 1, 2 * POINTS)), shape)
    return Decoded(xyxy, raw[..., 4], raw[..., 5 : 5 + count], points)
