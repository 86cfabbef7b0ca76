"""Face crops: aligned by landmarks as embedders expect them, and wide within the picture."""

import cv2
import numpy as np
import pytest

from edge.types import RgbPicture, YuvPicture
from edge.vision.face_crops import (
    FACE_POINTS,
    align_face,
    crop_wide,
    fit_alignment,
    place_wide_box,
)
from edge.vision.resize import crop, to_rgb


def smooth(width=320, height=240):
    """A picture without sharp edges, so that chroma subsampling costs little."""
    rng = np.random.default_rng(2)
    small = rng.integers(30, 226, (8, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def as_yuv(rgb, turns=0):
    """The picture as a codec would have it, lying on its side by ``turns`` quarters."""
    lying = np.ascontiguousarray(np.rot90(rgb, -turns))
    height, width = lying.shape[:2]
    planes = cv2.cvtColor(lying, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    y, u, v = np.split(planes, [width * height, width * height * 5 // 4])
    half = (height // 2, width // 2)
    return YuvPicture(
        y.reshape(height, width), u.reshape(half), v.reshape(half), False, False, turns
    )


def placed(scale, degrees, shift_xy):
    """Where the five points lie in a picture that shows the face so."""
    turn = np.exp(1j * np.radians(degrees)) * scale
    points = (FACE_POINTS[:, 0] + 1j * FACE_POINTS[:, 1]) * turn + complex(*shift_xy)
    return np.stack([points.real, points.imag], axis=1).astype(np.float32)


def test_a_face_in_its_place_is_left_as_it_is():
    rgb = smooth(112, 112)
    assert np.array_equal(align_face(RgbPicture(rgb), FACE_POINTS), rgb)


@pytest.mark.parametrize(
    ("scale", "degrees", "shift_xy"),
    [(1, 0, (40, 30)), (0.5, 0, (100, 80)), (1.5, 25, (120, 20)), (0.8, -70, (60, 180))],
)
def test_a_face_is_turned_scaled_and_shifted_back(scale, degrees, shift_xy):
    points = placed(scale, degrees, shift_xy)
    rgb = np.full((300, 400, 3), 40, np.uint8)
    colors = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 250, 250]])
    for point, color in zip(points, colors, strict=True):
        center = tuple(round(float(value) * 16) for value in point)
        cv2.circle(rgb, center, round(5 * scale * 16), color.tolist(), -1, shift=4)
    face = align_face(RgbPicture(rgb), points)
    for point, color in zip(FACE_POINTS.round().astype(int), colors, strict=True):
        assert np.abs(face[point[1], point[0]].astype(int) - color).max() < 30


@pytest.mark.parametrize("pixel_aspect", [1.0, 0.5, 1.4])
def test_points_of_a_crop_lie_where_they_were_in_the_picture(pixel_aspect):
    points = placed(0.8, -30, (90, 120)) / np.float32([pixel_aspect, 1])
    fitted = fit_alignment(points, 64, 0.3, pixel_aspect)
    assert fitted is not None
    crop = fitted.to_crop(points)
    expected = (FACE_POINTS + 0.15 * 112) * 64 / (112 * 1.3)
    np.testing.assert_allclose(crop, expected, atol=1e-3)
    np.testing.assert_allclose(fitted.to_picture(crop), points, atol=1e-3)


def test_a_margin_shows_more_around_the_face():
    rgb, points = smooth(), placed(1, 0, (100, 60))
    wide = align_face(RgbPicture(rgb), points, 160, margin=48 / 112)
    near = align_face(RgbPicture(rgb), points)
    assert np.abs(wide[24:136, 24:136].astype(int) - near).max() <= 2


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), FACE_POINTS * 1e5])
def test_points_that_are_no_face_have_no_alignment(points):
    assert fit_alignment(points.astype(np.float32)) is None


def test_noise_in_one_point_moves_the_others_by_less():
    rgb, points = smooth(), placed(1, 0, (100, 60))
    nudged = points.copy()
    nudged[2] += 3
    difference = align_face(RgbPicture(rgb), points).astype(int) - align_face(
        RgbPicture(rgb), nudged
    )
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", [0.6, 1.0, 1.9])
def test_planes_give_the_face_that_pixels_give(turns, scale):
    rgb, points = smooth(), placed(scale, 10, (51, 21))
    from_rgb = align_face(RgbPicture(rgb), points).astype(int)
    from_yuv = align_face(as_yuv(rgb, turns), points).astype(int)
    assert np.abs(from_rgb - from_yuv).mean() < 3


def test_a_large_face_is_not_aliased():
    rgb = np.zeros((1000, 1000, 3), np.uint8)
    rgb[::2, ::2] = rgb[1::2, 1::2] = 255
    face = align_face(RgbPicture(rgb), placed(8, 0, (20, 20)))
    assert 100 < face.mean() < 150
    assert face.std() < 20


def test_what_lies_outside_the_picture_is_black():
    face = align_face(RgbPicture(np.full((200, 200, 3), 200, np.uint8)), placed(1, 0, (-56, 0)))
    assert face[:, :50].max() == 0
    assert face[20:100, 60:].min() > 190


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), np.nan, np.float32),
        np.full((5, 2), np.inf, np.float32),
        np.full((5, 2), 7, np.float32),
        placed(1, 0, (5000, 0)),
        placed(1, 0, (0, -5000)),
        placed(1e6, 0, (0, 0)),
    ],
)
@pytest.mark.parametrize("picture", [RgbPicture(smooth()), as_yuv(smooth())])
def test_points_that_show_no_face_give_black(picture, points):
    with np.errstate(invalid="ignore"):
        assert align_face(picture, points).max() == 0


def test_other_sizes_are_scaled():
    rgb, points = smooth(), placed(1, 0, (100, 60))
    small = align_face(RgbPicture(rgb), points, 56)
    assert small.shape == (56, 56, 3)
    half = cv2.resize(align_face(RgbPicture(rgb), points), (56, 56), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - half).mean() < 4


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_crop_is_that_part_of_the_picture(turns):
    rgb = smooth()
    part, (x, y) = crop(as_yuv(rgb, turns), 101, 51, 150, 97)
    width, height = part.size_wh
    assert (x, y) == (100, 50)
    assert (x + width, y + height) == (150, 97)
    expected = rgb[y : y + height, x : x + width].astype(int)
    assert np.abs(to_rgb(part) - expected).mean() < 3


@pytest.mark.parametrize("box", [(-50, -50, 9999, 9999), (400, 300, 500, 400), (5, 5, 5, 5)])
@pytest.mark.parametrize("picture", [RgbPicture(smooth()), as_yuv(smooth(), 1)])
def test_a_crop_stays_inside_the_picture(picture, box):
    part, (x, y) = crop(picture, *box)
    assert x >= 0
    assert y >= 0
    assert part.size_wh[0] >= 1
    assert x + part.size_wh[0] <= 320
    assert y + part.size_wh[1] <= 240


@pytest.mark.parametrize(
    ("xyxy", "scale", "expected"),
    [
        ([40, 40, 60, 60], 2, (30, 30, 71, 71)),
        ([0, 0, 20, 20], 2, (0, 0, 41, 41)),  # moved into the picture
        ([90, 90, 100, 100], 3, (69, 69, 100, 100)),
        ([0, 0, 100, 100], 4, (0, 0, 100, 100)),  # shrunk to the picture
        ([20, 40, 40, 80], 4, (5, 0, 55, 100)),  # keeps its aspect
    ],
)
def test_a_wide_box_lies_in_the_picture(xyxy, scale, expected):
    assert place_wide_box(np.array(xyxy, np.float32), scale, (100, 100)) == expected


def test_a_box_that_is_not_finite_is_black():
    picture = RgbPicture(np.full((50, 50, 3), 9, np.uint8))
    assert not crop_wide(picture, np.full(4, np.nan, np.float32), 2.7, (8, 8)).any()
