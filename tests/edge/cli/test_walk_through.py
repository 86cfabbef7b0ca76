"""`edge people test`: how long a name takes before a camera, here in films of a face of noise."""

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli import app
from tests.support.models import color_embedder, constant_liveness, constant_model
from tests.support.videos import write_noise

POINTS = np.array([[[34, 38], [62, 38], [48, 54], [37, 70], [59, 70]]], np.float32)
FACE = np.array([[20, 16, 76, 84, 0.9, 0]], np.float32)
MODELS = {
    "one": (FACE, POINTS),
    "small": (FACE * 0.3, POINTS * 0.3),
    "none": (np.zeros((1, 6), np.float32), np.zeros((1, 5, 2), np.float32)),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with models, a film of Gray, and a gallery with Gray and Red."""
    folder = tmp_path_factory.mktemp("room")
    for name, (found, points) in MODELS.items():
        outputs = {"detections": found, "landmarks": points}
        model = constant_model("faces", outputs, ("face",), input_wh=(96, 96))
        (folder / f"{name}.onnx").write_bytes(model)
    (folder / "embedder.onnx").write_bytes(color_embedder())
    for name, score in (("live", 0.99), ("flat", 0.01)):
        (folder / f"{name}.onnx").write_bytes(constant_liveness(score))
    write_noise(folder / "film.mp4", frames=40, size_wh=(96, 96))
    run(folder, "keys", "new", folder / "key")
    for name, color in (("Gray", (150, 150, 150)), ("Red", (200, 60, 60))):
        grain = np.random.default_rng(0).normal(0, 30, (96, 96, 1))
        rgb = np.clip(np.array(color) + grain, 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{name}.png"), rgb[..., ::-1])
        done = run(folder, "enroll", name, folder / f"{name}.png", "--consent")
        assert done.exit_code == 0, done.output
    return folder


def run(folder, *arguments):
    where = {"GALLERY": "gallery.db", "GALLERY_KEY": "key", "EMBEDDER": "embedder.onnx",
             "FACES": "one.onnx", "LIVENESS": "live.onnx"}  # fmt: skip
    environment = {f"EDGE_{name}": str(folder / file) for name, file in where.items()}
    return CliRunner(env=environment).invoke(app, [str(argument) for argument in arguments])


def test_who_is_enrolled_and_live_is_named_and_the_time_is_told(room):
    done = run(room, "people", "test", "--camera", room / "film.mp4", "--expect", "gray")
    assert done.exit_code == 0, done.output
    assert "named Gray after " in done.stdout
    assert "second best" in done.stdout
    assert "Red" not in done.stdout
    assert "1 of 3 liveness scores so far; 1 of 3 agreeing looks" in done.stderr


def test_another_name_than_the_awaited_one_is_no_success(room):
    done = run(room, "people", "test", "--camera", room / "film.mp4", "--expect", "Red",
               "--timeout", "3.5", "--json")  # fmt: skip
    told = json.loads(done.stdout)
    assert (done.exit_code, told["named"], told["other_names"]) == (1, False, ["Gray"])
    assert told["watched_s"] >= 3.5


@pytest.mark.parametrize(
    ("options", "words", "lacked"),
    [
        (("--faces", "small.onnx"), "come closer: the eyes are 8 px apart, 16 are needed", "size"),
        (("--faces", "none.onnx"), "no face is in view", "face"),
        (("--liveness", "flat.onnx"), "not a picture: against it: model -4.6", "liveness"),
    ],
)
def test_what_was_missing_until_the_film_ended_is_told(room, options, words, lacked):
    option, model = options
    done = run(room, "people", "test", "--camera", room / "film.mp4", option, room / model)
    assert done.exit_code == 1
    assert words in done.stdout
    assert words in done.stderr
    assert f"{lacked} 3." in done.stdout.partition("seconds without: ")[2]


def test_rules_and_camera_may_come_from_the_daemons_configuration(room):
    (room / "edge.toml").write_text(f"""
        models = {{ detector = "zoo:detect-nano", faces = "one.onnx" }}
        [recognition]
        gallery = "gallery.db"
        key_file = "key"
        embedder = "embedder.onnx"
        liveness = false
        [[cameras]]
        name = "door"
        source = {{ kind = "video_file", path = "{room / "film.mp4"}" }}
        """)
    asked = ["people", "test", "--config", str(room / "edge.toml"), "--camera", "door"]
    done = CliRunner().invoke(app, [*asked, "--timeout", "1"])
    assert done.exit_code == 1
    assert "a liveness model: set recognition.liveness" in done.stdout


@pytest.mark.parametrize(
    ("camera", "exit_code", "words"),
    [("yard", 78, "there is no camera of that name"), ("/dev/null", 1, "/dev/null")],
)
def test_a_camera_that_is_none_is_one_clear_message(room, camera, exit_code, words):
    done = run(room, "people", "test", "--camera", camera)
    assert (done.exit_code, words in done.stderr) == (exit_code, True)
    assert "enrolled" not in done.stderr


def test_a_name_that_nobody_has_is_told_at_once(room):
    done = run(room, "people", "test", "--camera", room / "film.mp4", "--expect", "Anne")
    assert done.exit_code != 0
    assert "Anne" in done.output
    assert "named within" not in done.output
