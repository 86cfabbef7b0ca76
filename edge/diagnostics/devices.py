"""Device files: cameras, GPUs and decoders, and whether the user may open them."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.compat import Self
from edge.diagnostics.finding import Finding
from edge.diagnostics.text_file import list_matches

# Render nodes of any GPU, NVIDIA's driver, and the engines and memory of a Jetson.
_ACCELERATORS = ("dri/renderD*", "nvidia*", "nvhost-*", "nvmap")
_GROUP_CAN_USE = stat.S_IRGRP | stat.S_IWGRP


@dataclass(frozen=True, slots=True)
class User:
    """The user who runs.

    Attributes:
        groups: Names of the groups that the user was added to, in force or only since the login.
        may_open: Whether the user may read and write a device.
    """

    name: str
    groups: frozenset[str]
    may_open: Callable[[Path], bool]

    @classmethod
    def current(cls) -> Self:
        """The user of this process."""
        number = os.geteuid()
        try:
            name = pwd.getpwuid(number).pw_name
        except KeyError:  # of a container
            name = str(number)
        groups = frozenset(group.gr_name for group in grp.getgrall() if name in group.gr_mem)
        return cls(name, groups, lambda path: os.access(path, os.R_OK | os.W_OK))


def check_cameras(root: Path, user: User) -> Iterator[Finding]:
    """One line per camera device, by its name that stays."""
    folder = root / "dev"
    devices = list_matches(folder, "v4l/by-id/*") or list_matches(folder, "video*")
    for device in devices:
        usable = user.may_open(device)
        name = f"/{device.relative_to(root)}"
        detail = name if usable else f"{name}: no permission"
        yield Finding("camera", usable, detail, "" if usable else advise_access([device], user))
    if not devices:
        yield Finding("camera", True, "none on this machine; network cameras need no device")


def check_accelerators(root: Path, user: User) -> Iterator[Finding]:
    """One line for all device files of GPUs and decoders; none where there are none."""
    devices = [
        device
        for pattern in _ACCELERATORS
        for device in list_matches(root / "dev", pattern)
        if not _is_folder(device)
    ]
    refused = [device for device in devices if not user.may_open(device)]
    if refused:
        detail = f"{_enumerate(root, refused)}: no permission for {user.name}"
        yield Finding("devices", False, detail, advise_access(refused, user))
    elif devices:
        yield Finding("devices", True, _enumerate(root, devices))


def advise_access(devices: Sequence[Path], user: User) -> str:
    """What gives the user access to devices that are refused."""
    groups: set[str] = set()
    unnamed: set[int] = set()
    odd: list[Path] = []
    for device in devices:
        try:
            status = device.stat()
        except OSError:
            odd.append(device)
            continue
        if not status.st_gid or status.st_mode & _GROUP_CAN_USE != _GROUP_CAN_USE:
            odd.append(device)
            continue
        try:
            groups.add(grp.getgrgid(status.st_gid).gr_name)
        except KeyError:
            unnamed.add(status.st_gid)
    new = sorted(groups - user.groups)
    advice = []
    if new:
        advice.append(f"sudo usermod -aG {','.join(new)} {user.name}, then log in again")
    elif groups:
        advice.append(f"log in again: {user.name} was added to {', '.join(sorted(groups))}")
    if unnamed:
        numbers = " ".join(f"--group-add {number}" for number in sorted(unnamed))
        advice.append(f"start the container with {numbers}")
    if odd:
        advice.append("give the device to the group video or render by a udev rule")
    return "; ".join(advice)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _enumerate(root: Path, devices: Sequence[Path]) -> str:
    names = [f"/{device.relative_to(root)}" for device in devices]
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
