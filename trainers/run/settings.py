"""Settings of a run: how a network is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.errors import ConfigError

ACTIVATIONS = ("relu", "silu")
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (  # NaN is in none
    (("epochs", "patience", "seed", "cache_features"), lambda x: x >= 0, "not be negative"),
    (
        ("batch", "learning_rate", "validate_every", "clip_norm"),
        lambda x: 0 < x < math.inf, "be positive",
    ),
    (("weight_decay", "warmup_epochs"), lambda x: 0 <= x < math.inf, "be a number from 0"),
    (("ema", "momentum"), lambda x: 0 <= x < 1, "be in [0, 1)"),
    (("strength",), lambda x: 0 <= x <= 1, "be in [0, 1]"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training data; 0 keeps the weights it starts from.
        batch: Images per step.
        learning_rate: Peak of the rate; a transferred network needs a tenth of the default.
        warmup_epochs: Epochs in which the rate rises, before it falls along a cosine.
        weight_decay: Weight decay of AdamW.
        momentum: Fraction of the old average of gradients kept at each step, AdamW's beta 1.
        clip_norm: Longest gradient; lowering it calms a loss that jumps.
        ema: Fraction of the old average kept at each step; 0 averages nothing. A short run keeps
            less, so that the average spans at most a thirtieth of it.
        patience: Epochs without a better metric before the run stops; 0 never stops.
        validate_every: Epochs between validations.
        freeze: Layers that stay fixed, see ``transfer.freeze``.
        seed: Seed of weights, order and augmentation.
        strength: Strength of the augmentation, 0 to 1.
        augment: Augmentations that differ from the preset, see ``augment.presets.change``.
        activation: Behind the convolutions of a network that begins anew, ``relu`` or ``silu``;
            empty leaves the trainer's.
        mixed_precision: Use float16 arithmetic with float32 weights; for GPUs.
        threads: Threads of the input pipeline.
        cache_features: Augmented views per image whose features of the frozen layers are cached;
            0 augments anew in each epoch. See ``feature_cache``.
    """

    epochs: int = 60
    batch: int = 16
    learning_rate: float = 1e-3
    warmup_epochs: float = 1.0
    weight_decay: float = 5e-4
    momentum: float = 0.9
    clip_norm: float = 10.0
    ema: float = 0.998
    patience: int = 0
    validate_every: int = 1
    freeze: str = "none"
    seed: int = 0
    strength: float = 1.0
    augment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    activation: str = ""
    mixed_precision: bool = False
    threads: int = 2
    cache_features: int = 0

    def __post_init__(self) -> None:
        for names, fits, says in _RANGES:
            for name in names:
                if not fits(value := getattr(self, name)):
                    raise ConfigError(f"{name} must {says}, got {value}")
        if self.activation not in ("", *ACTIVATIONS):
            known = " or ".join(ACTIVATIONS)
            raise ConfigError(f"activation must be {known}, got {self.activation!r}")

    def require_new(self, *, transferred: bool) -> None:
        """Refuse an activation for weights that were trained under theirs.

        Raises:
            ConfigError: There is one.
        """
        if self.activation and transferred:
            raise ConfigError(
                "activation is that of the weights it starts from: leave it out of --settings"
            )

    def require_preset(self, trainer: str) -> None:
        """Refuse what this trainer has no choice of.

        Raises:
            ConfigError: There is an activation or a changed augmentation.
        """
        for name in ("activation", "augment"):
            if getattr(self, name):
                raise ConfigError(f"{trainer} has {name} of its own: leave it out of --settings")


def compute_ema_momentum(settings: Settings, total: int) -> float:
    """Momentum of the weight averages in a run of ``total`` steps."""
    return min(settings.ema or 0.99, max(0.1, 1 - 30 / total))
