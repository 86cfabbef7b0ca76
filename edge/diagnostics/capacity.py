"""Capacity: how many live cameras a machine carries, found by doubling and bisecting."""

from __future__ import annotations

from collections.abc import Callable

from edge.diagnostics.benchmark import Cost

MAX_P99_S = 0.5  # age of a message at publication
MIN_SHARE = 0.9  # of its frames that every camera must get
PRECISION = 16  # the answer is exact to a sixteenth


def is_carried(cost: Cost, cameras: int, fps: float) -> bool:
    """Whether every camera got its frames, in time: p99 age at most 0.5 s, nine tenths of them."""
    if len(cost.per_camera) < cameras:
        return False
    share = min(cost.per_camera) / (fps * cost.wall_s)
    return share >= MIN_SHARE and cost.age_s(99) <= MAX_P99_S


def find_most(
    is_carried: Callable[[int], bool], limit: int, is_over: Callable[[], bool] = lambda: False
) -> int:
    """The largest number up to ``limit`` that is carried, 0 if not even one is.

    Args:
        is_carried: Tries a number.
        limit: The largest that is tried.
        is_over: Whether no time is left for another try: what was carried by then is the answer.
    """
    most, too_many = 0, limit + 1
    while too_many - most > max(1, most // PRECISION) and not is_over():
        middle = (most + too_many) // 2
        cameras = middle if too_many <= limit else min(max(2 * most, 1), limit)
        if is_carried(cameras):
            most = cameras
        else:
            too_many = cameras
    return most
