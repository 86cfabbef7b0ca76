"""The Python environment of this process, and the ones outside whose packages it may not see."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from edge.compat import Self
from edge.diagnostics.text_file import read_text

SYSTEM_PYTHON = "/usr/bin/python3"  # what `make install` takes


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """A Python and its surroundings.

    Attributes:
        executable: The interpreter of this environment.
        prefix: The folder of this environment.
        outside: Interpreters outside the environment: the one it was made with, the system's.
        shown: The one of them whose packages can be imported here too; empty if none.
    """

    executable: str
    prefix: Path
    outside: tuple[str, ...] = ()
    shown: str = ""

    @classmethod
    def current(cls) -> Self:
        """The environment of this process."""
        base = getattr(sys, "_base_executable", "") if sys.prefix != sys.base_prefix else ""
        known = base or sys.executable
        system = () if _is_same(SYSTEM_PYTHON, known) else (SYSTEM_PYTHON,)
        outside = tuple(python for python in (base, *system) if Path(python).is_file())
        shows = re.search(
            r"(?mi)^include-system-site-packages\s*=\s*true\s*$",
            read_text(Path(sys.prefix) / "pyvenv.cfg"),
        )
        return cls(sys.executable, Path(sys.prefix), outside, base if shows else "")

    def locate(self, module: str, file: str) -> str:
        """The folder that holds a module, and whose it is."""
        folder = locate_folder(module, file)
        is_own = folder.is_relative_to(self.prefix)
        return f"{folder} ({'this environment' if is_own else 'system'})"


def locate_folder(module: str, file: str) -> Path:
    """The folder of packages that a module's file lies in, at any depth."""
    path = Path(file)
    inside = [folder for folder in path.parents if folder.name == module]
    return inside[-1].parent if inside else path.parent


def advise_system_packages(python: str) -> str:
    """The command that makes an environment with the packages of that interpreter."""
    other = "" if _is_same(python, SYSTEM_PYTHON) else f" PYTHON={python}"
    return f"make install OPENCV=system{other}"


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
