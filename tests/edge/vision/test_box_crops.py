"""Box crops: what is cut out lies within the picture and is what the box says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.types import RgbPicture
from edge.vision.box_crops import cut_box, enlarge, round_box

SIDE = st.floats(-50, 150, width=32)


def test_a_margin_stays_within_the_picture():
    box = np.array([0, 10, 20, 30], np.float32)
    assert enlarge(box, 0.2, (40, 31)).tolist() == [0, 8, 22, 31]


@given(st.tuples(SIDE, SIDE, SIDE, SIDE))
def test_any_box_is_rounded_to_a_pixel_or_more_of_the_picture(corners):
    x1, y1, x2, y2 = round_box(np.array(corners, np.float32), (40, 30))
    assert 0 <= x1 < x2 <= 40
    assert 0 <= y1 < y2 <= 30


def test_a_square_box_fills_the_crop_with_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    cut = cut_box(RgbPicture(pixels), np.array([10, 20, 42, 52], np.float32), (32, 32))
    np.testing.assert_array_equal(cut, pixels[20:52, 10:42])
