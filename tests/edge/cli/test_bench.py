"""`edge bench`: rows come as they are measured, into a pipe too."""

import importlib
import json

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.diagnostics.benchmark import Cost

bench = importlib.import_module("edge.cli.bench")  # the package has a function of that name
COST = Cost(100, 10.0, 2.0, 100 << 20, (50, 50), (0.01, 0.02), 0.03)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """What was measured so far, when each line was printed."""
    done, printed = [], []

    def measure(load):
        done.append(load)
        return COST

    def echo(text, err=False):
        printed.append((len(done), text, err))

    monkeypatch.setattr(bench, "make_clip", lambda *_: tmp_path / "clip.mp4")
    monkeypatch.setattr(bench, "measure_daemon", measure)
    monkeypatch.setattr(bench, "measure_baseline", measure)
    monkeypatch.setattr(bench.typer, "echo", echo)
    return printed


def run(*arguments):
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 0, result.output


def test_rows_and_progress_are_printed_as_they_come(measured):
    run("--quick")
    rows = [(count, text) for count, text, err in measured if not err and " x " in text]
    assert [count for count, _ in rows] == [2, 4, 6, 7, 8]
    assert [text.split("  ")[0] for _, text in rows][:3] == [
        "1 x 720p", "4 x 720p", "4 x 720p live, 10 fps each",
    ]  # fmt: skip
    progress = [text for _, text, err in measured if err]
    assert progress[0] == "encoding clips .."
    assert "overload .." in progress


def test_json_is_strict(measured):
    run("--quick", "--json")
    rows = [json.loads(text, parse_constant=pytest.fail) for _, text, err in measured if not err]
    assert rows[0]["cpu_ms"] == 20
    assert rows[2]["throughput_ratio"] is None


def test_an_unknown_size_is_refused_before_anything_is_encoded():
    result = CliRunner().invoke(app, ["bench", "--sizes", "720p,8k"])
    assert result.exit_code == 78
    assert "unknown size '8k': use 360p, 720p, 1080p" in result.stderr
