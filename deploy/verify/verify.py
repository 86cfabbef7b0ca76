"""Verification: a model gives the same answers wherever it runs, and those of its Keras network.

What is compared are a model's outputs for whole pictures, letterboxed to its input; a liveness
model gets each picture as often as its clips are long. What is the same,
`deploy.verify.comparison` says.
Whether it is right is another question, which `deploy.quantize.accuracy` asks.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from deploy.graph.session import Infer, Outputs
from deploy.verify.comparison import Answers, Comparison
from edge import plugins
from edge.engines.cache import EngineCache, EngineEntry, default_root
from edge.errors import ConfigError, EdgeError
from edge.manifest import Manifest
from edge.ports import Session
from edge.types import F32, U8
from edge.vision.image_file import read_picture
from edge.vision.preprocess import letterbox

BATCH = 4
PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


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
def open_engines(
    model: bytes, name: str, reference: Infer | None = None, triton: str = ""
) -> Iterator[Engines]:
    """Every runtime that is there with the model loaded; ONNX Runtime first, Keras before it.

    Args:
        model: its bytes.
        name: for messages.
        reference: what its Keras network answers.
        triton: gRPC port of a Triton server that has it.

    Raises:
        ModelError: ONNX Runtime cannot load it, or the Triton server has another one.
        ConfigError: the Triton server does not answer.
    """
    infer: dict[str, Infer] = {"keras": reference} if reference else {}
    skipped: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for kind in sorted(plugins.kinds("runtimes"), key=lambda kind: kind != "onnx"):
            if kind == "triton" and not triton:
                skipped[kind] = "name the server's gRPC port with --triton, say 10.0.0.9:8001"
                continue
            for engine, load in _sessions(kind, model, name, triton):
                try:
                    session = stack.enter_context(contextlib.closing(load()))
                except (EdgeError, ValueError, OSError) as error:  # pydantic's is a ValueError
                    if kind in ("onnx", "triton"):  # the reference, what was asked for
                        raise
                    skipped[engine] = str(error).partition("\n")[0]
                    continue
                infer[engine] = session.infer
        yield Engines(infer, skipped)


def _sessions(
    kind: str, model: bytes, name: str, triton: str
) -> Iterator[tuple[str, Callable[[], Session]]]:
    """What a runtime has of the model: itself, or of TensorRT each engine in the cache."""
    told = {"tensorrt": {"fallback": "none"}, "triton": {"url": triton}}
    table = {"kind": kind, **told.get(kind, {})}
    built = EngineCache(default_root()).entries() if kind == "tensorrt" else ()
    digest = hashlib.sha256(model).hexdigest()
    entries = [entry for entry in built if entry.key.model == digest]
    if not entries:
        yield kind, lambda: plugins.create("runtimes", table).load(model, name)
    for entry in entries:
        chosen = table | {"library": entry.key.library}
        yield f"{entry.key} {entry.key.id[:8]}", partial(_open, chosen, entry, model, name)


def _open(table: Mapping[str, str], entry: EngineEntry, model: bytes, name: str) -> Session:
    session: Session = plugins.create("runtimes", table).open(entry, model, name)
    return session


def verify(
    manifest: Manifest,
    infer: Mapping[str, Infer],
    pictures: Sequence[Path],
    advance: Callable[[int], None] = lambda _: None,
    slack: float = 1.0,
) -> Sequence[Comparison | Answers]:
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
    kind = Comparison if manifest.task in ("detect", "faces") else Answers
    results = [kind(name, slack) for name, _ in others]
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        images = read_letterboxed(part, manifest)
        wanted = merge_outputs(reference(images))
        for result, (_, other) in zip(results, others, strict=True):
            given = merge_outputs(other(images))
            for path, a, b in zip(part, wanted, given, strict=True):
                result.add(path.name, a, b, manifest)
        advance(len(part))
    return results


def merge_outputs(outputs: Outputs) -> F32:
    """The contract's outputs as one array, a row for each picture.

    ``(B, K, 6)``, or ``(B, K, 16)`` with points; ``(B, D)`` descriptions, ``(B,)`` probabilities.
    """
    if "landmarks" not in outputs:
        (only,) = outputs.values()
        return only
    rows, points = outputs["detections"], outputs["landmarks"]
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


def read_letterboxed(paths: Sequence[Path], manifest: Manifest) -> U8:
    """``(B, h, w, 3)``, for a liveness model ``(B, T, h, w, 3)``: clips that stand still."""
    width, height = manifest.input_wh
    images = np.empty((len(paths), height, width, 3), np.uint8)
    for path, image in zip(paths, images, strict=True):
        try:
            picture = read_picture(path)
        except EdgeError as error:
            raise ConfigError(f"{error}: replace it or drop it") from error
        letterbox(picture, image, manifest.letterbox_align, manifest.letterbox_fill)
    if manifest.task == "liveness":
        return np.stack([images] * manifest.crops, axis=1)
    return images
