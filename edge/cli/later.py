"""Commands that are imported when they are called, so that a list of them costs little."""

from __future__ import annotations

import importlib
from collections import UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.interrupt import exit_if_interrupted


@dataclass(frozen=True, slots=True)
class Later:
    """A command of `edge`, or a group of them, that is not imported yet.

    Attributes:
        target: Its function or application, ``module:name``.
        summary: First paragraph of its help.
        renamed: Former names of its options, to their present ones.
        opencv: Whether it needs OpenCV.
    """

    target: str
    summary: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    opencv: bool = True

    def load(self) -> Any:  # noqa: ANN401 - a function or an application
        """Import it.

        Raises:
            SystemExit: It needs OpenCV, which cannot be imported.
        """
        module, _, name = self.target.partition(":")
        with exit_if_interrupted():
            if self.opencv:
                from edge.opencv import require_opencv  # which costs a tenth of a list of commands

                require_opencv("edge")
            return getattr(importlib.import_module(module), name)


class LazyCommands(UserDict[str, Any]):
    """The commands of a group by name, each built when it is asked for.

    Args:
        build: Makes the command of its name.
    """

    def __init__(self, commands: Mapping[str, Any], build: Callable[[str, Later], Any]) -> None:
        self._build = build
        super().__init__(commands)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - of Click
        """The command itself, imported by now."""
        command = super().__getitem__(name)
        if isinstance(command, Later):
            command = self.data[name] = self._build(name, command)
        return command
