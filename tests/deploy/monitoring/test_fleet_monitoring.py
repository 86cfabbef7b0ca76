"""What a box measures arrives at the hub under the name of the box, by the files in deploy."""

import base64
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import start_http_server

from edge.service.metrics import Metrics
from edge.web.hub_metrics import HubMetrics
from tests.support.certificates import make_certificate

MONITORING = Path(__file__).parents[3] / "deploy/monitoring"
FLEET = MONITORING / "fleet"
PASSWORD = "boxes only"
HASH = "$2b$04$3Re3PAgUnGhZ7GRK3gQmJOBJyZhLtjihf6.tyLIz26QTNOi/gUrOG"  # of PASSWORD
PATIENCE_S = 60


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def changed(file, changes):
    """The text of a file with each of some words replaced; all must be in it."""
    text = file.read_text(encoding="utf-8")
    for theirs, ours in changes.items():
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    return text


@contextmanager
def running(log, *words):
    with log.open("ab") as file:
        process = subprocess.Popen(["prometheus", *words], stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # an agent tries to send what it has for a minute
            process.kill()
            process.wait()


class Hub:
    """The hub's Prometheus."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        for file in (MONITORING / "alerts.yml", FLEET / "fleet-alerts.yml", FLEET / "receiver.yml"):
            shutil.copy(file, folder)
        make_certificate(folder)
        web = changed(
            FLEET / "receiver-web.yml",
            {"/etc/prometheus/hub.pem": str(folder / "cert"),
             "/etc/prometheus/hub.key": str(folder / "key"), 'fleet: ""': f'fleet: "{HASH}"'},
        )  # fmt: skip
        (folder / "web.yml").write_text(web)

    def running(self):
        return running(
            self.folder / "log", f"--config.file={self.folder}/receiver.yml",
            f"--web.config.file={self.folder}/web.yml", "--web.enable-remote-write-receiver",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--storage.tsdb.path={self.folder}/tsdb",
        )  # fmt: skip

    def ask(self, path, password=PASSWORD):
        request = urllib.request.Request(f"https://localhost:{self.port}{path}")
        token = base64.b64encode(f"fleet:{password}".encode()).decode()
        request.add_header("authorization", f"Basic {token}")
        context = ssl.create_default_context(cafile=self.folder / "cert")
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return json.loads(answer.read())["data"]

    def find(self, query):
        """The labels of what a query finds; nothing while the server does not answer."""
        with suppress(OSError):
            found = self.ask("/api/v1/query?" + urllib.parse.urlencode({"query": query}))
            return [row["metric"] for row in found["result"]]
        return []

    def list_times(self, box):
        """When a box was asked in the last minutes, as far as the hub knows."""
        query = urllib.parse.urlencode({"query": f'up{{box="{box}"}}[5m]'})
        with suppress(OSError):
            found = self.ask(f"/api/v1/query?{query}")["result"]
            return [at_s for row in found for at_s, _ in row["values"]]
        return []


def until(true):
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.2)


def start_box(stack, folder, hub, node_port, box):
    """The agent of a box, by its file with another name, address and pace."""
    (folder / "password").write_text(PASSWORD)
    text = changed(
        FLEET / "agent.yml",
        {"gate": box, "127.0.0.1:9470": f"127.0.0.1:{node_port}", "15s": "1s",
         "hub.example:9091": f"localhost:{hub.port}",
         "/etc/prometheus/hub.password": str(folder / "password"),
         "/etc/prometheus/hub.pem": str(hub.folder / "cert")},
    )  # fmt: skip
    (folder / "agent.yml").write_text(text)
    stack.enter_context(
        running(
            folder / "log", "--enable-feature=agent", f"--config.file={folder}/agent.yml",
            f"--storage.agent.path={folder}/agent", f"--web.listen-address=127.0.0.1:{free_port()}",
        )
    )  # fmt: skip


@pytest.mark.slow
def test_what_boxes_measure_is_at_the_hub_under_their_names_also_after_it_was_away(tmp_path):
    if shutil.which("prometheus") is None:
        pytest.skip("not installed: prometheus")
    folders = [tmp_path / name for name in ("hub", "gate", "dock")]
    for folder in folders:
        folder.mkdir()
    hub = Hub(folders[0])
    with ExitStack() as stack:
        for folder in folders[1:]:
            metrics = Metrics()
            metrics.camera("door")
            server, thread = start_http_server(0, "127.0.0.1", metrics.registry)
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            start_box(stack, folder, hub, server.server_port, folder.name)
        with hub.running():
            until(lambda: len(hub.find("edge_build_info")) == 2)
            found = hub.find("edge_build_info")
            assert {(row["box"], row["instance"], row["job"]) for row in found} == {
                ("gate", "gate", "edge"), ("dock", "dock", "edge"),
            }  # fmt: skip
            groups = hub.ask("/api/v1/rules")["groups"]
            assert {group["name"] for group in groups} == {"edgewatch", "edgewatch-fleet"}
            with pytest.raises(urllib.error.HTTPError, match="401"):
                hub.ask("/api/v1/rules", "another")
        ended_s = time.time()
        time.sleep(5)  # in which the boxes go on
        begun_s = time.time()
        with hub.running():
            until(lambda: any(ended_s + 1 < at_s < begun_s for at_s in hub.list_times("gate")))


def test_promtool_accepts_the_files(tmp_path):
    if shutil.which("promtool") is None:
        pytest.skip("not installed: promtool, of the package prometheus")
    for file in (MONITORING / "alerts.yml", *FLEET.glob("*.yml")):
        shutil.copy(file, tmp_path)
    text = (tmp_path / "agent.yml").read_text()
    for name in ("hub.password", "hub.pem"):
        (tmp_path / name).write_text("")
        text = text.replace(f"/etc/prometheus/{name}", str(tmp_path / name))
    (tmp_path / "agent.yml").write_text(text)
    for words in (["config", "--agent", "agent.yml"], ["config", "receiver.yml"],
                  ["rules", "fleet-alerts.yml"]):  # fmt: skip
        done = subprocess.run(
            ["promtool", "check", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def check_alert(tmp_path, name, series, fired):
    """Have promtool evaluate an alert over series of a minute's pace: what fires at which time."""
    if shutil.which("promtool") is None:
        pytest.skip("not installed: promtool, of the package prometheus")
    tests = {
        "rule_files": [str(FLEET / "fleet-alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": each} for key, each in series.items()],
                "alert_rule_test": [
                    {"eval_time": at, "alertname": name, "exp_alerts": alerts}
                    for at, alerts in fired.items()
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_box_that_is_silent_is_told(tmp_path):
    series = {
        'up{job="edge",instance="gate",box="gate"}': "1x30",
        'up{job="edge",instance="dock",box="dock"}': "1x10 stale",
    }
    alert = {
        "exp_labels": {"box": "dock", "severity": "critical"},
        "exp_annotations": _read_annotations("EdgeBoxSilent", "dock"),
    }
    check_alert(tmp_path, "EdgeBoxSilent", series, {"10m": [], "25m": [alert]})


def test_a_box_that_owes_a_forgetting_for_long_is_told(tmp_path):
    """Gate has owed two people since minute ten, yard forgets within ten minutes."""
    where = 'job="hub",instance="127.0.0.1:9480"'
    series = {}
    for box, owed, since_s in (
        ("gate", "0x9 2x50", "0x9 600x50"),
        ("yard", "0x9 1x9 0x40", "0x9 600x9 0x40"),
        ("attic", "0x60", "0x60"),
    ):
        series[f'edge_hub_people_owed{{{where},box="{box}"}}'] = owed
        key = f'edge_hub_people_owed_since_timestamp_seconds{{{where},box="{box}"}}'
        series[key] = since_s
    alert = {
        "exp_labels": {
            "box": "gate", "severity": "warning", "job": "hub", "instance": "127.0.0.1:9480",
        },
        "exp_annotations": _read_annotations("EdgeForgettingOwed", "gate", "2"),
    }  # fmt: skip
    fired = {"5m": [], "20m": [], "25m": [], "26m": [alert], "50m": [alert]}
    check_alert(tmp_path, "EdgeForgettingOwed", series, fired)


def test_the_hub_is_asked_for_what_its_alerts_need():
    """Under a name that no alert for nodes takes for one."""
    named = set(re.findall(r"edge_hub_[a-z_]+", (FLEET / "fleet-alerts.yml").read_text()))
    exported = {family.name for family in HubMetrics({}).collect()}
    assert named
    assert named <= exported
    assert re.search(
        r"job_name: hub\b.*127\.0\.0\.1:9480", (FLEET / "receiver.yml").read_text(), re.DOTALL
    )


def _read_annotations(alert, box, value=""):
    text = (FLEET / "fleet-alerts.yml").read_text().partition(f"alert: {alert}\n")[2]
    found = {}
    for line in text.partition("- alert:")[0].splitlines():
        key, _, said = line.strip().partition(": ")
        if key in ("summary", "description"):
            said = said.strip('"').replace("{{ $labels.box }}", box)
            found[key] = said.replace("{{ $value }}", value)
    assert set(found) == {"summary", "description"}
    return found
