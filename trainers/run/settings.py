"""Settings of a run: how a network is trained."""

from __future__ import annotations

from dataclasses import dataclass

from edge.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is trained.

    Attributes:
        epochs: passes over the training part; 0 keeps the weights it starts from.
        batch: pictures a step.
        learning_rate: at its peak; a transferred network wants a tenth of the default.
        warmup_epochs: the rate rises so long, then falls along a cosine.
        weight_decay: of AdamW.
        clip_norm: longest gradient; lowering it calms a loss that jumps.
        ema: share of the old average kept at each step; 0 averages nothing. A short run keeps
            less, so that the average spans a thirtieth of it at most: longer ones lag behind.
        patience: epochs without a better figure before the run stops; 0 never stops.
        validate_every: epochs between looks at the held-back part.
        freeze: see ``transfer.freeze``.
        seed: of weights, order and augmentation.
        strength: of the augmentation.
        mixed_precision: float16 arithmetic with float32 weights; for GPUs.
        threads: of the input pipeline.
        cache_features: keep the frozen part's features of so many views of each picture on
            disk and train on them; 0 augments anew each epoch. See ``features``.
    """

    epochs: int = 60
    batch: int = 16
    learning_rate: float = 1e-3
    warmup_epochs: float = 1.0
    weight_decay: float = 5e-4
    clip_norm: float = 10.0
    ema: float = 0.998
    patience: int = 0
    validate_every: int = 1
    freeze: str = "none"
    seed: int = 0
    strength: float = 1.0
    mixed_precision: bool = False
    threads: int = 2
    cache_features: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"epochs must not be negative, got {self.epochs}")
        for name in ("batch", "learning_rate", "validate_every"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema must be in [0, 1), got {self.ema}")


def momentum_of(settings: Settings, total: int) -> float:
    """Of the averages in a run of ``total`` steps."""
    return min(settings.ema or 0.99, max(0.1, 1 - 30 / total))
