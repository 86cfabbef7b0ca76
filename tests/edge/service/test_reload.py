"""Reload in full: what the file says takes effect while the rest goes on, or nothing of it does."""

import json
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest

from edge import config_file, plugins
from edge.client import Received, Subscriber
from edge.config import Recognition
from edge.models.contract import load_model
from edge.people.gallery.encryption import create_key_file, load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.metadata import get_embedder_id
from edge.people.recognition.camera_faces import CameraFaces
from edge.people.recognition.recognizer import Recognizer
from edge.sinks import jsonl
from edge.web.schema import Role
from edge.web.users import Users, write_users
from tests.support.certificates import make_certificate
from tests.support.models import color_embedder, constant_model
from tests.support.running_daemon import Running, wait_until, write
from tests.support.web_node import Served


@pytest.fixture
def run(tmp_path):
    started = []

    def start(cameras, extra="", load=False):
        running = Running(write(tmp_path / "edge.toml", cameras, extra), load)
        started.append(running)
        return running

    yield start
    for running in started:
        running.daemon.stop()
        running.thread.join(10)
        assert not running.thread.is_alive()


def read_metrics(running):
    """The text of /metrics as it is now: the server may answer with that of a moment ago."""
    return running.daemon.metrics.render().decode()


def test_what_cannot_change_is_refused_and_nothing_of_that_reload_is_applied(run, tmp_path, caplog):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    path = tmp_path / "edge.toml"
    first = path.read_text()
    path.write_text(first.replace('name = "door"', 'name = "yard"') + '[storage]\nfolder = "x"\n')
    line = path.read_text().splitlines().index("[storage]") + 1
    for _ in range(2):  # also the second time
        caplog.clear()
        running.daemon.reload()
        wait_until(
            lambda: f"{path}:{line}: storage: cannot change while the node runs" in caplog.text
        )
        assert "edge_config_last_reload_successful 0.0" in read_metrics(running)
        assert list(running.daemon._cameras.configured) == ["door"]
        [problem] = running.daemon._view.describe_health().problems
        assert problem.startswith("configuration refused: ")
    assert running.get("/readyz")[0] == 200
    path.write_text(first)
    running.daemon.reload()
    wait_until(lambda: "edge_config_last_reload_successful 1.0" in read_metrics(running))
    assert running.until(lambda states: states == {"door": "online"})
    assert running.daemon._view.describe_health().problems == ()


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def find_missing(messages):
    """Numbers that are missing between the first and the last message of a topic, by topic."""
    numbers = {}
    for message in messages:
        numbers.setdefault(message["topic"], []).append(message["seq"])
    return {topic: seqs for topic, seqs in numbers.items()
            if seqs != list(range(seqs[0], seqs[0] + len(seqs)))}  # fmt: skip


def sink(path, more=""):
    return f'[[sinks]]\nkind = "jsonl"\npath = "{path}"\n{more}'


def test_sinks_come_and_go_while_the_others_lose_nothing(run, tmp_path):
    names = ("stays", "goes", "comes", "changes")
    stays, goes, comes, changes = (tmp_path / name for name in names)
    running = run({"door": ""}, sink(goes) + sink(stays) + sink(changes))
    received = []
    with Subscriber(f"ipc://{tmp_path}/bus") as subscriber:
        wait_until(lambda: all(map(read_lines, (stays, goes, changes))))
        inner = [outlet.sink for outlet in running.daemon._publisher._outlets]
        path = tmp_path / "edge.toml"
        first = path.read_text()
        second = first.replace(sink(goes), "").replace(sink(changes), sink(changes, "keep = 7\n"))
        path.write_text(second + sink(comes))
        running.daemon.reload()
        wait_until(lambda: len(read_lines(comes)) > 50)
        went = len(goes.read_bytes())
        path.write_text(first)
        running.daemon.reload()
        wait_until(lambda: len(goes.read_bytes()) > went)
        wait_until(lambda: running.get("/readyz")[0] == 200)
        kept = [outlet.sink for outlet in running.daemon._publisher._outlets]
        assert [kept[0], kept[2]] == [inner[0], inner[2]]
        text = read_metrics(running)
        labels = set(re.findall(r'edge_sink_up\{sink="(.*?)"\} 1.0', text))
        assert labels == {"0-zeromq", "1-jsonl", "2-jsonl", "3-jsonl"}
        running.daemon.stop()
        running.thread.join(10)
        while item := subscriber.receive(0.5):
            received.append(item)
        assert subscriber.missed == 0
    for whole in (stays, changes):
        messages = read_lines(whole)
        assert find_missing(messages) == {}
        firsts = {m["topic"]: m["seq"] for m in reversed(messages)}
        assert set(firsts.values()) == {1}
    assert len(received) > 50
    assert {m["topic"] for m in read_lines(comes)} >= {"v1/status/door/", "v1/detections/door/"}


def test_a_sink_that_leaves_is_neither_waited_for_nor_missed(run, tmp_path, monkeypatch):
    hangs = threading.Event()
    write_lines = jsonl.JsonLines._write

    def hang(sink, lines):
        if sink._path.name == "hangs":
            hangs.wait(20)
        write_lines(sink, lines)

    monkeypatch.setattr(jsonl.JsonLines, "_write", hang)
    monkeypatch.setattr("edge.service.outlet.LEAVE_S", 0.5)
    running = run({"door": ""}, sink(tmp_path / "hangs"))
    assert running.until(lambda states: states == {"door": "online"})
    path = tmp_path / "edge.toml"
    path.write_text(path.read_text().replace("/hangs", "/new"))
    running.daemon.reload()
    wait_until(lambda: read_lines(tmp_path / "new"))
    wait_until(lambda: running.get("/readyz")[0] == 200)
    assert 'edge_sink_up{sink="1-jsonl"} 1.0' in read_metrics(running)
    hangs.set()


def test_a_subscriber_of_a_changed_bus_is_told_of_what_began_before(run, tmp_path):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    before = running.daemon._publisher._outlets[0]
    path = tmp_path / "edge.toml"
    path.write_text(path.read_text().replace('kind = "zeromq"', 'kind = "zeromq"\nsndhwm = 500'))
    running.daemon.reload()
    wait_until(lambda: running.daemon._publisher._outlets[0] is not before)
    with Subscriber(f"ipc://{tmp_path}/bus", topics=["v1/status/"]) as subscriber:
        item = subscriber.receive(10)
    assert isinstance(item, Received)
    assert item.body.state == "online"


def test_what_hangs_in_a_reload_is_told_and_holds_up_nothing(run, tmp_path, caplog, monkeypatch):
    """A file on a mount that no longer answers."""
    monkeypatch.setattr("edge.service.daemon.SLOW_S", 0.1)
    hangs, read = threading.Event(), config_file.read

    def hang(path):
        hangs.wait(20)
        return read(path)

    running = run({"door": ""}, sink(tmp_path / "log"))
    assert running.until(lambda states: states == {"door": "online"})
    monkeypatch.setattr(config_file, "read", hang)
    running.daemon.reload()
    wait_until(lambda: "reload: it has been read and tried for 0.1 s" in caplog.text)
    seen = count_detections(tmp_path / "log")
    wait_until(lambda: count_detections(tmp_path / "log") > seen + 10)
    assert running.daemon._view.describe_health().problems
    hangs.set()
    wait_until(lambda: not running.daemon._view.describe_health().problems)


def test_a_wrong_sink_is_refused_and_names_its_key(run, tmp_path, caplog):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    path = tmp_path / "edge.toml"
    path.write_text(path.read_text().replace("[http]", sink("x", "keep = 0\n") + "[http]"))
    running.daemon.reload()
    wait_until(lambda: "sinks[1].keep" in caplog.text)
    assert "edge_config_last_reload_successful 0.0" in read_metrics(running)
    assert len(running.daemon._publisher._outlets) == 1


# --- models -----------------------------------------------------------------------------------

PERSON, CAR, CAT = [1, 5, 9, 30], [12, 5, 19, 30], [22, 5, 30, 30]


def find(*rows, classes=("person", "car", "cat")):
    """A detector that finds boxes of 32 by 32 pixels, each with its class id, in every picture."""
    found = np.float32([[*box, 0.9, class_id] for box, class_id in rows])
    return constant_model("detect", {"detections": found}, classes)


def reload(running, text, *, successful=1):
    """Write the file and wait until it is in use, or refused."""
    daemon, path = running.daemon, running.daemon._path
    path.write_text(text)
    daemon.metrics.reload_successful.set(-1)
    daemon.reload()
    wait_until(lambda: f"reload_successful {successful}.0" in read_metrics(running))


def read_lives(path):
    """What happened to each track: its label, and the changes in order."""
    lives = {}
    for message in read_lines(path):
        if message["topic"].startswith("v1/tracks/"):
            life = lives.setdefault((message["camera"], message["track"]), [message["label"]])
            life.append(message["change"])
    return lives


def count_detections(path):
    return sum(message["topic"].startswith("v1/detections/") for message in read_lines(path))


def test_zones_thresholds_sinks_and_models_change_and_every_track_goes_on(run, tmp_path):
    model, log = tmp_path / "none.onnx", tmp_path / "log"
    model.write_bytes(find((PERSON, 0)))
    running = run({"door": "", "gate": ""}, sink(log), load=True)
    wait_until(lambda: len(read_lives(log)) == 2)
    epochs = [state.epoch for state in running.daemon.health.states()]
    text = running.daemon._path.read_text()

    def go_on():
        seen = count_detections(log)
        wait_until(lambda: count_detections(log) > seen + 20)

    zone = 'zones = [{ name = "all", polygon = [[0, 0], [1, 0], [1, 1], [0, 1]] }]'
    text = text.replace("fps = 50", f"fps = 40\n{zone}")
    reload(running, text)
    go_on()
    text = text.replace("fps = 40", "fps = 40\nmin_score = { person = 0.5 }")
    text = text.replace("fps = 40", "fps = 40\ntracking = { high_score = 0.6 }")
    reload(running, text)
    go_on()
    text = text.replace("[http]", sink(tmp_path / "other") + "[http]")
    reload(running, text)
    go_on()
    (tmp_path / "second.onnx").write_bytes(find((np.add(PERSON, 1).tolist(), 0)))
    reload(running, text.replace("none.onnx", "second.onnx"))
    go_on()
    model.write_bytes(find((np.add(PERSON, 2).tolist(), 0)))
    reload(running, text)
    go_on()
    model.write_bytes(find((PERSON, 0)))  # another file of the same name
    reload(running, text)
    go_on()
    assert set(map(tuple, read_lives(log).values())) == {("person", "began", "entered")}
    assert [state.epoch for state in running.daemon.health.states()] == epochs
    assert find_missing(read_lines(log)) == {}
    models = {message["model"]["sha256"] for message in read_lines(log)}
    assert len(models) == 3


def test_other_classes_keep_the_tracks_whose_names_they_share(run, tmp_path):
    log = tmp_path / "log"
    (tmp_path / "none.onnx").write_bytes(find((PERSON, 0), (CAR, 1), (CAT, 2)))
    running = run({"door": ""}, sink(log), load=True)
    wait_until(lambda: len(read_lives(log)) == 3)
    text = running.daemon._path.read_text()
    classes = ("dog", "car", "horse", "person")
    other = find((PERSON, 3), (CAR, 1), (CAT, 0), classes=classes)
    (tmp_path / "other.onnx").write_bytes(other)
    text = text.replace("none.onnx", "other.onnx")
    reload(running, text.replace("fps = 50", 'fps = 50\nlabels = ["cat"]'), successful=0)
    assert len(read_lives(log)) == 3
    reload(running, text.replace("fps = 50", "fps = 50\nmin_score = { horse = 0.2 }"))
    wait_until(lambda: len(read_lives(log)) == 4)
    seen = count_detections(log)
    wait_until(lambda: count_detections(log) > seen + 20)
    lives = sorted(map(tuple, read_lives(log).values()))
    assert lives == [
        ("car", "began"), ("cat", "began", "ended"), ("dog", "began"), ("person", "began")
    ]  # fmt: skip
    assert running.daemon._node.configuration.classes == classes
    latest = running.daemon._view.get_latest("door")
    assert sorted(latest.labels) == ["car", "dog", "person"]


@pytest.mark.parametrize(
    "content", [b"", bytes(range(256)), constant_model("embed", {"embeddings": np.ones(3)})]
)
def test_a_model_that_cannot_be_loaded_is_refused_and_the_old_one_goes_on(
    run, tmp_path, caplog, content
):
    log = tmp_path / "log"
    (tmp_path / "none.onnx").write_bytes(find((PERSON, 0)))
    running = run({"door": ""}, sink(log), load=True)
    wait_until(lambda: len(read_lives(log)) == 1)
    text = running.daemon._path.read_text()
    (tmp_path / "wrong.onnx").write_bytes(content)
    changed = text.replace("none.onnx", "wrong.onnx").replace('"door"', '"yard"')
    reload(running, changed, successful=0)
    assert f"{running.daemon._path}:3: models.detector: " in caplog.text
    assert "the running configuration stays" in caplog.text
    seen = count_detections(log)
    wait_until(lambda: count_detections(log) > seen + 20)
    assert list(map(tuple, read_lives(log).values())) == [("person", "began")]
    reload(running, text)
    assert list(map(tuple, read_lives(log).values())) == [("person", "began")]
    assert find_missing(read_lines(log)) == {}


def test_a_model_that_is_taken_away_leaves_no_trace(run, tmp_path):
    (tmp_path / "none.onnx").write_bytes(find((PERSON, 0)))
    (tmp_path / "faces.onnx").write_bytes(FACE)
    running = run({"door": ""}, load=True)
    assert running.until(lambda states: states == {"door": "online"})
    text = running.daemon._path.read_text()
    reload(running, text.replace('none.onnx"', 'none.onnx"\nfaces = "faces.onnx"'))
    assert 'edge_model_up{task="faces"} 1.0' in read_metrics(running)
    reload(running, text)
    assert 'task="faces"' not in read_metrics(running)


# --- classifiers --------------------------------------------------------------------------------

ATTRIBUTE = '[[attributes]]\nname = "vest"\nmodel = "vest.onnx"\nevery_s = 0.05\n'
STATE = """states = [
    { name = "gate", polygon = [[0, 0], [1, 0], [1, 1]], model = "gate.onnx", every_s = 0.05 }
]"""


def classify(*probabilities, classes=("no", "yes")):
    """A classifier that says the same of every crop."""
    found = {"probabilities": np.float32(probabilities)}
    return constant_model("classify", found, classes, (16, 16))


def read_states(path):
    return [
        (message["name"], message["value"], message["before"])
        for message in read_lines(path)
        if message["topic"].startswith("v1/states/")
    ]


def read_attributes(path):
    return [
        (message["name"], message["attribute"]["value"])
        for message in read_lines(path)
        if message.get("change") == "attribute"
    ]


def test_attributes_and_states_begin_change_and_end_and_every_track_goes_on(run, tmp_path):
    log = tmp_path / "log"
    (tmp_path / "none.onnx").write_bytes(find((PERSON, 0)))
    (tmp_path / "vest.onnx").write_bytes(classify(0.02, 0.98))
    (tmp_path / "gate.onnx").write_bytes(classify(0.97, 0.03, classes=("shut", "open")))
    running = run({"door": ""}, sink(log), load=True)
    wait_until(lambda: len(read_lives(log)) == 1)
    plain = running.daemon._path.read_text()
    text = plain.replace("fps = 50", f"fps = 50\n{STATE}").replace("[http]", f"{ATTRIBUTE}[http]")
    reload(running, text)
    wait_until(lambda: read_states(log) and read_attributes(log))
    assert read_attributes(log) == [("vest", "yes")]
    assert read_states(log) == [("gate", "shut", "")]
    metrics = read_metrics(running)
    assert 'edge_state{camera="door",name="gate",value="shut"} 1.0' in metrics
    assert 'edge_attributes_total{camera="door",name="vest",value="yes"} 1.0' in metrics
    assert 'edge_classifications_total{name="vest"}' in metrics
    assert 'edge_model_info{name="constant",sha256=' in metrics
    assert 'task="classify:constant' in metrics
    said = [m["objects"][0].get("attributes") for m in read_lines(log) if m.get("objects")]
    assert said[-1]["vest"]["value"] == "yes"

    reload(running, text.replace("fps = 50", "fps = 40"))  # nothing of it changes
    (tmp_path / "more.onnx").write_bytes(classify(0.99, 0.01))
    more = ATTRIBUTE.replace("vest", "more")
    reload(running, text.replace("[http]", f"{more}[http]"))
    wait_until(lambda: len(read_attributes(log)) == 2)
    assert read_attributes(log)[1:] == [("more", "no")], "of the vest nothing is told again"
    assert len(read_states(log)) == 1

    (tmp_path / "gate.onnx").write_bytes(classify(0.01, 0.99, classes=("shut", "open")))
    reload(running, text)
    wait_until(lambda: len(read_states(log)) == 3)
    assert read_states(log)[1:] == [("gate", "undecided", "shut"), ("gate", "open", "")]

    reload(running, text.replace("[http]", sink(tmp_path / "other") + "[http]"))
    wait_until(lambda: read_states(tmp_path / "other"))
    assert read_states(tmp_path / "other") == [("gate", "open", "")], "new sinks are told"

    reload(running, plain)
    assert read_states(log)[-1] == ("gate", "undecided", "open")
    metrics = read_metrics(running)
    assert "edge_state{" not in metrics
    assert 'task="classify' not in metrics
    assert set(map(tuple, read_lives(log).values())) == {
        ("person", "began", "attribute", "attribute")
    }
    assert find_missing(read_lines(log)) == {}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (ATTRIBUTE.replace("vest.onnx", "none.onnx"), ": attributes[0].model: .*a detect model"),
        (ATTRIBUTE + 'of = ["unicorn"]\n', ": attributes[0].of: .*unicorn.*use one of person"),
        (ATTRIBUTE.replace("vest.onnx", "away.onnx"), ": attributes[0].model: .*check the path"),
    ],
)
def test_attributes_that_cannot_be_asked_are_refused_and_the_rest_goes_on(
    run, tmp_path, caplog, broken, says
):
    log = tmp_path / "log"
    (tmp_path / "none.onnx").write_bytes(find((PERSON, 0)))
    (tmp_path / "vest.onnx").write_bytes(classify(0.02, 0.98))
    running = run({"door": ""}, sink(log) + ATTRIBUTE, load=True)
    wait_until(lambda: read_attributes(log) == [("vest", "yes")])
    text = running.daemon._path.read_text()
    reload(running, text.replace(ATTRIBUTE, broken), successful=0)
    assert re.search(re.escape(says).replace(r"\.\*", ".*"), caplog.text)
    seen = count_detections(log)
    wait_until(lambda: count_detections(log) > seen + 20)
    assert read_attributes(log) == [("vest", "yes")]
    last = [m for m in read_lines(log) if m.get("objects")][-1]
    assert last["objects"][0]["attributes"]["vest"]["value"] == "yes"


# --- recognition ------------------------------------------------------------------------------

FACE = constant_model(
    "faces",
    {
        "detections": np.float32([[2, 6, 8, 14, 0.9, 0]]),
        "landmarks": np.float32([[[3, 8], [7, 8], [5, 10], [4, 12], [6, 12]]]),
    },
    ("face",),
)
RECOGNITION = """
[recognition]
gallery = "g.db"
key_file = "key"
embedder = "embedder.onnx"
liveness = false
require_liveness = false
"""


def list_outcomes(path, last=10):
    """What was said of the faces in the last frames; None without recognition."""
    seen = [m for m in read_lines(path) if m["topic"].startswith("v1/detections/")][-last:]
    found = [face for m in seen for face in m["faces"]]
    found += [row["face"] for m in seen for row in m["objects"] if "face" in row]
    return {face.get("outcome") for face in found}


def test_recognition_begins_changes_and_ends_and_every_track_goes_on(run, tmp_path, caplog):
    log = tmp_path / "log"
    (tmp_path / "none.onnx").write_bytes(find((PERSON, 0)))
    (tmp_path / "faces.onnx").write_bytes(FACE)
    (tmp_path / "embedder.onnx").write_bytes(color_embedder())
    runtime = plugins.create("runtimes", {"kind": "onnx"})
    embedder = load_model("embed", runtime, tmp_path / "embedder.onnx")
    create_key_file(tmp_path / "key")
    create_key_file(tmp_path / "wrong")
    with Gallery(
        tmp_path / "g.db", load_key(str(tmp_path / "key")), get_embedder_id(embedder), create=True
    ) as gallery:
        gallery.enroll("Ann", np.float32([[1, 0, 0]]), consent=True)
    running = run({"door": ""}, sink(log), load=True)
    path = running.daemon._path
    text = path.read_text().replace('none.onnx"', 'none.onnx"\nfaces = "faces.onnx"')
    reload(running, text)
    wait_until(lambda: list_outcomes(log) == {None})
    people = "edge_gallery_people 1.0"
    reload(running, text + RECOGNITION)
    wait_until(lambda: people in read_metrics(running))
    wait_until(lambda: None not in list_outcomes(log) and list_outcomes(log))
    assert [each.name for each in running.daemon._node.people.list_people()] == ["Ann"]
    before = running.daemon._recognition
    reload(running, text + RECOGNITION.replace('"key"', '"wrong"'), successful=0)
    assert "recognition.gallery: " in caplog.text
    assert running.daemon._recognition is before
    reload(running, text.replace("fps = 50", "fps = 40") + RECOGNITION)
    assert running.daemon._recognition is before, "nothing of it has changed"
    reload(running, text + RECOGNITION + "threshold = 0.9\n")
    assert running.daemon._recognition.settings.threshold == 0.9
    wait_until(lambda: people in read_metrics(running))
    wait_until(lambda: None not in list_outcomes(log) and list_outcomes(log))
    workers = [worker.name for worker in running.daemon._group.workers]
    assert workers.count("gallery") == 1
    reload(running, text)
    wait_until(lambda: list_outcomes(log) == {None})
    assert "edge_gallery_people 0.0" in read_metrics(running)
    assert running.daemon._node.people is None
    assert list(map(tuple, read_lives(log).values())) == [("person", "began")]
    assert find_missing(read_lines(log)) == {}


def test_a_spoof_stays_one_when_recognition_is_set_otherwise():
    camera = CameraFaces(iter([7]))
    camera.spoofed[7], camera.face_tracks[7] = 1.0, None
    settings = Recognition(gallery="g", key_file="k")
    embedder = SimpleNamespace(dimension=3)
    former, made = (Recognizer(settings, embedder, None, iter(())) for _ in range(2))
    former._cameras["door"] = camera
    made.take_over(former)
    assert made._cameras["door"].spoofed == {7: 1.0}
    assert made._cameras["door"].face_tracks == {}


# --- http, name and log -----------------------------------------------------------------------


def find_free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def ask(port, path="/healthz", **options):
    """Status and text of an answer."""
    scheme = "https" if options else "http"
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}{path}")
    try:
        with urllib.request.urlopen(request, timeout=10, **options) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_http_moves_to_another_port_and_the_page_goes_on_there(run):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    former, port = running.daemon.http_port, find_free_port()
    text = running.daemon._path.read_text()
    reload(running, text.replace("port = 0", f"port = {port}"))
    assert running.daemon.http_port == port
    assert ask(port, "/readyz")[0] == 200
    assert json.loads(ask(port, "/api/v1/cameras")[1])
    with pytest.raises(urllib.error.URLError):
        ask(former)
    assert running.until(lambda states: states == {"door": "online"})


def test_a_port_that_is_in_use_is_refused_and_nothing_of_that_reload_is_applied(
    run, tmp_path, caplog
):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    former, text = running.daemon.http_port, running.daemon._path.read_text()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        changed = text.replace("port = 0", f"port = {port}").replace('"door"', '"yard"')
        reload(running, changed.replace("[http]", sink(tmp_path / "log") + "[http]"), successful=0)
    line = changed.splitlines().index("[http]") + 5
    assert f"{running.daemon._path}:{line}: http.port: cannot listen on 127.0.0.1" in caplog.text
    assert ask(former)[0] == 200
    assert list(running.daemon._cameras.configured) == ["door"]
    assert len(running.daemon._publisher._outlets) == 1
    assert not (tmp_path / "log").exists()


def test_at_the_same_address_nobody_is_turned_away(run, tmp_path):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    port, text = running.daemon.http_port, running.daemon._path.read_text()
    answers, stop = [], threading.Event()

    def scrape():
        while not stop.is_set():
            answers.append(ask(port)[0])

    scrapers = [threading.Thread(target=scrape) for _ in range(4)]
    for scraper in scrapers:
        scraper.start()
    (tmp_path / "token").write_text("sesame")
    try:
        reload(running, text + f'token_file = "{tmp_path}/token"\nmax_connections = 7\n')
        reload(running, text)
        reload(running, text + f'token_file = "{tmp_path}/token"\nmax_connections = 8\n')
        seen = len(answers)
        wait_until(lambda: len(answers) > seen + 5)
    finally:
        stop.set()
        for scraper in scrapers:
            scraper.join(15)
    assert set(answers) == {200}
    assert running.daemon.http_port == port
    assert ask(port, "/metrics")[0] == 401


def get_certificate(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        return connection.getpeercert(binary_form=True)


def test_tls_begins_and_a_renewed_certificate_is_taken(run, tmp_path):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    port, text = running.daemon.http_port, running.daemon._path.read_text()
    options = make_certificate(tmp_path)
    encrypted = text + "".join(f'{key} = "{value}"\n' for key, value in options.items())
    reload(running, encrypted)
    first = get_certificate(port)
    server = running.daemon._http
    reload(running, encrypted)
    assert running.daemon._http is server, "nothing of it has changed"
    make_certificate(tmp_path)
    reload(running, encrypted)
    assert get_certificate(port) != first
    (tmp_path / "key").write_text("no key")
    reload(running, encrypted, successful=0)
    assert get_certificate(port) != first
    reload(running, text)
    assert ask(port)[0] == 200


def test_who_has_logged_in_stays_so_when_http_is_set_otherwise(run, tmp_path):
    users = Users().put_user("vera", Role.VIEWER, "vera-looks")
    write_users(tmp_path / "users.toml", users)
    running = run({"door": ""}, 'users_file = "users.toml"\n')
    assert running.until(lambda states: states == {"door": "online"})
    port, text = running.daemon.http_port, running.daemon._path.read_text()
    client = Served(SimpleNamespace(port=port))
    body = {"user": "vera", "password": "vera-looks"}
    answer = client.ask("/api/v1/session", "POST", body)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    reload(running, text + "max_viewers = 9\n")
    assert client.ask("/api/v1/cameras", cookie=cookie).status == 200
    assert client.ask("/api/v1/cameras").status == 401


def test_another_name_is_another_node_whose_numbers_begin_anew(run, tmp_path):
    log = tmp_path / "log"
    (tmp_path / "none.onnx").write_bytes(find((PERSON, 0)))
    running = run({"door": ""}, sink(log), load=True)
    wait_until(lambda: len(read_lives(log)) == 1)
    text = running.daemon._path.read_text()
    reload(running, 'node = "porch"\n' + text)
    wait_until(lambda: sum(m["node"] == "porch" for m in read_lines(log)) > 20)
    wait_until(lambda: any(m["node"] == "porch" and m["topic"] == "v1/heartbeat/"
                           for m in read_lines(log)))  # fmt: skip
    messages = read_lines(log)
    for node in ("edge", "porch"):
        mine = [message for message in messages if message["node"] == node]
        assert len({message["boot"] for message in mine}) == 1
        assert find_missing(mine) == {}
        firsts = {message["topic"]: message["seq"] for message in reversed(mine)}
        assert set(firsts.values()) == {1}
    before = [message for message in messages if message["node"] == "edge"]
    last = {message["topic"]: message["seq"] for message in before}
    claimed = [m for m in before if m["topic"] == "v1/heartbeat/"][-1]["last_seq"]
    assert claimed == {topic: seq for topic, seq in last.items() if topic != "v1/heartbeat/"}
    assert {m["topic"] for m in messages if m["node"] == "porch"} >= {"v1/status/door/"}
    assert list(map(tuple, read_lives(log).values())) == [("person", "began")]
    health = json.loads(ask(running.daemon.http_port, "/api/v1/health")[1])
    assert health["node"] == "porch"


def test_the_log_is_set_otherwise_only_where_it_changes(run):
    running = run({"door": ""})
    assert running.until(lambda states: states == {"door": "online"})
    text, taken = running.daemon._path.read_text(), []
    running.daemon._set_up_log = taken.append
    reload(running, text.replace("fps = 50", "fps = 40"))
    assert taken == []
    reload(running, text + '[log]\nlevel = "debug"\n')
    assert [each.level for each in taken] == ["debug"]


def test_more_or_less_is_kept_from_the_next_look_on(run, tmp_path):
    running = run({"door": ""}, '[storage]\nfolder = "kept"\nmax_bytes = "1GB"\n')
    assert running.until(lambda states: states == {"door": "online"})
    text = running.daemon._path.read_text()
    reload(running, text.replace("1GB", "2MB"))
    assert running.daemon._archivist._settings.max_bytes == 2_000_000
    reload(running, text.replace('"kept"', '"other"'), successful=0)
    assert not (tmp_path / "other").exists()
