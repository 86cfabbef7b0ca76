"""Evaluation of embedders: every metric of ``verification``, times and plots.

Models are compared on the same faces; times are measured in turns, so that other load affects all
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from edge.models.embedder import ContractEmbedder
from trainers.data.portraits import Portraits
from trainers.evaluation.figures import save_figure
from trainers.evaluation.timing import time_in_turn
from trainers.metrics import verification
from trainers.metrics.interval import Interval
from trainers.metrics.verification import FPIRS, Pairs, SearchKind

DRAWS = 200
_SEARCHES = {
    "a picture": SearchKind(),
    "a track": SearchKind(tracks=True),
    "a picture, templates apart": SearchKind(fused=False),
    "a track, templates apart": SearchKind(tracks=True, fused=False),
    "a picture, two videos enrolled": SearchKind(videos=2),
    "a track, two videos enrolled": SearchKind(tracks=True, videos=2),
    "a picture, two videos enrolled, templates apart": SearchKind(videos=2, fused=False),
}


@dataclass(frozen=True, slots=True, eq=False)
class EmbedderResult:
    """Result of the evaluation of one model.

    Attributes:
        figures: Metrics with intervals, by name; rates in 0..1.
        pairs: The similarities they rest on.
        discard: Fraction of pictures discarded and false reject rate.
    """

    name: str
    figures: dict[str, Interval]
    pairs: Pairs
    discard: list[tuple[float, float]]


def evaluate_embedder(
    embedder: ContractEmbedder, portraits: Portraits, draws: int = DRAWS
) -> EmbedderResult:
    """Evaluate a model on portraits."""
    embeddings = embedder.embed(portraits.crops)
    person, video = portraits.person, portraits.video
    pairs = verification.across_videos(embeddings, person, video)
    figures = verification.bootstrap(pairs, verification.MEASURES, draws)
    tracks = verification.fuse_videos(embeddings, person, video, portraits.quality)
    of_tracks = verification.bootstrap(
        verification.across_videos(*tracks), verification.MEASURES, draws
    )
    figures |= {f"{name}, tracks": figure for name, figure in of_tracks.items()}
    for fpir in FPIRS:
        for look, kind in _SEARCHES.items():
            rates = verification.open_set_fnir(
                embeddings, person, video, fpir, kind, portraits.quality
            )
            low, high = np.quantile(rates, [0.025, 0.975])
            figures[f"FNIR at FPIR {fpir:g}, {look}"] = Interval(
                float(np.mean(rates)), float(low), float(high), len(rates)
            )
    far = float(np.mean(pairs.impostor >= embedder.threshold))
    tar = float(np.mean(pairs.genuine >= embedder.threshold))
    at = f"at its threshold {embedder.threshold:.3f}"
    figures[f"FAR {at}"] = Interval(far, float("nan"), float("nan"), len(pairs.impostor))
    figures[f"TAR {at}"] = Interval(tar, float("nan"), float("nan"), len(pairs.genuine))
    discard = verification.error_versus_discard(embeddings, person, video, portraits.quality)
    return EmbedderResult(embedder.name, figures, pairs, discard)


def measure_times(
    embedders: Sequence[ContractEmbedder], face: np.ndarray, rounds: int = 60
) -> list[tuple[float, float]]:
    """Median seconds per face ``(1, 112, 112, 3)`` of each model, and the ratio to the first."""
    times = time_in_turn([partial(embedder.embed, face) for embedder in embedders], rounds)
    ratios = np.median(times.seconds / times.seconds[:, :1], axis=0)
    return [(times.median_s(n), float(ratio)) for n, ratio in enumerate(ratios)]


def draw(examined: Sequence[EmbedderResult], folder: Path) -> list[Path]:
    """Draw roc.png and discard.png, with a line per model.

    Raises:
        ConfigError: A file cannot be written.
    """
    roc, discard = Figure(figsize=(6, 5)), Figure(figsize=(6, 5))
    left, right = roc.subplots(), discard.subplots()
    for one in examined:
        far, tar, _ = verification.roc(one.pairs.genuine, one.pairs.impostor)
        rows = _thin_out(far)
        left.plot(far[rows], tar[rows], label=f"{one.name}: AUC {one.figures['AUC'].value:.3f}")
        right.plot(*zip(*one.discard, strict=True), marker="o", label=one.name)
    left.set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1), xlabel="false accept rate",
             ylabel="true accept rate", title="pairs across videos")  # fmt: skip
    right.set(xlabel="fraction of pictures discarded, worst first", ylim=(0, None),
              ylabel="false reject rate at FAR 0.01", title="error versus discard")  # fmt: skip
    paths = [folder / "roc.png", folder / "discard.png"]
    for path, figure, axis in zip(paths, (roc, discard), (left, right), strict=True):
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
        figure.set_layout_engine("constrained")
        save_figure(path, figure)
    return paths


def _thin_out(far: np.ndarray, max_rows: int = 4000) -> np.ndarray:
    """Rows that suffice to draw a curve on a logarithmic scale."""
    if len(far) <= max_rows:
        return np.arange(len(far))
    steps = np.geomspace(1, len(far), max_rows).astype(int) - 1
    return np.unique(steps)
