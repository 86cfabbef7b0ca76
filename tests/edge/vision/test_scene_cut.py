"""Scene cuts: another scene is one; a pan, noise or a flat picture is not."""

import cv2
import numpy as np
import pytest

from edge.types import RgbPicture, YuvPicture
from edge.vision.scene_cut import compute_grid, is_cut


def scene(seed: int) -> np.ndarray:
    """Coarse structure, larger than a picture, to look at parts of."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 16), np.uint8)
    return cv2.resize(coarse, (360, 200), interpolation=cv2.INTER_CUBIC)


def grid(luma: np.ndarray) -> np.ndarray:
    return compute_grid(RgbPicture(np.repeat(luma[..., None], 3, 2)))


@pytest.mark.parametrize("pan_px", [0, 10, 20])  # 20 of 320 are two cells
def test_a_pan_with_noise_continues_the_scene(pan_px):
    noise = np.random.default_rng(9).normal(0, 6, (180, 320))
    before, after = scene(1)[:180, :320], scene(1)[:180, pan_px : pan_px + 320]
    after = np.clip(after + noise, 0, 255).astype(np.uint8)
    assert not is_cut(grid(before), grid(after))


def test_another_scene_is_a_cut():
    assert is_cut(grid(scene(1)[:180, :320]), grid(scene(2)[:180, :320]))


def test_light_does_not_matter():
    before = scene(1)[:180, :320]
    assert not is_cut(grid(before), grid(before // 2 + 60))


def test_pictures_without_contrast_are_one_scene():
    assert not is_cut(
        grid(np.full((90, 160), 9, np.uint8)), grid(np.full((90, 160), 200, np.uint8))
    )


def test_the_first_picture_begins_a_scene():
    assert is_cut(np.zeros((0, 0), np.float32), grid(scene(1)))


def test_planes_of_a_codec_are_compared_by_luma():
    luma = scene(1)[:180, :320].copy()
    chroma = np.zeros((90, 160), np.uint8)
    picture = YuvPicture(luma, chroma, chroma.copy(), bt709=False, full_range=True)
    np.testing.assert_array_equal(compute_grid(picture), grid(luma))
