"""Synthetic cameras that draw once, at the start: the daemon's cores are left to its own work."""

import contextlib
import itertools
import time

from edge.sources import synthetic
from edge.types import Capture

PICTURES = 4  # of 6 MB each at 1080p


class Options(synthetic.Options):
    """A synthetic camera that plays a few pictures forward and backward."""


class DrawnCamera(synthetic.SyntheticCamera):
    """A camera whose pictures were drawn before the first is due."""

    @contextlib.contextmanager
    def connect(self, stop):
        with super().connect(stop) as captures:
            drawn = [capture.picture for _, capture in zip(range(PICTURES), captures, strict=False)]
        yield self._play([*drawn, *drawn[-2:0:-1]], stop)

    def _play(self, pictures, stop):
        due_s = time.monotonic()
        for picture in itertools.cycle(pictures):
            if stop.wait(max(0.0, due_s - time.monotonic())):
                return
            yield Capture(picture, time.time(), time.monotonic())
            due_s = max(due_s + 1 / self._options.fps, time.monotonic() - 1)


def build(options):
    return DrawnCamera(options)
