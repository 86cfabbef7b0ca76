"""A model that gives what cannot be true: nothing is published, the node says so and recovers."""

import json
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from edge import config_file
from edge.manifest import Manifest
from edge.models.detector import ContractDetector
from edge.models.embedder import ContractEmbedder
from edge.models.faces import ContractFaceFinder
from edge.models.picture_model import PictureModel
from edge.service.daemon import Daemon
from edge.service.model_set import ModelSet

GOOD = [2, 2, 20, 20, 0.9, 0]
LIES = {
    "not_finite": [np.nan] * 6,
    "unknown_class": [2, 2, 20, 20, 0.9, 7],
    "no_area": [20, 20, 2, 2, 0.9, 0],
    "score": [2, 2, 20, 20, 7, 0],
    "outside": [-1e30, 2, 1e30, 20, 0.9, 0],
}


class Network:
    """A session whose only row can be changed while it runs."""

    def __init__(self, row):
        self.row, self.metadata = row, {}

    def infer(self, batch):
        rows = np.tile(np.array([[self.row]], np.float32), (len(batch), 1, 1))
        return {"detections": rows, "landmarks": np.ones((len(batch), 1, 5, 2), np.float32)}

    def close(self):
        pass


def picture_model(network, task):
    manifest = Manifest(task=task, name="m", input_wh=(32, 32), classes=("person",))
    return PictureModel(network, manifest, "")


@pytest.fixture
def run():
    started = []

    def start(models):
        seen = []
        camera = {"name": "door", "source": {"kind": "tests.support.plugins:Options"}, "fps": 50}
        tree = {"models": {"detector": "none.onnx"}, "cameras": [camera], "http": {"port": 0}}
        daemon = Daemon(config_file.parse(tree, "test"), models=models, on_result=seen.append)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        started.append((daemon, thread))
        return daemon, seen

    yield start
    for daemon, thread in started:
        daemon.stop()
        thread.join(10)


def get(daemon, path):
    url = f"http://127.0.0.1:{daemon.http_port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def wait_for(daemon, accepts, timeout_s=10):
    """/readyz until a function of its status and body is satisfied."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if daemon.http_port:
            code, text = get(daemon, "/readyz")
            if accepts(code, body := json.loads(text)):
                return body
        time.sleep(0.02)
    raise AssertionError(f"not in time: {get(daemon, '/readyz')}")


@pytest.mark.parametrize("reason", LIES)
def test_a_detector_that_cannot_be_true_makes_the_node_unready_until_it_recovers(run, reason):
    network = Network(LIES[reason])
    daemon, seen = run(ModelSet(ContractDetector(picture_model(network, "detect")), None))
    body = wait_for(daemon, lambda code, body: code == 503 and body["broken_models"])
    assert reason in body["broken_models"]["detect"]
    assert body["cameras"]["door"]["ready"], "the camera itself is well"
    assert not any(len(result.tracks) for result in seen)
    text = get(daemon, "/metrics")[1]
    assert f'edge_model_rows_refused_total{{reason="{reason}",task="detect"}}' in text
    assert 'edge_model_up{task="detect"} 0.0' in text
    network.row = GOOD
    assert wait_for(daemon, lambda code, _: code == 200)["broken_models"] == {}
    assert 'edge_model_up{task="detect"} 1.0' in get(daemon, "/metrics")[1]


def test_a_face_detector_that_cannot_be_true_makes_the_node_unready(run):
    detector = ContractDetector(picture_model(Network(GOOD), "detect"))
    finder = ContractFaceFinder(picture_model(Network(LIES["score"]), "faces"))
    daemon, seen = run(ModelSet(detector, finder))
    body = wait_for(daemon, lambda code, body: code == 503 and body["broken_models"])
    assert list(body["broken_models"]) == ["faces"]
    assert not any(len(result.faces) for result in seen)


def test_an_embedder_is_watched_too(run):
    manifest = Manifest(task="embed", name="m", input_wh=(112, 112))
    embedder = ContractEmbedder(Network(GOOD), manifest, "", 6)
    embedder._session.infer = lambda batch: {"embeddings": np.zeros((len(batch), 6), np.float32)}
    detector = ContractDetector(picture_model(Network(GOOD), "detect"))
    daemon, _ = run(ModelSet(detector, None, embedder))
    wait_for(daemon, lambda code, _: code == 200)
    for _ in range(10):
        embedder.embed(np.zeros((1, 112, 112, 3), np.uint8))
    body = wait_for(daemon, lambda code, body: code == 503 and body["broken_models"])
    assert "length" in body["broken_models"]["embed"]
