"""The freeze detector: does a camera repeat one image?"""

from __future__ import annotations

import numpy as np

from edge.types import U8, Capture, RgbPicture


class FreezeDetector:
    """Notices that a camera repeats one image; a real sensor has noise.

    Args:
        after_s: The same image for this long is frozen, in seconds; 0 turns detection off.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._sample: U8 | None = None
        self._since_s = 0.0
        self._looked_s = float("-inf")

    def is_frozen(self, capture: Capture) -> bool:
        """Whether the image has been the same for too long; compared four times a second."""
        if not self._after_s:
            return False
        now_s = capture.monotonic_s
        if now_s - self._looked_s >= 0.25:
            self._looked_s = now_s
            picture = capture.picture
            plane = picture.rgb if isinstance(picture, RgbPicture) else picture.y
            sample = plane[::9, ::7].copy()
            if self._sample is None or not np.array_equal(sample, self._sample):
                self._sample, self._since_s = sample, now_s
        return now_s - self._since_s >= self._after_s
