"""The manifest: what a model file promises about itself, in its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.errors import ModelError

KEY = "edge.manifest"
Task = Literal["detect", "faces", "embed", "liveness"]


class Manifest(BaseModel):
    """What a contract model promises: JSON in the ONNX metadata entry ``edge.manifest``.

    Attributes:
        schema_version: Version of this structure.
        task: Row of the model contract that the model fulfills.
        name: Short name, shown in messages.
        family: Origin of the network, such as yolox, yunet or edge-nano.
        input_wh: Width and height of the network's input in pixels.
        letterbox_align: Position of the image within the input.
        letterbox_fill: Gray level around the image.
        classes: Class names by class id; empty for tasks without classes.
        score_threshold: Rows below it are removed within the graph.
        iou_threshold: IoU threshold of the NMS within the graph.
        max_rows: K, the number of rows of the output.
        crop_scales: For liveness: sides of the crops of one image, relative to the face box.
        clip_frames: For liveness: frames of a track that one answer takes.
        clip_s: For liveness: time that those frames may span, in seconds.
        license: SPDX identifier of the weights' license.
        trained_on: Names of the data sets.
        source_sha256: SHA-256 of the file that was adopted, exported or quantized.
        precision: Precision of the network; decoding and NMS are always float32.
        metrics: Measured quality by name.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    task: Task
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    family: str = ""
    input_wh: tuple[int, int]
    letterbox_align: Literal["top_left", "center"] = "top_left"
    letterbox_fill: int = Field(default=114, ge=0, le=255)
    classes: tuple[str, ...] = ()
    score_threshold: float = 0.0
    iou_threshold: float = 0.0
    max_rows: int = 0
    crop_scales: tuple[float, ...] = Field(default=(2.7,), min_length=1)
    clip_frames: int = Field(default=1, ge=1)
    clip_s: float = Field(default=3.0, gt=0)
    license: str = "unknown"
    trained_on: str = "unknown"
    source_sha256: str = ""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    metrics: dict[str, float] = Field(default_factory=dict)

    @property
    def crops(self) -> int:
        """T of a liveness model's input: each picture of the clip, oldest first, at each scale."""
        return self.clip_frames * len(self.crop_scales)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input without the batch: (h, w, 3), of a liveness model (T, h, w, 3)."""
        width, height = self.input_wh
        clip = (self.crops,) if self.task == "liveness" else ()
        return (*clip, height, width, 3)

    def to_metadata(self) -> dict[str, str]:
        """The metadata entries to write into a model file."""
        return {KEY: self.model_dump_json()}

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, str], name: str, task: Task | None = None
    ) -> Self:
        """Read the manifest and check its task; None takes any.

        Raises:
            ModelError: The manifest is missing or broken, or of another task.
        """
        if KEY not in metadata:
            raise ModelError(
                f"{name} carries no {KEY}: adopt it first (edge-deploy adopt {name} --family ..)"
            )
        try:
            manifest = cls.model_validate_json(metadata[KEY])
        except (ValidationError, json.JSONDecodeError) as error:
            raise ModelError(f"{name} has a broken {KEY}: export or adopt it again") from error
        if task not in (None, manifest.task):
            raise ModelError(f"{name} is a {manifest.task} model, expected one for {task}")
        return manifest


def read_model(path: Path, sha256: str = "") -> bytes:
    """The bytes of a model file; hashed as loaded, so that what was checked is what runs.

    Raises:
        ModelError: It is missing, unreadable or empty, or its hash differs from ``sha256``.
    """
    try:
        model = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}: check the path") from error
    if not model:
        raise ModelError(f"{path} is empty: copy or export it again")
    digest = hashlib.sha256(model).hexdigest()
    if sha256 and digest != sha256.lower():
        raise ModelError(
            f"{path} has sha256 {digest}, the configuration pins {sha256}: "
            "restore the file, or pin the new hash if you trust it"
        )
    return model
