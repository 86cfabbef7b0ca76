"""A whole node asks a classifier about a place in a recorded video: messages, event, picture."""

import json

import pytest

from edge.client import Received, Subscriber
from tests.support.models import NOTHING, brightness_classifier, constant_model
from tests.support.running_daemon import Running, wait_until
from tests.support.videos import write_video

CONFIG = """
[models]
detector = "none.onnx"
[storage]
folder = "kept"
min_free_bytes = 0
[[cameras]]
name = "yard"
fps = 4
source = {{ kind = "video_file", path = "{video}", every_frame = true }}
events = [{{ when = ["state:gate=bright"], severity = "alert" }}]
[[cameras.states]]
name = "gate"
model = "light.onnx"
polygon = [[0.1, 0.6], [0.9, 0.6], [0.9, 1.0], [0.1, 1.0]]
every_s = 0.25
[[sinks]]
kind = "jsonl"
path = "{folder}/out"
[[sinks]]
kind = "zeromq"
bind = "ipc://{folder}/bus"
[http]
port = 0
"""


@pytest.fixture
def node(tmp_path):
    (tmp_path / "none.onnx").write_bytes(
        constant_model("detect", {"detections": NOTHING}, ("car",))
    )
    (tmp_path / "light.onnx").write_bytes(brightness_classifier())
    video = write_video(tmp_path / "gate.mp4", 32, fps=4)  # the lower half grows bright
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG.format(video=video, folder=tmp_path))
    running = Running(path, load=True)
    yield running
    running.daemon.stop()
    running.thread.join(15)
    assert not running.thread.is_alive()


def read(path, family):
    lines = path.read_text().splitlines() if path.exists() else []
    messages = [json.loads(line) for line in lines]
    return [message for message in messages if message["topic"] == f"v1/{family}/yard/"]


def test_a_place_that_changes_is_told_once_and_is_an_event_with_a_picture(node, tmp_path):
    out = tmp_path / "out"
    wait_until(lambda: [m for m in read(out, "events") if m["change"] == "ended"], 40)
    told = [(m["name"], m["before"], m["value"]) for m in read(out, "states")]
    assert told == [("gate", "", "dark"), ("gate", "dark", "bright")]
    begun, *_, ended = read(out, "events")
    assert (begun["triggers"], begun["places"]) == (["state:gate=bright"], ["gate"])
    assert (begun["severity"], begun["label"], begun["tracks"]) == ("alert", "gate", [])
    assert begun["box"] == [16.0, 72.0, 144.0, 120.0]
    assert (ended["snapshot"], ended["clip"]) == (True, True)
    with Subscriber(f"ipc://{tmp_path}/bus", topics=("v1/states/",), timeout_s=10) as late:
        assert isinstance(item := next(iter(late)), Received)
        assert (item.body.name, item.body.value, item.repeat) == ("gate", "bright", True)
    [camera] = json.loads(node.get("/api/v1/cameras")[1])["cameras"]
    assert camera["states"] == {"gate": "bright"}
    assert 'edge_state{camera="yard",name="gate",value="bright"} 1.0' in node.get("/metrics")[1]
