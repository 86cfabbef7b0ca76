"""The unit of a node: whether it can be started from here, starting it, and the commands for that.

The unit edge@NAME runs /etc/edge/NAME.toml as the user edge. What is shown to be typed is what is
run here, command by command.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import edge
from edge.diagnostics.host import run_command
from edge.diagnostics.text_file import read_text
from edge.errors import EdgeError

UNIT = "edge@.service"
GROUP = "edge"
CONFIGURATIONS = Path("etc/edge")
UNITS = Path(edge.__file__).with_name("systemd")
PROGRAM = Path("/opt/edgewatch/bin/edge")  # of ExecStart in the unit
_UNIT_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - from the unit
_SHARED = 0o640
KEPT = 'folder = "kept"'  # what a first configuration says of its storage


def locate_program() -> Path:
    """The `edge` command of this Python environment, which may not exist."""
    return Path(sys.executable).with_name("edge")


@dataclass(frozen=True, slots=True)
class UnitStart:
    """A node of a configuration file as a service.

    Attributes:
        file: The configuration: an absolute path.
        root: The root of the file system.
        run: Runs a command, or raises OSError with the reason.
        is_root: Whether the user may start services.
        program: What the unit has to run, where no unit is installed yet.
    """

    file: Path
    root: Path = Path("/")
    run: Callable[[list[str]], str] = run_command
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    program: Path = field(default_factory=locate_program)

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
        if not self._has_systemd():
            return "systemd does not run here"
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.file.stem):
            return f"{self.file.stem} is no name of a unit: use letters, digits, - and _"
        if not self._is_installed() and (fault := self._find_fault_of_program()):
            return fault
        if not self.is_in_place:
            return f"the unit reads /etc/edge/NAME.toml, not {self.file}"
        return "" if self.is_root else "only root may start it"

    def hides(self, path: Path) -> bool:
        """Whether the unit does not see a path, though it is there."""
        return self.is_in_place and any(path.is_relative_to(folder) for folder in _HIDDEN)

    def make_folder(self) -> None:
        """Make the folder of configurations, if the file belongs there.

        Raises:
            EdgeError: It cannot be made.
        """
        if self.is_in_place and self.is_root:
            try:
                self.file.parent.mkdir(mode=0o750, exist_ok=True)
            except OSError as error:
                raise EdgeError(
                    f"{error.strerror}: choose another path", file=self.file.parent
                ) from error

    def share(self, files: Sequence[Path]) -> bool:
        """Let the service read files beside the configuration, if that is in its place.

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
        """Install what is not installed, and start the unit now and at every boot.

        Args:
            files: What the service must be able to read.

        Yields:
            A line for everything that was done.

        Raises:
            EdgeError: A command failed; the message says which, and what was not done.
        """
        enable, restart = (f"systemctl {step} {self.unit}" for step in ("enable", "restart"))
        commands = [*self._list_installation(), enable, restart]
        for number, command in enumerate(commands):
            try:
                if command == enable and not self.share(files):
                    raise OSError(f"there is no group {GROUP}")
                self.run(["sh", "-euc", command])
            except OSError as error:
                left = " && ".join(commands[number:])
                raise EdgeError(
                    f"{command}: {error}. The configuration is written; left to do: {left}. "
                    f"The unit's log: journalctl -u {self.unit} -n 20"
                ) from error
            yield f"done: {command}"

    def list_commands(self, password_file: Path | None = None) -> list[str]:
        """What root types to start the unit, copies of files included."""
        installation = self._list_installation() if self._has_systemd() else []
        start = f"systemctl enable --now {shlex.quote(self.unit)}"
        return [*installation, *self._list_copies(password_file), start]

    def _list_installation(self) -> list[str]:
        """The unit, its user and its folders, as far as they are missing."""
        users = "systemd-sysusers edge.conf && systemd-tmpfiles --create edge.conf"
        reload = f"{users} && systemctl daemon-reload"
        if self._is_installed():
            return [] if self._find_group() is not None else [reload]
        if self._find_fault_of_program():
            return ["make install", reload]
        targets = {
            UNIT: f"/etc/systemd/system/{UNIT}",
            "edge.sysusers": "/etc/sysusers.d/edge.conf",
            "edge.tmpfiles": "/etc/tmpfiles.d/edge.conf",
        }
        copies = [
            shlex.join(["install", "-D", "-m", "644", str(UNITS / name), target])
            for name, target in targets.items()
        ]
        return [*copies, *self._list_drop_in(f"{targets[UNIT]}.d"), reload]

    def _list_drop_in(self, folder: str) -> list[str]:
        """What makes the unit run another program than the one that `make install` installs."""
        if self.program == PROGRAM:
            return []
        lines = ["[Service]", "ExecStart=", f"ExecStart={self.program} run /etc/edge/%i.toml"]
        text = shlex.join(["printf", r"%s\n", *lines])
        return [f"mkdir -p {folder} && {text} >{folder}/program.conf"]

    def _list_copies(self, password_file: Path | None) -> list[str]:
        """Configuration and password, put where the unit reads them."""
        if self.is_in_place:
            return []
        target = Path("/", CONFIGURATIONS, f"{self.file.stem}.toml")
        copy = ["install", "-g", GROUP, "-m", "640"]
        edits, copies = [], []
        if KEPT in read_text(self.file):
            edits.append(f's|^{KEPT}|folder = "/var/lib/edge/{self.file.stem}/kept"|')
        if password_file:
            moved = str(target.with_name(password_file.name))
            edits.append(f"s|{re.escape(str(password_file))}|{moved}|")
            copies.append(shlex.join([*copy, str(password_file), moved]))
        if not edits:
            return [shlex.join([*copy, str(self.file), str(target)])]
        read = shlex.join(["sed", *(f"--expression={edit}" for edit in edits), str(self.file)])
        return [*copies, f"{read} | {shlex.join([*copy, '/dev/stdin', str(target)])}"]

    def _has_systemd(self) -> bool:
        return (self.root / "run/systemd/system").is_dir()

    def _is_installed(self) -> bool:
        return any(
            (self.root / folder / "systemd/system" / UNIT).is_file() for folder in _UNIT_FOLDERS
        )

    def _find_fault_of_program(self) -> str:
        """Why a unit cannot run this program; empty if it can."""
        remedy = "`make install` puts it into /opt/edgewatch"
        if not re.fullmatch(r"/[\w/.+-]+", str(self.program)) or not self.program.is_file():
            return f"{UNIT} is not installed, and there is no {self.program} to run: {remedy}"
        needed = (self.program, self.program.with_name("python").resolve())
        if any(path.is_relative_to(folder) for path in needed for folder in _HIDDEN):
            return f"{UNIT} is not installed, and does not see {self.program.parent}: {remedy}"
        return ""

    def _find_group(self) -> int | None:
        """Number of the service's group, if it exists."""
        groups = read_text(self.root / "etc/group")
        found = re.search(rf"^{GROUP}:[^:\n]*:([0-9]+):", groups, re.MULTILINE)
        return int(found[1]) if found else None
