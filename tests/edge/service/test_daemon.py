"""The daemon's life: startup, reload, a dead worker, the watchdog, shutdown."""

import contextlib
import json
import re
import socket
import threading
import time

import numpy as np
import pytest

from edge import config_file
from edge.client import Received, Subscriber
from edge.diagnostics.benchmark import NullDetector
from edge.errors import WorkerError
from edge.service.daemon import Daemon
from edge.service.metrics import Metrics
from edge.service.model_set import ModelSet
from edge.sinks import jsonl
from tests.support.models import constant_model
from tests.support.running_daemon import MODELS, Running, write
from tests.support.videos import write_video


@pytest.fixture
def run(tmp_path):
    started = []

    def start(cameras, extra="", bind=None):
        running = Running(write(tmp_path / "edge.toml", cameras, extra, bind))
        started.append(running)
        return running

    yield start
    for running in started:
        running.daemon.stop()
        running.thread.join(10)
        assert not running.thread.is_alive()


def test_a_failing_camera_is_offline_and_disturbs_nobody(run):
    running = run({"door": "", "gate": ', then = "fail"'})
    assert running.until(lambda states: states == {"door": "online", "gate": "offline"})
    code, _ = running.get("/readyz")
    assert code == 200
    assert running.until(lambda _: running.get_reason("gate") == "asked to fail")


def test_a_camera_that_dies_of_a_bug_stops_the_process(run):
    running = run({"door": "", "gate": ', then = "die", after = 3'})
    running.thread.join(10)
    assert isinstance(running.error, WorkerError)
    assert "camera gate" in str(running.error)
    assert running.error.exit_code == 70


def test_a_reload_adds_removes_and_keeps_cameras(run, tmp_path):
    running = run({"door": "", "gate": ""})
    assert running.until(lambda states: states == {"door": "online", "gate": "online"})
    epoch = running.daemon.health.states()[0].epoch
    write(tmp_path / "edge.toml", {"door": "", "yard": ""})
    running.daemon.reload()
    assert running.until(lambda states: states == {"door": "online", "yard": "online"})
    assert running.daemon.health.states()[0].epoch == epoch, "the kept camera was restarted"
    text = running.get("/metrics")[1]
    assert '"gate"' not in text
    assert 'edge_camera_up{camera="yard"} 1.0' in text
    assert "edge_config_last_reload_successful 1.0" in text


def test_a_reload_that_fails_keeps_the_running_configuration(run, tmp_path):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    (tmp_path / "edge.toml").write_text("node = 3")
    running.daemon.reload()
    deadline_s = time.monotonic() + 10
    while "reload_successful 0.0" not in running.get("/metrics")[1]:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert running.until(lambda states: states == {"door": "online"})


def test_a_stop_during_a_reload_is_not_held_up_by_many_cameras_that_hang(run, tmp_path):
    names = [f"deaf-{n}" for n in range(30)]
    running = run({"door": "", **dict.fromkeys(names, ', then = "deaf", after = 1')})
    assert running.until(lambda states: set(states.values()) == {"online"})
    write(tmp_path / "edge.toml", {"door": "", **dict.fromkeys(names, ', then = "deaf"')})
    running.daemon.reload()
    while "deaf-0" in running.daemon._cameras.configured:  # it is being removed
        time.sleep(0.01)
    began_s = time.monotonic()
    running.daemon.stop()
    running.thread.join(20)
    assert time.monotonic() - began_s < 5
    assert running.error is None


def read_events(path):
    """What happened to each track of each camera, in order: (change, place)."""
    lives = {}
    for line in path.read_text().splitlines():
        message = json.loads(line)
        if message["topic"].startswith("v1/tracks/"):
            life = lives.setdefault((message["camera"], message["track"]), [])
            life.append((message["change"], message["place"]))
    return lives


WHOLE_LIFE = [("began", ""), ("entered", "all"), ("left", "all"), ("ended", "")]


def test_however_a_camera_goes_its_tracks_end_and_its_zones_are_left(run, tmp_path):
    person = constant_model(
        "detect", {"detections": np.float32([[5, 5, 20, 30, 0.9, 0]])}, ("person",)
    )
    (tmp_path / "none.onnx").write_bytes(person)
    log = tmp_path / "log.jsonl"
    sink = f'[[sinks]]\nkind = "jsonl"\npath = "{log}"\n'
    zone = 'name = "all", polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]'
    cameras = {
        "stays": "", "removed": "", "loses": ', then = "hang", after = 20',
        "ends": ', then = "end", after = 20', "fails": ', then = "fail", after = 20',
    }  # fmt: skip
    path = write(tmp_path / "edge.toml", cameras, sink)
    text = path.read_text().replace("fps = 50", f"fps = 50\nzones = [{{ {zone} }}]")
    path.write_text(text)
    running = Running(path, load=True)
    try:
        assert running.until(lambda states: states.get("fails") == "offline")
        deadline_s = time.monotonic() + 15
        while time.monotonic() < deadline_s:
            lives = read_events(log)
            finished = {camera for (camera, _), life in lives.items() if life == WHOLE_LIFE}
            if finished >= {"loses", "ends", "fails"}:
                break
            time.sleep(0.1)
        assert finished >= {"loses", "ends", "fails"}
        path.write_text(
            re.sub(r'\[\[cameras\]\]\nname = "removed".*?\n(?=\[\[)', "", text, flags=re.S)
        )
        running.daemon.reload()
        assert running.until(lambda states: "removed" not in states)
        lives = read_events(log)
        assert [life for (camera, _), life in lives.items() if camera == "removed"] == [WHOLE_LIFE]
        assert [life for (camera, _), life in lives.items() if camera == "stays"] == [
            WHOLE_LIFE[:2]
        ]
    finally:
        running.daemon.stop()
        running.thread.join(10)
    lives = read_events(log)
    assert {camera for camera, _ in lives} == cameras.keys()
    assert all(life == WHOLE_LIFE for life in lives.values())


def test_a_changed_zone_or_rate_does_not_reconnect_its_camera(run, tmp_path):
    running = run({"door": "", "gate": ""})
    assert running.until(lambda states: states == {"door": "online", "gate": "online"})
    epochs = [state.epoch for state in running.daemon.health.states()]
    path = tmp_path / "edge.toml"
    zone = '{ name = "all", polygon = [[0, 0], [1, 0], [1, 1]] }'
    changed = f"fps = 5\nzones = [{zone}]\nmin_score = {{ person = 0.9 }}\njpeg_hz = 1"
    path.write_text(path.read_text().replace("fps = 50", changed, 1))
    running.daemon.reload()
    deadline_s = time.monotonic() + 10
    while not running.daemon._cameras.configured["door"].zones:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    before = running.daemon._cameras._cameras["door"][0].metrics.captured._value.get()
    time.sleep(0.5)
    assert running.daemon._cameras._cameras["door"][0].metrics.captured._value.get() > before
    assert [state.epoch for state in running.daemon.health.states()] == epochs
    assert "edge_config_last_reload_successful 1.0" in running.get("/metrics")[1]


def test_triggers_that_never_come_are_told_at_the_start_and_at_a_reload(run, tmp_path, caplog):
    running = run({"door": ""}, '[[cameras.events]]\nwhen = ["dwelled"]')
    assert running.until(lambda states: states == {"door": "online"})
    told = "door: cameras.events: dwelled never comes: the camera has no zones"
    assert told in caplog.text
    caplog.clear()
    running.daemon.reload()
    deadline_s = time.monotonic() + 10
    while told not in caplog.text:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_reload_tells_where_an_unknown_label_is(run, tmp_path, caplog):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    path = tmp_path / "edge.toml"
    path.write_text(path.read_text().replace("fps = 50", 'labels = ["unicorn"]'))
    running.daemon.reload()
    deadline_s = time.monotonic() + 10
    while f"{path}:6: cameras[0].labels: the model does not know" not in caplog.text:
        assert time.monotonic() < deadline_s, caplog.text
        time.sleep(0.02)


def test_messages_are_numbered_without_gaps_and_statuses_come_first(run, tmp_path):
    received = []
    with Subscriber(f"ipc://{tmp_path}/bus") as subscriber:
        running = run({"door": ""})
        assert running.until(lambda states: states == {"door": "online"})
        deadline_s = time.monotonic() + 1
        while time.monotonic() < deadline_s:
            item = subscriber.receive(0.2)
            if isinstance(item, Received):
                received.append(item)
        assert subscriber.missed == 0
    topics = [item.topic for item in received]
    assert "v1/detections/door/" in topics
    assert all(item.body.age_s < 1 for item in received if "detections" in item.topic)


def test_the_watchdog_is_fed_only_while_every_stage_makes_progress(run, tmp_path, monkeypatch):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        running = run({"door": ""})
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        running.daemon._inference.workers[0].is_alive = lambda: False  # as if it hung
        time.sleep(0.3)
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while manager.recv(100):
                pass  # what was sent before
        time.sleep(0.5)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
        running.daemon.stop()
        running.thread.join(5)
        assert manager.recv(100) == b"STOPPING=1"


def test_a_sink_that_hangs_is_told_and_the_watchdog_fed(run, tmp_path, monkeypatch):
    """A file on a mount that no longer answers: the write does not return."""
    address, hangs = str(tmp_path / "notify"), threading.Event()
    write_lines = jsonl.JsonLines._write

    def hang(sink, lines):
        hangs.wait(20)
        write_lines(sink, lines)

    monkeypatch.setattr(jsonl.JsonLines, "_write", hang)
    monkeypatch.setattr("edge.service.publisher.MAX_SILENCE_S", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        table = f'[[sinks]]\nkind = "jsonl"\npath = "{tmp_path}/out.jsonl"\n'
        running = run({"door": ""}, table)
        assert manager.recv(100) == b"READY=1"
        deadline_s = time.monotonic() + 10
        while not (stuck := json.loads(running.get("/readyz")[1])["stuck"]):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        assert stuck == ["sink 1 (jsonl)"]
        assert running.get("/readyz")[0] == 503
        assert 'edge_sink_up{sink="1-jsonl"} 0.0' in running.get("/metrics")[1]
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while manager.recv(100):
                pass  # what was sent before
        manager.settimeout(3)
        assert manager.recv(100) == b"WATCHDOG=1"
        hangs.set()
        while running.get("/readyz")[0] != 200:
            assert time.monotonic() < deadline_s + 5
            time.sleep(0.1)


def test_what_makes_no_progress_is_counted_by_its_part():
    metrics = Metrics()
    metrics.set_stuck(["inference 0", "inference 1", "sink 0 (jsonl)", "http"])
    text = metrics.render().decode()
    counts = dict(re.findall(r'edge_stuck_threads\{part="(\w+)"\} (\S+)', text))
    assert counts == {
        "engines": "0.0", "gallery": "0.0", "heartbeat": "0.0",
        "http": "1.0", "inference": "2.0", "sink": "1.0",
    }  # fmt: skip
    metrics.set_stuck([])
    assert " 1.0" not in "".join(re.findall(r"edge_stuck_threads.*", metrics.render().decode()))


def test_a_bus_port_in_use_is_told_and_taken_when_it_is_free(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        running = run({"door": ""}, bind=f"tcp://127.0.0.1:{port}")
        assert running.until(lambda states: states == {"door": "online"})
        code, text = running.get("/readyz")
        assert code == 503
        assert "in use" in json.loads(text)["broken_sinks"]["0-zeromq"]
        assert 'edge_sink_up{sink="0-zeromq"} 0.0' in running.get("/metrics")[1]
    deadline_s = time.monotonic() + 10
    while running.get("/readyz")[0] != 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


class Slow(NullDetector):
    """Takes 0.15 seconds a frame."""

    def __init__(self):
        self.batches = []

    def detect(self, frames):
        self.batches.append([frame.seq for frame in frames])
        time.sleep(0.15 * len(frames))
        return super().detect(frames)


def read_whole_file(folder, frames):
    """A configuration that reads every frame of a film."""
    tree = {
        "models": {"detector": "none.onnx"},
        "cameras": [
            {
                "name": "file",
                "source": {
                    "kind": "video_file",
                    "path": str(write_video(folder / "clip.mp4", frames)),
                    "every_frame": True,
                },
            }
        ],
        "sinks": [{"kind": "jsonl", "path": str(folder / "said.jsonl")}],
        "http": {"port": 0},
    }
    return config_file.parse(tree, "test")


def test_frames_of_a_file_are_batched_in_order_while_that_takes_half_a_second_at_most(tmp_path):
    settings = read_whole_file(tmp_path, 12)
    slow, seen = Slow(), []
    daemon = Daemon(settings, models=ModelSet(slow, None), on_result=seen.append)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    deadline_s = time.monotonic() + 20
    while len(seen) < 12 and time.monotonic() < deadline_s:
        time.sleep(0.02)
    daemon.stop()
    thread.join(10)
    assert [event.frame.seq for event in seen] == list(range(12))
    assert [seq for batch in slow.batches for seq in batch] == list(range(12))
    assert 1 < max(map(len, slow.batches)) <= 3


def test_a_recording_that_was_read_to_its_end_is_no_reason_to_warn(tmp_path, caplog):
    daemon = Daemon(read_whole_file(tmp_path, 5), models=MODELS)
    with caplog.at_level("INFO"):
        thread = threading.Thread(target=daemon.run)
        thread.start()
        deadline_s = time.monotonic() + 20
        while "end of file" not in caplog.text and time.monotonic() < deadline_s:
            time.sleep(0.02)
        daemon.stop()
        thread.join(10)
    [record] = [each for each in caplog.records if "end of file" in each.getMessage()]
    assert record.levelname == "INFO"
