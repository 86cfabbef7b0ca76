"""Contract models: the one way from a file to a model of each task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, overload

import numpy as np

from edge.errors import ModelError
from edge.manifest import KEY, Manifest, Task, read_model
from edge.models.classifier import ContractClassifier
from edge.models.detector import ContractDetector
from edge.models.embedder import ContractEmbedder
from edge.models.faces import ContractFaceFinder
from edge.models.landmarks import POINTS68, ContractLandmarks
from edge.models.liveness import ContractLiveness
from edge.models.picture_model import PictureModel
from edge.onnxfile import metadata_of
from edge.ports import Runtime, Session
from edge.types import F32
from edge.vision.face_crops import FACE_PX

ContractModel = (
    ContractDetector
    | ContractFaceFinder
    | ContractEmbedder
    | ContractLiveness
    | ContractLandmarks
    | ContractClassifier
)

# Each task's float32 outputs, and their shape with the batch's N in front; names stand for any
# size.
OUTPUTS: Mapping[Task, Mapping[str, tuple[int | str, ...]]] = {
    "detect": {"detections": ("N", "K", 6)},
    "faces": {"detections": ("N", "K", 6), "landmarks": ("N", "K", 5, 2)},
    "embed": {"embeddings": ("N", "D")},
    "liveness": {"live": ("N",)},
    "landmarks": {"points": ("N", POINTS68, 2)},
    "classify": {"probabilities": ("N", "K")},
}


@overload
def load_model(
    task: Literal["detect"], runtime: Runtime, path: Path, sha256: str = ""
) -> ContractDetector: ...
@overload
def load_model(
    task: Literal["faces"], runtime: Runtime, path: Path, sha256: str = ""
) -> ContractFaceFinder: ...
@overload
def load_model(
    task: Literal["embed"], runtime: Runtime, path: Path, sha256: str = ""
) -> ContractEmbedder: ...
@overload
def load_model(
    task: Literal["liveness"], runtime: Runtime, path: Path, sha256: str = ""
) -> ContractLiveness: ...
@overload
def load_model(
    task: Literal["landmarks"], runtime: Runtime, path: Path, sha256: str = ""
) -> ContractLandmarks: ...


@overload
def load_model(
    task: Literal["classify"], runtime: Runtime, path: Path, sha256: str = ""
) -> ContractClassifier: ...


def load_model(task: Task, runtime: Runtime, path: Path, sha256: str = "") -> ContractModel:
    """Load a model and run it once to check that it keeps the contract of its task.

    Its file must have the hash ``sha256``, if one is given.

    Raises:
        ModelError: The file is missing, broken, untrusted, of another task, or breaks the
            contract.
    """
    content = read_model(path, sha256)
    session = runtime.load(content, str(path))
    manifest = Manifest.from_metadata(session.metadata, str(path), task)
    outputs = _try_out(session, manifest, path)
    digest = hashlib.sha256(content).hexdigest()
    match task:
        case "detect":
            return ContractDetector(PictureModel(session, manifest, digest))
        case "faces":
            return ContractFaceFinder(PictureModel(session, manifest, digest))
        case "embed":
            dimension = outputs["embeddings"].shape[1]
            return ContractEmbedder(session, manifest, digest, dimension)
        case "liveness":
            return ContractLiveness(session, manifest, digest)
        case "landmarks":
            return ContractLandmarks(session, manifest, digest)
        case "classify":
            count = outputs["probabilities"].shape[1]
            if count != len(manifest.classes):
                raise ModelError(
                    f"the model has {count} outputs and names {len(manifest.classes)} classes: "
                    "export it again",
                    file=path,
                )
            return ContractClassifier(session, manifest, digest)


def _try_out(session: Session, manifest: Manifest, path: Path) -> Mapping[str, F32]:
    """Run black images through a model and check its outputs."""
    width, height = manifest.input_wh
    if manifest.task == "embed" and manifest.input_wh != (FACE_PX, FACE_PX):
        raise ModelError(
            f"an embedder must take {FACE_PX}x{FACE_PX} faces, this one takes {width}x{height}: "
            "export or adopt it again",
            file=path,
        )
    count = 2 if manifest.task in ("embed", "liveness", "landmarks", "classify") else 1
    try:
        outputs = session.infer(np.zeros((count, *manifest.input_shape), np.uint8))
    except ModelError as error:
        raise ModelError(
            f"the model does not take {width}x{height} pictures: {error}", file=path
        ) from error
    for name, shape in OUTPUTS[manifest.task].items():
        value = outputs.get(name)
        if value is None or value.dtype != np.float32 or not _fits(value.shape, shape, count):
            expected = ", ".join(map(str, shape))
            raise ModelError(
                f"the model has no float32 output {name!r} ({expected}), which every "
                f"{manifest.task} model must have: export or adopt it again",
                file=path,
            )
    return outputs


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...], count: int) -> bool:
    return (
        len(shape) == len(expected)
        and shape[0] == count
        and all(isinstance(e, str) or s == e for s, e in zip(shape, expected, strict=True))
    )


def read_task_manifest(path: Path) -> Manifest:
    """Read the manifest of a contract model of any task.

    Raises:
        ModelError: It is missing or not a contract model.
    """
    try:
        metadata = metadata_of(read_model(path))
        stored = json.loads(metadata.get(KEY, "{}"))
    except ValueError as error:  # not protobuf, text or JSON
        raise ModelError(
            f"This is not a contract model ({error}): export or adopt it.", file=path
        ) from error
    return Manifest.from_metadata(metadata, str(path), stored.get("task", "detect"))
