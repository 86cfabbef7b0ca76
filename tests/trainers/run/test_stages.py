"""What a training says before its first step, and what a stopped one leaves."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError
from tests.support.drawn_data import drawn_dataset
from trainers.data.coco import to_coco
from trainers.data.dataset import Dataset
from trainers.data.yolo import format_rows
from trainers.detector import DetectorJob, read_parts
from trainers.run.folder import RunFolder


def unlike(images: Path, n: int) -> Dataset:
    """A drawn data set whose pictures do not look alike."""
    dataset = drawn_dataset(images, n)
    for seed, example in enumerate(dataset.examples):
        noise = np.random.default_rng(seed).integers(0, 255, (9, 12, 3)).astype(np.uint8)
        assert cv2.imwrite(str(example.path), cv2.resize(noise, example.size_wh))
    return dataset


def write_yolo(folder: Path, dataset: Dataset) -> None:
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("face\n")
    for e in dataset.examples:
        (folder / "labels" / f"{e.name}.txt").write_text(format_rows(e))


def job(tmp_path: Path) -> DetectorJob:
    return DetectorJob(
        data=(tmp_path / "data",), out=tmp_path / "run", val_fraction=0.3, split_seed=1
    )


def test_each_stage_and_each_note_is_a_line_on_standard_error(tmp_path: Path, capsys):
    write_yolo(tmp_path / "data", unlike(tmp_path / "data" / "images", 8))
    (tmp_path / "data" / "images" / "IMG_1.HEIC").write_bytes(b"x")
    training, validation, test = read_parts(job(tmp_path), verbose=2)
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert lines[0] == f"reading {tmp_path / 'data'}"
    assert lines[1].startswith("8 pictures with 8 objects")
    assert "1 .heic file(s) were passed over" in lines[2]
    assert lines[3] == f"{len(training)} to learn from, {len(validation)} held back"
    assert test is None
    read_parts(job(tmp_path))
    assert capsys.readouterr().err == ""


def test_training_refuses_labels_in_pixels(tmp_path: Path):
    write_yolo(tmp_path / "data", unlike(tmp_path / "data" / "images", 8))
    for path in (tmp_path / "data" / "labels").iterdir():
        path.write_text("0 70 60 60 60\n")
    with pytest.raises(ConfigError, match=r"labels lie outside their pictures.*0\.\.1 is wanted"):
        read_parts(job(tmp_path))


def test_training_refuses_fractions_where_pixels_are_wanted(tmp_path: Path):
    document = to_coco(unlike(tmp_path / "data" / "images", 8))
    for note in document["annotations"]:
        note["bbox"] = [0.2, 0.2, 0.5, 0.5]
    (tmp_path / "data" / "a.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="these look like fractions: pixels are wanted"):
        read_parts(job(tmp_path))


def test_a_run_that_was_stopped_before_its_first_epoch_is_in_nobodys_way(tmp_path: Path):
    about = {"data_sha256": "0"}
    RunFolder.begin(tmp_path / "run", {"task": "detect"}, about, resume=False)
    again = RunFolder.begin(tmp_path / "run", {"task": "faces"}, about, resume=False)
    assert again.kind == "faces"
    again.state.mkdir()
    (again.state / "epoch-1.npz").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds a run: continue it with --resume"):
        RunFolder.require_ready(tmp_path / "run", resume=False)
