"""Hardware decoders: those that decode, those that are only built in."""

import json
import sys

import pytest

from edge.diagnostics.hardware_decoders import _DECODE, check_hardware_decoders
from edge.diagnostics.host import run_command

NO_DRIVER = "[Errno 1] Operation not permitted"
NOT_FOR_H264 = "Hardware accelerated decode requested but no stream is compatible"


def answers(**table):
    def reply(command):
        answer = table[command[-1]]
        if isinstance(answer, OSError):
            raise answer
        return answer

    return reply


def look(root, **table):
    return check_hardware_decoders(root, list(table), answers(**table))


def test_those_that_decode_are_told_from_those_that_are_built_in(tmp_path):
    finding = look(
        tmp_path,
        cuda=json.dumps(NO_DRIVER),
        vaapi="libva info: noise\n" + json.dumps(""),
        qsv=json.dumps(NOT_FOR_H264),
        drm=json.dumps(NOT_FOR_H264),
    )
    assert finding.ok
    assert finding.detail == (
        f"decodes here: vaapi; cuda does not: {NO_DRIVER}; not for H.264: qsv, drm"
    )


def test_a_driver_that_crashes_or_is_silent_is_a_reason(tmp_path):
    finding = look(tmp_path, cuda=OSError("status -11"), vaapi="", vdpau="?")
    assert finding.detail == (
        "decodes here: none; cuda does not: status -11; vaapi does not: no answer; "
        "vdpau does not: no answer"
    )


def test_an_nvidia_gpu_whose_decoder_does_not_open_is_a_finding_with_a_remedy(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    finding = look(tmp_path, cuda=json.dumps(NO_DRIVER))
    assert not finding.ok
    assert "NVIDIA_DRIVER_CAPABILITIES" in finding.hint
    assert look(tmp_path, cuda=json.dumps("")).ok


def test_a_jetson_decodes_in_another_way(tmp_path):
    for name, text in {"dev/nvidia0": "", "etc/nv_tegra_release": "# R36"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert look(tmp_path, cuda=json.dumps(NO_DRIVER)).ok


def test_no_decoder_is_built_in(tmp_path):
    assert look(tmp_path).detail == "decodes here: none"


def test_the_clip_is_one_that_a_software_decoder_reads():
    """The probe itself, with a device that is none: all but the hardware is real."""
    script = _DECODE.replace("HWAccel(sys.argv[1], allow_software_fallback=False)", "None")
    assert json.loads(run_command([sys.executable, "-c", script, "none"])) == ""


@pytest.mark.parametrize("name", ["cuda", "no-such-device"])
def test_the_probe_gives_a_reason_and_no_traceback(tmp_path, name):
    finding = check_hardware_decoders(tmp_path, [name], run_command)
    assert finding.detail.startswith("decodes here: ")
    assert "Traceback" not in finding.detail
