"""Alert rules and the Grafana board: what they name is exported, and alerts go off."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.service.metrics import Metrics

MONITORING = Path(__file__).parents[3] / "deploy" / "monitoring"
ALERTS = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
BOARD = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
SERIES = Path(__file__).with_name("alerts_test.yml")


def exported():
    """Names of samples of a live registry, those of families without a child included."""
    metrics = Metrics()
    metrics.camera("door")
    suffixes = {
        "counter": ["_total"],
        "histogram": ["_bucket", "_sum", "_count"],
        "info": ["_info"],
        "gauge": [""],
    }
    return {
        family.name + suffix
        for family in metrics.registry.collect()
        for suffix in suffixes[family.type]
    }


def alert_expressions():
    return re.findall(r"^ +expr: (.*)$", ALERTS, re.MULTILINE)


def board_expressions():
    variables = [v["query"] for v in BOARD["templating"]["list"] if v["type"] == "query"]
    return [t["expr"] for panel in BOARD["panels"] for t in panel["targets"]] + variables


def names(expression):
    return set(re.findall(r"\b(?:edge|process)_[a-z_]+\b", expression))


@pytest.mark.parametrize("expression", alert_expressions() + board_expressions())
def test_every_metric_that_is_named_is_exported(expression):
    named = names(expression)
    assert named or expression.startswith("up{")
    assert named <= exported()


def test_every_alert_says_what_and_where():
    alerts = re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", ALERTS, re.DOTALL)
    assert len(alerts) == len(alert_expressions())
    for name, body in alerts:
        assert name.startswith("Edge")
        assert all(key in body for key in ("severity:", "summary:", "description:")), name


def test_every_alert_is_tried_below():
    tried = set(re.findall(r'alertname="(\w+)"', SERIES.read_text(encoding="utf-8")))
    assert tried == set(re.findall(r"- alert: (\w+)", ALERTS))


def test_no_panel_lies_on_another():
    cells = [
        (x, y)
        for panel in BOARD["panels"]
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.fixture
def promtool():
    if shutil.which("promtool") is None:
        pytest.skip("not installed: promtool, of the package prometheus")

    def run(*words):
        done = subprocess.run(["promtool", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_prometheus_accepts_the_rules(promtool):
    promtool("check", "rules", str(MONITORING / "alerts.yml"))


def test_alerts_go_off_and_stay_silent_when_all_is_well(promtool):
    promtool("test", "rules", str(SERIES))


def test_prometheus_accepts_the_boards_expressions(promtool, tmp_path):
    known = {"$__rate_interval": "1m", "$instance": ".*", "$camera": ".*"}
    rules = []
    for row, expression in enumerate(board_expressions()):
        if expression.startswith("label_values"):
            continue
        for variable, value in known.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        rules.append({"record": f"board:{row}", "expr": expression})
    path = tmp_path / "board.yml"
    path.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    promtool("check", "rules", str(path))
