"""A folder of photos: a folder for each person, and what lies there and is nobody's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import typer

from edge.compat import Self
from edge.errors import ConfigError, GalleryError
from edge.people.enrollment.enrollment import EnrollmentResult, RefusedPhoto
from edge.people.gallery.names import fold_name, normalize_name

_NOBODY = frozenset(  # folders of other programs; Frigate keeps unassigned faces in train
    {"train", "lost+found", "__macosx", "system volume information"}
)


@dataclass(slots=True)
class PeopleFolder:
    """The people of a folder: a folder of photos for each, in folders of its own or not.

    Attributes:
        people: The photos of each person.
        refused: Folders whose name cannot be a person's.
        passed_over: Files and folders that are nobody's.
    """

    people: dict[str, list[Path]] = field(default_factory=dict)
    refused: list[EnrollmentResult] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)

    def read(self, folder: Path, option: str) -> Self:
        """Read the folder that ``option`` names.

        Raises:
            ConfigError: It has no people, or two folders for one.
        """
        for path in sorted(folder.iterdir()):
            name = path.name
            if (
                not path.is_dir()
                or name.startswith((".", "@", "#", "$"))
                or name.lower() in _NOBODY
            ):
                self.passed_over.append(name if path.is_file() else f"{name}/")
                continue
            try:
                person = normalize_name(name)
            except GalleryError as error:
                self.refused.append(
                    EnrollmentResult(name, 0, (RefusedPhoto(str(path), error.problem),))
                )
                continue
            if fold_name(person) in map(fold_name, self.people):
                raise ConfigError(
                    f"{option} {folder} has two folders for {person}: merge them into one"
                )
            self.people[person] = _find_photos(path)
        if not self.people and not self.refused:
            others = f"; passed over: {', '.join(self.passed_over)}" if self.passed_over else ""
            raise ConfigError(
                f"{option} {folder} must have a folder per person, DIR/NAME/*.jpg, but has none"
                f"{others}"
            )
        return self

    def tell_passed_over(self) -> None:
        """Name what is nobody's on standard error."""
        if self.passed_over:
            typer.echo(f"passed over, nobody's photos: {', '.join(self.passed_over)}", err=True)


def _find_photos(folder: Path) -> list[Path]:
    """All files below a person's folder but those of the system; what is no photo is refused."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name.lower() not in ("thumbs.db", "desktop.ini")
        and not any(p.startswith((".", "@")) for p in path.relative_to(folder).parts)
    ]
