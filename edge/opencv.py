"""OpenCV: what every command needs and a system may have broken."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

from edge.errors import ConfigError, translate_unexpected
from edge.printable import escape_controls

MAX_PIXELS = 1 << 27  # 400 MB in color


def require_opencv(command: str) -> None:
    """Exit with one line that says what to do where OpenCV cannot be imported.

    Anything may come of one that was built for another Python or NumPy, or half removed. It is told
    how large a picture may be, which it reads when it is imported: a PNG of one color and less than
    a megabyte may take gigabytes. Whoever needs larger ones sets the variable.
    """
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    try:
        with translate_unexpected(lambda error: ConfigError(str(error) or type(error).__name__)):
            import cv2

            cv2.__version__  # noqa: B018 - a folder that was left behind has none
    except ConfigError as error:
        sys.stderr.write(
            f"{command}: OpenCV cannot be imported ({escape_controls(str(error))}): pip install "
            "opencv-python-headless, or use the system's as docs/how-to/gpu.md says\n"
        )
        sys.exit(error.exit_code)


def list_wheels(folder: Path | None = None) -> list[str]:
    """Installed distributions that bring cv2, in one folder.

    Several overwrite each other's files, and removing one removes those of the other.

    Args:
        folder: The folder of installed packages; the one cv2 is imported from by default.
    """
    if folder is None:
        try:
            found = find_spec("cv2")
        except ValueError:  # imported, and broken
            found = None
        if found is None or not found.origin:
            return []
        file = Path(found.origin)
        folder = file.parent.parent if file.stem == "__init__" else file.parent
    wheels = set()
    for distribution in distributions(path=[str(folder)]):
        try:
            name = distribution.metadata.get_all("Name", [""])[0]
            if "opencv" in name.lower() and _brings_cv2(distribution):
                wheels.add(name)
        except (OSError, ValueError):  # half removed, or damaged
            continue
    return sorted(wheels)


def advise_one_wheel(wheels: Sequence[str]) -> str:
    """What to do where several distributions bring cv2."""
    return f"pip uninstall {' '.join(wheels)}, then pip install opencv-python-headless"


def _brings_cv2(distribution: Distribution) -> bool:
    top_level = (distribution.read_text("top_level.txt") or "").split()
    return "cv2" in top_level or any(
        file.parts[:1] == ("cv2",) for file in distribution.files or ()
    )
