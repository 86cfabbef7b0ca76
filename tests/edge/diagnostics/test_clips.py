"""The scenes of the benchmark: in a quiet one nothing moves, in a busy one everything does."""

import threading
from pathlib import Path

import numpy as np
import pytest

from edge import plugins
from edge.diagnostics.clips import Scene, make_clips, shuffle_tiles
from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.types import Frame
from edge.vision.motion import MotionDetector
from edge.vision.resize import to_rgb

SIZE = (1280, 720)
FRAMES = 20


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return {
        scene: make_clips(tmp_path_factory.mktemp(scene.value), scene, SIZE, FRAMES)
        for scene in Scene
    }


def read(path):
    source = {"kind": "video_file", "path": str(path), "every_frame": True}
    with plugins.create("sources", source).connect(threading.Event()) as captures:
        return [capture.picture for capture in captures]


def find_moving(pictures):
    """Whether something moves in each picture after the first, at five a second."""
    detector = MotionDetector()
    moving = [detector.update(picture, row / 5).any() for row, picture in enumerate(pictures)]
    return np.array(moving[1:])


def test_one_camera_in_five_of_a_mixed_scene_is_busy(clips):
    busy, *quiet = [path.name for path in clips[Scene.MIXED]]
    assert busy == "720p.mp4"
    assert quiet == ["720p-quiet.mp4"] * 4
    assert [path.name for path in clips[Scene.BUSY]] == [busy]
    assert [path.name for path in clips[Scene.QUIET]] == quiet[:1]


def test_in_a_quiet_scene_nothing_moves_but_noise_and_nobody_is_seen(clips):
    pictures = read(clips[Scene.QUIET][0])
    assert len(pictures) == FRAMES
    assert not find_moving(pictures).any()
    first, second = (to_rgb(picture) for picture in pictures[:2])
    assert (first != second).mean() > 0.03  # what the encoder leaves of the noise
    runtime = plugins.create("runtimes", {"kind": "onnx"})
    detector = load_model("detect", runtime, resolve_model("zoo:detect-nano", Path()))
    frames = [Frame("a", 1, row, 0.0, 0.0, picture) for row, picture in enumerate(pictures[:3])]
    assert all((found.score < 0.1).all() for found in detector.detect(frames))


def test_in_a_busy_scene_every_picture_moves(clips):
    moving = find_moving(read(clips[Scene.BUSY][0]))
    assert moving[3:].all()  # it takes a moment to be a pixel away


def test_shuffled_tiles_are_the_same_pixels_in_another_order():
    image = np.random.default_rng(1).integers(0, 256, (90, 160, 3), np.uint8)
    shuffled = shuffle_tiles(image)
    assert (shuffled != image).mean() > 0.5
    np.testing.assert_array_equal(np.sort(shuffled, axis=None), np.sort(image, axis=None))
    np.testing.assert_array_equal(shuffle_tiles(image), shuffled)
