"""The manifest: what a model file promises about itself, in its metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.compat import Self
from edge.errors import ModelError
from edge.input_file import MIB, read_input
from edge.types import Placement, Resampling

KEY = "edge.manifest"
MAX_FILE_BYTES = 1024 * MIB
MAX_MANIFEST_CHARS = 4 * MIB
MAX_INPUT_BYTES = 64 * MIB  # of one picture or clip
Task = Literal["detect", "faces", "embed", "liveness", "landmarks", "classify"]
# Must be said and is not guessed: on faces prepared otherwise, these models err without a sign.
_AS_TRAINED = ("resampling", "color", "mean", "scale")
PREPROCESSING: Final[Mapping[Task, tuple[str, ...]]] = {
    "embed": _AS_TRAINED,
    "liveness": (*_AS_TRAINED, "crop_scales", "clip_frames"),
    "landmarks": (*_AS_TRAINED, "crop_margin"),
}


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must have printable characters only")
    return text


def _check_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name != name.strip():
            raise ValueError(f"the class name {name!r} must not begin or end with a blank")
    if len(set(names)) < len(names):
        twice = next(name for row, name in enumerate(names) if name in names[:row])
        raise ValueError(f"the class name {twice!r} must be there once")
    return names


Text = Annotated[str, Field(max_length=4000), AfterValidator(_check_printable)]
ClassName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_printable)]
Side = Annotated[int, Field(ge=8, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]


class Manifest(BaseModel):
    """What a contract model promises: JSON in the ONNX metadata entry ``edge.manifest``.

    Attributes:
        schema_version: Version of this structure.
        task: Row of the model contract that the model fulfills.
        name: Short name, shown in messages.
        family: Origin of the network, such as yolox, yunet or edge-nano.
        input_wh: Width and height of the network's input in pixels.
        letterbox_align: Position of the image within the input, or stretched over all of it.
        letterbox_fill: Gray level around the image.
        letterbox_rounding: Rounding of the image's shorter side, where its aspect is kept.
        resampling: How pictures are resized: ``bilinear`` reads 2x2 pixels wherever it shrinks to,
            ``halved_bilinear`` takes 2x2 means until less than a half remains, so nothing aliases.
        color: Order of the channels that the network within the graph takes.
        mean: Subtracted from red, green and blue 0 to 255 within the graph.
        scale: Factors of the differences within the graph.
        layout: Layout of the network's own output, where its family has several.
        proofs: What was found when the model was tried, and what could not be proven.
        classes: Class names by class id; empty for tasks without classes.
        score_threshold: Rows below it are removed within the graph.
        iou_threshold: IoU threshold of the NMS within the graph.
        max_rows: K, the number of rows of the output.
        crop_scales: For liveness: sides of the crops of one image, relative to the face box.
        crop_margin: For classification: by which a box is enlarged before it is cut out, as a
            fraction of its sides, half at each edge. For 68 points: by which an aligned face is
            cut out wider than for an embedder.
        independent: For classification: any number of the classes may hold, instead of one.
        clip_frames: For liveness: frames of a track that one answer takes.
        clip_s: For liveness: time that those frames may span, in seconds.
        license: SPDX identifier of the weights' license.
        trained_on: Names of the data sets.
        source_sha256: SHA-256 of the file that was adopted, exported or quantized.
        precision: Precision of the network; decoding and NMS are always float32.
        metrics: Measured quality by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    task: Task
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    family: Text = ""
    input_wh: tuple[Side, Side]
    letterbox_align: Literal["top_left", "center", "stretch"] = "top_left"
    letterbox_fill: int = Field(default=114, ge=0, le=255)
    letterbox_rounding: Literal["nearest", "down"] = "nearest"
    resampling: Resampling = "halved_bilinear"
    color: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Text = ""
    proofs: tuple[Text, ...] = Field(default=(), max_length=20)
    classes: Annotated[
        tuple[ClassName, ...], Field(max_length=8192), AfterValidator(_check_classes)
    ] = ()
    score_threshold: Share = 0.0
    iou_threshold: Share = 0.0
    max_rows: int = Field(default=0, ge=0, le=10_000)
    crop_scales: tuple[Annotated[float, Field(gt=0, le=20)], ...] = Field(
        default=(2.7,), min_length=1, max_length=8
    )
    crop_margin: Annotated[float, Field(ge=0, le=4)] = 0.0
    independent: bool = False
    clip_frames: int = Field(default=1, ge=1, le=256)
    clip_s: float = Field(default=3.0, gt=0, le=600)
    license: Text = "unknown"
    trained_on: Text = "unknown"
    source_sha256: Text = ""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    metrics: dict[Text, float] = Field(default_factory=dict, max_length=50_000)

    @model_validator(mode="after")
    def _require_classes(self) -> Self:
        if self.task == "classify" and len(self.classes) < (1 if self.independent else 2):
            raise ValueError("a classifier must name its classes")
        return self

    @model_validator(mode="after")
    def _require_square(self) -> Self:
        if self.task == "landmarks" and self.input_wh[0] != self.input_wh[1]:
            raise ValueError(f"68 points are found in a square, got {self.input_wh}")
        return self

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        size_bytes = self.crops * 3 * self.input_wh[0] * self.input_wh[1]
        if size_bytes > MAX_INPUT_BYTES:
            raise ValueError(
                f"an input may have {MAX_INPUT_BYTES / MIB:.0f} MiB, this has "
                f"{size_bytes / MIB:.0f}: use smaller pictures"
            )
        return self

    @property
    def placement(self) -> Placement:
        """How pictures are placed into the input."""
        return Placement(
            self.letterbox_align, self.letterbox_fill, self.letterbox_rounding, self.resampling
        )

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
            ModelError: The manifest is missing or broken, names what is unknown here, says too
                little of how pictures are prepared, or is of another task.
        """
        if KEY not in metadata:
            raise ModelError(
                f"{name} carries no {KEY}: adopt it first (edge-deploy adopt {name} --family ..)"
            )
        text = metadata[KEY]
        try:
            if len(text) > MAX_MANIFEST_CHARS:
                raise ModelError(
                    f"{name} has an {KEY} of more than {MAX_MANIFEST_CHARS} characters"
                )
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(
                f"{name} has a broken {KEY} ({describe_invalid(error)}): export or adopt it again"
            ) from error
        required = PREPROCESSING.get(manifest.task, ())
        if missing := [entry for entry in required if entry not in manifest.model_fields_set]:
            raise ModelError(
                f"{name} does not say how faces are prepared for it (no {', '.join(missing)} in "
                f"its {KEY}): export or adopt it again"
            )
        if task not in (None, manifest.task):
            article = "an" if manifest.task[0] in "aeiou" else "a"
            raise ModelError(
                f"{name} is {article} {manifest.task} model, expected one for {task}: name another"
            )
        return manifest


def describe_invalid(error: ValidationError) -> str:
    """The first mistake that was found in a manifest, as printable text: where and what."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        first["msg"] = "unknown to this version"
    text = f"{where}: {first['msg']}" if where else first["msg"]
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


def read_model(path: Path, sha256: str = "") -> bytes:
    """The bytes of a model file; hashed as loaded, so that what was checked is what runs.

    Raises:
        ModelError: It is missing, unreadable, empty, too large or no regular file, or its hash
            differs from ``sha256``.
    """
    try:
        model = read_input(path, MAX_FILE_BYTES)
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
