"""Plug-ins for tests, as ``tests.support.plugins:Options``: a camera that a function feeds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel, ConfigDict

from edge.errors import SourceError
from edge.types import Capture, RgbPicture


class Options(BaseModel):
    """A camera of ``fps`` noisy pictures that fails, dies, ends or hangs when asked to.

    One that is ``deaf`` hangs for eight seconds, whoever stops it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fps: float = 50
    after: int = 0
    then: str = ""


class Camera:
    """Noise."""

    address = "tests"
    every_frame = False

    def __init__(self, options: Options) -> None:
        self._options = options

    @contextlib.contextmanager
    def connect(self, stop) -> Iterator[Iterator[Capture]]:
        yield self._captures(stop)

    def _captures(self, stop) -> Iterator[Capture]:
        rng = np.random.default_rng(1)
        count = 0
        while not stop.wait(1 / self._options.fps):
            count += 1
            if self._options.then and count > self._options.after:
                if self._options.then == "fail":
                    raise SourceError("asked to fail")
                if self._options.then == "die":
                    raise RuntimeError("asked to die")
                if self._options.then == "end":
                    return
                if self._options.then == "deaf":
                    time.sleep(8)
                stop.wait()
                return
            image = rng.integers(0, 255, (36, 64, 3), np.uint8)
            yield Capture(RgbPicture(image), time.time(), time.monotonic())


def build(options: Options) -> Camera:
    return Camera(options)
