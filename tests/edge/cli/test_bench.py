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

    monkeypatch.setattr(bench, "make_clips", lambda *_: (tmp_path / "clip.mp4",))
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


def carry(monkeypatch, most, loads, fps=None):
    """The machine carries that many cameras, of ``fps`` looks a second or all frames."""

    def measure(load):
        loads.append(load)
        count = round((fps or load.fps) * 10) if load.cameras <= most else 1
        per_camera = (count,) * load.cameras
        bytes_ = (100 + 25 * load.cameras) << 20
        return Cost(sum(per_camera), 10.0, 2.0, bytes_, per_camera, (0.01, 0.02), looks=7)

    monkeypatch.setattr(bench, "measure_daemon", measure)


def test_the_cameras_that_are_carried_are_found_and_each_try_is_told(measured, monkeypatch):
    loads = []
    carry(monkeypatch, 6, loads)
    run("--find-cameras", "--scene", "quiet", "--gate", "off")
    rows = [text for _, text, err in measured if not err]
    tried = [row.split(" x ")[0] for row in rows if "720p quiet, gate off" in row]
    assert tried == ["1", "2", "4", "8", "8", "6", "7", "7"]
    assert rows[-2].startswith("cameras_carried: 6.00 (p99 age <= 500 ms, 90% of every")
    assert rows[-1] == "memory_per_camera_mb: 25.00 (goal <= 30)"
    assert {(load.fps, load.gate, load.every_frame) for load in loads} == {(5, False, False)}


def test_growth_is_told_from_one_camera_to_sixty_four_carried_or_not(measured, monkeypatch):
    loads = []
    carry(monkeypatch, 6, loads)
    run("--growth", "--scene", "quiet")
    assert [load.cameras for load in loads] == [1, 2, 4, 8, 16, 32, 64]
    assert {(load.fps, load.gate, load.every_frame) for load in loads} == {(5, True, False)}
    rows = [text for _, text, err in measured if not err]
    assert [row.split(" x ")[0] for row in rows if " x 720p quiet, gate on" in row] == [
        "1", "2", "4", "8", "16", "32", "64",
    ]  # fmt: skip
    assert rows[-1] == "memory_per_camera_mb: 25.00 (goal <= 30)"


def test_streams_may_have_more_frames_than_are_looked_at(measured, monkeypatch):
    loads = []
    carry(monkeypatch, 3, loads, fps=5)
    run("--find-cameras", "--stream-fps", "25")
    rows = [text for _, text, err in measured if not err]
    assert [row.split("  ")[0] for row in rows if " x " in row][:2] == [
        "1 x 720p25 busy, gate on", "2 x 720p25 busy, gate on",
    ]  # fmt: skip
    assert rows[-2].startswith("cameras_carried: 3.00")
    assert {(load.fps, load.look_fps) for load in loads} == {(25, 5)}


def test_growth_and_the_search_exclude_each_other():
    result = CliRunner().invoke(app, ["bench", "--growth", "--find-cameras"])
    assert result.exit_code == 78
    assert "is another measurement: use one of them" in result.stderr


def test_the_search_ends_when_its_time_is_over(measured, monkeypatch):
    loads = []
    carry(monkeypatch, 64, loads)
    monkeypatch.setattr(bench, "FIND_S", -1.0)
    run("--find-cameras", "--json")
    assert loads == []


@pytest.mark.parametrize(("gate", "expected"), [("on", True), ("off", False)])
def test_live_cameras_have_their_gate_as_asked(measured, monkeypatch, gate, expected):
    loads = []
    carry(monkeypatch, 99, loads)
    run("--quick", "--gate", gate)
    live = [load for load in loads if not load.every_frame]
    assert live
    assert {load.gate for load in live} == {expected}


def test_looks_are_told_beside_frames(measured, monkeypatch):
    carry(monkeypatch, 1, [])
    run("--find-cameras", "--json")
    rows = [json.loads(text) for _, text, err in measured if not err]
    assert (rows[0]["fps"], rows[0]["looks"]) == (5, 0.7)


@pytest.mark.parametrize(
    ("clips", "goal"),
    [(("a", "a"), "goal >= 0.80"), (("a", "b", "b"), "no goal where some are quiet")],
)
def test_equal_shares_are_a_goal_where_cameras_are_alike(measured, monkeypatch, clips, goal):
    monkeypatch.setattr(bench, "make_clips", lambda *_: clips)
    run("--quick")
    assert any(f"smallest_share_under_overload: 1.00 ({goal})" in text for _, text, _ in measured)


def test_an_unknown_size_is_refused_before_anything_is_encoded():
    result = CliRunner().invoke(app, ["bench", "--sizes", "720p,8k"])
    assert result.exit_code == 78
    assert "unknown size '8k': use 360p, 720p, 1080p" in result.stderr
