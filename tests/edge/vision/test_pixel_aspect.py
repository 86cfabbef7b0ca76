"""Squeezed pictures are looked at as they are shown; boxes stay in their own pixels."""

import threading
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from edge.service.cameras import show_as
from edge.sources.video_file import Options, build
from edge.types import RgbPicture, YuvPicture
from edge.vision.face_crops import FACE_POINTS, align_face
from edge.vision.preprocess import letterbox
from edge.vision.resize import crop


@pytest.fixture(params=[0.6875, 0.5, 1.4])
def squeezed(request):
    """A smooth scene, and the same squeezed in width by a factor."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 256, (27, 48, 3), np.uint8), (960, 540))
    width = round(960 * request.param)
    narrow = cv2.resize(scene, (width, 540), interpolation=cv2.INTER_AREA)
    return RgbPicture(scene), RgbPicture(narrow, 960 / width), width / 960


def test_a_network_sees_a_squeezed_picture_in_its_shown_shape(squeezed):
    whole, narrow, share = squeezed
    inputs = [np.zeros((256, 416, 3), np.uint8) for _ in range(2)]
    placed = [letterbox(p, into) for p, into in zip((whole, narrow), inputs, strict=True)]
    assert np.abs(inputs[0].astype(int) - inputs[1]).mean() < 1.5
    box = np.float32([[100, 50, 180, 200]])
    own, other = (one.to_source(box) for one in placed)
    np.testing.assert_allclose(other, own * [share, 1, share, 1], atol=1)
    np.testing.assert_allclose(placed[1].to_network(other), box, atol=1e-3)


def test_a_face_in_a_squeezed_picture_is_aligned_as_it_is_shown(squeezed):
    whole, narrow, share = squeezed
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (FACE_POINTS @ turn.T * 1.6 + (400, 150)).astype(np.float32)
    own_pixels = (landmarks + 0.5) * [share, 1] - 0.5  # centers of pixels lie at whole numbers
    straight = align_face(whole, landmarks)
    undone = align_face(narrow, own_pixels.astype(np.float32))
    assert np.abs(straight.astype(int) - undone).mean() < 2


def test_a_crop_keeps_the_shape_of_its_pixels():
    planes = (
        np.zeros((40, 60), np.uint8),
        np.zeros((20, 30), np.uint8),
        np.zeros((20, 30), np.uint8),
    )
    yuv = YuvPicture(*planes, bt709=True, full_range=False, pixel_aspect=1.5)
    rgb = RgbPicture(np.zeros((40, 60, 3), np.uint8), 1.5)
    assert {crop(p, 4, 4, 20, 20)[0].pixel_aspect for p in (yuv, rgb)} == {1.5}


def test_the_key_aspect_is_that_of_the_whole_picture():
    picture = RgbPicture(np.zeros((576, 704, 3), np.uint8))
    assert show_as(picture, 16 / 9).pixel_aspect == pytest.approx(16 / 9 * 576 / 704)
    assert show_as(picture, 0) is picture


@pytest.mark.parametrize(
    ("stated", "rotation", "taken"),
    [((16, 11), 0, 16 / 11), ((16, 11), 90, 11 / 16), ((1, 1), 0, 1), ((100, 1), 0, 1)],
)
def test_a_stream_states_the_shape_of_its_pixels(tmp_path, stated, rotation, taken):
    path = str(tmp_path / "a.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(*stated)
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(3):
            image = np.zeros((144, 176, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    source = build(Options(path=path, every_frame=True))
    with source.connect(threading.Event()) as captures:
        assert next(captures).picture.pixel_aspect == pytest.approx(taken)
