"""The files of edge/systemd/: exposure, syntax, users and the example."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge import config_file

UNITS = Path(__file__).parents[2] / "edge/systemd"
CPU = UNITS / "cpu.conf"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def analyze():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not installed: systemd-analyze, of the package systemd")
    return lambda *words: run("systemd-analyze", "--no-pager", *words)


@pytest.fixture
def root(tmp_path):
    """A root with the unit in it and something to start."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    shutil.copy(UNITS / "edge@.service", units)
    for program in ("opt/edgewatch/bin/edge", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    return tmp_path


def add_drop_in(root):
    folder = root / "etc/systemd/system/edge@.service.d"
    folder.mkdir()
    shutil.copy(CPU, folder)


@pytest.mark.parametrize(("on_cpu", "most"), [(False, 1.7), (True, 1.2)])
def test_the_exposure_is_low(analyze, root, on_cpu, most):
    if on_cpu:
        add_drop_in(root)
    unit = root / "etc/systemd/system/edge@.service"
    code, text = analyze("security", "--offline=true", f"--threshold={most * 10:.0f}", str(unit))
    (exposure,) = re.findall(r"Overall exposure level .*: ([\d.]+)", text)
    assert float(exposure) <= most
    assert code == 0, text


@pytest.mark.parametrize("on_cpu", [False, True])
def test_the_unit_is_free_of_mistakes(analyze, root, on_cpu):
    if on_cpu:
        add_drop_in(root)
    unit = root / "etc/systemd/system/edge@.service"
    code, text = analyze("verify", f"--root={root}", "--recursive-errors=no", str(unit))
    ours = [line for line in text.splitlines() if "edge@" in line or "cpu.conf" in line]
    assert not ours
    assert code == 0, text


def test_libzmq_may_do_what_it_aborts_without():
    text = (UNITS / "edge@.service").read_text()
    (families,) = re.findall(r"^RestrictAddressFamilies=(.*)", text, re.M)
    assert "AF_NETLINK" in families.split(), "it lists interfaces: src/ip_resolver.cpp"
    assert re.findall(r"^SystemCallFilter=(.*)", text, re.M) == ["@system-service", "~@privileged"]


def test_memory_and_tasks_are_bounded_and_no_core_is_written():
    unit = dict(re.findall(r"^(\w+)=(\S+)$", (UNITS / "edge@.service").read_text(), re.M))
    assert int(unit["MemoryHigh"].rstrip("%")) < int(unit["MemoryMax"].rstrip("%")) <= 80
    assert int(unit["TasksMax"]) >= 1024
    assert unit["LimitCORE"] == "0"
    assert unit["RestartPreventExitStatus"] == "78"


def test_a_gpu_and_local_cameras_are_allowed():
    allowed = re.findall(r"^DeviceAllow=(\S*)", (UNITS / "edge@.service").read_text(), re.M)
    assert allowed == ["char-video4linux", "char-drm", "char-nvidia*"]
    assert re.findall(r"^DeviceAllow=(\S*)", CPU.read_text(), re.M) == [""]


def test_the_example_is_right():
    settings = config_file.load(UNITS / "example.toml")
    assert [camera.name for camera in settings.cameras] == ["door"]


def test_the_example_with_its_comments_taken_in_is_right(tmp_path):
    text = (UNITS / "example.toml").read_text()
    table = re.compile(r"^# (?=\[|\w+ = )", re.M)
    (tmp_path / "edge.toml").write_text(table.sub("", text))
    settings = config_file.load(tmp_path / "edge.toml")
    assert [camera.name for camera in settings.cameras] == ["door", "desk"]
    assert settings.recognition
    assert settings.recognition.require_liveness


def test_the_user_is_made_and_so_are_the_folders(tmp_path):
    for program in ("systemd-sysusers", "systemd-tmpfiles"):
        if shutil.which(program) is None:
            pytest.skip(f"not installed: {program}, of the package systemd")
    (tmp_path / "etc").mkdir()
    sysusers, tmpfiles = UNITS / "edge.sysusers", UNITS / "edge.tmpfiles"
    code, text = run("systemd-sysusers", f"--root={tmp_path}", str(sysusers))
    assert code == 0, text
    users = (tmp_path / "etc/passwd").read_text()
    assert re.search(r"^edge:x:\d+:\d+:Edgewatch:/var/lib/edge:", users, re.M)
    groups = (tmp_path / "etc/group").read_text()
    assert {"video", "render"} <= set(re.findall(r"^(\w+):\S*edge$", groups, re.M))
    code, text = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", str(tmpfiles))
    assert code == 0, text
    assert (tmp_path / "etc/edge/credentials").stat().st_mode & 0o777 == 0o700


def test_make_install_files_puts_everything_into_its_place(tmp_path):
    code, text = run(
        "make", "-C", str(UNITS.parents[1]), "install-files", f"DESTDIR={tmp_path}", "PREFIX=/usr"
    )
    assert code == 0, text
    installed = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    doc = "usr/share/doc/edgewatch/"
    assert installed >= {
        "usr/lib/systemd/system/edge@.service",
        "usr/lib/sysusers.d/edge.conf",
        "usr/lib/tmpfiles.d/edge.conf",
        doc + "example.toml",
        doc + "cpu.conf",
        doc + "alerts.yml",
        doc + "grafana.json",
        doc + "fleet/agent.yml",
    }
