"""Verification: a model gives the same rows wherever it runs, and those of its Keras network.

Each row of the reference must have a row of the same class with its box within 0.5 px and its
score within 1e-3; a model in halves or integers may differ by more. Arithmetic in another order may
turn over a decision that stood on an edge: a score at the threshold, an overlap at NMS's threshold,
the last row of a full output. Such a row may be missing or additional, and is counted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from edge import plugins
from edge.engines.cache import EngineCache, Entry, default_root
from edge.errors import ConfigError, EdgeError, ModelError
from edge.manifest import Manifest, Task
from edge.ports import Session
from edge.types import F32, U8
from edge.vision import boxes
from edge.vision.picture import read_picture
from edge.vision.preprocess import letterbox

BOX_PX, SCORE = 0.5, 1e-3
SLACK = {"fp32": 1.0, "fp16": 8.0, "int8": 16.0}  # of both, for other orders of coarser sums
EDGE_IOU = 5e-3  # so near to NMS's threshold either decision is right
BATCH = 4
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

Rows = F32  # (K, 6) or, with five points, (K, 16): box, score, class, points; unused rows 0
Infer = Callable[[U8], Mapping[str, F32]]  # (B, h, w, 3) -> the contract's outputs


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same.

    Attributes:
        picture: its name.
        row: of the reference; of the other where the reference has none.
        reference: ``(6,)`` or ``(16,)``; empty when only the other has the row.
        other: the same of the other; empty when it lacks the row.
    """

    picture: str
    row: int
    reference: F32
    other: F32

    @property
    def box_px(self) -> float:
        """Largest difference of a corner or point; infinite when one has no such row."""
        if not (len(self.reference) and len(self.other)):
            return float("inf")
        different = np.abs(self.reference - self.other)
        return float(np.delete(different, (4, 5)).max())

    @property
    def score(self) -> float:
        """Difference of the scores; the score itself when one has no such row."""
        if not (len(self.reference) and len(self.other)):
            return float(max(self.reference[4:5].sum(), self.other[4:5].sum()))
        return float(abs(self.reference[4] - self.other[4]))

    @property
    def size(self) -> tuple[bool, float]:
        """By which the worst one is found: 1 is just allowed."""
        ratio = max(self.box_px / BOX_PX, self.score / SCORE)
        return np.isinf(ratio), self.score if np.isinf(ratio) else ratio


@dataclass(slots=True)
class Comparison:
    """One engine beside the reference.

    Attributes:
        engine: its name.
        slack: by which BOX_PX and SCORE are multiplied.
        pictures: compared.
        rows: of the reference.
        on_edge: rows missing or additional that stood on an edge.
        box_px: largest difference of a matched row.
        score: largest difference of a matched row.
        failures: what is not the same.
    """

    engine: str
    slack: float = 1.0
    pictures: int = 0
    rows: int = 0
    on_edge: int = 0
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
        if not (np.isfinite(other).all() and len(a) <= full):
            self.failures.append(Difference(name, 0, a[0] if len(a) else a.ravel(), other[0]))
            return
        pairs, lost, extra = match(a, b, self.slack)
        for i, j in pairs:
            difference = Difference(name, i, a[i], b[j])
            self.box_px = max(self.box_px, difference.box_px)
            self.score = max(self.score, difference.score)
        lost, extra = (
            self._without_edges(rows, found, theirs, manifest, full)
            for rows, found, theirs in ((lost, a, b), (extra, b, a))
        )
        self.failures += _nearest(name, a, b, lost, extra)

    def _without_edges(
        self, rows: list[int], found: Rows, theirs: Rows, manifest: Manifest, full: int
    ) -> list[int]:
        left = [row for row in rows if not self._on_edge(row, found, theirs, manifest, full)]
        self.on_edge += len(rows) - len(left)
        return left

    def _on_edge(self, row: int, found: Rows, theirs: Rows, manifest: Manifest, full: int) -> bool:
        """Whether a row stands where rounding decides."""
        near = SCORE * self.slack
        box, score, kind = found[row, :4], found[row, 4], found[row, 5]
        if abs(score - manifest.score_threshold) <= near:
            return True
        if len(theirs) == full and score <= theirs[-1, 4] + near:
            return True  # their output was full
        rivals = np.concatenate([found, theirs])
        rivals = rivals[(rivals[:, 5] == kind) & (rivals[:, 4] > score - near)]
        overlap = boxes.iou(box[None], rivals[:, :4])
        return bool(np.any(np.abs(overlap - manifest.iou_threshold) <= EDGE_IOU))


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
    name: str, a: Rows, b: Rows, lost: list[int], extra: list[int]
) -> Iterator[Difference]:
    """Failures: what was lost beside what is most like it among what is additional."""
    free = list(extra)
    nothing = np.zeros(0, np.float32)
    for i in lost:
        size = _ratio(a[i], b[free])
        near = int(size.argmin()) if free else -1
        if near >= 0 and np.isfinite(size[near]):
            yield Difference(name, i, a[i], b[free.pop(near)])
        else:
            yield Difference(name, i, a[i], nothing)
    for j in free:
        yield Difference(name, j, nothing, b[j])


@dataclass(frozen=True, slots=True)
class Report:
    """The whole comparison, to be shown.

    Attributes:
        reference: name of the engine that the others were compared with.
        results: of the others.
        skipped: engines that cannot run here, and why.
    """

    reference: str
    results: Sequence[Comparison]
    skipped: Mapping[str, str]

    @property
    def failed(self) -> bool:
        """Whether any engine differs."""
        return any(result.failures for result in self.results)

    def __str__(self) -> str:
        lines = [f"skipped {engine}: {why}" for engine, why in self.skipped.items()]
        for result in self.results:
            lines.append(
                f"{result.engine} beside {self.reference}: {result.pictures} pictures, "
                f"{result.rows} rows, {len(result.failures)} differ; the others by at most "
                f"{result.box_px:.4f} px and {result.score:.1e}, {result.on_edge} stood on an edge"
            )
            if result.worst:
                lines += _shown(result.worst, self.reference, result.engine)
        return "\n".join(lines)

    def to_json(self) -> str:
        """For scripts."""
        return json.dumps(
            {
                "reference": self.reference,
                "engines": [
                    {
                        "engine": x.engine, "pictures": x.pictures, "rows": x.rows,
                        "differ": len(x.failures), "on_edge": x.on_edge,
                        "box_px": x.box_px, "score": x.score,
                        "worst": _plain(x.worst) if x.worst else None,
                    }
                    for x in self.results
                ],
                "skipped": dict(self.skipped),
            }
        )  # fmt: skip


def _shown(worst: Difference, *names: str) -> list[str]:
    lines = [f"worst: {worst.picture}, row {worst.row}"]
    for name, row in zip(names, (worst.reference, worst.other), strict=True):
        values = " ".join(f"{value:.3f}" for value in (*row[:4], *row[6:]))
        found = f"box {values} score {row[4]:.4f} class {row[5]:.0f}" if len(row) else "nothing"
        lines.append(f"  {name}: {found}")
    return lines


def _plain(worst: Difference) -> dict[str, object]:
    return {
        "picture": worst.picture, "row": worst.row,
        "reference": worst.reference.tolist(), "other": worst.other.tolist(),
    }  # fmt: skip


# --- what is compared -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Engines:
    """What can run the model here.

    Attributes:
        infer: by name; the first is the reference.
        skipped: by name, why.
    """

    infer: dict[str, Infer]
    skipped: dict[str, str]


@contextlib.contextmanager
def engines(model: bytes, name: str, reference: Infer | None = None) -> Iterator[Engines]:
    """Every runtime that is there with the model loaded; ONNX Runtime first, Keras before it.

    Raises:
        ModelError: ONNX Runtime cannot load it.
    """
    infer: dict[str, Infer] = {"keras": reference} if reference else {}
    skipped: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for kind in sorted(plugins.kinds("runtimes"), key=lambda kind: kind != "onnx"):
            for engine, load in _sessions(kind, model, name):
                try:
                    session = stack.enter_context(contextlib.closing(load()))
                except (EdgeError, ValueError, OSError) as error:  # pydantic's is a ValueError
                    if kind == "onnx":
                        raise
                    skipped[engine] = str(error).partition("\n")[0]
                    continue
                infer[engine] = session.infer
        yield Engines(infer, skipped)


def _sessions(kind: str, model: bytes, name: str) -> Iterator[tuple[str, Callable[[], Session]]]:
    """What a runtime has of the model: itself, or of TensorRT each engine in the cache."""
    if kind != "tensorrt":
        yield kind, lambda: plugins.create("runtimes", {"kind": kind}).load(model, name)
        return
    digest = hashlib.sha256(model).hexdigest()
    engines = [e for e in EngineCache(default_root()).entries() if e.key.model == digest]
    table = {"kind": kind, "fallback": "none"}
    if not engines:
        yield kind, lambda: plugins.create("runtimes", table).load(model, name)
    for entry in engines:
        chosen = table | {"library": entry.key.library}
        yield str(entry.key), partial(_open, chosen, entry, model, name)


def _open(table: Mapping[str, str], entry: Entry, model: bytes, name: str) -> Session:
    session: Session = plugins.create("runtimes", table).open(entry, model, name)
    return session


def _ignored(count: int) -> None:
    """Nobody watches the progress."""


def verify(
    manifest: Manifest,
    infer: Mapping[str, Infer],
    pictures: Sequence[Path],
    advance: Callable[[int], None] = _ignored,
    slack: float = 1.0,
) -> list[Comparison]:
    """Compare every engine with the first on pictures.

    Args:
        manifest: of the model.
        infer: engines by name; the first is the reference.
        pictures: files.
        advance: is told how many pictures were compared.
        slack: see ``Comparison``.

    Raises:
        ConfigError: a picture cannot be read.
    """
    (_, reference), *others = infer.items()
    results = [Comparison(name, slack) for name, _ in others]
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        images = letterboxed(part, manifest)
        wanted = rows_of(reference(images))
        for result, (_, other) in zip(results, others, strict=True):
            given = rows_of(other(images))
            for path, a, b in zip(part, wanted, given, strict=True):
                result.add(path.name, a, b, manifest)
        advance(len(part))
    return results


def manifest_of(model: bytes, name: str) -> Manifest:
    """What a model promises.

    Raises:
        ModelError: broken, foreign, or of a task without rows.
    """
    manifest = any_manifest(model, name)
    if manifest.task not in ("detect", "faces"):
        raise ModelError(f"{name} is a {manifest.task} model: only rows of boxes are compared")
    return manifest


def any_manifest(model: bytes, name: str) -> Manifest:
    """What a model of any task promises.

    Raises:
        ModelError: no ONNX file, or no model of the contract.
    """
    try:
        entries = onnx.load_model_from_string(model).metadata_props
    except DecodeError as error:
        raise ModelError(f"{name} is no ONNX file: export it again") from error
    metadata = {entry.key: entry.value for entry in entries}
    *tasks, last = get_args(Task)
    for task in tasks:
        try:
            return Manifest.from_metadata(metadata, name, task)
        except ModelError:
            continue
    return Manifest.from_metadata(metadata, name, last)


def rows_of(outputs: Mapping[str, F32]) -> F32:
    """The contract's outputs -> ``(B, K, 6)``, or ``(B, K, 16)`` with points."""
    rows, points = outputs["detections"], outputs.get("landmarks")
    if points is None:
        return rows
    return np.concatenate([rows, points.reshape(*points.shape[:2], -1)], axis=2)


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Pictures as given; of folders those below them, sorted.

    Raises:
        ConfigError: a path that does not exist, or nothing found.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} does not exist: check --pictures")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [p for p in inside if p == path or p.suffix.lower() in PICTURES]
    if not found:
        raise ConfigError("no picture to compare on: name some with --pictures FOLDER")
    return found


def letterboxed(paths: Sequence[Path], manifest: Manifest) -> U8:
    """``(B, h, w, 3)``: as the daemon hands them to the model."""
    width, height = manifest.input_wh
    images = np.empty((len(paths), height, width, 3), np.uint8)
    for path, image in zip(paths, images, strict=True):
        try:
            picture = read_picture(path)
        except EdgeError as error:
            raise ConfigError(f"{error}: replace it or drop it") from error
        letterbox(picture, image, manifest.letterbox_align, manifest.letterbox_fill)
    return images
