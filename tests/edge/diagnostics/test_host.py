"""Boxes as they are found: bare, with a card and no driver, a Jetson, a broken library."""

import json
import sys
from pathlib import Path

import pytest

from edge.diagnostics import host as box
from edge.diagnostics.host import Host, run_command
from edge.diagnostics.python_environment import PythonEnvironment
from edge.engines.cache import EngineCache, EngineKey


def refuses(command):
    """No program is there, and Python finds no module."""
    script = command[-1]
    module = script.split("import ")[2].split()[0] if "import json" in script else command[0]
    raise ModuleNotFound(f"ModuleNotFoundError: No module named '{module}'")


class ModuleNotFound(OSError):
    pass


def answers(**table):
    """A box whose programs and Python snippets answer what is given for a word in them."""

    def reply(command):
        for word, answer in table.items():
            if word in " ".join(command):
                if isinstance(answer, OSError):
                    raise answer
                return answer
        return refuses(command)

    return reply


PLAIN = PythonEnvironment("/venv/bin/python", Path("/venv"))
PACKAGES = "/venv/lib/python3.10/site-packages"


def look(root, reply=refuses, state="/var/lib/edge", python=PLAIN, wheels=()):
    host = Host(root, state, reply, python=python, wheels=wheels)
    return {finding.part: finding for finding in host.check()}


def test_a_bare_box_is_described_without_a_traceback(tmp_path):
    found = look(tmp_path)
    assert found["gpu"].ok
    assert "none" in found["gpu"].detail
    assert found["camera"].ok
    assert found["systemd"].detail.startswith("not running")
    assert not found["onnxruntime"].ok
    assert all(finding.hint for finding in found.values() if not finding.ok)
    assert not any(finding.hint for finding in found.values() if finding.ok)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_cannot_be_read_is_no_traceback(tmp_path, kind):
    root = tmp_path / "root"
    if kind == "file":
        root.write_text("")
    assert all(finding.hint for finding in look(root).values() if not finding.ok)


def test_a_card_without_a_driver_is_named(tmp_path):
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    assert "driver" in look(tmp_path)["gpu"].hint


def test_a_card_is_what_nvidia_smi_says(tmp_path):
    card = "NVIDIA RTX A2000, 6138 MiB, 8.6, 570.12"
    assert look(tmp_path, answers(**{"nvidia-smi": card + "\n"}))["gpu"].detail == card


def test_a_jetson_without_nvidia_smi_is_asked_through_its_driver(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\n")
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson Orin Nano\0")
    found = look(tmp_path, answers(libcuda='["Orin"]'))
    assert found["gpu"].detail == "Orin, R36 (release), REVISION: 4.3"
    assert found["machine"].detail.startswith("NVIDIA Jetson Orin Nano, ")


def test_both_flavours_of_tensorrt_are_told_apart(tmp_path):
    system = "/usr/lib/python3.10/dist-packages"
    found = look(
        tmp_path,
        answers(
            tensorrt_rtx=f'["1.3.0", "{PACKAGES}/tensorrt_rtx/__init__.py"]',
            tensorrt=f'["10.3.0", "{system}/tensorrt/__init__.py"]',
        ),
    )
    assert found["tensorrt"].detail == (
        f"tensorrt 10.3.0 in {system} (system); tensorrt_rtx 1.3.0 in {PACKAGES} (this environment)"
    )


def test_an_unsupported_version_of_tensorrt_is_a_finding_with_the_supported_ones(tmp_path):
    found = look(tmp_path, answers(tensorrt_rtx='["2.0", "/a"]', tensorrt='["12.0.0", "/b"]'))[
        "tensorrt"
    ]
    assert not found.ok
    assert found.hint.startswith(
        "not supported: tensorrt 12.0.0; TensorRT 10.3 to 11 is needed: in a"
    )


def test_a_library_that_breaks_is_a_finding_with_its_reason(tmp_path):
    found = look(tmp_path, answers(tensorrt=OSError("ImportError: libnvinfer.so.10: no such file")))
    assert not found["tensorrt"].ok
    assert "libnvinfer" in found["tensorrt"].detail


def test_engines_are_counted_and_foreign_ones_named(tmp_path):
    cache = EngineCache(tmp_path / "cache")
    assert engines_of(tmp_path).detail == f"none built yet in {tmp_path}/cache/engines"
    key = EngineKey("tensorrt", "10.3", "Orin", ("sm87",), "0" * 64, "fp16", (1, 8, 16), ())
    entry = cache.store(key, "gate", b"engine", 1.0, 1.0)
    assert engines_of(tmp_path).detail.startswith("1 in ")
    entry.path.write_bytes(entry.path.read_bytes() + b"x")
    assert not engines_of(tmp_path).ok
    assert "prune" in engines_of(tmp_path).hint


def engines_of(root):
    findings = Host(root, "/var/lib/edge", refuses, root / "cache", PLAIN, wheels=()).check()
    (found,) = [finding for finding in findings if finding.part == "engines"]
    return found


def test_tensorrt_without_cuda_bindings_is_a_finding(tmp_path):
    found = look(tmp_path, answers(tensorrt_rtx='["1.7.1", "/a"]'))
    assert not found["cuda"].ok
    assert "cuda-bindings" in found["cuda"].hint


def test_cameras_are_named_by_id(tmp_path):
    folder = tmp_path / "dev/v4l/by-id"
    folder.mkdir(parents=True)
    (folder / "usb-Acme-video-index0").touch()
    (tmp_path / "dev/video0").touch()
    assert look(tmp_path)["camera"].detail == "/dev/v4l/by-id/usb-Acme-video-index0"


@pytest.mark.parametrize(("version", "fine"), [("249", False), ("252", True), ("257~rc1", True)])
def test_an_old_systemd_loads_credentials_one_by_one(tmp_path, version, fine):
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    found = look(tmp_path, answers(systemctl=f"systemd {version} ({version}.4)\n+PAM"))
    assert found["systemd"].ok is fine


def test_ask_gives_the_last_line_of_what_failed():
    with pytest.raises(OSError, match=r"^ImportError: gone$"):
        run_command([sys.executable, "-c", "raise ImportError('gone')"])
    with pytest.raises(OSError, match="edge-no-such-program"):
        run_command(["edge-no-such-program"])


def test_ask_waits_only_so_long(monkeypatch):
    monkeypatch.setattr(box, "COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(OSError, match="did not answer"):
        run_command([sys.executable, "-c", "import time; time.sleep(60)"])


def test_doctor_of_this_box_prints_json_lines_and_exits_0():
    lines = run_command([sys.executable, "-m", "edge", "doctor", "--json"]).splitlines()
    found = {finding["part"]: finding for finding in map(json.loads, lines)}
    assert found["onnxruntime"]["fine"]
    assert "h264" in found["decoders"]["says"]
    for finding in found.values():  # the names of version 0.1 as well
        assert finding["works"] == finding["fine"] == finding["ok"]
        assert (finding["says"], finding["remedy"]) == (finding["detail"], finding["hint"])
    assert {"machine", "gpu", "tensorrt", "camera", "disk", "clock", "systemd"} <= set(found)
