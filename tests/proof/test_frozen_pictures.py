"""No living camera is ever called frozen, in twenty minutes of film of each kind; `make proof`."""

import cv2
import numpy as np
import pytest

from edge.service.freeze_detector import FreezeDetector
from tests.edge.service.test_picture_quality import FPS, encode, still

pytestmark = pytest.mark.proof
MINUTES = 20

__all__ = ["still"]  # the fixture


def film(still, noise, brightness, seed):
    """A scene under light that changes slowly, as it does outdoors, as planes of YUV 4:2:0."""
    rng = np.random.default_rng(seed)
    rgb = np.clip(still * brightness, 0, 255).astype(np.uint8)
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).astype(np.float32)
    height, width = still.shape[:2]
    light = planes[:height].copy()
    for row in range(60 * MINUTES * FPS):
        planes[:height] = light * np.float32(1 + 0.02 * np.sin(row / 900))
        planes[:height] += noise * rng.standard_normal((height, width), np.float32)
        yield planes


@pytest.mark.parametrize("gop", [250, 20, 750])
@pytest.mark.parametrize(("noise", "brightness"), [(0.7, 0.05), (0.7, 0.15), (1.5, 1)])
@pytest.mark.parametrize("crf", [38, 23])
def test_a_living_scene_of_twenty_minutes_is_never_frozen(still, crf, noise, brightness, gop):
    detector = FreezeDetector(10)
    captures = encode(film(still, noise, brightness, seed=crf), gop, crf=str(crf))
    frozen = [capture.monotonic_s for capture in captures if detector.is_frozen(capture)]
    assert not frozen
