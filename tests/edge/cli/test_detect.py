import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli import app
from tests.support.models import constant_model
from tests.support.videos import write_video

ROWS = np.array([[4, 2, 12, 10, 0.9, 1], [0, 0, 8, 8, 0.4, 0]], np.float32)
POINTS = np.array([[[1, 1], [2, 1], [2, 2], [1, 3], [2, 3]], np.zeros((5, 2))], np.float32)
FACES = np.array([[0, 0, 4, 4, 0.8, 0], [0, 0, 0, 0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Options for two models that see the same in everything, in a network of 32x32 pixels."""
    folder = tmp_path_factory.mktemp("models")
    detector = constant_model("detect", {"detections": ROWS}, ("person", "dog"))
    (folder / "detector.onnx").write_bytes(detector)
    faces = constant_model("faces", {"detections": FACES, "landmarks": POINTS}, ("face",))
    (folder / "faces.onnx").write_bytes(faces)
    return ["--detector", str(folder / "detector.onnx"), "--faces", str(folder / "faces.onnx")]


def picture(path, size_wh=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size_wh[1], size_wh[0], 3), 90, np.uint8))
    return path


def detect(*arguments):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["detect", *map(str, arguments)])


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_boxes_are_in_pixels_of_the_picture(tmp_path, models):
    result = detect(picture(tmp_path / "a.png"), "--json", *models)
    assert result.exit_code == 0, result.stderr
    assert lines(result) == [
        {
            "path": str(tmp_path / "a.png"),
            "frame": 0,
            "width": 64,
            "height": 48,
            "objects": [
                {"label": "dog", "score": 0.9, "box": [8, 4, 24, 20]},
                {"label": "person", "score": 0.4, "box": [0, 0, 16, 16]},
            ],
            "faces": [
                {
                    "score": 0.8,
                    "box": [0, 0, 8, 8],
                    "landmarks": [[2, 2], [4, 2], [4, 4], [2, 6], [4, 6]],
                }
            ],
        }
    ]


def test_a_folder_is_searched_in_order_and_other_files_are_left_alone(tmp_path, models):
    for name in ("b.jpg", "a/2.png", "a/1.JPG"):
        picture(tmp_path / name.lower()).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("nothing to see\n")
    result = detect(tmp_path, "--json", *models)
    assert [os.path.relpath(line["path"], tmp_path) for line in lines(result)] == [
        "a/1.JPG",
        "a/2.png",
        "b.jpg",
    ]
    assert result.stderr == "passed over, neither picture nor video: 1 .txt\n"


def test_every_frame_of_a_video_is_a_line(tmp_path, models):
    result = detect(write_video(tmp_path / "clip.mp4", 23), "--json", *models)
    assert result.exit_code == 0, result.stderr
    assert [line["frame"] for line in lines(result)] == list(range(23))


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_batch_changes_nothing_but_speed(batch, tmp_path, models):
    picture(tmp_path / "a.png")
    write_video(tmp_path / "b.mp4", 7)
    picture(tmp_path / "c.png", (300, 40))
    everything = lines(detect(tmp_path, "--json", "--batch", batch, *models))
    assert [(line["width"], line["frame"]) for line in everything] == [
        (64, 0),
        *((160, row) for row in range(7)),
        (300, 0),
    ]


def test_one_model_alone_does(tmp_path, models):
    path = picture(tmp_path / "a.png")
    (objects,) = lines(detect(path, "--json", *models[:2]))
    (faces,) = lines(detect(path, "--json", *models[2:]))
    assert (len(objects["objects"]), len(objects["faces"])) == (2, 0)
    assert (len(faces["objects"]), len(faces["faces"])) == (0, 1)


def test_weak_findings_can_be_left_out(tmp_path, models):
    result = detect(picture(tmp_path / "a.png"), "--json", "--min-score", 0.85, *models)
    assert [found["label"] for found in lines(result)[0]["objects"]] == ["dog"]
    assert lines(result)[0]["faces"] == []


def test_what_cannot_be_read_is_skipped_counted_and_named(tmp_path, models):
    picture(tmp_path / "a.png")
    (tmp_path / "text.jpg").write_text("this is no picture\n")
    (tmp_path / "empty.png").write_bytes(b"")
    whole = picture(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("this is no video\n")
    result = detect(tmp_path, "--json", *models)
    assert result.exit_code == 0
    assert len(lines(result)) == 2
    said = result.stderr.strip().splitlines()
    assert said[0].startswith("skipped 4 of 6: ")
    for line, name in zip(said, ["empty.png", "half.jpg", "text.jpg", "text.mp4"], strict=True):
        assert line.count(str(tmp_path / name)) == 1


def test_what_is_neither_picture_nor_video_is_counted(tmp_path, models):
    picture(tmp_path / "a.png")
    for name in ("b.heic", "c.HEIC", "note.txt", "README"):
        (tmp_path / name).write_bytes(b"x")
    said = detect(tmp_path, "--json", *models).stderr
    assert said == "passed over, neither picture nor video: 2 .heic, 1 .txt, 1 README\n"


@pytest.mark.parametrize(("kept", "frames"), [(0.3, False), (0.98, True)])
def test_a_video_that_was_cut_off_is_named(kept, frames, tmp_path, models):
    """Frames before the cut are reported, and the file still counts as skipped."""
    clip = write_video(
        tmp_path / "clip.mp4", 60, options={"g": "10"}, container_options={"movflags": "faststart"}
    )
    whole = clip.read_bytes()
    clip.write_bytes(whole[: int(len(whole) * kept)])
    picture(tmp_path / "z.png")
    result = detect(tmp_path, "--json", *models)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"skipped 1 of 2: {clip}")
    assert (len(lines(result)) > 1) == frames


def test_it_fails_when_nothing_could_be_read(tmp_path, models):
    (tmp_path / "text.jpg").write_text("this is no picture\n")
    result = detect(tmp_path / "text.jpg", "--json", *models)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "skipped 1 of 1: " in result.stderr


def test_an_empty_folder_is_said_to_be_empty(tmp_path, models):
    result = detect(tmp_path, *models)
    assert result.exit_code == 1
    assert "no images or videos" in result.stderr


def test_a_path_that_does_not_exist_is_a_mistake_of_the_caller(tmp_path, models):
    result = detect(tmp_path / "nowhere.jpg", *models)
    assert result.exit_code == 2
    assert "nowhere.jpg" in result.stderr


def test_a_model_that_is_none_ends_with_one_message(tmp_path):
    path = picture(tmp_path / "a.png")
    result = detect(path, "--detector", path)
    assert result.exit_code == 78
    assert len(result.stderr.strip().splitlines()) == 1
    assert "a.png" in result.stderr


def test_the_table_sums_up_each_file(tmp_path, models):
    write_video(tmp_path / "b.mp4", 5)
    result = detect(tmp_path, *models)
    assert result.exit_code == 0
    assert "dog 5, person 5" in result.stdout


def test_drawings_are_laid_out_like_the_files(tmp_path, models):
    for name in ("in/a/1.jpg", "in/b/1.jpg", "in/b/1.png"):
        picture(tmp_path / name)
    write_video(tmp_path / "in" / "c.mp4", 2)
    result = detect(tmp_path / "in", "--draw", tmp_path / "out", *models)
    assert result.exit_code == 0, result.stderr
    drawn = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert [str(path.relative_to(tmp_path / "out")) for path in drawn] == [
        "a/1.jpg",
        "b/1.jpg",
        "b/1.png.jpg",
        "c.mp4-000000.jpg",
        "c.mp4-000001.jpg",
    ]
    marked = cv2.imread(str(drawn[0]))
    assert marked.shape == (48, 64, 3)
    assert np.ptp(marked) > 50, "nothing is drawn"


def test_a_reader_that_goes_away_is_no_error(tmp_path, models):
    write_video(tmp_path / "clip.mp4", 300, size_wh=(64, 48))
    command = [sys.executable, "-m", "edge", "detect", str(tmp_path), "--json", *models]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b'{"path"')
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
