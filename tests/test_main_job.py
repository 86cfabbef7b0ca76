"""The main job, whole: four cameras, one of them dead, a subscriber of plain pyzmq."""

import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict

import pytest
import zmq

from tests.support.rtsp_server import rtsp_server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class PlainSubscriber(threading.Thread):
    """What a stranger would write: pyzmq and json, nothing of ours."""

    def __init__(self, endpoint):
        super().__init__(daemon=True)
        self.messages = []  # (arrival, topic, payload)
        self._over = threading.Event()
        self._socket = zmq.Context.instance().socket(zmq.SUB)
        self._socket.connect(endpoint)
        self._socket.subscribe(b"v1/")

    def run(self):
        while not self._over.is_set():
            if self._socket.poll(100):
                topic, payload, *_ = self._socket.recv_multipart()
                self.messages.append((time.monotonic(), topic.decode(), json.loads(payload)))
        self._socket.close(0)

    def close(self):
        self._over.set()
        self.join(5)

    def wait_for(self, wanted, timeout_s, since_s=0.0):
        """The first message after ``since_s`` that ``wanted`` accepts."""
        deadline_s = time.monotonic() + timeout_s
        position = 0
        while time.monotonic() < deadline_s:
            while position < len(self.messages):
                arrival_s, topic, payload = self.messages[position]
                position += 1
                if arrival_s >= since_s and wanted(topic, payload):
                    return arrival_s, payload
            time.sleep(0.01)
        return None


def detections_of(camera):
    return lambda topic, payload: topic == f"v1/detections/{camera}/"


def state_of(camera, state):
    return lambda topic, p: topic == f"v1/status/{camera}/" and p["state"] == state


def readiness(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
def ports():
    return {"bus": free_port(), "http": free_port(), "nobody": free_port()}


@pytest.fixture
def configuration(tmp_path, shared_data, adopted_yolox, adopted_yunet, ports):
    def write(rtsp_url):
        videos = shared_data / "videos"
        aisle, shelf = videos / "one-by-one-person-detection.mp4", videos / "bottle-detection.mp4"
        path = tmp_path / "edge.toml"
        path.write_text(f"""
node = "test"
[models]
detector = "{adopted_yolox}"
faces = "{adopted_yunet}"
[[cameras]]
name = "aisle"
fps = 5
source = {{ kind = "video_file", path = "{aisle}", loop = true }}
[[cameras]]
name = "shelf"
fps = 5
source = {{ kind = "video_file", path = "{shelf}", loop = true }}
[[cameras]]
name = "gate"
fps = 5
source = {{ kind = "rtsp", url = "{rtsp_url}", user = "viewer", password = "hush-hush" }}
[[cameras]]
name = "absent"
fps = 5
source = {{ kind = "rtsp", url = "rtsp://127.0.0.1:{ports["nobody"]}/none" }}
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:{ports["bus"]}"
[http]
port = {ports["http"]}
""")
        return path

    return write


@pytest.fixture
def daemon(tmp_path):
    running = []

    def start(path):
        log = (tmp_path / "log").open("w")
        command = [sys.executable, "-m", "edge", "run", str(path)]
        process = subprocess.Popen(command, stderr=log, stdout=log)
        running.append((process, log))
        return process

    yield start
    for process, log in running:
        process.kill()
        process.wait()
        log.close()


@pytest.mark.slow
def test_four_cameras_one_dead_one_restarted(configuration, daemon, ports, shared_data, tmp_path):
    video = shared_data / "videos" / "one-by-one-person-detection.mp4"
    with rtsp_server(video, user="viewer", password="hush-hush") as server:
        subscriber = PlainSubscriber(f"tcp://127.0.0.1:{ports['bus']}")
        subscriber.start()
        started_s = time.monotonic()
        process = daemon(configuration(server.url))

        # detections of all three living cameras within five seconds of start
        for camera in ("aisle", "shelf", "gate"):
            assert subscriber.wait_for(detections_of(camera), 30), camera
        first = {
            camera: subscriber.wait_for(detections_of(camera), 0.1)[0] - started_s
            for camera in ("aisle", "shelf", "gate")
        }
        assert max(first.values()) <= 5, first
        assert subscriber.wait_for(state_of("absent", "offline"), 5)
        code, body = readiness(ports["http"])
        assert code == 200
        assert {name: camera["ready"] for name, camera in body["cameras"].items()} == {
            "aisle": True, "shelf": True, "gate": True, "absent": False,
        }  # fmt: skip
        found = subscriber.wait_for(lambda t, p: t == "v1/detections/gate/" and p["objects"], 20)
        assert found, "no object in the RTSP stream"

        # the server dies: offline in five seconds, the others do not notice
        killed_s = time.monotonic()
        server.stop()
        offline = subscriber.wait_for(state_of("gate", "offline"), 10, killed_s)
        assert offline, "the dead stream was not noticed"
        assert offline[0] - killed_s <= 5
        assert readiness(ports["http"])[1]["cameras"]["gate"]["ready"] is False
        time.sleep(2)

        # it listens again: frames in two seconds, with a new epoch
        server.start()
        listening_s = time.monotonic()
        again = subscriber.wait_for(detections_of("gate"), 10, listening_s)
        assert again, "the camera did not come back"
        assert again[0] - listening_s <= 2
        time.sleep(2)

        # Ctrl-C and SIGTERM end it in five seconds with exit 0
        stopping_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - stopping_s <= 5
        subscriber.close()

    _check_messages(subscriber.messages, killed_s, listening_s)
    assert "hush-hush" not in (tmp_path / "log").read_text()


def _check_messages(messages, killed_s, listening_s):
    gate = [(at, p) for at, topic, p in messages if topic == "v1/detections/gate/"]
    before = {p["epoch"] for at, p in gate if at < killed_s}
    after = {p["epoch"] for at, p in gate if at > listening_s}
    assert len(before) == len(after) == 1
    assert min(after) > max(before)

    tracks_of = defaultdict(set)  # (camera, epoch) -> ids
    for _, topic, p in messages:
        if topic.startswith("v1/detections/"):
            tracks_of[p["camera"], p["epoch"]] |= {o["track"] for o in p["objects"]}
    everywhere = [track for tracks in tracks_of.values() for track in tracks]
    assert len(everywhere) == len(set(everywhere)), "a track id was used twice"

    aisle = [at for at, topic, _ in messages if topic == "v1/detections/aisle/"]
    pauses = [b - a for a, b in itertools.pairwise(aisle)]
    assert max(pauses) < 2, "a camera noticed the death of another"

    for topic in {topic for _, topic, _ in messages}:
        numbers = [p["seq"] for _, t, p in messages if t == topic and not p.get("cached")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), topic
