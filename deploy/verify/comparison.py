"""Comparison: which outputs of two engines count as the same, and a report of the others.

Each row of the reference must have a row of the same class with its box within 0.5 px and its
score within 1e-3; a model in FP16 or INT8 may differ by more. Arithmetic in another order may flip
a decision that was borderline: a score at the threshold, an overlap at NMS's threshold, the last
row of a full output. Such a row may be missing or additional, and is counted.

Embedders, liveness models and those of 68 points have one output per picture: a cosine of 1 - 1e-3
is the same embedding, a probability within 1e-3 the same probability, and points within 0.5 px are
the same points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge import strict_json
from edge.manifest import Manifest
from edge.printable import format_count
from edge.types import F32
from edge.vision import boxes

BOX_PX, SCORE = 0.5, 1e-3
SLACK = {"fp32": 1.0, "fp16": 8.0, "int8": 16.0}  # of both, for other orders of coarser sums
BORDER_IOU = 5e-3  # this near to NMS's threshold, either decision is right

Rows = F32  # (K, 6) or, with five points, (K, 16): box, score, class, points; unused rows 0


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same.

    Attributes:
        row: Row of the reference, or of the other engine where the reference has none.
        reference: ``(6,)`` or ``(16,)``; empty when only the other engine has the row.
        other: The same of the other engine; empty when it lacks the row.
    """

    picture: str
    row: int
    reference: F32
    other: F32

    @property
    def box_px(self) -> float:
        """Largest difference of a corner or point; infinite when one engine lacks the row."""
        if not (len(self.reference) and len(self.other)):
            return float("inf")
        different = np.abs(self.reference - self.other)
        return float(np.delete(different, (4, 5)).max())

    @property
    def score(self) -> float:
        """Difference of the scores; the score itself when one engine lacks the row."""
        if not (len(self.reference) and len(self.other)):
            return float(max(self.reference[4:5].sum(), self.other[4:5].sum()))
        return float(abs(self.reference[4] - self.other[4]))

    @property
    def size(self) -> tuple[bool, float]:
        """Sort key: infinite differences last, by score; 1 is just allowed."""
        ratio = max(self.box_px / BOX_PX, self.score / SCORE)
        return np.isinf(ratio), self.score if np.isinf(ratio) else ratio

    def describe(self, *names: str) -> list[str]:
        """Both rows in lines to print, under the names of their engines."""
        lines = [f"worst: {self.picture}, row {self.row}"]
        for name, row in zip(names, (self.reference, self.other), strict=True):
            values = " ".join(f"{value:.3f}" for value in (*row[:4], *row[6:]))
            text = f"box {values} score {row[4]:.4f} class {row[5]:.0f}" if len(row) else "nothing"
            lines.append(f"  {name}: {text}")
        return lines

    def to_dict(self) -> dict[str, object]:
        """Both rows for scripts."""
        return {
            "picture": self.picture, "row": self.row,
            "reference": self.reference.tolist(), "other": self.other.tolist(),
        }  # fmt: skip


@dataclass(slots=True)
class Comparison:
    """The rows of one engine compared with those of the reference.

    Attributes:
        slack: Factor of BOX_PX and SCORE.
        pictures: Number of compared pictures.
        rows: Number of rows of the reference.
        borderline: Number of missing or additional rows that were borderline.
        box_px: Largest difference of a matched row.
        score: Largest difference of a matched row.
    """

    engine: str
    slack: float = 1.0
    pictures: int = 0
    rows: int = 0
    borderline: int = 0
    box_px: float = 0.0
    score: float = 0.0
    failures: list[Difference] = field(default_factory=list)

    @property
    def worst(self) -> Difference | None:
        """The largest failure."""
        return max(self.failures, key=lambda failure: failure.size, default=None)

    def add(self, name: str, reference: Rows, other: Rows, manifest: Manifest) -> None:
        """Compare one picture's rows."""
        full = len(reference)
        a, b = reference[reference[:, 4] > 0], other[other[:, 4] > 0]
        self.pictures += 1
        self.rows += len(a)
        if not np.isfinite(other).all():
            self.failures.append(Difference(name, 0, a[0] if len(a) else a.ravel(), other[0]))
            return
        pairs, missing, extra = match(a, b, self.slack)
        for i, j in pairs:
            difference = Difference(name, i, a[i], b[j])
            self.box_px = max(self.box_px, difference.box_px)
            self.score = max(self.score, difference.score)
        missing = self._drop_borderline(missing, a, b, manifest, full)
        extra = self._drop_borderline(extra, b, a, manifest, full)
        self.failures += _nearest(name, a, b, missing, extra)

    def describe(self, reference: str) -> list[str]:
        """The result in lines to print."""
        line = (
            f"{self.engine} against {reference}: {format_count(self.pictures, 'picture')}, "
            f"{format_count(self.rows, 'row')}, "
            f"{len(self.failures)} differ; the others by at most {self.box_px:.4f} px and "
            f"{self.score:.1e}, {self.borderline} were borderline"
        )
        return [line, *(self.worst.describe(reference, self.engine) if self.worst else ())]

    def to_dict(self) -> dict[str, object]:
        """The result for scripts."""
        return {
            "engine": self.engine, "pictures": self.pictures, "rows": self.rows,
            "differ": len(self.failures), "on_edge": self.borderline,
            "box_px": self.box_px, "score": self.score,
            "worst": self.worst.to_dict() if self.worst else None,
        }  # fmt: skip

    def _drop_borderline(
        self, rows: list[int], own: Rows, theirs: Rows, manifest: Manifest, full: int
    ) -> list[int]:
        clear = [row for row in rows if not self._is_borderline(row, own, theirs, manifest, full)]
        self.borderline += len(rows) - len(clear)
        return clear

    def _is_borderline(
        self, row: int, own: Rows, theirs: Rows, manifest: Manifest, full: int
    ) -> bool:
        """Whether rounding decides about a row."""
        near = SCORE * self.slack
        box, score, class_id = own[row, :4], own[row, 4], own[row, 5]
        if abs(score - manifest.score_threshold) <= near:
            return True
        if len(theirs) == full and score <= theirs[-1, 4] + near:
            return True  # their output was full
        rivals = np.concatenate([own, theirs])
        rivals = rivals[(rivals[:, 5] == class_id) & (rivals[:, 4] > score - near)]
        overlap = boxes.iou(box[None], rivals[:, :4])
        return bool(np.any(np.abs(overlap - manifest.iou_threshold) <= BORDER_IOU))


@dataclass(slots=True)
class VectorComparison:
    """One engine compared with the reference, for models with one output per picture.

    Attributes:
        slack: Factor of SCORE, of points of BOX_PX.
        pictures: Number of compared pictures.
        furthest: Largest difference that is allowed.
        failures: Pictures whose outputs differ, and by how much.
    """

    engine: str
    slack: float = 1.0
    pictures: int = 0
    furthest: float = 0.0
    failures: list[tuple[str, float]] = field(default_factory=list)

    @property
    def worst(self) -> tuple[str, float] | None:
        """The largest failure; nothing is larger than NaN."""
        return max(self.failures, key=lambda one: (math.isnan(one[1]), one[1]), default=None)

    def add(self, name: str, reference: F32, other: F32, manifest: Manifest) -> None:
        """Compare one picture's output: ``(D,)`` of unit length, probabilities, or points."""
        distance = math.inf  # descriptions of other dimensions
        if reference.shape == other.shape:
            different = np.abs(reference - other)
            if manifest.task == "embed":
                different = np.square(different).sum() / 2  # 1 - cosine, for another length more
            distance = float(np.max(different))
        self.pictures += 1
        allowed = BOX_PX if manifest.task == "landmarks" else SCORE
        if distance <= allowed * self.slack:  # NaN is not
            self.furthest = max(self.furthest, distance)
        else:
            self.failures.append((name, distance))

    def describe(self, reference: str) -> list[str]:
        """The result in lines to print."""
        line = (
            f"{self.engine} against {reference}: {format_count(self.pictures, 'picture')}, "
            f"{len(self.failures)} "
            f"differ; the others by at most {self.furthest:.1e}"
        )
        if not self.worst:
            return [line]
        name, by = self.worst
        return [line, f"worst: {name}, by {by:.1e}"]

    def to_dict(self) -> dict[str, object]:
        """The result for scripts."""
        name, by = self.worst or ("", 0.0)
        worst = {"picture": name, "by": by}
        return {
            "engine": self.engine, "pictures": self.pictures, "differ": len(self.failures),
            "furthest": self.furthest, "worst": worst if self.worst else None,
        }  # fmt: skip


def match(
    a: Rows, b: Rows, slack: float = 1.0
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Rows that are the same: pairs, rows only ``a`` has, rows only ``b`` has."""
    free = np.ones(len(b), bool)
    pairs: list[tuple[int, int]] = []
    for i, row in enumerate(a):
        size = _ratio(row, b)
        size[~free] = np.inf
        j = int(size.argmin()) if len(b) else -1
        if j >= 0 and size[j] <= slack:
            pairs.append((i, j))
            free[j] = False
    met = {i for i, _ in pairs}
    return pairs, [i for i in range(len(a)) if i not in met], np.flatnonzero(free).tolist()


def _ratio(row: F32, rows: Rows) -> F32:
    """How far each row is from ``row``: 1 is just allowed, infinite is another class."""
    different = np.abs(rows - row)
    far_px = np.delete(different, (4, 5), axis=1).max(axis=1, initial=0) / BOX_PX
    far = np.maximum(far_px, different[:, 4] / SCORE)
    return np.where(different[:, 5] == 0, far, np.inf)


def _nearest(
    name: str, a: Rows, b: Rows, missing: list[int], extra: list[int]
) -> Iterator[Difference]:
    """Failures: each missing row beside the additional row that is most like it."""
    free = list(extra)
    nothing = np.zeros(0, np.float32)
    for i in missing:
        size = _ratio(a[i], b[free])
        near = int(size.argmin()) if free else -1
        if near >= 0 and np.isfinite(size[near]):
            yield Difference(name, i, a[i], b[free.pop(near)])
        else:
            yield Difference(name, i, a[i], nothing)
    for j in free:
        yield Difference(name, j, nothing, b[j])


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """The whole comparison, to be printed.

    Attributes:
        reference: Name of the engine that the others were compared with.
        skipped: Engines that cannot run here, and why.
    """

    reference: str
    results: Sequence[Comparison | VectorComparison]
    skipped: Mapping[str, str]

    @property
    def failed(self) -> bool:
        """Whether any engine differs."""
        return any(result.failures for result in self.results)

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to compare, because the reference finds nothing."""
        rows = [result.rows for result in self.results if isinstance(result, Comparison)]
        return bool(rows) and not any(rows) and not self.failed

    def __str__(self) -> str:
        lines = [f"skipped {engine}: {why}" for engine, why in self.skipped.items()]
        for result in self.results:
            lines += result.describe(self.reference)
        return "\n".join(lines)

    def to_json(self) -> str:
        """The report for scripts."""
        engines = [result.to_dict() for result in self.results]
        return strict_json.dumps(
            {"reference": self.reference, "engines": engines, "skipped": dict(self.skipped)}
        )
