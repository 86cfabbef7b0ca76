"""The check of a data set, the sheets, and pictures that look alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError
from edge.types import Detections
from tests.support.drawn_data import drawn_dataset, face, shared, write_example
from trainers.data.check import check, check_path
from trainers.data.dataset import Dataset, unknown_points
from trainers.data.near_duplicates import find_near_duplicates, unite_near_duplicates
from trainers.data.read import read_dataset
from trainers.evaluation import figures as report
from trainers.metrics import detection as metrics


def textured(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (9, 12, 3)).astype(np.uint8)
    return cv2.resize(noise, (240, 180), interpolation=cv2.INTER_CUBIC)


def test_a_good_data_set_has_no_problem(tmp_path: Path):
    result = check(drawn_dataset(tmp_path, 4))
    assert result.ok
    assert str(result).splitlines()[0] == "4 pictures (0 without an object) in 4 groups"
    assert (result.objects, result.landmarked, result.soft) == ({"face": 4}, 4, 0)


def test_every_kind_of_problem_is_told_at_once(tmp_path: Path):
    good = drawn_dataset(tmp_path, 6)
    e = list(good.examples)
    e[0] = replace(e[0], xyxy=np.float32([[-20, 0, 50, 50]]))
    twice = replace(e[1], xyxy=e[1].xyxy.repeat(2, 0), class_id=np.zeros(2, np.int32),
                    landmarks=unknown_points(2), weight=np.ones(2, np.float32))  # fmt: skip
    e[1] = twice
    whole = e[2].path.read_bytes()
    e[2].path.write_bytes(whole[: len(whole) // 2])
    e[3].path.unlink()
    e[4].path.write_bytes(e[5].path.read_bytes())
    e.append(replace(e[5], class_id=e[5].class_id))
    result = check(Dataset(("face", "ghost"), tuple(e)), path=tmp_path)
    text = str(result)
    for expected in (
        "lies outside the picture of 160x120",
        "boxes 0 and 1 are the same object labeled twice",
        "p002.png: This picture is broken or truncated",
        "p003.png: This picture does not exist",
        "shows the same as",
        "training keeps both on one side of its split",
        "the name p005 is used more than once",
        "class 'ghost' has no example",
    ):
        assert expected in text, expected


def test_a_cut_off_jpeg_is_noticed(tmp_path: Path):
    example = write_example(tmp_path, "x", face(0))
    path = tmp_path / "x.jpg"
    cv2.imwrite(str(path), textured(0))
    path.write_bytes(path.read_bytes()[:-400])
    result = check(Dataset(("face",), (replace(example, path=path, size_wh=(240, 180)),)))
    assert "x.jpg: This picture is broken or truncated" in str(result)


def test_an_empty_data_set_is_a_problem(tmp_path: Path):
    assert "holds no picture" in str(check(Dataset(("a",), ()), path=tmp_path))


def test_a_long_list_is_cut_and_counted(tmp_path: Path):
    drawn = drawn_dataset(tmp_path, 3)
    bad = tuple(replace(e, path=tmp_path / "gone.png") for e in drawn.examples)
    lines = check(Dataset(("face",), bad)).lines(max_problems=1)
    assert lines[-2:] == [".. and 2 more problems", "3 problem(s)"]


def test_shared_raccoons_hold_duplicates_that_a_split_would_leak():
    dataset, result = check_path(shared("raccoon"))
    assert sum("keeps both on one side" in str(n) for n in result.notes) == 4
    grouped = unite_near_duplicates(dataset)
    same = {
        tuple(sorted(dataset.examples[n].name for n in pair))
        for pair in find_near_duplicates(dataset.examples)
    }
    assert ("raccoon-51", "raccoon-85") in same  # the second bears a caption
    group = {e.name: e.group for e in grouped.examples}
    assert all(group[a] == group[b] for a, b in same)


def test_resized_and_recompressed_copies_look_alike_and_others_do_not(tmp_path: Path):
    base = face(0)
    examples = [
        write_example(tmp_path, f"p{n}", replace(base, image=textured(n))) for n in range(6)
    ]
    copy = cv2.resize(textured(2), (150, 110))
    copy = cv2.imdecode(cv2.imencode(".jpg", copy, [1, 60])[1], cv2.IMREAD_COLOR)
    examples.append(write_example(tmp_path, "copy", replace(base, image=copy)))
    assert find_near_duplicates(examples) == [(2, 6)]
    groups = [e.group for e in unite_near_duplicates(Dataset(("face",), tuple(examples))).examples]
    assert groups == ["p0", "p1", "copy", "p3", "p4", "p5", "copy"]


def test_sheets_and_curves_are_pictures(tmp_path: Path):
    dataset = drawn_dataset(tmp_path / "images", 8)
    dataset.examples[3].path.write_bytes(b"broken")
    sheets = tmp_path / "sheets"
    report.contact_sheet(dataset, sheets / "contact.png")
    dataset = dataset.where(lambda e: e.name != "p003")
    found = [
        Detections(e.xyxy + np.float32(40 * (n % 2)), np.float32([0.9]), np.int32([0]))
        for n, e in enumerate(dataset.examples)
    ]
    evaluation = metrics.evaluate(dataset.examples, found, dataset.classes)
    report.precision_recall_png(evaluation, sheets / "pr.png")
    report.confusion_png(
        metrics.confusion(dataset.examples, found, 1), dataset.classes, sheets / "confusion.png"
    )
    report.worst_pictures(dataset, found, sheets / "worst.png")
    for path in sheets.iterdir():
        image = cv2.imread(str(path))
        assert image.shape[0] > 100
        assert image.std() > 5, path
    assert len(list(sheets.iterdir())) == 4


def test_a_sheet_of_nothing_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="holds no picture"):
        report.contact_sheet(Dataset(("a",), ()), tmp_path / "x.png")


def test_faces_of_the_shared_set_have_their_points_inside_their_boxes():
    dataset = read_dataset(shared("ytf_dev"))
    inside = [
        ((e.landmarks[0] >= e.xyxy[0, :2]) & (e.landmarks[0] <= e.xyxy[0, 2:])).all(1).mean()
        for e in dataset.examples
    ]
    assert np.mean(inside) > 0.95
