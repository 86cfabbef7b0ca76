"""Picture quality: does a picture show anything, and does it arrive whole?"""

from __future__ import annotations

from collections import deque

import numpy as np

from edge.service.picture_sample import PictureSample
from edge.types import Capture, StatusReason

_LOOK_EVERY_S = 0.5
_TELL_AFTER_S = 3.0  # a flaw that lasted; a hand before the lens, lights that go on
_CLEAR_AFTER_S = 2.0
_FLAT = 14.0  # levels of luma between the darkest and the brightest patch, but for 2 % on each side
_DARK, _BRIGHT = 40.0, 225.0
_COLORED = 24.0  # distance of the chroma from gray

_DAMAGE_WINDOW_S = 10.0
_DAMAGED, _WHOLE = 0.3, 0.15  # share of what cannot be decoded whole: told above, cleared below

DETAIL = {
    StatusReason.BLACK_PICTURE: "the picture is black: is the lens covered, or the light off?",
    StatusReason.OVEREXPOSED_PICTURE: "the picture is white: does light shine into the lens?",
    StatusReason.UNIFORM_PICTURE: "the picture has one color: is the lens covered, or the camera "
    "broken?",
}


class PictureQuality:
    """Notices pictures that show nothing: black, white, or all of one color.

    A flaw is told once it lasted three seconds, and is over once it was gone for two.
    """

    def __init__(self) -> None:
        self._flaw: StatusReason | None = None  # as told
        self._seen: StatusReason | None = None
        self._since_s = float("-inf")
        self._looked_s = float("-inf")

    def find_flaw(self, capture: Capture) -> StatusReason | None:
        """Why the picture shows nothing, or None; looks twice a second."""
        now_s = capture.monotonic_s
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            seen = _find_flaw(PictureSample.take(capture.picture))
            if seen != self._seen:
                self._seen, self._since_s = seen, now_s
        patience_s = _TELL_AFTER_S if self._seen else _CLEAR_AFTER_S
        if self._seen != self._flaw and now_s - self._since_s >= patience_s:
            self._flaw = self._seen
        return self._flaw


def _find_flaw(sample: PictureSample) -> StatusReason | None:
    luma = sample.measure_luma()
    low, middle, high = np.quantile(luma, (0.02, 0.5, 0.98)).tolist()
    if high - low > _FLAT:
        return None
    if middle < _DARK and sample.chroma < _COLORED:
        return StatusReason.BLACK_PICTURE
    if middle > _BRIGHT and sample.chroma < _COLORED:
        return StatusReason.OVEREXPOSED_PICTURE
    return StatusReason.UNIFORM_PICTURE


class DamageMeter:
    """Notices that much of a stream cannot be decoded whole."""

    def __init__(self) -> None:
        # (time, damaged packets, packets) up to each capture since the one before
        self._recent: deque[tuple[float, int, int]] = deque()
        self._damaged = self._all = 0
        self._is_told = False

    def is_damaged(self, capture: Capture) -> bool:
        """Whether, over the last ten seconds, too much was damaged.

        What was left out counts as whole: nobody knows better.
        """
        now_s = capture.monotonic_s
        count = 1 + capture.undecoded + capture.late + capture.passed
        self._recent.append((now_s, capture.damaged, count))
        self._damaged += capture.damaged
        self._all += count
        while self._recent[0][0] < now_s - _DAMAGE_WINDOW_S:
            _, damaged, count = self._recent.popleft()
            self._damaged -= damaged
            self._all -= count
        whole_window = now_s - self._recent[0][0] >= _DAMAGE_WINDOW_S / 2
        if whole_window:
            self._is_told = self.share > (_WHOLE if self._is_told else _DAMAGED)
        return self._is_told

    @property
    def share(self) -> float:
        """The share that was damaged lately."""
        return self._damaged / max(self._all, self._damaged, 1)
