"""Jetsons as their files describe them: fake trees of an Orin, and broken ones."""

import pytest

from edge.diagnostics.jetson import check_jetson, is_jetson

# What /etc/nvpmodel.conf of an Orin Nano Super says, shortened.
NVPMODEL = """
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
< PM_CONFIG DEFAULT=1 >
"""
THERMAL = "sys/class/thermal"
ORIN = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit Super\0",
    "etc/nvpmodel.conf": NVPMODEL,
    "var/lib/nvpmodel/status": "pmode:0000 fmode:quiet\n",
    f"{THERMAL}/thermal_zone0/type": "cpu-thermal\n",
    f"{THERMAL}/thermal_zone0/temp": "71500\n",
    f"{THERMAL}/thermal_zone0/trip_point_0_type": "passive\n",
    f"{THERMAL}/thermal_zone0/trip_point_0_temp": "99000\n",
    f"{THERMAL}/thermal_zone0/trip_point_1_type": "critical\n",
    f"{THERMAL}/thermal_zone0/trip_point_1_temp": "104500\n",
    f"{THERMAL}/thermal_zone0/trip_point_2_type": "passive\n",
    f"{THERMAL}/thermal_zone0/trip_point_2_temp": "70000\n",
    f"{THERMAL}/thermal_zone1/type": "cv0-thermal\n",
    f"{THERMAL}/thermal_zone1/temp": "-256000\n",
    f"{THERMAL}/cooling_device0/type": "pwm-fan\n",
    f"{THERMAL}/cooling_device0/cur_state": "3\n",
    f"{THERMAL}/cooling_device1/type": "hot-surface-alert\n",
    f"{THERMAL}/cooling_device1/cur_state": "1\n",
    f"{THERMAL}/cooling_device2/type": "cpufreq-cpu0\n",
    f"{THERMAL}/cooling_device2/cur_state": "0\n",
    "sys/class/hwmon/hwmon0/name": "ina3221\n",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
    "sys/class/hwmon/hwmon3/oc2_event_cnt": "0\n",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "0\n",
}


def look(root, **changes):
    files = {**ORIN, **{path.replace("__", "/"): text for path, text in changes.items()}}
    for path, text in files.items():
        if text is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return {finding.part: finding for finding in check_jetson(root)}


def test_other_machines_have_no_line(tmp_path):
    assert not is_jetson(tmp_path)
    assert not list(check_jetson(tmp_path))


def test_a_jetson_is_known_by_its_model_in_a_container_too(tmp_path):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson AGX Thor Developer Kit\0")
    assert is_jetson(tmp_path)
    assert not list(check_jetson(tmp_path))


def test_an_orin_at_rest_needs_nothing(tmp_path):
    found = look(tmp_path)
    assert found.keys() == {"power mode", "heat", "supply"}
    assert all(finding.ok and not finding.hint for finding in found.values())
    assert found["heat"].detail == "cpu-thermal 72 °C, slows down at 99 °C"


def test_a_slower_mode_names_the_fastest(tmp_path):
    detail = "15W (mode 0); MAXN_SUPER is faster: sudo nvpmodel -m 2"
    assert look(tmp_path)["power mode"].detail == detail


def test_the_fastest_mode_is_enough_said(tmp_path):
    found = look(tmp_path, **{"var/lib/nvpmodel/status": "pmode:0002\n"})
    assert found["power mode"].detail == "MAXN_SUPER (mode 2)"


def test_without_a_stored_mode_it_is_the_default(tmp_path):
    found = look(tmp_path, **{"var/lib/nvpmodel/status": None})
    assert found["power mode"].detail.startswith("25W (mode 1); ")


def test_a_mode_that_the_machine_does_not_know_is_a_finding(tmp_path):
    mode = look(tmp_path, **{"var/lib/nvpmodel/status": "pmode:0009"})["power mode"]
    assert not mode.ok
    assert "2 (MAXN_SUPER)" in mode.hint


def test_reduced_clocks_are_throttling(tmp_path):
    heat = look(tmp_path, **{f"{THERMAL}/cooling_device2/cur_state": "4\n"})["heat"]
    assert not heat.ok
    assert heat.detail.startswith("slowed down by heat (cpufreq-cpu0); cpu-thermal 72 °C")
    assert "nvpmodel" in heat.hint


def test_a_trip_point_that_is_reached_is_throttling(tmp_path):
    heat = look(tmp_path, **{f"{THERMAL}/thermal_zone0/temp": "99500\n"})["heat"]
    assert not heat.ok
    assert "trip point reached" in heat.detail


def test_over_current_and_under_voltage_are_named(tmp_path):
    counts = {
        "sys/class/hwmon/hwmon3/oc1_event_cnt": "2\n",
        "sys/class/hwmon/hwmon3/oc3_event_cnt": "37\n",
    }
    supply = look(tmp_path, **counts)["supply"]
    assert not supply.ok
    assert supply.detail == "2 x under-voltage, 37 x instantaneous over-current since the start"
    assert "supply" in supply.hint


@pytest.mark.parametrize("garbage", ["", "\0\0", "no number", "9" * 500, "٣", "0x10", "-1"])
def test_garbage_in_every_file_is_no_traceback(tmp_path, garbage):
    broken = dict.fromkeys(ORIN, garbage) | {"etc/nv_tegra_release": "# R36"}
    assert all(finding.ok for finding in look(tmp_path, **broken).values())


def test_bytes_and_folders_in_place_of_files_are_no_traceback(tmp_path):
    look(tmp_path)
    for path in ORIN:
        (tmp_path / path).unlink()
        (tmp_path / path).mkdir()
    (tmp_path / "proc/device-tree/model").rmdir()
    (tmp_path / "proc/device-tree/model").write_bytes(b"Jetson \xff\xfe")
    assert is_jetson(tmp_path)
    assert not list(check_jetson(tmp_path))
