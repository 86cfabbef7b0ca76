"""Verification: a model gives the same outputs in every runtime, and those of its Keras network.

The outputs for whole pictures are compared, letterboxed to the input; a liveness model gets clips
that repeat each picture. `deploy.verify.comparison` defines what is the same. Whether it is right
is another question, which `deploy.quantize.accuracy` asks.
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
from deploy.verify.comparison import Comparison, VectorComparison
from edge import plugins
from edge.engines.cache import EngineCache, EngineEntry, default_root
from edge.errors import ConfigError, EdgeError
from edge.manifest import Manifest
from edge.ports import Session
from edge.types import F32, U8
from edge.vision.image_file import read_picture
from edge.vision.preprocess import letterbox
from trainers.data.dataset import Problem
from trainers.data.picture_folder import find_pictures

BATCH = 4


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines that can run the model here.

    Attributes:
        infer: By name; the first is the reference.
        skipped: By name, the reason why it cannot run.
    """

    infer: dict[str, Infer]
    skipped: dict[str, str]


@contextlib.contextmanager
def open_engines(
    model: bytes, name: str, reference: Infer | None = None, triton: str = ""
) -> Iterator[Engines]:
    """Load the model into every available runtime; ONNX Runtime first, Keras before it.

    ``reference`` runs the Keras network; ``triton`` is the gRPC address of a server.

    Raises:
        ModelError: ONNX Runtime cannot load it, or the Triton server has another one.
        ConfigError: The Triton server does not answer.
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
    options = {"tensorrt": {"fallback": "none"}, "triton": {"url": triton}}
    table = {"kind": kind, **options.get(kind, {})}
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
) -> Sequence[Comparison | VectorComparison]:
    """Compare every engine with the first on pictures.

    ``advance`` receives the number of pictures after each batch; see `Comparison` for ``slack``.

    Raises:
        ConfigError: A picture cannot be read.
    """
    (_, reference), *others = infer.items()
    kind = Comparison if manifest.task in ("detect", "faces") else VectorComparison
    results = [kind(name, slack) for name, _ in others]
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        images = read_letterboxed(part, manifest)
        expected = merge_outputs(reference(images))
        for result, (_, other) in zip(results, others, strict=True):
            outputs = merge_outputs(other(images))
            for path, a, b in zip(part, expected, outputs, strict=True):
                result.add(path.name, a, b, manifest)
        advance(len(part))
    return results


def merge_outputs(outputs: Outputs) -> F32:
    """The contract's outputs as one array, a row per picture.

    ``(B, K, 6)``, or ``(B, K, 16)`` with points; ``(B, D)`` embeddings, ``(B,)`` probabilities.
    """
    if "landmarks" not in outputs:
        (only,) = outputs.values()
        return only
    rows, points = outputs["detections"], outputs["landmarks"]
    return np.concatenate([rows, points.reshape(*points.shape[:2], -1)], axis=2)


def list_pictures(paths: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """The pictures as given, of folders those below them, sorted; and what was passed over.

    Raises:
        ConfigError: A path does not exist, or nothing was found.
    """
    pictures, notes = list[Path](), list[Problem]()
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} does not exist: check --pictures")
        inside, passed_over = find_pictures(path) if path.is_dir() else ([path], [])
        pictures += inside
        notes += passed_over
    if not pictures:
        why = "".join(f"; {note.what}" for note in notes)
        raise ConfigError(f"no picture to compare on: name some with --pictures FOLDER{why}")
    return pictures, notes


def read_letterboxed(paths: Sequence[Path], manifest: Manifest) -> U8:
    """``(B, h, w, 3)``, for a liveness model ``(B, T, h, w, 3)``: clips that stand still."""
    width, height = manifest.input_wh
    images = np.empty((len(paths), height, width, 3), np.uint8)
    for path, image in zip(paths, images, strict=True):
        try:
            picture = read_picture(path)
        except EdgeError as error:
            raise ConfigError(f"{error}: replace it or drop it") from error
        letterbox(picture, image, manifest.placement)
    if manifest.task == "liveness":
        return np.stack([images] * manifest.crops, axis=1)
    return images
