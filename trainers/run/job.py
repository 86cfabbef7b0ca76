"""A job: what every training is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainers.run.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training run, complete.

    Attributes:
        out: The run folder.
        val_fraction: Fraction of the groups (videos, people) held out; which ones depends on
            their names and looks alone.
        test_fraction: Fraction of the groups that are kept for a test at the end, see
            `trainers.data.parts`.
        start: File of weights to start from, or None.
        settings: How the network is trained.
    """

    out: Path
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    start: Path | None = None
    settings: Settings = field(default_factory=Settings)
