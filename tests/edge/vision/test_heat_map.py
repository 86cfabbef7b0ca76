"""A heat map colors what is high, and leaves gray what is not."""

import numpy as np

from edge.vision.heat_map import overlay


def test_what_is_high_is_red_and_what_is_low_gray():
    rgb = np.full((40, 60, 3), (200, 100, 100), np.uint8)
    heat = np.full((4, 6), -1, np.float32)
    heat[:, 3:] = 1
    drawn = overlay(rgb, heat)
    assert drawn.shape == rgb.shape
    red, green, blue = drawn[20, 55].tolist()
    assert red > green + 40 > blue
    assert len(set(drawn[20, 2].tolist())) == 1


def test_a_map_without_evidence_colors_nothing():
    rgb = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    drawn = overlay(rgb, np.full((2, 2), -3, np.float32))
    assert (np.ptp(drawn, axis=2) == 0).all()
