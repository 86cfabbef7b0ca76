"""Clocks: right, drifting, and certainly wrong."""

import os
from datetime import datetime, timezone

import pytest

from edge.diagnostics.clock import TIME_ERROR, check_clock, query_kernel

NOW = datetime(2026, 11, 29, tzinfo=timezone.utc).timestamp()
YEAR = 365 * 86400


def write(path, text="", modified_s=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if modified_s is not None:
        os.utime(path, (modified_s, modified_s))


def test_a_synchronized_clock(tmp_path):
    assert check_clock(tmp_path, 0, NOW, NOW - YEAR).detail == "synchronized"


def test_a_clock_that_is_not_synchronized(tmp_path):
    finding = check_clock(tmp_path, TIME_ERROR, NOW, NOW - YEAR)
    assert not finding.ok
    assert finding.detail == "not synchronized"
    write(tmp_path / "run/systemd/timesync/synchronized")
    assert check_clock(tmp_path, TIME_ERROR, NOW, 0).detail == "no longer synchronized"


def test_where_the_kernel_does_not_tell_the_time_service_does(tmp_path):
    assert check_clock(tmp_path, -1, NOW, 0).detail.startswith("unknown")
    write(tmp_path / "run/systemd/timesync/synchronized")
    assert check_clock(tmp_path, -1, NOW, 0).detail == "synchronized"


@pytest.mark.parametrize("state", [0, TIME_ERROR, -1])
def test_a_clock_before_the_build_is_wrong(tmp_path, state):
    finding = check_clock(tmp_path, state, 3600.0, NOW)
    assert not finding.ok
    assert finding.detail == "wrong: it says 1970-01-01, but 2026-11-29 has passed"
    assert "timedatectl" in finding.hint


@pytest.mark.parametrize("path", ["var/lib/systemd/timesync/clock", "usr/lib/clock-epoch"])
def test_a_clock_before_the_last_known_time_is_wrong(tmp_path, path):
    write(tmp_path / path, modified_s=NOW)
    assert not check_clock(tmp_path, 0, NOW - YEAR, NOW - 2 * YEAR).ok
    assert check_clock(tmp_path, 0, NOW - 3600, NOW - 2 * YEAR).ok


def test_a_hardware_clock_that_differs_is_told(tmp_path):
    write(tmp_path / "sys/class/rtc/rtc0/since_epoch", "86400\n")
    finding = check_clock(tmp_path, TIME_ERROR, NOW, 0)
    assert finding.detail == "not synchronized; the hardware clock says 1970-01-02"


@pytest.mark.parametrize("text", ["", "soon", "9" * 18, "-" + "9" * 18])
def test_garbage_of_a_hardware_clock_is_no_traceback(tmp_path, text):
    write(tmp_path / "sys/class/rtc/rtc0/since_epoch", text)
    assert check_clock(tmp_path, TIME_ERROR, NOW, 0).detail.startswith("not synchronized")


def test_the_kernel_is_asked():
    assert -1 <= query_kernel() <= TIME_ERROR
