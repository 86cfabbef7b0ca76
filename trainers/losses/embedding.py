"""Losses of an embedder, four behind one interface, in ``keras.ops`` only.

    triplet  |f(a)-f(p)|^2 - |f(a)-f(n)|^2 + alpha, above zero (Schroff et al. 2015), mined in the
             batch: ``semi-hard`` or ``batch-hard`` (Hermans et al. 2017)
    binary   one logistic unit over |f(a)-f(b)| or over their chi-square: same person or not
    margin   softmax over the people with an additive angle (ArcFace, Deng et al. 2019)
    teacher  1 - cosine to the embedding of a teacher; on unit vectors this is half the squared
             distance

Faces of no known person (person -1: synthesized ones) count for the teacher loss only. Every loss
is a mean over its terms, and zero without any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers, ops

from edge.errors import ConfigError
from trainers.losses.detection import logistic
from trainers.networks.backbone import Tensor

NAMES = ("triplet", "binary", "margin", "teacher")
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """Losses and their parameters.

    Attributes:
        parts: Name and weight of each loss.
        alpha: Margin of the triplet loss; raising it pushes people further apart.
        mining: Which triplets of the batch count.
        pair: Input of the logistic unit.
        scale: Raising it sharpens the margin softmax.
        angle: Margin of the softmax in radians; raising it packs the images of a person tighter.
    """

    parts: tuple[tuple[str, float], ...] = (("triplet", 1.0),)
    alpha: float = 0.3
    mining: Literal["semi-hard", "batch-hard"] = "semi-hard"
    pair: Literal["absolute", "chi-square"] = "absolute"
    scale: float = 32.0
    angle: float = 0.3

    def weight(self, name: str) -> float:
        """The weight of a loss; 0 if it is not used."""
        return dict(self.parts).get(name, 0.0)


def parse_parts(text: str) -> tuple[tuple[str, float], ...]:
    """``teacher+triplet:0.2`` -> names and weights.

    Raises:
        ConfigError: A name is unknown or a weight not positive.
    """
    parts = []
    for piece in text.split("+"):
        name, _, weight = piece.strip().partition(":")
        try:
            value = float(weight or 1)
        except ValueError:
            value = 0.0
        if name not in NAMES or value <= 0:
            raise ConfigError(
                f"--loss must be one of {', '.join(NAMES)}, or several with weights such as "
                f"teacher+triplet:0.2, got {text!r}."
            )
        parts.append((name, value))
    return tuple(parts)


# --- pairs and triplets -----------------------------------------------------------------------


def _mean(loss: Tensor, counts: Tensor) -> Tensor:
    """The mean of the terms that count (0 or 1), zero without any."""
    return ops.sum(loss * counts) / ops.maximum(ops.sum(counts), 1)


def squared_distances(embeddings: Tensor) -> Tensor:
    """``(B, D)`` of unit length -> ``(B, B)`` squared distances."""
    return 2 - 2 * ops.clip(ops.matmul(embeddings, ops.transpose(embeddings)), -1, 1)


def relations(person: Tensor) -> tuple[Tensor, Tensor]:
    """``(B,)`` -> ``(B, B)`` masks of 0 and 1: one person's two pictures; two people's."""
    known = ops.cast(person >= 0, "float32")
    both = known[:, None] * known[None, :]
    same = ops.cast(person[:, None] == person[None, :], "float32")
    other = 1 - ops.eye(person.shape[0] or ops.shape(person)[0])
    return both * same * other, both * (1 - same)


def semi_hard(squared: Tensor, person: Tensor, alpha: float) -> Tensor:
    """Each pair (a, p) with the nearest negative that is farther than p; else the farthest one."""
    same, different = relations(person)
    ap, an = squared[:, :, None], squared[:, None, :]  # (a, p, 1), (a, 1, n)
    valid = different[:, None, :] * ops.cast(an > ap, "float32")
    nearest = ops.min(ops.where(valid > 0, an, 1e9), -1)  # (a, p)
    farthest = ops.max(ops.where(different > 0, squared, -1e9), -1)[:, None]
    chosen = ops.where(ops.max(valid, -1) > 0, nearest, farthest)
    counts = same * ops.max(different, -1)[:, None]
    return _mean(ops.maximum(squared - chosen + alpha, 0), counts)


def batch_hard(squared: Tensor, person: Tensor, alpha: float) -> Tensor:
    """Each anchor with its farthest positive and its nearest negative."""
    same, different = relations(person)
    farthest = ops.max(ops.where(same > 0, squared, -1e9), 1)
    nearest = ops.min(ops.where(different > 0, squared, 1e9), 1)
    counts = ops.max(same, 1) * ops.max(different, 1)
    return _mean(ops.where(counts > 0, ops.maximum(farthest - nearest + alpha, 0), 0.0), counts)


MINERS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "semi-hard": semi_hard,
    "batch-hard": batch_hard,
}


PAIRS = ("absolute", "chi-square")


def pair_features(embeddings: Tensor, kind: str) -> Tensor:
    """``(B, D)`` -> ``(B, B, D)``: |a - b|, or (a - b)^2 / (|a| + |b|)."""
    a, b = embeddings[:, None], embeddings[None]
    if kind == "absolute":
        return ops.abs(a - b)
    return ops.square(a - b) / (ops.abs(a) + ops.abs(b) + 1e-3)


def binary_loss(logit: Tensor, person: Tensor) -> Tensor:
    """``(B, B)`` logits of being the same; both kinds of pairs weigh the same."""
    same, different = relations(person)
    loss = logistic(logit, same)
    return (_mean(loss, same) + _mean(loss, different)) / 2


def margin_loss(cosine: Tensor, person: Tensor, scale: float, angle: float) -> Tensor:
    """``(B, C)`` cosines to each person's center -> cross-entropy with the angle added."""
    known = ops.cast(person >= 0, "float32")
    target = ops.one_hot(ops.maximum(person, 0), cosine.shape[-1])
    cosine = ops.clip(cosine, -1 + 1e-6, 1 - 1e-6)
    turned = ops.cos(ops.minimum(ops.arccos(cosine) + angle, 3.14159))
    logit = scale * ops.where(target > 0, turned, cosine)
    return _mean(ops.logsumexp(logit, -1) - ops.sum(logit * target, -1), known)


def teacher_loss(embeddings: Tensor, teacher: Tensor) -> Tensor:
    """``(B, D)`` twice, unit length; rows of zeros have no teacher."""
    known = ops.cast(ops.sum(ops.square(teacher), -1) > 0.5, "float32")
    return _mean(1 - ops.sum(embeddings * teacher, -1), known)


# --- the task ---------------------------------------------------------------------------------


class EmbedTask(keras.Model):
    """Wraps an encoder; ``x`` is uint8 ``(B, 112, 112, 3)``, ``y`` has person and teacher.

    Only ``network`` is saved as the model: the unit of ``binary`` and the centers of ``margin``
    serve training alone.
    """

    def __init__(self, network: keras.Model, config: ObjectiveConfig, people: int) -> None:
        super().__init__(name="embed_task")
        self.network = network
        self.config = config
        self._parts = {name: keras.metrics.Mean(name=name) for name, _ in config.parts}
        if config.weight("binary"):
            self.unit = layers.Dense(1, name="unit")
        if config.weight("margin"):
            shape = (network.output.shape[-1], people)
            self.centers = self.add_weight(shape=shape, name="centers")

    def call(self, faces: Tensor, training: bool = False) -> Tensor:
        """uint8 ``(B, 112, 112, 3)`` -> ``(B, D)`` of unit length."""
        embeddings = self.network(ops.cast(faces, "float32"), training=training)
        if self.config.weight("binary") and not self.unit.built:
            self.unit(embeddings)
        return embeddings

    def example(self) -> Any:  # noqa: ANN401
        """An input to build with."""
        return ops.zeros((1, *self.network.input.shape[1:]), "uint8")

    def compute_losses(self, embeddings: Tensor, y: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each loss, unweighted."""
        config, person = self.config, ops.cast(y["person"], "int32")
        losses: dict[str, Tensor] = {}
        if config.weight("triplet"):
            squared = squared_distances(embeddings)
            losses["triplet"] = MINERS[config.mining](squared, person, config.alpha)
        if config.weight("binary"):
            logit = self.unit(pair_features(embeddings, config.pair))[..., 0]
            losses["binary"] = binary_loss(logit, person)
        if config.weight("margin"):
            centers = self.centers / (ops.norm(self.centers, axis=0, keepdims=True) + _TINY)
            cosine = ops.matmul(embeddings, centers)
            losses["margin"] = margin_loss(cosine, person, config.scale, config.angle)
        if config.weight("teacher"):
            losses["teacher"] = teacher_loss(embeddings, y["teacher"])
        return losses

    def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401, ARG002
        """The weighted sum; each part is also a metric."""
        total = 0.0
        for name, part in self.compute_losses(y_pred, y).items():
            self._parts[name].update_state(part)
            total = total + self.config.weight(name) * part
        return total

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Loss and its parts."""
        return [*super().metrics, *self._parts.values()]
