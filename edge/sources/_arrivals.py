"""What a thread of a live camera hands over, and how it becomes captures."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field

from edge.errors import SourceError
from edge.sources._av import Deadline
from edge.sources._capture_thread import CaptureThread
from edge.sources._counts import Counts
from edge.sources._jpeg import JpegDecoder
from edge.types import Capture, Picture


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A picture as it came.

    Attributes:
        content: A JPEG, or a picture that is decoded already.
        wall_s: Unix time of its arrival.
        monotonic_s: The same on the monotonic clock.
        key_frame: Whether it was coded without reference to others.
        counts: Packets and pictures of this connection up to it.
        lag_s: How late it was, in seconds.
    """

    content: bytes | Picture
    wall_s: float
    monotonic_s: float
    key_frame: bool = True
    counts: Counts = field(default_factory=Counts)
    lag_s: float = 0.0


def iterate_captures(
    thread: CaptureThread[Arrival],
    address: str,
    timeouts_s: tuple[float, float],
    stop: threading.Event,
) -> Generator[Capture]:
    """Captures of the newest arrivals until ``stop``.

    Args:
        thread: Where they come from.
        address: The camera, as it may be shown.
        timeouts_s: For the first picture, and for any other.
        stop: Ends the iteration.

    Raises:
        SourceError: None came in time or could be decoded, or the picture size changed.
    """
    deadline, decoder = Deadline.to_open(timeouts_s[0]), JpegDecoder()
    whole_s, size_wh, damaged, told = time.monotonic(), None, 0, Counts()
    while (arrival := thread.next(deadline, stop)) is not None:
        deadline = Deadline.to_read(timeouts_s[1])
        content = arrival.content
        try:
            picture = decoder.decode(content) if isinstance(content, bytes) else content
        except SourceError as error:
            raise SourceError(f"{address}: {error.problem}") from error
        if picture is None:
            damaged += 1
            if time.monotonic() > whole_s + deadline.timeout_s:
                raise SourceError(f"{address} sends data, but no picture can be decoded")
            continue
        if size_wh not in (None, picture.size_wh):
            raise SourceError(f"{address}: the picture size changed to {picture.size_wh}")
        size_wh, whole_s = picture.size_wh, time.monotonic()
        counts, told = arrival.counts - told, arrival.counts
        yield Capture(
            picture,
            arrival.wall_s,
            arrival.monotonic_s,
            None,
            arrival.key_frame,
            damaged + counts.damaged,
            counts.undecoded,
            counts.late,
            arrival.lag_s,
            counts.passed,
        )
        damaged = 0
