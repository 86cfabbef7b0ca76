"""Letterboxes: where a picture lies, and the way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.types import Placement, RgbPicture
from edge.vision import preprocess

SIDE = st.integers(2, 4000)


@given(
    SIDE,
    SIDE,
    st.sampled_from([(640, 640), (416, 416), (640, 384), (97, 31)]),
    st.sampled_from(["top_left", "center"]),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
@settings(deadline=None)  # fmt: skip
def test_boxes_come_back_from_the_network_within_half_a_pixel(w, h, network_wh, align, corners):
    placed, (inner_w, inner_h) = preprocess.place_letterbox((w, h), network_wh, align)
    assert 1 <= inner_w <= network_wh[0]
    assert 1 <= inner_h <= network_wh[1]
    xyxy = np.array([corners], np.float32) * np.array([w, h, w, h], np.float32)
    inside = placed.to_network(xyxy)
    assert ((inside >= -1e-2) & (inside <= np.array([*network_wh, *network_wh]) + 1e-2)).all()
    np.testing.assert_allclose(placed.to_source(inside), xyxy, atol=0.5)
    assert placed.to_source(inside).dtype == inside.dtype == np.float32


def test_boxes_from_the_padding_are_clipped_to_the_image():
    placed, _ = preprocess.place_letterbox((200, 100), (64, 64), "center")
    found = placed.to_source(np.array([[-9, 0, 99, 64]], np.float32))
    assert found.tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize("align", ["top_left", "center"])
@pytest.mark.parametrize("size_wh", [(200, 100), (100, 200), (64, 64), (7, 3), (3000, 2)])
def test_the_picture_lies_where_the_letterbox_says(align, size_wh):
    picture = RgbPicture(np.full((size_wh[1], size_wh[0], 3), 200, np.uint8))
    out = np.zeros((64, 96, 3), np.uint8)
    placed = preprocess.letterbox(picture, out, Placement(align))
    image = np.array([[0, 0, *size_wh]], np.float32)
    x1, y1, x2, y2 = np.rint(placed.to_network(image)[0]).astype(int)
    assert (out[y1:y2, x1:x2] == 200).all()
    assert (out == 200).sum() == 3 * (x2 - x1) * (y2 - y1)
    assert ((out == 200) | (out == 114)).all()
    assert x2 - x1 == 96 or y2 - y1 == 64  # it is as large as it can be


def test_a_marked_spot_is_found_where_the_letterbox_says():
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[300:340, 500:560] = 255
    out = np.zeros((416, 416, 3), np.uint8)
    placed = preprocess.letterbox(RgbPicture(rgb), out, Placement("center", 0))
    y, x = np.nonzero(out[..., 0] > 127)
    box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32)
    np.testing.assert_allclose(placed.to_source(box), [[500, 300, 560, 340]], atol=1.6)
