"""Resizing against OpenCV's area filter, colors against FFmpeg."""

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.types import YuvPicture
from edge.vision.resize import crop, resize, resize_to_rgb, to_rgb

WIDTH, HEIGHT = 128, 96


def scene(width, height, channels=3):
    """A smooth picture with some texture, as cameras make them."""
    y, x = np.mgrid[0:height, 0:width] / 40
    waves = [np.sin(x * (1 + c / 3)) + np.cos(y * (2 - c / 4) + c) for c in range(channels)]
    gray = np.stack(waves, axis=2) * 60 + 128
    noise = np.random.default_rng(0).normal(0, 4, gray.shape)
    return np.clip(gray + noise, 0, 255).astype(np.uint8)


# --- resize -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size_wh", [(640, 360), (416, 234), (320, 180), (100, 57), (160, 90), (1280, 720), (1500, 800)]
)
def test_resize_is_close_to_area_averaging(size_wh):
    rgb = scene(1280, 720)
    method = cv2.INTER_AREA if size_wh[0] <= 1280 else cv2.INTER_LINEAR
    want = cv2.resize(rgb, size_wh, interpolation=method).astype(int)
    got = resize(rgb, size_wh)
    assert got.shape == (size_wh[1], size_wh[0], 3)
    assert np.abs(got - want).mean() < 2.5
    assert abs(got.mean() - want.mean()) < 0.5


def test_resize_does_not_alias():
    stripes = np.zeros((720, 1280), np.uint8)
    stripes[:, ::2] = 255
    shrunk = resize(stripes, (300, 170))
    assert np.ptp(shrunk) <= 2
    assert abs(int(shrunk.mean()) - 127) <= 1


def test_resize_takes_planes_with_padded_rows():
    padded = scene(200, 90, 1)[:, :, 0]
    view = padded[:, :160]
    np.testing.assert_array_equal(resize(view, (60, 40)), resize(view.copy(), (60, 40)))


def test_resize_writes_where_it_is_told():
    rgb, out = scene(200, 90), np.zeros((40, 60, 3), np.uint8)
    assert resize(rgb, (60, 40), out) is out
    np.testing.assert_array_equal(out, resize(rgb, (60, 40)))


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.integers(1, 70))
@settings(deadline=None)
def test_any_size_can_be_resized_to_any(width, height, new_width, new_height):
    flat = np.full((height, width), 77, np.uint8)
    resized = resize(flat, (new_width, new_height))
    assert resized.shape == (new_height, new_width)
    assert (resized == 77).all()


# --- color  -----------------------------------------------------------------------------------


def yuv_picture(chroma, bt709, full_range, quarter_turns=0):
    """A scene as real YUV planes."""
    smooth = cv2.GaussianBlur(scene(WIDTH, HEIGHT), (9, 9), 3)
    frame = av.VideoFrame.from_ndarray(smooth).reformat(
        format=chroma, dst_colorspace=space(bt709), dst_color_range=span(full_range)
    )
    planes = [
        np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width].copy()
        for p in frame.planes
    ]
    return YuvPicture(*planes, bt709, full_range, quarter_turns)


def space(bt709):
    return Colorspace.ITU709 if bt709 else Colorspace.ITU601


def span(full_range):
    return ColorRange.JPEG if full_range else ColorRange.MPEG


def swscale_rgb(picture, chroma):
    """The same planes through FFmpeg, upright."""
    frame = av.VideoFrame(picture.y.shape[1], picture.y.shape[0], chroma)
    for plane, values in zip(frame.planes, (picture.y, picture.u, picture.v), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=space(picture.bt709),
        src_color_range=span(picture.full_range),
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.BILINEAR,
    )
    return np.rot90(rgb.to_ndarray(), picture.quarter_turns)


@pytest.mark.parametrize("chroma", ["yuv444p", "yuv422p", "yuv420p"])
@pytest.mark.parametrize("bt709", [False, True])
@pytest.mark.parametrize("full_range", [False, True])
def test_colors_are_those_of_ffmpeg(chroma, bt709, full_range):
    picture = yuv_picture(chroma, bt709, full_range)
    gap = np.abs(to_rgb(picture).astype(int) - swscale_rgb(picture, chroma))
    assert gap.mean() < 1.5
    assert np.percentile(gap, 99.9) <= 5


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_pictures_are_turned_upright(quarter_turns):
    picture = yuv_picture("yuv420p", True, False, quarter_turns)
    rgb = to_rgb(picture)
    assert (rgb.shape[1], rgb.shape[0]) == picture.size_wh
    assert np.abs(rgb.astype(int) - swscale_rgb(picture, "yuv420p")).mean() < 1.5
    small = resize_to_rgb(picture, (30, 50))
    want = cv2.resize(rgb, (30, 50), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - want).mean() < 4


def test_bytes_outside_the_limited_range_do_not_wrap():
    values = np.array([[0, 15, 16], [235, 236, 255]], np.uint8)
    gray = np.full((2, 3), 128, np.uint8)
    picture = YuvPicture(values, gray, gray, True, False)
    rgb = to_rgb(picture)
    assert rgb[..., 0].tolist() == [[0, 0, 0], [255, 255, 255]]
    wild = YuvPicture(values, 255 - values, values, False, True)  # colors that RGB has not
    assert np.abs(to_rgb(wild).astype(int) - swscale_rgb(wild, "yuv444p")).max() <= 3


@pytest.mark.parametrize("width", range(1, 20))
@pytest.mark.parametrize("step", [2, 4])
def test_narrow_pictures_are_cropped_with_the_chroma_that_belongs_to_them(width, step):
    chroma = -(-width // step)
    luma = np.full((8, width), 100, np.uint8)
    u = np.tile(np.arange(chroma, dtype=np.uint8) * 10, (8, 1))
    picture = YuvPicture(luma, u, u.copy(), False, True)
    for x in range(width):
        part, (left, _) = crop(picture, x, 0, x + 1, 8)
        assert left <= x
        assert part.u[0, 0] == (x // step) * 10
        assert to_rgb(part).shape[0] == 8
