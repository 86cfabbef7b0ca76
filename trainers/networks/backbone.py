"""Backbones: images -> feature maps at strides 8, 16 and 32.

Layers are flat and have systematic names (``backbone_dark3_csp_conv1``), so that weights can be
transferred by name and parts frozen by prefix. Those of VGG-16, SqueezeNet and ResNet-50 are the
published ones behind ``backbone_``.

Published weights are right only under the activation and the input that they were trained with.
The input is not folded into the first convolution: its border is padded with zeros after the mean
is subtracted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from keras import layers

from edge.errors import ConfigError
from trainers.networks.config import BACKBONES, Norm

Tensor = Any  # a tensor of the Keras backend in use


@dataclass(frozen=True, slots=True)
class LayerFactory:
    """Builds the convolutions of a network with its normalization and activation.

    Attributes:
        activation: ``silu`` (YOLOX) or ``relu`` (fused into the convolution by most runtimes).
        norm: ``batch`` to train from scratch; ``none`` gives a bias instead, the layout of
            exported files, whose normalization is already folded into the weights.
        depthwise: 3x3 convolutions become depthwise 3x3 followed by 1x1.
    """

    activation: str = "silu"
    norm: Norm = "batch"
    depthwise: bool = True

    def _normalize(self, x: Tensor, name: str) -> Tensor:
        if self.norm == "batch":  # eps and momentum of YOLOX
            x = layers.BatchNormalization(epsilon=1e-3, momentum=0.97, name=f"{name}_bn")(x)
        return x

    def _finish(self, x: Tensor, name: str) -> Tensor:
        return layers.Activation(self.activation, name=f"{name}_act")(self._normalize(x, name))

    def _pad(self, x: Tensor, kernel: int, stride: int, name: str) -> tuple[Tensor, str]:
        """Keras pads a strided 3x3 at the far edge, torch at the near one: pad as torch does."""
        if stride == 1 or kernel % 2 == 0 or kernel == 1:
            return x, "same"
        near = kernel // 2
        padding = ((near, near - 1), (near, near - 1))  # for even sizes
        return layers.ZeroPadding2D(padding, name=f"{name}_pad")(x), "valid"

    def conv(self, x: Tensor, channels: int, name: str, kernel: int = 1, stride: int = 1) -> Tensor:
        """Convolution, normalization, activation: ``(B, h, w, C)`` -> ``(B, h/s, w/s, c)``."""
        x, padding = self._pad(x, kernel, stride, name)
        x = layers.Conv2D(
            channels, kernel, stride, padding, use_bias=self.norm == "none", name=name
        )(x)
        return self._finish(x, name)

    def linear(self, x: Tensor, channels: int, name: str, stride: int = 1) -> Tensor:
        """A 1x1 convolution and its normalization, without activation."""
        x = layers.Conv2D(channels, 1, stride, use_bias=self.norm == "none", name=name)(x)
        return self._normalize(x, name)

    def conv3(self, x: Tensor, channels: int, name: str, stride: int = 1) -> Tensor:
        """A 3x3 convolution, or depthwise 3x3 and 1x1."""
        if not self.depthwise:
            return self.conv(x, channels, name, 3, stride)
        y, padding = self._pad(x, 3, stride, f"{name}_dconv")
        y = layers.DepthwiseConv2D(
            3, stride, padding, use_bias=self.norm == "none", name=f"{name}_dconv"
        )(y)
        return self.conv(self._finish(y, f"{name}_dconv"), channels, f"{name}_pconv")

    def csp(self, x: Tensor, channels: int, name: str, repeats: int, shortcut: bool) -> Tensor:
        """Cross stage partial block (Wang et al. 2020) as YOLOX builds it."""
        hidden = channels // 2
        main = self.conv(x, hidden, f"{name}_conv1")
        side = self.conv(x, hidden, f"{name}_conv2")
        for i in range(repeats):
            y = self.conv(main, hidden, f"{name}_m{i}_conv1")
            y = self.conv3(y, hidden, f"{name}_m{i}_conv2")
            main = layers.Add(name=f"{name}_m{i}_add")([y, main]) if shortcut else y
        x = layers.Concatenate(name=f"{name}_concat")([main, side])
        return self.conv(x, channels, f"{name}_conv3")


Features = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Published:
    """How published weights were trained.

    Attributes:
        activation: Behind every convolution.
        mean_rgb: Subtracted from pixels 0..255; the first convolution of the files reads BGR.
    """

    activation: str = "relu"
    mean_rgb: tuple[float, float, float] = (123.68, 116.779, 103.939)


# https://github.com/keras-team/keras/blob/master/keras/src/applications: preprocess_input, caffe
_PUBLISHED = {"vgg16": Published(), "squeezenet": Published(), "resnet50": Published()}


def published(name: str) -> Published | None:
    """The convention of the weights that are published for a backbone; None if there are none."""
    return _PUBLISHED.get(name)


def _scale(images: Tensor, own: Published | None) -> Tensor:
    if own is None:
        return layers.Rescaling(1 / 127.5, -1, name="backbone_rescale")(images)
    offset = [-mean for mean in own.mean_rgb]
    return layers.Rescaling(1.0, offset, name="backbone_mean")(images)


def _width(channels: int, width: float) -> int:
    return max(8, round(channels * width / 8) * 8)


def _nano(x: Tensor, kit: LayerFactory, width: float, _: Published | None) -> Features:
    """CSPDarknet of YOLOX-nano at ``width`` 0.25 (Ge et al. 2021).

    Its "focus" stem (four slices, then 3x3) is the same map as one 6x6 convolution of stride 2.
    """
    c = [_width(n, width) for n in (64, 128, 256, 512, 1024)]
    x = kit.conv(x, c[0], "backbone_stem", 6, 2)
    found = []
    for stage, channels, repeats in ((2, c[1], 1), (3, c[2], 3), (4, c[3], 3), (5, c[4], 1)):
        name = f"backbone_dark{stage}"
        x = kit.conv3(x, channels, f"{name}_down", 2)
        if stage == 5:
            x = _spp(x, kit, channels, f"{name}_spp")
        x = kit.csp(x, channels, f"{name}_csp", repeats, shortcut=stage != 5)
        found.append(x)
    return found[1], found[2], found[3]


def _spp(x: Tensor, kit: LayerFactory, channels: int, name: str) -> Tensor:
    """Spatial pyramid pooling; 9 and 13 are a 5 pooled again, at a fraction of the cost."""
    x = kit.conv(x, channels // 2, f"{name}_conv1")
    pools = [x]
    for size in (5, 9, 13):
        pool = layers.MaxPooling2D(5, 1, "same", name=f"{name}_pool{size}")
        pools.append(pool(pools[-1]))
    return kit.conv(layers.Concatenate(name=f"{name}_concat")(pools), channels, f"{name}_conv2")


def _slim(x: Tensor, kit: LayerFactory, width: float, _: Published | None) -> Features:
    """A chain of depthwise blocks, shaped like YuNet's: for faces in a millisecond or two."""
    c = [_width(n, width) for n in (64, 128, 256, 256, 256)]
    x = kit.conv(x, c[0], "backbone_stem", 3, 2)
    found = []
    for stage, channels, repeats in ((2, c[1], 1), (3, c[2], 2), (4, c[3], 2), (5, c[4], 1)):
        x = kit.conv3(x, channels, f"backbone_dark{stage}_down", 2)
        for i in range(repeats):
            y = kit.conv3(x, channels, f"backbone_dark{stage}_m{i}")
            x = layers.Add(name=f"backbone_dark{stage}_m{i}_add")([x, y])
        found.append(x)
    return found[1], found[2], found[3]


def _squeezenet(x: Tensor, kit: LayerFactory, width: float, own: Published | None) -> Features:
    """SqueezeNet 1.1 (Iandola et al. 2016) with one more pooling for stride 32."""

    def fire(x: Tensor, index: int, squeeze: int, expand: int) -> Tensor:
        name = f"backbone_fire{index}"
        x = kit.conv(x, _width(squeeze, width), f"{name}_squeeze1x1")
        one = kit.conv(x, _width(expand, width), f"{name}_expand1x1")
        three = kit.conv(x, _width(expand, width), f"{name}_expand3x3", 3)
        return layers.Concatenate(name=f"{name}_concat")([one, three])

    def pool(x: Tensor, index: int) -> Tensor:
        return layers.MaxPooling2D(3, 2, "same", name=f"backbone_pool{index}")(x)

    x = _scale(x, own)
    x = kit.conv(x, _width(64, width), "backbone_conv1", 3, 2)
    x = fire(fire(pool(x, 1), 2, 16, 64), 3, 16, 64)
    c3 = fire(fire(pool(x, 3), 4, 32, 128), 5, 32, 128)
    x = fire(fire(pool(c3, 5), 6, 48, 192), 7, 48, 192)
    c4 = fire(fire(x, 8, 64, 256), 9, 64, 256)
    c5 = fire(fire(pool(c4, 9), 10, 64, 256), 11, 64, 256)
    return c3, c4, c5


def _vgg16(x: Tensor, kit: LayerFactory, width: float, own: Published | None) -> Features:
    """VGG-16 (Simonyan & Zisserman 2014); layer names are those of keras.applications."""
    x = _scale(x, own)
    found = []
    for block, (channels, depth) in enumerate(
        ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1
    ):
        for i in range(1, depth + 1):
            x = kit.conv(x, _width(channels, width), f"backbone_block{block}_conv{i}", 3)
        found.append(x)
        x = layers.MaxPooling2D(2, 2, name=f"backbone_block{block}_pool")(x)
    return found[3], found[4], x


def _resnet18(x: Tensor, kit: LayerFactory, width: float, own: Published | None) -> Features:
    """ResNet-18 (He et al. 2015)."""
    x = _scale(x, own)
    x = kit.conv(x, _width(64, width), "backbone_conv1", 7, 2)
    x = layers.MaxPooling2D(3, 2, "same", name="backbone_pool1")(x)
    found = []
    for stage, channels in enumerate((64, 128, 256, 512), start=1):
        for i in range(2):
            name, stride = f"backbone_layer{stage}_{i}", 2 if stage > 1 and i == 0 else 1
            y = kit.conv(x, _width(channels, width), f"{name}_conv1", 3, stride)
            y = kit.conv(y, _width(channels, width), f"{name}_conv2", 3)
            if y.shape != x.shape:
                x = kit.conv(x, _width(channels, width), f"{name}_short", 1, stride)
            x = layers.Add(name=f"{name}_add")([x, y])
        found.append(x)
    return found[1], found[2], found[3]


def _resnet50(x: Tensor, kit: LayerFactory, width: float, own: Published | None) -> Features:
    """ResNet-50 (He et al. 2015); layer names are those of keras.applications."""
    x = _scale(x, own)
    x = kit.conv(x, _width(64, width), "backbone_conv1_conv", 7, 2)
    x = layers.ZeroPadding2D(((1, 0), (1, 0)), name="backbone_pool1_pad")(x)  # for even sizes
    x = layers.MaxPooling2D(3, 2, name="backbone_pool1_pool")(x)
    found = []
    for stage, (channels, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=2):
        for block in range(1, depth + 1):
            name = f"backbone_conv{stage}_block{block}"
            stride = 2 if stage > 2 and block == 1 else 1
            y = kit.conv(x, _width(channels, width), f"{name}_1_conv", 1, stride)
            y = kit.conv(y, _width(channels, width), f"{name}_2_conv", 3)
            y = kit.linear(y, _width(4 * channels, width), f"{name}_3_conv")
            if block == 1:
                x = kit.linear(x, _width(4 * channels, width), f"{name}_0_conv", stride)
            x = layers.Add(name=f"{name}_add")([x, y])
            x = layers.Activation(kit.activation, name=f"{name}_out")(x)
        found.append(x)
    return found[1], found[2], found[3]


_Build = Callable[[Tensor, LayerFactory, float, "Published | None"], Features]
_BUILDERS: dict[str, tuple[_Build, float]] = {
    "nano": (_nano, 0.25),
    "slim": (_slim, 0.25),
    "squeezenet": (_squeezenet, 1.0),
    "vgg16": (_vgg16, 1.0),
    "resnet18": (_resnet18, 1.0),
    "resnet50": (_resnet50, 1.0),
}
NAMES = BACKBONES


def backbone(name: str) -> Callable[..., Features]:
    """The builder of a backbone: ``build(images, kit, width=None, own=None) -> (c8, c16, c32)``.

    ``images`` is float ``(B, h, w, 3)`` RGB 0..255 with sides that are multiples of 32. ``width``
    scales the channels; the default is that of the published network. ``own`` is the convention of
    published weights, see `published`; without it the activation is that of ``kit``.

    Raises:
        ConfigError: No backbone has that name.
    """
    if name not in _BUILDERS:
        raise ConfigError(f"backbone must be one of {', '.join(NAMES)}, got {name!r}")
    build, usual = _BUILDERS[name]

    def apply(
        images: Tensor, kit: LayerFactory, width: float | None = None, own: Published | None = None
    ) -> Features:
        kit = replace(kit, activation=own.activation) if own else kit
        return build(images, kit, width or usual, own)

    return apply
