"""Engines that differ are found, and shown; decisions on an edge are not held against them."""

import dataclasses
import json

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from deploy.cli import app
from deploy.verify import Comparison, match
from edge.engines.cache import DEFAULT, EngineCache, Key, Target
from edge.errors import ConfigError
from edge.manifest import Manifest
from tests.deploy.tiny import NANO, pictures

MANIFEST = Manifest(
    task="detect", name="m", input_wh=(64, 64), score_threshold=0.1, iou_threshold=0.65
)
A = [0, 0, 10, 10, 0.9, 0]
B = [20, 20, 40, 40, 0.8, 1]
C = [50, 0, 60, 9, 0.7, 0]


def output(*rows, size=5):
    """Rows of one picture, padded as the contract wants it."""
    found = np.zeros((size, 6), np.float32)
    for slot, row in zip(found, rows, strict=False):
        slot[:] = row
    return found


def changed(row, **by):
    """A row with a coordinate (`px`), its score or class moved."""
    x1, y1, x2, y2, score, kind = row
    return [x1, y1, x2 + by.get("px", 0), y2, score + by.get("score", 0), kind + by.get("kind", 0)]


def compare(reference, other):
    result = Comparison("other")
    result.add("a.jpg", reference, other, MANIFEST)
    return result


@pytest.mark.parametrize(
    ("other", "failures"),
    [
        (output(A, B, C), 0),
        (output(changed(A, px=0.4), B, C), 0),
        (output(changed(A, px=0.6), B, C), 1),
        (output(changed(A, score=0.0009), B, C), 0),
        (output(changed(A, score=-0.002), B, C), 1),
        (output(changed(A, kind=1), B, C), 2),  # one lost, one too many
        (output(B, A, C), 0),  # order among equals is nobody's promise; scores tell
        (output(A, C), 1),
        (output(A, B, C, [30, 0, 40, 9, 0.5, 0]), 1),
        (output(), 3),
        (output([np.nan] * 6, B, C), 1),
    ],
    ids=["same", "near", "far", "score near", "score far", "class", "order", "lost", "additional",
         "nothing", "NaN"],
)  # fmt: skip
def test_rows_are_matched_one_by_one(other, failures):
    assert len(compare(output(A, B, C), other).failures) == failures


def test_coarser_arithmetic_may_differ_by_more():
    for slack, failures in ((1, 2), (8, 0)):
        result = Comparison("other", slack)
        other = output(changed(A, px=3), changed(B, score=-0.006), C)
        result.add("a.jpg", output(A, B, C), other, MANIFEST)
        assert len(result.failures) == failures


def test_two_rows_are_never_matched_with_the_same_one():
    rows = np.float32([A, A])
    pairs, lost, extra = match(rows, rows[:1])
    assert (len(pairs), len(lost), extra) == (1, 1, [])


@pytest.mark.parametrize(
    ("reference", "other"),
    [
        (output(A, [50, 50, 60, 60, 0.1004, 0]), output(A)),  # just reached the threshold
        (output(A, [0, 0, 10, 6.51, 0.5, 0]), output(A)),  # IoU with A is 0.651
        (output(A, B, size=2), output(A, [20, 0, 30, 9, 0.8004, 1], size=2)),  # both full
    ],
    ids=["threshold", "overlap", "full"],
)
def test_a_decision_on_an_edge_may_turn_over(reference, other):
    result = compare(reference, other)
    assert not result.failures
    assert result.on_edge >= 1


def test_the_worst_case_is_a_row_that_is_missing_before_one_that_moved():
    result = compare(output(A, B, C), output(changed(A, px=5), C))
    assert len(result.failures) == 2
    assert result.worst.reference.tolist() == np.float32(B).tolist()


def test_points_are_compared_like_corners():
    reference = np.zeros((2, 16), np.float32)
    reference[0] = [*A, *range(10)]
    other = reference.copy()
    other[0, 15] += 0.6
    result = compare(reference, other)
    assert result.worst.box_px == pytest.approx(0.6, abs=1e-5)


# --- the command ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """A model exported from the run, and a folder of pictures."""
    folder = tmp_path_factory.mktemp("verify")
    words = ["export", str(trained.path), "--out", str(folder / "m.onnx"), "--score", "0.4"]
    assert CliRunner().invoke(app, words).exit_code == 0
    (folder / "pictures").mkdir()
    for count, picture in enumerate(pictures(NANO, 5, seed=3)):
        cv2.imwrite(str(folder / "pictures" / f"{count}.png"), picture[:, :, ::-1])
    return folder


def verify(*words):
    return CliRunner().invoke(app, ["verify", *map(str, words)])


def test_an_exported_model_finds_what_its_network_finds(trained, exported):
    words = (exported / "m.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words, "--json")
    assert done.exit_code == 0, done.output
    result = next(x for x in json.loads(done.stdout)["engines"] if x["engine"] == "onnx")
    assert (result["pictures"], result["differ"], result["worst"]) == (5, 0, None)
    assert result["rows"] > 20


def test_a_perturbed_model_fails_and_the_worst_case_is_shown(trained, exported):
    proto = onnx.load(exported / "m.onnx")
    bias = next(i for i in proto.graph.initializer if i.name == "head_0_reg_pred/bias")
    moved = numpy_helper.to_array(bias) + np.float32([0.2, 0, 0, 0])  # 1.6 px to the right
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    onnx.save(proto, exported / "moved.onnx")
    words = (exported / "moved.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words)
    assert done.exit_code == 1, done.output
    lines = done.stdout.splitlines()
    worst = next(i for i, line in enumerate(lines) if line.startswith("worst: "))
    assert ".png, row " in lines[worst]
    assert "keras: box" in lines[worst + 1]
    assert "onnx: " in lines[worst + 2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no picture to compare on"),
        (["--pictures", "nowhere"], "nowhere does not exist"),
        (["--pictures", "pictures"], "leaves nothing to compare"),
    ],
)
def test_verify_says_what_it_lacks(exported, monkeypatch, words, says):
    monkeypatch.chdir(exported)
    monkeypatch.setattr("edge.plugins.kinds", lambda folder: ["onnx"])
    done = verify("m.onnx", *words)
    assert done.exit_code == ConfigError.exit_code
    assert says in done.output


def test_an_engine_that_cannot_run_here_is_skipped_in_one_line(trained, exported, monkeypatch):
    monkeypatch.setattr("edge.plugins.kinds", lambda folder: ["absent", "onnx"])
    words = (exported / "m.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words)
    assert done.exit_code == 0, done.output
    assert [x for x in done.stdout.splitlines() if x.startswith("skipped absent: ")]


def test_each_engine_in_the_cache_is_compared_or_skipped_with_its_reason(
    trained, exported, monkeypatch, tmp_path, no_driver
):
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    cache, model = EngineCache(tmp_path), (exported / "m.onnx").read_bytes()
    for capabilities in (("sm86",), ("sm89", "sm120")):
        key = Key.of(model, Target("tensorrt_rtx", "1.7.1", "", capabilities), DEFAULT)
        cache.store(key, "m", b"engine", 1.0, 1.0)
    cache.store(dataclasses.replace(key, model="0" * 64), "another", b"engine", 1.0, 1.0)
    words = (exported / "m.onnx", "--run", trained.path, "--pictures", exported / "pictures")
    done = verify(*words, "--json")
    assert done.exit_code == 0, done.output
    skipped = {k: v for k, v in json.loads(done.stdout)["skipped"].items() if "tensorrt" in k}
    assert sorted(name.partition("(")[2].partition(")")[0] for name in skipped) == [
        "sm86", "sm89+sm120",
    ]  # fmt: skip
    assert all("no NVIDIA driver answers" in why for why in skipped.values())


def test_a_foreign_model_is_refused(exported, tmp_path):
    proto = onnx.load(exported / "m.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "foreign.onnx")
    done = verify(tmp_path / "foreign.onnx", "--pictures", exported / "pictures")
    assert done.exit_code == ConfigError.exit_code
    assert "carries no edge.manifest" in done.output
