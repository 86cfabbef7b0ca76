"""The freeze detector: does a camera repeat one image behind an encoder that lives?

A living sensor's noise is new in each picture. What an encoder does between two key frames says
nothing: at night its frames may only repeat the last key frame for half a minute. So key frames are
compared with key frames. Those of a living scene differ nearly everywhere, however coarsely they
are coded; those of a frozen one are equal but for the residue of coding, once the encoder's rate
control has settled, and but for a clock at the upper or lower edge.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from edge.service.picture_sample import PictureSample
from edge.types import F32, Bool, Capture

_LOOK_EVERY_S = 0.25  # at pictures of a camera without key frames
_REMEMBERED = 8  # key frames: rate control may alternate between a few codings of one picture
_MIN_MATCHES = 2  # one may be chance
_MAX_MISSES = 1  # in a row: rate control sometimes codes an equal picture anew
# Levels of luma, means of 64 pixels. Of the patches of two key frames of a living scene at least
# 27 % differ by more than _RESIDUE, mostly over 60 % (x264, crf 23 to 42, noise of 0.7 to 3 levels,
# by day and night); of a frozen one less than 20 %, mostly none, a clock included.
_RESIDUE = 0.1
_STRONG = 4.0
_MAX_CHANGED = 0.25  # share of the patches
_MAX_STRONG_EDGE = 0.5  # of the patches where a clock may be
_MAX_STRONG_MIDDLE = 0.005
_EDGE = 0.2  # of the height, above and below
_SETTLING = 0.9  # change from key frame to key frame, in ratio to the one before
# Cameras with a dynamic GOP send a key frame at least every 1200 frames. After that long without
# one, the stream is taken for one with intra refresh, whose other frames show the sensor's noise.
_NO_KEY_FRAME_S = 300.0
_REFRESH_S = 10.0  # between two looks: each part of a picture is coded anew by then


@dataclass(frozen=True, slots=True, eq=False)
class _KeyFrame:
    at_s: float
    sample: PictureSample


class FreezeDetector:
    """Notices that a camera repeats one image.

    Args:
        after_s: The same image for this long is frozen, in seconds; 0 turns detection off.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._begin()

    def _begin(self) -> None:
        """Begin with no picture known."""
        self._known: deque[_KeyFrame] = deque(maxlen=_REMEMBERED)
        self._since_s = 0.0
        self._matches = self._misses = 0
        self._settling_since_s = 0.0  # since when key frames come ever nearer to each other
        self._change = float("inf")  # from the last key frame but one to the last one
        self._reference: PictureSample | None = None  # of the present run of equal pictures
        self._changed: Bool = np.zeros((0, 0), np.bool_)  # patches that changed during the run
        self._is_coded = False  # whether there are frames that are no key frames
        self._looked_s = float("-inf")
        self._key_s = float("inf")  # of the last key frame, or of the first frame
        self._is_refreshed = False  # without key frames: the frames in between are compared

    def is_frozen(self, capture: Capture) -> bool:
        """Whether the image has been the same for too long; every capture is to be shown."""
        if not self._after_s:
            return False
        now_s = capture.monotonic_s
        if self._is_due(capture):
            self._looked_s = now_s
            self._compare(_KeyFrame(now_s, PictureSample.take(capture.picture)))
        return self._judge(now_s)

    def _is_due(self, capture: Capture) -> bool:
        """Whether a capture can be compared with those before."""
        now_s = capture.monotonic_s
        if capture.key_frame:
            self._key_s = now_s
            self._set_refreshed(is_refreshed=False)
            return self._is_coded or now_s - self._looked_s >= _LOOK_EVERY_S
        self._is_coded = True
        self._key_s = min(self._key_s, now_s)
        if now_s - self._key_s < _NO_KEY_FRAME_S:
            return False
        self._set_refreshed(is_refreshed=True)
        return now_s - self._looked_s >= _REFRESH_S

    def _set_refreshed(self, *, is_refreshed: bool) -> None:
        """Key frames are compared with key frames, and the others with the others."""
        if is_refreshed != self._is_refreshed:
            self._is_refreshed = is_refreshed
            self._known.clear()
            self._matches = self._misses = 0

    def _judge(self, now_s: float) -> bool:
        return self._matches >= _MIN_MATCHES and now_s - self._since_s >= self._after_s

    def _compare(self, new: _KeyFrame) -> None:
        if self._known and self._known[-1].sample.patches.shape != new.sample.patches.shape:
            self._begin()  # a picture of another size is another one
        self._watch_settling(new)
        same = next((old for old in self._known if self._is_same(old.sample, new.sample)), None)
        if same is not None:
            self._misses = 0
            self._matches = self._matches + 1 if self._goes_on(same, new) else 0
        else:
            self._misses += 1
            if self._misses > _MAX_MISSES or not self._is_coded or self._moves(new):
                self._matches = 0
        self._known.append(new)

    def _watch_settling(self, new: _KeyFrame) -> None:
        """Rate control codes a picture that froze ever better, until its codings are equal."""
        if not self._known:
            return
        last = self._known[-1]
        change = float(np.median(new.sample.measure_change(last.sample)))
        if not change <= _SETTLING * self._change:
            self._settling_since_s = last.at_s
        self._change = change

    def _is_same(self, old: PictureSample, new: PictureSample) -> bool:
        change = new.measure_change(old)
        return self._is_still(change > self._residue) and _is_clock(change > _STRONG)

    def _goes_on(self, same: _KeyFrame, new: _KeyFrame) -> bool:
        """Whether all changes since the run began stay where a clock may be."""
        if not self._matches or self._reference is None:
            self._since_s, self._reference = same.at_s, same.sample
            if self._is_coded:
                self._since_s = min(self._since_s, self._settling_since_s)
            self._changed = np.zeros(new.sample.patches.shape[::2], np.bool_)
        change: F32 = new.sample.measure_change(self._reference)
        if self._is_coded:
            self._changed |= change > _STRONG
            return _is_clock(self._changed)
        self._changed |= change > self._residue
        return self._is_still(self._changed)

    def _moves(self, new: _KeyFrame) -> bool:
        """Whether something moved in the middle since the run began."""
        reference = self._reference
        if reference is None:
            return True
        return not _is_clock(new.sample.measure_change(reference) > _STRONG)

    @property
    def _residue(self) -> float:
        """Pictures that are coded one by one have no residue: those of a frozen image are equal."""
        return _RESIDUE if self._is_coded else 0.0

    def _is_still(self, changed: Bool) -> bool:
        return float(changed.mean()) <= _MAX_CHANGED


def _is_clock(strong: Bool) -> bool:
    """Whether patches that changed much are few, and lie at the upper or lower edge."""
    rows = strong.shape[0]
    edge = max(1, round(rows * _EDGE))
    middle = strong[edge : rows - edge]
    ends = np.concatenate([strong[:edge], strong[rows - edge :]])
    return float(ends.mean()) <= _MAX_STRONG_EDGE and (
        not middle.size or float(middle.mean()) <= _MAX_STRONG_MIDDLE
    )
