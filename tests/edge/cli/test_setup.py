"""`edge setup`: a configuration that works as it stands, or one message and nothing left behind."""

import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge import config_file
from edge.cli import app
from edge.cli.camera_choice import Candidate, find_devices
from edge.cli.camera_trial import try_camera
from edge.cli.configuration import load_configuration
from edge.cli.dialogue import MAX_LETTERS
from edge.cli.first_configuration import FirstConfiguration, choose_detector
from edge.cli.unit_start import PROGRAM, UNITS, UnitStart
from edge.compat import tomllib
from edge.errors import ConfigError, EdgeError, SourceError
from edge.sources._login import escape, expand
from tests.support.http_camera import http_camera, mjpeg, snapshot
from tests.support.terminal import END, terminal
from tests.support.videos import write_video

USER, PASSWORD = "viewer", "s3cret:/?#@${HOME} %41"
CAMERA = "Camera: rtsp://"
HIDDEN = f"Password of {USER}: "  # with the blank, which comes when answers are hidden


@pytest.fixture(autouse=True)
def no_daemon_beside_it(default_ports):
    """Every setup looks whether the addresses of its node are free."""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("films") / "front door.mp4", 40)


def setup(file, *arguments):
    """`edge setup` without questions, in this process."""
    command = ["setup", str(file), "--yes", *map(str, arguments)]
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, command)


def check(file):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["check", str(file)])


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


# --- what is written ------------------------------------------------------------------------------


def test_a_file_becomes_a_configuration_that_passes_the_check(film, tmp_path):
    file = tmp_path / "gate.toml"
    done = setup(file, "--camera", film)
    assert done.exit_code == 0, done.output
    assert re.search(r"delivers 160x120 H\.264, 10 pictures per second$", done.stdout, re.M)
    assert f"wrote {file}" in done.stdout
    assert mode(file) == 0o600
    settings = config_file.load(file)
    (camera,) = settings.cameras
    assert (settings.node, camera.name) == ("gate", "front-door")
    assert camera.source == {"kind": "video_file", "path": str(film), "loop": True}
    checked = check(file)
    assert checked.exit_code == 0, checked.output
    assert names(tmp_path) == ["gate.toml"]


def test_it_says_what_the_models_see(tmp_path):
    done = setup(tmp_path / "gate.toml", "--camera", "synthetic", "--name", "desk")
    assert done.exit_code == 0, done.output
    assert "in its last picture: 1 person, 1 face" in done.stdout
    assert [camera.name for camera in config_file.load(tmp_path / "gate.toml").cameras] == ["desk"]


def test_a_picture_without_anything_is_said_to_show_nothing(film, tmp_path):
    done = setup(tmp_path / "gate.toml", "--camera", film)
    assert "in its last picture: none of person, bicycle" in done.stdout


def test_an_address_of_one_picture_is_asked_for_again_and_again(tmp_path):
    with http_camera(snapshot) as camera:
        done = setup(tmp_path / "gate.toml", "--camera", f"{camera.url}/shot.jpg", "--name", "yard")
        assert done.exit_code == 0, done.output
        assert "160x120 JPEG, 1 pictures per second" in done.stdout
        (settings,) = config_file.load(tmp_path / "gate.toml").cameras
        assert (settings.source["kind"], settings.fps) == ("snapshot", 2)
        assert check(tmp_path / "gate.toml").exit_code == 0


def test_a_login_in_the_address_is_kept_in_a_file_of_its_own(tmp_path):
    file, password = tmp_path / "gate.toml", "p%3As%24%7BHOME%7D"
    with http_camera(mjpeg(), USER, "p:s${HOME}", "SHA-256") as camera:
        address = camera.url.replace("://", f"://{USER}:{password}@") + "/live"
        done = setup(file, "--camera", address, "--name", "door")
        assert done.exit_code == 0, done.output
        checked = check(file)
        assert checked.exit_code == 0, checked.output
    kept = tmp_path / "gate.door.password"
    assert kept.read_text() == "p:s${HOME}\n"
    assert (mode(kept), mode(file)) == (0o600, 0o600)
    assert f"wrote the password to {kept}" in done.stdout
    for text in (done.output, file.read_text()):
        assert password not in text
        assert "p:s$" not in text
    (settings,) = config_file.load(file).cameras
    assert settings.source["user"] == USER
    assert settings.source["password_file"] == str(kept)


def test_variables_of_the_environment_stay_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMERA_PASSWORD", "hunter2")
    file = tmp_path / "gate.toml"
    with http_camera(mjpeg(), USER, "hunter2", "Basic") as camera:
        address = camera.url.replace("://", f"://{USER}:${{CAMERA_PASSWORD}}@")
        done = setup(file, "--camera", address)
    assert done.exit_code == 0, done.output
    assert "${CAMERA_PASSWORD}@127.0.0.1" in file.read_text()
    assert "hunter2" not in done.output + file.read_text()
    assert names(tmp_path) == ["gate.toml"]


@given(st.text(st.sampled_from("$${}AZ_09 \\x"), max_size=20))
def test_a_user_that_looks_like_a_variable_is_taken_literally(text):
    assert expand(escape(text)) == text


SOURCES = {
    "synthetic": ({"kind": "synthetic"}, ""),
    "file": ({"kind": "video_file", "path": '/srv/a "b".mp4', "loop": True}, ""),
    "device": ({"kind": "camera", "device": "/dev/video0"}, ""),
    "snapshot": ({"kind": "snapshot", "url": "http://10.0.0.9/shot.jpg"}, ""),
    "rtsp": ({"kind": "rtsp", "url": "rtsp://10.0.0.7/stream", "user": "ädge"}, "hunter2"),
}


def configurations():
    for name, (source, password) in SOURCES.items():
        for state in ("", "/var/lib/edge/gate"):
            yield pytest.param(source, password, state, id=f"{name}-{'unit' if state else 'own'}")


def list_blocks(text):
    """Line numbers of the settings to try: those of neighbouring lines belong together."""
    blocks = []
    for number, line in enumerate(text.splitlines()):
        if re.match(r"#[^ ]", line):
            if not blocks or blocks[-1][-1] != number - 1:
                blocks.append([])
            blocks[-1].append(number)
    return blocks


def take_in(text, numbers):
    lines = text.splitlines()
    for number in numbers:
        lines[number] = lines[number].removeprefix("#")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("source", "password", "state"), list(configurations()))
def test_every_setting_to_try_is_right_alone_and_with_all_others(source, password, state, tmp_path):
    """With the models and labels: `load_configuration` looks at all that needs no camera."""
    first = FirstConfiguration(tmp_path / "gate.toml", "door", source, password, 25.0, state)
    text = first.to_toml(("person", "car"))
    blocks = list_blocks(text)
    assert len(blocks) == 14
    everything = [number for block in blocks for number in block]
    runtime = next(block for block in blocks if "runtime" in text.splitlines()[block[0]])
    for numbers in ([], *blocks, everything):
        tried = take_in(text, numbers)
        assert tomllib.loads(tried) != tomllib.loads(text) or not numbers
        config_file.parse(tomllib.loads(tried), first.file, tried)
    first.file.write_text(take_in(text, [n for n in everything if n not in runtime]))
    settings, _ = load_configuration(first.file)
    assert [camera.name for camera in settings.cameras] == ["door", "yard"]
    assert [zone.name for zone in settings.cameras[0].zones] == ["entrance"]
    assert [line.name for line in settings.cameras[0].lines] == ["sill"]
    assert settings.recognition
    assert {sink["kind"] for sink in settings.sinks} == {"zeromq", "jsonl"}


def test_every_setting_of_the_file_is_in_the_reference(tmp_path):
    reference = (Path(__file__).parents[3] / "docs/reference/configuration.md").read_text()
    source, password = SOURCES["rtsp"]
    text = FirstConfiguration(tmp_path / "gate.toml", "door", source, password).to_toml(("x",))
    keys = set(re.findall(r"^#?([a-z_]+) = ", text, re.MULTILINE)) - {"kind"}
    assert len(keys) > 20
    for key in keys:
        assert f"| `{key}` |" in reference


@pytest.mark.parametrize(
    ("camera", "name"),
    [
        ("rtsp://10.0.0.7/stream", "camera-1"),
        ("rtsp://[fe80::1]/stream", "camera-1"),
        ("rtsp://door.local:554/stream", "door"),
        ("rtsp://Front_Door/x", "front_door"),
        ("http://" + "x" * 80 + ".local/mjpeg", "x" * 64),
        ("/dev/video0", "video0"),
        ("/dev/v4l/by-id/usb-Some_Camera-video-index0", "camera-1"),
        ("synthetic", "camera-1"),
    ],
)
def test_a_name_is_proposed(camera, name):
    assert Candidate.parse(camera).suggest_name() == name


def test_devices_are_found_by_the_names_that_stay(tmp_path):
    (tmp_path / "v4l/by-id").mkdir(parents=True)
    for name in ("video0", "video1"):
        (tmp_path / name).touch()
    assert find_devices(tmp_path) == [f"{tmp_path}/video0", f"{tmp_path}/video1"]
    for name in ("usb-Cam-video-index0", "usb-Cam-video-index1"):
        (tmp_path / "v4l/by-id" / name).touch()
    assert find_devices(tmp_path) == [f"{tmp_path}/v4l/by-id/usb-Cam-video-index0"]


# --- questions ------------------------------------------------------------------------------------


def test_a_camera_that_asks_for_a_login_is_asked_about(tmp_path):
    with (
        http_camera(mjpeg(), USER, PASSWORD, "MD5") as camera,
        terminal(["setup", "gate.toml", "--no-service"], tmp_path) as screen,
    ):
        screen.answer(CAMERA, camera.url + "/live")
        screen.expect("asks for a login")
        screen.answer("User", USER)
        screen.answer(HIDDEN, "wrong")
        screen.answer("User", USER)
        screen.answer(HIDDEN, PASSWORD)
        screen.expect("delivers 160x120 JPEG")
        screen.answer("Name of the camera", "no name")
        screen.expect("no name is no name for a camera")
        screen.answer("Name of the camera", "door")
        assert screen.wait() == 0, screen.shown
        checked = check(tmp_path / "gate.toml")
    assert checked.exit_code == 0, checked.output
    assert (tmp_path / "gate.door.password").read_text() == f"{PASSWORD}\n"
    for text in (screen.shown, (tmp_path / "gate.toml").read_text()):
        assert PASSWORD not in text
        assert "wrong" not in text


def test_what_is_no_camera_is_asked_for_again(film, tmp_path):
    (tmp_path / "notes.txt").write_text("no film\n")
    with terminal(["setup", "gate.toml", "--no-service"], tmp_path) as screen:
        screen.answer(CAMERA, "10.0.0.7")
        screen.expect("is no file, and no address or device")
        screen.answer(CAMERA, "")
        screen.expect("give a camera")
        screen.answer(CAMERA, b"\x1b[A\n")
        screen.expect("control characters")
        screen.answer(CAMERA, b"\xff\xfe\n")
        screen.expect("not UTF-8")
        screen.answer(CAMERA, "x" * (MAX_LETTERS + 1))
        screen.expect(f"at most {MAX_LETTERS}")
        screen.answer(CAMERA, f"rtsp://127.0.0.1:{free_port()}/stream")
        screen.expect("Connection refused")
        screen.answer("Give another", "ag")
        screen.expect("Connection refused")
        screen.answer("Give another", "o")
        screen.answer(CAMERA, "notes.txt")
        screen.expect("this is not video")
        screen.answer("Give another", "")
        screen.answer(CAMERA, str(film))
        screen.answer("Name of the camera [front-door]", "")
        assert screen.wait() == 0, screen.shown
    assert config_file.load(tmp_path / "gate.toml").cameras[0].source["path"] == str(film)


def test_a_camera_that_does_not_answer_can_be_kept(tmp_path):
    address = f"rtsp://127.0.0.1:{free_port()}/stream"
    with terminal(["setup", "gate.toml", "--no-service"], tmp_path) as screen:
        screen.answer(CAMERA, address)
        screen.answer("Give another", "keep")
        screen.answer("Name of the camera [camera-1]", "door")
        assert screen.wait() == 0, screen.shown
    assert config_file.load(tmp_path / "gate.toml").cameras[0].source["url"] == address


@pytest.mark.parametrize("question", ["camera", "user", "password", "what now", "name"])
def test_ctrl_c_at_a_question_leaves_nothing(question, film, tmp_path):
    with (
        http_camera(mjpeg(), USER, PASSWORD, "Basic") as camera,
        terminal(["setup", "gate.toml"], tmp_path) as screen,
    ):
        screen.expect(CAMERA)
        if question == "name":
            screen.type(str(film))
            screen.expect("Name of the camera")
        elif question == "what now":
            screen.type(f"rtsp://127.0.0.1:{free_port()}/stream")
            screen.expect("Give another")
        elif question in ("user", "password"):
            screen.type(camera.url)
            screen.expect("User")
        if question == "password":
            screen.type(USER)
            screen.expect(HIDDEN)
        assert screen.interrupt() == 130, screen.shown
    assert screen.shown.endswith("\nnothing was written\n")
    assert names(tmp_path) == []


@pytest.mark.parametrize("question", ["camera", "password"])
def test_the_end_of_the_input_leaves_nothing(question, tmp_path):
    with (
        http_camera(mjpeg(), USER, PASSWORD, "Basic") as camera,
        terminal(["setup", "gate.toml"], tmp_path) as screen,
    ):
        screen.answer(CAMERA, END if question == "camera" else camera.url)
        if question == "password":
            screen.answer("User", USER)
            screen.answer(HIDDEN, END)
        assert screen.wait() == 130, screen.shown
    assert screen.shown.endswith("\nnothing was written\n")
    assert names(tmp_path) == []


def test_ctrl_c_while_a_camera_is_tried_leaves_nothing(tmp_path):
    asked = threading.Event()

    def hang(reply):
        asked.set()
        reply.over.wait(60)

    with (
        http_camera(hang) as camera,
        terminal(["setup", "gate.toml", "--camera", camera.url], tmp_path) as screen,
    ):
        assert asked.wait(30)
        assert screen.interrupt() == 130, screen.shown
    assert "Traceback" not in screen.shown
    assert names(tmp_path) == []


# --- what cannot be used --------------------------------------------------------------------------


def assert_refused(done, file, *says, code=78):
    assert done.exit_code == code, done.output
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for text in says:
        assert text in done.stderr
    assert not file.exists()


@pytest.mark.parametrize(
    ("camera", "says", "code"),
    [
        ("nowhere.mp4", "is no file, and no address or device", 78),
        ("10.0.0.7:554/stream", "an address begins with rtsp:// or http://", 78),
        ("x" * 5000, f"5000 letters: give at most {MAX_LETTERS}", 78),
        ("x" * 2000, "is no file", 78),
        ("rtsp://10.0.0.7/a\x1b[2Jb", "control characters", 78),
        ("rtsp://10.0.0.7/\udcff", "not UTF-8", 78),
        ("rtsp://10.0.0.7/a b", "blanks or control characters", 78),
        ("ftp://10.0.0.7/a", "must begin with http://", 78),
        ("http://[::1/a", "needs a port", 78),
        ("rtsp://u:p/w@10.0.0.7/a", "percent-encode", 78),
        ("rtsp://u:${NOT_SET_HERE}@10.0.0.7/a", "NOT_SET_HERE, which is not set", 78),
        ("rtsp://", "rtsp:// cannot be used: its address needs a host after ://", 78),
        ("http:///shot.jpg", "needs a host after ://", 78),
        ("rtsp://:554/stream", "needs a host after ://", 78),
        ("/dev/video999", "there is no such device", 1),
        ("/dev/null", "cannot be opened", 1),
        (".", "Nothing was written", 1),
    ],
)
def test_a_camera_that_cannot_be_used_is_refused(camera, says, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = setup(tmp_path / "gate.toml", f"--camera={camera}")
    assert_refused(done, tmp_path / "gate.toml", says, code=code)
    assert names(tmp_path) == []


def test_what_is_no_film_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "notes.txt").write_text("no film\n")
    (tmp_path / "empty.mp4").touch()
    for name in ("pipe", "notes.txt", "empty.mp4"):
        done = setup(tmp_path / "gate.toml", "--camera", tmp_path / name)
        assert_refused(done, tmp_path / "gate.toml", name, "--offline", code=1)


def test_a_camera_without_its_login_is_refused(tmp_path):
    with http_camera(mjpeg(), USER, PASSWORD, "Basic") as camera:
        done = setup(tmp_path / "gate.toml", "--camera", camera.url)
        assert_refused(done, tmp_path / "gate.toml", "asks for a login", code=1)


def test_a_camera_that_sends_nothing_is_given_up(tmp_path):
    with http_camera(lambda reply: reply.over.wait(60)) as camera:
        done = setup(tmp_path / "gate.toml", "--camera", camera.url)
        assert_refused(done, tmp_path / "gate.toml", "Nothing was written", code=1)


def test_a_source_that_hangs_is_given_up():
    released = threading.Event()

    class Hanging:
        address = "rtsp://10.0.0.7"
        every_frame = False

        @contextmanager
        def connect(self, stop):
            released.wait(30)
            yield iter(())

    with pytest.raises(SourceError, match=r"hangs: it delivered nothing within 0\.1 s"):
        try_camera(Hanging(), timeout_s=0.1)
    released.set()


def test_a_camera_that_is_off_is_kept_on_request(tmp_path):
    address = f"rtsp://127.0.0.1:{free_port()}/stream"
    done = setup(tmp_path / "gate.toml", "--camera", address, "--offline")
    assert done.exit_code == 0, done.output
    assert "Connection refused" in done.stdout
    assert "kept all the same" in done.stdout
    assert config_file.load(tmp_path / "gate.toml").cameras[0].source["url"] == address


@pytest.mark.parametrize("name", [" ", "a b", "tür", "x" * 65, "../../x", "a\x1b[2J", "\udcff"])
def test_a_name_that_is_none_is_refused(name, tmp_path):
    done = setup(tmp_path / "gate.toml", "--camera", "synthetic", f"--name={name}")
    assert "trying" not in done.stdout
    assert_refused(done, tmp_path / "gate.toml", "is no name for a camera: use 1 to 64 letters")


def test_without_a_terminal_it_says_what_to_give(tmp_path):
    done = CliRunner().invoke(app, ["setup", str(tmp_path / "gate.toml")])
    assert_refused(done, tmp_path / "gate.toml", "give --yes, and --camera CAMERA")
    if not find_devices(Path("/dev")):
        done = setup(tmp_path / "gate.toml")
        assert_refused(done, tmp_path / "gate.toml", "no video device", "give --camera CAMERA")


# --- where it is written --------------------------------------------------------------------------


def test_a_file_that_exists_is_kept(tmp_path, film):
    file = tmp_path / "gate.toml"
    file.write_text("mine")
    done = setup(file, "--camera", film)
    assert done.exit_code == 78
    assert "this file exists: choose another path, or --force to replace it" in done.stderr
    assert file.read_text() == "mine"
    done = setup(file, "--camera", film, "--force")
    assert done.exit_code == 0, done.output
    assert config_file.load(file).cameras[0].name == "front-door"
    assert mode(file) == 0o600


def test_a_password_file_that_exists_is_kept(tmp_path):
    kept = tmp_path / "gate.door.password"
    kept.write_text("mine")
    with http_camera(mjpeg(), USER, "x", "Basic") as camera:
        address = camera.url.replace("://", f"://{USER}:x@")
        done = setup(tmp_path / "gate.toml", "--camera", address, "--name", "door")
    assert_refused(done, tmp_path / "gate.toml", str(kept), "this file exists")
    assert kept.read_text() == "mine"


def test_a_link_that_leads_nowhere_is_something_that_exists(tmp_path, film):
    file = tmp_path / "gate.toml"
    file.symlink_to(tmp_path / "elsewhere.toml")
    assert_refused(setup(file, "--camera", film), tmp_path / "elsewhere.toml", "this file exists")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_never_written_to(kind, force, tmp_path, film):
    file = tmp_path / "gate.toml"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file = Path("/dev/null")
    done = setup(file, "--camera", film, *["--force"] * force)
    assert done.exit_code == 78
    assert ("no regular file" if force else "this file exists") in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("folder", ["/proc", "/nowhere/at/all", "/dev/null"])
def test_a_folder_that_cannot_be_written_to_is_told_before_any_question(folder, film):
    done = setup(f"{folder}/gate.toml", "--camera", film)
    assert done.exit_code == 78
    assert len(done.stderr.splitlines()) == 1
    assert f"{folder} cannot be written to" in done.stderr
    assert "trying" not in done.stdout


@pytest.mark.parametrize("name", ["a\x1bb.toml", "a\nb.toml", "\udcff.toml", "x" * 5000])
def test_a_path_that_a_configuration_cannot_name_is_refused(name, tmp_path, film):
    done = setup(tmp_path / name, "--camera", film)
    assert done.exit_code == 78
    assert len(done.stderr.splitlines()) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("has_password", [False, True])
def test_a_disk_that_takes_no_more_leaves_nothing(has_password, tmp_path):
    def take_no_byte():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    with http_camera(mjpeg(), USER, "x", "Basic" if has_password else "") as camera:
        if not has_password:
            camera.user = ""
        login = f"://{USER}:x@" if has_password else "://"
        address = camera.url.replace("://", login)
        done = subprocess.run(
            [sys.executable, "-m", "edge", "setup", "gate.toml", "--yes", "--camera", address],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            preexec_fn=take_no_byte,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "nothing was written; choose another path" in done.stderr
    assert names(tmp_path) == []


def test_a_password_that_cannot_be_written_leaves_no_configuration(tmp_path):
    first = FirstConfiguration(tmp_path / "gate.toml", "x" * 250, {"kind": "rtsp"}, "hunter2")
    with pytest.raises(EdgeError, match="nothing was written"):
        first.write("text", force=True)
    assert names(tmp_path) == []


def write_first(folder, force=False, password="hunter2"):
    first = FirstConfiguration(folder / "gate.toml", "door", {"kind": "rtsp"}, password)
    first.write("text", force=force)


def test_a_configuration_that_cannot_be_replaced_leaves_the_former_password(tmp_path):
    (tmp_path / "gate.toml").mkdir()  # refused when the password is in its place
    (tmp_path / "gate.door.password").write_text("former")
    with pytest.raises(EdgeError, match="nothing was written"):
        write_first(tmp_path, force=True)
    assert (tmp_path / "gate.door.password").read_text() == "former"
    assert names(tmp_path) == ["gate.door.password", "gate.toml"]


def test_a_run_goes_on_where_a_killed_one_left_its_parts(tmp_path):
    for left in (".gate.toml.0123abcd.part", ".gate.door.password.0123abcd.part"):
        (tmp_path / left).write_text("half")
    (tmp_path / "gate.door.password").write_text("hunter2\n")  # in its place when it was killed
    write_first(tmp_path)
    assert (tmp_path / "gate.toml").read_text() == "text"
    assert names(tmp_path) == ["gate.door.password", "gate.toml"]


def test_a_password_file_that_is_a_link_is_not_taken_for_one_that_was_left(tmp_path):
    (tmp_path / "mine").write_text("hunter2\n")
    (tmp_path / "gate.door.password").symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError, match="this file exists"):
        write_first(tmp_path)
    assert names(tmp_path) == ["gate.door.password", "mine"]


# --- the unit -------------------------------------------------------------------------------------


@pytest.fixture
def box(tmp_path):
    """A root where systemd runs, the unit is installed and the service's group is ours."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    unit = tmp_path / "usr/lib/systemd/system/edge@.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    (tmp_path / "etc/edge").mkdir(parents=True)
    (tmp_path / "etc/group").write_text(f"root:x:0:\nedge:x:{os.getgid()}:\n")
    return tmp_path


class Commands:
    """Takes commands; fails at one of them."""

    def __init__(self, failing=""):
        self.run, self.failing = [], failing

    def __call__(self, command):
        assert command[:2] == ["sh", "-euc"]
        self.run.append(command[2])
        if self.failing and self.failing in self.run[-1]:
            raise OSError("Job failed")
        return ""


RUNNABLE = Path("/bin/true")  # of a folder that a unit sees, which that of the tests need not be


def unit_of(box, commands=None, *, is_root=True, file="etc/edge/gate.toml", program=RUNNABLE):
    return UnitStart(box / file, box, commands or Commands(), is_root, program)


def test_a_unit_is_started_now_and_at_every_boot(box):
    commands = Commands()
    unit = unit_of(box, commands)
    unit.file.touch(0o600)
    assert (unit.unit, unit.state, unit.find_obstacle()) == ("edge@gate", "/var/lib/edge/gate", "")
    done = list(unit.start([unit.file]))
    assert commands.run == ["systemctl enable edge@gate", "systemctl restart edge@gate"]
    assert done == [f"done: {command}" for command in commands.run]
    assert (mode(unit.file), unit.file.stat().st_gid) == (0o640, os.getgid())


def test_users_and_folders_that_are_missing_are_made_first(box):
    (box / "etc/group").write_text("root:x:0:\n")

    class Making(Commands):
        def __call__(self, command):
            if "systemd-sysusers" in command[2]:
                (box / "etc/group").write_text(f"edge:x:{os.getgid()}:\n")
            return super().__call__(command)

    commands = Making()
    unit = unit_of(box, commands)
    unit.file.touch(0o600)
    list(unit.start([unit.file]))
    assert commands.run == [
        (
            "systemd-sysusers edge.conf && systemd-tmpfiles --create edge.conf"
            " && systemctl daemon-reload"
        ),
        "systemctl enable edge@gate",
        "systemctl restart edge@gate",
    ]
    assert mode(unit.file) == 0o640


def test_a_program_that_a_unit_does_not_see_is_no_program_to_run(box):
    (box / "usr/lib/systemd/system/edge@.service").unlink()
    (box / "edge").touch()
    if not box.is_relative_to(tempfile.gettempdir()) or tempfile.gettempdir() != "/tmp":
        pytest.skip("temporary files are not in /tmp, of which a unit has its own")
    unit = unit_of(box, program=box / "edge")
    assert "does not see" in unit.find_obstacle()
    assert unit.list_commands()[0] == "make install"


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs systemd's programs")
def test_a_unit_that_is_missing_is_installed_with_its_user_and_its_folders(box):
    """By systemd's own programs, which take another root; but nothing can be started there."""
    (box / "usr/lib/systemd/system/edge@.service").unlink()
    (box / "etc/group").unlink()
    started = []

    def run(command):
        root = f"--root={box}"
        words = re.sub(r"(?<=[ >])/etc/(?!edge/)", f"{box}/etc/", command[2])
        words = re.sub(r"systemd-(sysusers|tmpfiles)", rf"systemd-\1 {root}", words)
        words = words.replace("systemctl daemon-reload", "true")
        words = words.replace("systemctl enable", f"systemctl {root} enable")
        if "restart" in words:
            started.append(words)
            return ""
        done = subprocess.run(["sh", "-euc", words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    unit = unit_of(box, run)
    assert unit.find_obstacle() == ""
    unit.make_folder()
    unit.file.touch(0o600)
    done = list(unit.start([unit.file]))
    assert len(done) == 7
    assert started == ["systemctl restart edge@gate"]
    installed = box / "etc/systemd/system/edge@.service"
    assert installed.read_bytes() == (UNITS / "edge@.service").read_bytes()
    assert (box / "etc/systemd/system/multi-user.target.wants/edge@gate.service").is_symlink()
    drop_in = box / "etc/systemd/system/edge@.service.d/program.conf"
    assert drop_in.read_text() == (
        "[Service]\nExecStart=\nExecStart=/bin/true run /etc/edge/%i.toml\n"
    )
    assert re.search("^edge:", (box / "etc/passwd").read_text(), re.MULTILINE)
    assert mode(box / "etc/edge/credentials") == 0o700
    assert mode(unit.file) == 0o640
    assert f"edge:x:{unit.file.stat().st_gid}:" in (box / "etc/group").read_text()
    assert (unit.list_commands(), list(unit.start([unit.file]))) == (
        ["systemctl enable --now edge@gate"],
        ["done: systemctl enable edge@gate", "done: systemctl restart edge@gate"],
    )


def test_the_program_of_the_unit_is_the_one_that_needs_no_drop_in():
    assert f"\nExecStart={PROGRAM} run /etc/edge/%i.toml\n" in (UNITS / "edge@.service").read_text()


def test_a_port_that_is_taken_is_told(film, tmp_path):
    with socket.create_server(("127.0.0.1", 9470)):
        done = setup(tmp_path / "gate.toml", "--camera", film)
    assert done.exit_code == 0, done.output
    (warning,) = re.findall("^warning: .*", done.stdout, re.MULTILINE)
    assert "http: " in warning
    assert "9470" in warning
    assert "a running node uses it itself" in warning


def test_a_recording_that_the_service_does_not_see_is_told(box):
    assert unit_of(box).hides(Path("/home/me/yard.mp4"))
    assert not unit_of(box).hides(Path("/srv/yard.mp4"))
    assert not unit_of(box, file="home/gate.toml").hides(Path("/home/me/yard.mp4"))


def test_an_address_that_may_hold_a_secret_is_told(tmp_path):
    with http_camera(mjpeg()) as camera:
        done = setup(tmp_path / "gate.toml", "--camera", f"{camera.url}/live?token=hunter2")
    assert done.exit_code == 0, done.output
    assert "if it holds a secret, keep the file private" in done.stdout
    assert "hunter2" not in done.output


def test_a_unit_that_does_not_start_is_told_with_what_was_done_and_what_was_not(box):
    unit = unit_of(box, Commands("restart"))
    unit.file.touch(0o600)
    steps = unit.start([unit.file])
    assert next(steps) == "done: systemctl enable edge@gate"
    with pytest.raises(EdgeError, match="left to do: systemctl restart edge@gate") as caught:
        next(steps)
    assert "Job failed" in str(caught.value)
    assert "journalctl -u edge@gate" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ("run/systemd/system", {}, "systemd does not run here"),
        ("usr/lib/systemd/system/edge@.service", {"program": Path("/no/edge")}, "is not installed"),
        ("usr/lib/systemd/system/edge@.service", {"program": Path("/home/edge")}, "`make install`"),
        ("", {"is_root": False}, "only root"),
        ("", {"file": "home/gate.toml"}, "the unit reads /etc/edge/NAME.toml"),
        ("", {"file": "etc/edge/gate.conf"}, "the unit reads /etc/edge/NAME.toml"),
        ("", {"file": "etc/edge/a gate.toml"}, "no name of a unit"),
    ],
)
def test_what_stands_in_the_way_of_a_unit_is_told(change, options, says, box):
    if change:
        path = box / change
        path.rmdir() if path.is_dir() else path.unlink()
    unit = unit_of(box, **options)
    assert says in unit.find_obstacle()
    assert unit.state == ("" if "NAME.toml" in says else f"/var/lib/edge/{unit.file.stem}")


def test_a_service_that_cannot_be_started_is_refused_before_anything_is_written(tmp_path):
    done = setup(tmp_path / "gate.toml", "--camera", "synthetic", "--service")
    assert_refused(done, tmp_path / "gate.toml", "--service: ")


def test_the_commands_that_are_shown_put_the_files_where_the_unit_reads_them(tmp_path):
    """As typed, but for the group and the folder, which this machine may lack."""
    source = {"kind": "rtsp", "url": "rtsp://10.0.0.7/stream", "user": "edge"}
    home, etc = tmp_path / "my home", tmp_path / "etc-edge"
    home.mkdir()
    etc.mkdir()
    first = FirstConfiguration(home / "gate.toml", "door", source, "hunter2")
    first.write(first.to_toml(("person",)), force=False)
    *copies, start = UnitStart(first.file).list_commands(first.password_file)
    assert start == "systemctl enable --now edge@gate"
    script = "\n".join(copies).replace("-g edge ", "")
    edited = script.replace("/etc/edge", str(etc))
    done = subprocess.run(["sh", "-euc", edited], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (etc / "gate.door.password").read_text() == "hunter2\n"
    (camera,) = config_file.load(etc / "gate.toml").cameras
    assert camera.source["password_file"] == str(etc / "gate.door.password")
    assert (mode(etc / "gate.toml"), mode(etc / "gate.door.password")) == (0o640, 0o640)


def test_without_a_password_two_commands_are_shown(tmp_path, film):
    done = setup(tmp_path / "gate.toml", "--camera", film)
    commands = done.stdout.rpartition("as root:\n")[2].splitlines()
    install, start = commands
    assert start.split()[0] == "systemctl"
    copied = install.replace("install -g edge -m 640 /dev/stdin /etc/edge/gate.toml", "cat")
    text = subprocess.run(copied, shell=True, capture_output=True, text=True, check=True).stdout
    assert 'folder = "/var/lib/edge/gate/kept"' in text
    done = setup(tmp_path / "other.toml", "--camera", film, "--no-service")
    assert "as root" not in done.stdout


@pytest.mark.parametrize(
    ("size_wh", "detector"),
    [
        ((1280, 720), "zoo:detect-nano-wide"),
        ((704, 396), "zoo:detect-nano-wide"),
        ((640, 480), "zoo:detect-nano"),
        ((1080, 1920), "zoo:detect-nano"),
    ],
)
def test_the_detector_has_the_shape_of_the_pictures(size_wh, detector):
    assert choose_detector(size_wh) == detector
