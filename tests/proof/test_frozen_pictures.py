"""No living camera is ever called frozen, in twenty minutes of film of each kind; `make proof`."""

import numpy as np
import pytest

from edge.service.freeze_detector import FreezeDetector
from tests.edge.service.test_picture_quality import encode, living, still

pytestmark = pytest.mark.proof
MINUTES = 20

__all__ = ["still"]  # the fixture


def _breathe(frames):
    """Light that changes slowly, as it does outdoors."""
    for row, image in enumerate(frames):
        yield image * (1 + 0.02 * np.sin(row / 900))


@pytest.mark.parametrize("crf", [23, 38])
@pytest.mark.parametrize(("noise", "brightness"), [(0.7, 0.05), (0.7, 0.15), (1.5, 1)])
@pytest.mark.parametrize("gop", [20, 250, 750])
def test_a_living_scene_of_twenty_minutes_is_never_frozen(still, crf, noise, brightness, gop):
    detector = FreezeDetector(10)
    frames = _breathe(living(still, 60 * MINUTES, noise, brightness, seed=crf))
    frozen = [c.monotonic_s for c in encode(frames, gop, crf=str(crf)) if detector.is_frozen(c)]
    assert not frozen
