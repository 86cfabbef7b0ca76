"""Pixelation: what was in a box cannot be recovered, what was outside is as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.pixelate import MAX_BLOCKS, MIN_BLOCK_PX, choose_hidden, pixelate

NONE = np.zeros((0, 4), np.float32)


def noise(height, width, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def find_blocks(part):
    """Heights and widths of the areas of one color in which an (h, w, 3) part is divided."""
    rows = np.flatnonzero((part[1:] != part[:-1]).any(axis=(1, 2))) + 1
    columns = np.flatnonzero((part[:, 1:] != part[:, :-1]).any(axis=(0, 2))) + 1
    return (np.diff([0, *rows, len(part)]), np.diff([0, *columns, part.shape[1]]))


@pytest.mark.parametrize("side", [16, 24, 40, 100, 130, 600])
def test_a_box_keeps_few_large_blocks_however_large_it_is(side):
    rgb = noise(800, 800)
    grown = pixelate(rgb, np.array([[100, 100, 100 + side, 100 + side]], np.float32))
    changed = np.flatnonzero((grown != rgb).any(axis=(0, 2)))
    part = grown[changed[0] : changed[-1] + 1, changed[0] : changed[-1] + 1]
    for sizes in find_blocks(part):
        assert sizes.min() >= MIN_BLOCK_PX
        assert len(sizes) <= MAX_BLOCKS


def test_two_pictures_of_the_same_means_cannot_be_told_apart():
    rgb = noise(200, 200)
    box = np.array([[50, 50, 146, 146]], np.float32)
    hidden = pixelate(rgb, box)
    assert (pixelate(hidden, box) == hidden).all()
    shuffled = rgb.copy()
    edges = find_blocks(hidden[36:160, 36:160])
    top = 36
    for height in edges[0]:
        left = 36
        for width in edges[1]:
            block = shuffled[top : top + height, left : left + width]
            block[:] = (
                np.random.default_rng(2).permutation(block.reshape(-1, 3)).reshape(block.shape)
            )
            left += width
        top += height
    assert (shuffled != rgb).any()
    assert (pixelate(shuffled, box) == hidden).all()


@given(
    st.lists(st.tuples(*[st.floats(-300, 600, allow_nan=False)] * 4), max_size=3),
    st.integers(1, 200),
    st.integers(1, 200),
)
def test_boxes_may_lie_anywhere_and_what_is_outside_them_stays(boxes, height, width):
    rgb = noise(height, width)
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes]
    hidden = pixelate(rgb, np.array(boxes, np.float32).reshape(-1, 4))
    assert hidden.shape == rgb.shape
    outside = np.ones((height, width), bool)
    for x1, y1, x2, y2 in boxes:
        grow_x, grow_y = 0.16 * (x2 - x1) + 1, 0.16 * (y2 - y1) + 1
        left, top = max(int(x1 - grow_x), 0), max(int(y1 - grow_y), 0)
        outside[top : max(int(y2 + grow_y) + 1, 0), left : max(int(x2 + grow_x) + 1, 0)] = False
    assert (hidden[outside] == rgb[outside]).all()


def test_the_picture_that_is_given_is_not_changed():
    rgb = noise(60, 60)
    rgb.flags.writeable = False
    pixelate(rgb, np.array([[0, 0, 60, 60]], np.float32))


@pytest.mark.parametrize(
    ("hide", "expected"),
    [
        ((), []),
        (("person",), [[10, 0, 20, 100], [12, 5, 18, 15]]),
        (("face",), [[12, 5, 18, 15], [10, 0, 20, 35]]),  # and where a head may be
        (("face", "person"), [[10, 0, 20, 100], [12, 5, 18, 15]]),
    ],
)
def test_what_must_be_hidden_is_chosen(hide, expected):
    objects = np.array([[10, 0, 20, 100], [50, 50, 90, 90]], np.float32)
    faces = np.array([[12, 5, 18, 15]], np.float32)
    chosen = choose_hidden(hide, objects, ["person", "car"], faces)
    np.testing.assert_allclose(chosen, np.array(expected, np.float32).reshape(-1, 4))


def test_nobody_is_hidden_where_nobody_is():
    assert choose_hidden(("face",), NONE, [], NONE).shape == (0, 4)
