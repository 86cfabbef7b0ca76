"""The trial of a camera: what it delivers, and what the models see in it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass

from edge.bounded_call import call_within
from edge.config import Tracking
from edge.errors import SourceError
from edge.ports import Source
from edge.printable import format_counts
from edge.service.model_set import ModelSet
from edge.types import Frame, Picture

TRIAL_S = 40.0  # for all of it; sources give up before
WATCH_S = 2.0  # from the first picture, by the camera's time
MAX_PICTURES = 120
CODECS = {"h264": "H.264", "hevc": "H.265", "mjpeg": "JPEG", "av1": "AV1", "vp9": "VP9"}


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What a camera delivered.

    Attributes:
        address: The camera, without secrets.
        picture: The last picture.
        fps: Pictures per second; 0 for a single one.
        codec: By FFmpeg's name, or empty.
    """

    address: str
    picture: Picture
    fps: float
    codec: str

    def describe(self) -> str:
        """One line: size, codec and rate."""
        width, height = self.picture.size_wh
        codec = f" {CODECS.get(self.codec, self.codec)}" if self.codec else ""
        rate = f", {self.fps:.3g} pictures per second" if self.fps else ", one picture"
        return f"{self.address} delivers {width}x{height}{codec}{rate}"


def try_camera(source: Source, timeout_s: float = TRIAL_S) -> Trial:
    """Read a camera for two seconds.

    Raises:
        SourceError: It cannot be opened, fails, or delivers nothing in time.
    """
    stop = threading.Event()
    try:
        return call_within(timeout_s, lambda: _watch(source, stop))
    except TimeoutError:
        problem = f"{source.address} hangs: it delivered nothing within {timeout_s:g} s"
        raise SourceError(f"{problem}: is it the right address, and is the camera on?") from None
    finally:
        stop.set()


def describe_scene(picture: Picture, models: ModelSet) -> str:
    """What the models see in a picture: `2 persons, 1 car and 1 face`; empty for nothing."""
    frame = Frame("setup", 1, 0, time.time(), time.monotonic(), picture)
    (objects,) = models.detector.detect([frame])
    objects = objects[objects.score >= Tracking().high_score]
    seen = Counter(models.detector.classes[class_id] for class_id in objects.class_id)
    if models.faces:
        (faces,) = models.faces.find([frame])
        seen["face"] += len(faces)
    return format_counts(seen)


def _watch(source: Source, stop: threading.Event) -> Trial:
    times_s: list[float] = []
    with source.connect(stop) as captures:
        for capture in captures:
            picture = capture.picture
            times_s.append(capture.monotonic_s)
            if times_s[-1] - times_s[0] >= WATCH_S or len(times_s) == MAX_PICTURES:
                break
    if not times_s:
        raise SourceError(f"{source.address} ended before its first frame")
    elapsed_s = times_s[-1] - times_s[0]
    fps = (len(times_s) - 1) / elapsed_s if elapsed_s > 0 else 0.0
    return Trial(source.address, picture, fps, getattr(source, "codec", ""))
