"""The clock: whether it is synchronized, and whether it can be right at all.

Sources: adjtimex(2); systemd-timesyncd(8) for the files below /run/systemd and /var/lib/systemd and
for /usr/lib/clock-epoch; the kernel's ABI/testing/sysfs-class-rtc.
"""

from __future__ import annotations

import ctypes
from datetime import datetime, timezone
from pathlib import Path

from edge.diagnostics.finding import Finding
from edge.diagnostics.text_file import read_number

TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized
SLACK_S = 86400.0  # time zones, archives that store local time
_SYNCHRONIZED = "run/systemd/timesync/synchronized"
_PAST = ("var/lib/systemd/timesync/clock", "usr/lib/clock-epoch")  # the times of these files


def query_kernel() -> int:
    """The state of the kernel's clock by adjtimex(2); below 0 if it does not tell."""
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))


def check_clock(root: Path, state: int, now_s: float, built_s: float) -> Finding:
    """The state of the clock.

    Args:
        root: The root of the machine's file system.
        state: What :func:`query_kernel` returned.
        now_s: What the clock says, Unix time.
        built_s: When the software was built or installed, Unix time: it is later now.
    """
    past_s = max(built_s, *(_read_time(root / path) for path in _PAST))
    if now_s < past_s - SLACK_S:
        detail = f"wrong: it says {_show(now_s)}, but {_show(past_s)} has passed"
        hint = "set it and keep it right: sudo timedatectl set-ntp true, or run chrony"
        return Finding("clock", False, detail, hint)
    was_synchronized = _read_time(root / _SYNCHRONIZED) > 0
    if state == TIME_ERROR:
        detail = "no longer synchronized" if was_synchronized else "not synchronized"
        hardware_s = read_number(root / "sys/class/rtc/rtc0/since_epoch")
        if hardware_s is not None and abs(hardware_s - now_s) > SLACK_S:
            detail += f"; the hardware clock says {_show(hardware_s)}"
        hint = "run a time service (systemd-timesyncd, chrony): messages carry wall-clock time"
        return Finding("clock", False, detail, hint)
    if state < 0 and not was_synchronized:
        return Finding("clock", True, "unknown: it cannot be queried here")
    return Finding("clock", True, "synchronized")


def _read_time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _show(time_s: float) -> str:
    try:
        return datetime.fromtimestamp(time_s, timezone.utc).date().isoformat()
    except (OverflowError, OSError, ValueError):
        return f"{time_s:.0f} s since 1970"
