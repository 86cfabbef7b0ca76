"""The unit of a node: whether it can be started from here, starting it, and the commands for that.

The unit edge@NAME runs /etc/edge/NAME.toml as the user edge.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.diagnostics.host import run_command
from edge.diagnostics.text_file import read_text
from edge.errors import EdgeError

UNIT = "edge@.service"
GROUP = "edge"
CONFIGURATIONS = Path("etc/edge")
_UNIT_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
_SHARED = 0o640


@dataclass(frozen=True, slots=True)
class UnitStart:
    """A node of a configuration file as a service.

    Attributes:
        file: The configuration: an absolute path.
        root: The root of the file system.
        run: Runs a command, or raises OSError with the reason.
        is_root: Whether the user may start services.
    """

    file: Path
    root: Path = Path("/")
    run: Callable[[list[str]], str] = run_command
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)

    @property
    def unit(self) -> str:
        """Name of the unit."""
        return f"edge@{self.file.stem}"

    @property
    def is_in_place(self) -> bool:
        """Whether the unit reads the file where it is."""
        return self.file.parent == self.root / CONFIGURATIONS and self.file.suffix == ".toml"

    @property
    def state(self) -> str:
        """The folder of the service's state; empty where the file is not in its place."""
        return f"/var/lib/edge/{self.file.stem}" if self.is_in_place else ""

    def find_obstacle(self) -> str:
        """Why the unit cannot be started from here; empty if it can."""
        if not (self.root / "run/systemd/system").is_dir():
            return "systemd does not run here"
        if not self._is_installed():
            return f"{UNIT} is not installed (`make install` and the Debian package bring it)"
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.file.stem):
            return f"{self.file.stem} is no name of a unit: use letters, digits, - and _"
        if not self.is_in_place:
            return f"the unit reads /etc/edge/NAME.toml, not {self.file}"
        return "" if self.is_root else "only root may start it"

    def share(self, files: Sequence[Path]) -> bool:
        """Let the service read files beside the configuration, if the file is in its place.

        Returns:
            Whether it may now.

        Raises:
            EdgeError: Their owner cannot be changed.
        """
        group = self._find_group()
        if group is None or not (self.is_in_place and self.is_root):
            return False
        for path in files:
            try:
                os.chown(path, -1, group)
                path.chmod(_SHARED)
            except OSError as error:
                problem = f"{error.strerror}: chgrp {GROUP} {path} && chmod 640 {path}"
                raise EdgeError(problem, file=path) from error
        return True

    def start(self, files: Sequence[Path]) -> Iterator[str]:
        """Start the unit, now and at every boot; a line for everything that was done.

        Args:
            files: What the service must be able to read.

        Raises:
            EdgeError: A command failed; the message says which, and what was not done.
        """
        for number, command in enumerate(commands := self._list_steps()):
            try:
                if "enable" in command and not self.share(files):
                    raise OSError(f"there is no group {GROUP}")
                self.run(command)
            except OSError as error:
                left = " && ".join(shlex.join(words) for words in commands[number:])
                raise EdgeError(
                    f"{shlex.join(command)}: {error}. The configuration is written; left to do: "
                    f"{left}. Its log: journalctl -u {self.unit} -n 20"
                ) from error
            yield f"done: {shlex.join(command)}"

    def _list_steps(self) -> list[list[str]]:
        steps = [["systemctl", step, self.unit] for step in ("enable", "restart")]
        if self._find_group() is not None:
            return steps
        # `make install` leaves these to the administrator
        users = [["systemd-sysusers"], ["systemd-tmpfiles", "--create"]]
        return [*users, ["systemctl", "daemon-reload"], *steps]

    def list_commands(self, password_file: Path | None = None) -> list[str]:
        """What root types to start the unit, copies of files included."""
        target = Path("/", CONFIGURATIONS, f"{self.file.stem}.toml")
        start = shlex.join(["systemctl", "enable", "--now", self.unit])
        if self.is_in_place:
            return [start]
        copy = ["install", "-g", GROUP, "-m", "640"]
        if password_file is None:
            return [shlex.join([*copy, str(self.file), str(target)]), start]
        moved = str(target.with_name(password_file.name))
        edit = f"s|{re.escape(str(password_file))}|{moved}|"
        copy_password = shlex.join([*copy, str(password_file), moved])
        read = shlex.join(["sed", edit, str(self.file)])
        copy_edited = f"{read} | {shlex.join([*copy, '/dev/stdin', str(target)])}"
        return [copy_password, copy_edited, start]

    def _is_installed(self) -> bool:
        return any(
            (self.root / folder / "systemd/system" / UNIT).is_file() for folder in _UNIT_FOLDERS
        )

    def _find_group(self) -> int | None:
        """Number of the service's group, if it exists."""
        groups = read_text(self.root / "etc/group")
        found = re.search(rf"^{GROUP}:[^:\n]*:([0-9]+):", groups, re.MULTILINE)
        return int(found[1]) if found else None
