"""Content and Gram losses over frozen features (Gatys et al. 2016), and the look that lowers them.

The Gram matrix of a map says which features occur together, and no longer where: it is the style.
The picture itself is one of the maps: its Gram matrix says how bright and how gray it is, which
features tell vaguely. Each loss is divided by what it is a part of, so that maps weigh alike:

    content = |F - F0|^2 / |F0|^2          F of the look, F0 of the day picture, the last map
    style = mean over maps of |G - Gs|^2 / |Gs|^2          G = F^T F / places
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np
from keras import ops

from edge.types import F32, U8
from trainers.networks.backbone import Tensor
from trainers.restyle.features import Features
from trainers.restyle.look import (
    DARK,
    GRID,
    Colors,
    Look,
    begin_look,
    interpolate,
    measure_colors,
    shrink,
    shrink_noise,
)

_SMOOTH_LIGHT = 1e-2  # weight of the light's squared logarithm
_SHAPES = {"matrix": (3, 3), "offset": (3,), "gamma": (1,), "light": (GRID, GRID), "noise": (4,)}


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How a look is fitted.

    Attributes:
        steps: Of Adam; more come nearer to the style and take longer.
        rate: Its learning rate.
        style: Weight of the style loss; the content's is 1.
    """

    steps: int = 40
    rate: float = 0.02
    style: float = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """What a picture has to be like: Gram matrices ``(C, C)`` of picture and maps, and colors."""

    grams: tuple[F32, ...]
    colors: Colors


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted look, and how near it came.

    Attributes:
        losses: ``(S,)`` before each step, content and weighted style.
        content: Content loss of the look.
        day_style: Style loss of the picture as it was.
        style: Style loss of the look.
    """

    look: Look
    losses: F32
    content: float
    day_style: float
    style: float


def compute_gram(maps: Tensor) -> Tensor:
    """``(B, h, w, C)`` -> ``(B, C, C)``: products of features, the mean over places."""
    places = maps.shape[1] * maps.shape[2]
    flat = ops.reshape(maps, (-1, places, maps.shape[3]))
    return ops.matmul(ops.transpose(flat, (0, 2, 1)), flat) / places


def relative_error(truth: Tensor, found: Tensor) -> Tensor:
    """``(B, ..)`` twice -> ``(B,)`` squared distance over the squared length of the first."""
    truth = ops.reshape(ops.cast(truth, "float32"), (ops.shape(truth)[0], -1))
    found = ops.reshape(found, (ops.shape(found)[0], -1))
    return ops.sum(ops.square(found - truth), -1) / (ops.sum(ops.square(truth), -1) + 1e-12)


class LookLayer(keras.layers.Layer):
    """`Look` with weights that can be learned: picture and noise -> picture, 0..255."""

    def build(self, input_shape: Any) -> None:  # noqa: ANN401
        """Create the weights."""
        side = input_shape[0][1]
        self._interpolation = ops.convert_to_tensor(interpolate(side))
        self._numbers = {
            name: self.add_weight(
                shape=shape, name=name, initializer="zeros",
                regularizer=keras.regularizers.L2(_SMOOTH_LIGHT) if name == "light" else None,
            )
            for name, shape in _SHAPES.items()
        }  # fmt: skip

    def call(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """The formula of `trainers.restyle.look`."""
        image, noise = inputs
        own: Mapping[str, Tensor] = self._numbers
        x = ops.maximum(image / 255, DARK) ** ops.exp(own["gamma"])
        across = ops.matmul(own["light"], ops.transpose(self._interpolation))
        light = ops.exp(ops.matmul(self._interpolation, across))[None, :, :, None]
        y = (ops.matmul(x, ops.transpose(own["matrix"])) + own["offset"]) * light
        root = ops.sqrt(ops.maximum(ops.mean(y, -1, keepdims=True), DARK))
        amount = ops.exp(own["noise"])
        gray, color = (amount[n] + amount[n + 1] * root for n in (0, 2))
        y = y + gray * noise[..., :1] + color * noise[..., 1:]
        return ops.clip(y, 0, 1) * 255

    def compute_output_shape(self, input_shape: Any) -> Any:  # noqa: ANN401
        """That of the picture."""
        return input_shape[0]

    def set(self, look: Look) -> None:
        """Take the numbers of a look."""
        for field in fields(look):
            self._numbers[field.name].assign(getattr(look, field.name))

    def get(self) -> Look:
        """The numbers as a look."""
        return Look(**{
            name: np.array(ops.convert_to_numpy(weight), np.float32)
            for name, weight in self._numbers.items()
        })  # fmt: skip


class Restyler:
    """Fits looks to pictures, one after another, with one graph for all of them."""

    def __init__(self, features: Features, settings: FitSettings | None = None) -> None:
        self.settings = settings or FitSettings()
        self.side_px = int(features.network.input.shape[1])
        image = keras.Input((self.side_px, self.side_px, 3), name="image")
        noise = keras.Input((self.side_px, self.side_px, 4), name="noise")
        maps = keras.tree.flatten(features.network(features.network.input))
        colors = ops.maximum(features.network.input, 1) / 255  # black too has a length
        grams = [compute_gram(one) for one in (colors, *maps)]
        self._describe = keras.Model(features.network.input, [maps[-1], *grams])
        self._layer = LookLayer(name="look")
        self._network = keras.Model([image, noise], self._describe(self._layer([image, noise])))
        count = len(grams)
        self._network.compile(
            keras.optimizers.Adam(self.settings.rate), [relative_error] * (1 + count),
            loss_weights=[1.0] + [self.settings.style / count] * count,
        )  # fmt: skip
        self._network.optimizer.build(self._network.trainable_variables)
        variables = self._network.optimizer.variables
        self._begin = [(v, np.array(ops.convert_to_numpy(v))) for v in variables]

    def describe(self, image: U8) -> Style:
        """The style of a picture."""
        small = shrink(image, self.side_px)
        _, *grams = self._ask(small)
        return Style(
            tuple(np.asarray(gram[0], np.float32) for gram in grams),
            measure_colors(small.astype(np.uint8)),
        )

    def _ask(self, small: F32) -> list[np.ndarray]:
        return [np.asarray(out) for out in self._describe.predict_on_batch(small[None])]

    def fit(self, image: U8, noise: F32, style: Style) -> Fit:
        """The look in which a picture has the style, as far as its content allows.

        Args:
            image: ``(H, W, 3)``.
            noise: ``(H, W, 4)``, see `trainers.restyle.look.draw_noise`.
            style: To come near to.
        """
        small = shrink(image, self.side_px)
        content, *_ = self._ask(small)
        given = [small[None], shrink_noise(noise, self.side_px)[None]]
        wanted = [content, *(gram[None] for gram in style.grams)]
        self._layer.set(begin_look(measure_colors(small.astype(np.uint8)), style.colors))
        for variable, value in self._begin:  # each picture begins anew
            variable.assign(value)
        losses = [self._step(given, wanted) for _ in range(self.settings.steps)]
        _, *day = self._ask(small)
        after, *grams = (np.asarray(out) for out in self._network.predict_on_batch(given))
        return Fit(
            self._layer.get(),
            np.array(losses, np.float32),
            _compare([content], [after]),
            _compare(wanted[1:], day),
            _compare(wanted[1:], grams),
        )

    def _step(self, given: list[F32], wanted: list[F32]) -> float:
        self._network.reset_metrics()
        told = self._network.train_on_batch(given, wanted)
        return float(told[0] if isinstance(told, list) else told)


def _compare(truth: Sequence[F32], found: Sequence[np.ndarray]) -> float:
    """The mean of `relative_error` over maps."""
    pairs = zip(truth, found, strict=True)
    return float(np.mean([np.square(b - a).sum() / np.square(a).sum() for a, b in pairs]))
