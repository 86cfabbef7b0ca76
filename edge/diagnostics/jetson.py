"""Jetsons: power mode, heat and supply.

Sources: NVIDIA's Jetson Linux Developer Guide, "Platform Power and Performance" (r36.3, Jetson
Orin), for nvpmodel, trip points and over-current events; its driver tegra23x-oc-event for the
counters of the latter (hwmon device ``soctherm_oc``); the kernel's
ABI/testing/sysfs-class-thermal for zones, trip points (millidegrees Celsius) and cooling devices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge.diagnostics.finding import Finding
from edge.diagnostics.text_file import list_matches, read_number, read_text

_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=([^\s>]+)")
_DEFAULT = re.compile(r"<\s*PM_CONFIG\s+DEFAULT=(\d{1,4})\s*>")
_WATTS = re.compile(r"(\d{1,4})W")
# Fans cool without slowing anything, and hot-surface-alert (70 degrees on Orin) only warns.
_SLOWS = re.compile(r"(thermal-)?(cpufreq|devfreq)-|.*throttle-alert$|.*balanced$")
_OVER_CURRENT = {
    "oc1": "under-voltage",
    "oc2": "average over-current",
    "oc3": "instantaneous over-current",
}


def is_jetson(root: Path) -> bool:
    """Whether the machine with this root of its file system is a Jetson."""
    model = read_text(root / "proc/device-tree/model")
    return "jetson" in model.lower() or bool(read_text(root / "etc/nv_tegra_release"))


def check_jetson(root: Path) -> Iterator[Finding]:
    """Power mode, heat and supply; nothing where it is no Jetson or does not say."""
    if is_jetson(root):
        yield from _check_power_mode(root)
        yield from _check_heat(root)
        yield from _check_supply(root)


# --- power mode -------------------------------------------------------------------------------


def _check_power_mode(root: Path) -> Iterator[Finding]:
    """The mode that nvpmodel stored; without one it is the default.

    A mode below the fastest is no fault: supply and cooling may ask for it.
    """
    text = read_text(root / "etc/nvpmodel.conf")
    modes = {int(number): name for number, name in _MODE.findall(text)}
    stored = re.search(r"pmode:(\d{1,4})", read_text(root / "var/lib/nvpmodel/status"))
    current = stored or _DEFAULT.search(text)
    if current is None:
        return
    number = int(current[1])
    if modes and number not in modes:
        detail = f"mode {number} is not in /etc/nvpmodel.conf"
        hint = f"choose one of {_list_modes(modes)}: sudo nvpmodel -m NUMBER"
        yield Finding("power mode", False, detail, hint)
        return
    detail = f"{modes.get(number, 'unknown name')} (mode {number})"
    fastest = max(modes, key=lambda mode: _estimate_watts(modes[mode]), default=number)
    if modes and _estimate_watts(modes[number]) < _estimate_watts(modes[fastest]):
        detail += f"; {modes[fastest]} is faster: sudo nvpmodel -m {fastest}"
    yield Finding("power mode", True, detail)


def _estimate_watts(name: str) -> float:
    """The budget in a mode's name; MAXN has none, and MAXN_SUPER runs higher clocks."""
    if name.startswith("MAXN"):
        return 1e6 + len(name)
    watts = _WATTS.search(name)
    return float(watts[1]) if watts else 0.0


def _list_modes(modes: dict[int, str]) -> str:
    return ", ".join(f"{number} ({name})" for number, name in sorted(modes.items()))


# --- heat -------------------------------------------------------------------------------------


class _Zone(NamedTuple):
    """A thermal zone, degrees Celsius; `limit` is where it slows the machine, if it does."""

    celsius: float
    name: str
    limit: float | None


def _check_heat(root: Path) -> Iterator[Finding]:
    folder = root / "sys/class/thermal"
    zones = [zone for path in list_matches(folder, "thermal_zone*") for zone in _read_zone(path)]
    slowed = [
        read_text(device / "type")
        for device in list_matches(folder, "cooling_device*")
        if _SLOWS.match(read_text(device / "type")) and (read_number(device / "cur_state") or 0) > 0
    ]
    hot = [zone for zone in zones if zone.limit is not None and zone.celsius >= zone.limit]
    if not zones and not slowed:
        return
    # The zone nearest to its limit says most; one without a limit says least.
    nearest = max(zones, key=lambda zone: zone.celsius - (zone.limit or 1e6), default=None)
    detail = _describe(nearest) if nearest else "temperature unknown"
    if slowed or hot:
        detail = f"slowed down by heat ({', '.join(slowed) or 'trip point reached'}); {detail}"
        hint = "cool it (fan, heat sink, sun, dust), or choose a lower power mode: sudo nvpmodel -m"
        yield Finding("heat", False, detail, hint)
    else:
        yield Finding("heat", True, detail)


def _read_zone(folder: Path) -> Iterator[_Zone]:
    temperature = read_number(folder / "temp")
    # Zones of parts that are switched off read as errors, or far below zero.
    if temperature is None or not -50_000 < temperature < 200_000:
        return
    limits = [
        limit
        for kind in list_matches(folder, "trip_point_*_type")
        if read_text(kind) == "passive"
        and (limit := read_number(kind.with_name(kind.name.replace("_type", "_temp")))) is not None
        and limit > 0
    ]
    # Several are passive: that of hot-surface-alert is the lowest, the highest slows clocks.
    slows_at = max(limits) / 1000 if limits else None
    yield _Zone(temperature / 1000, read_text(folder / "type") or folder.name, slows_at)


def _describe(zone: _Zone) -> str:
    limit = "" if zone.limit is None else f", slows down at {zone.limit:.0f} °C"
    return f"{zone.name} {zone.celsius:.0f} °C{limit}"


# --- supply -----------------------------------------------------------------------------------


def _check_supply(root: Path) -> Iterator[Finding]:
    """Events since the machine started; each slowed it down for a moment."""
    counts: dict[str, int] = {}
    for device in list_matches(root / "sys/class/hwmon", "hwmon*"):
        if read_text(device / "name") != "soctherm_oc":
            continue
        for path in list_matches(device, "oc*_event_cnt"):
            count = read_number(path)
            if count is not None and count >= 0:
                kind = path.name.partition("_")[0]
                counts[_OVER_CURRENT.get(kind, kind)] = count
    if not counts:
        return
    events = [f"{count} x {kind}" for kind, count in counts.items() if count]
    if events:
        hint = (
            "use a supply and cable that hold the load, or a lower power mode: sudo nvpmodel -m; "
            "a few under full load are normal"
        )
        yield Finding("supply", False, f"{', '.join(events)} since the start", hint)
    else:
        yield Finding("supply", True, "no under-voltage or over-current since the start")
