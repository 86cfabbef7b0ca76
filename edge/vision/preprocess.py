"""Letterboxing: a picture of any size, placed into a network's input."""

from __future__ import annotations

from functools import lru_cache

from edge.types import U8, Letterbox, Picture, Placement
from edge.vision.resize import resize_to_rgb


@lru_cache(maxsize=256)
def place_letterbox(
    source_wh: tuple[int, int],
    network_wh: tuple[int, int],
    align: str = "top_left",
    pixel_aspect: float = 1.0,
    rounding: str = "nearest",
) -> tuple[Letterbox, tuple[int, int]]:
    """Compute where an image goes in a network input; see `Placement`.

    Returns:
        The letterbox and the width and height of the image inside the input.
    """
    if align == "stretch":
        both = (network_wh[0] / source_wh[0], network_wh[1] / source_wh[1])
        return Letterbox(both, (0, 0), source_wh), network_wh
    shown_w = source_wh[0] * pixel_aspect
    scale = min(network_wh[0] / shown_w, network_wh[1] / source_wh[1])
    to_pixels = int if rounding == "down" else round
    inner_w = min(network_wh[0], max(1, to_pixels(shown_w * scale)))
    inner_h = min(network_wh[1], max(1, to_pixels(source_wh[1] * scale)))
    rest = network_wh[0] - inner_w, network_wh[1] - inner_h
    pad = (rest[0] // 2, rest[1] // 2) if align == "center" else (0, 0)
    placed = Letterbox((inner_w / source_wh[0], inner_h / source_wh[1]), pad, source_wh)
    return placed, (inner_w, inner_h)


def letterbox(picture: Picture, out: U8, placement: Placement = Placement()) -> Letterbox:  # noqa: B008 - frozen
    """Lay a picture into a network input ``out``, ``(h, w, 3)`` uint8, all of it overwritten."""
    network_wh = (out.shape[1], out.shape[0])
    placed, (w, h) = place_letterbox(
        picture.size_wh, network_wh, placement.align, picture.pixel_aspect, placement.rounding
    )
    x, y = int(placed.pad_xy[0]), int(placed.pad_xy[1])
    inner = out[y : y + h, x : x + w]
    if inner.shape != out.shape:
        out[:y], out[y + h :] = placement.fill, placement.fill
        out[y : y + h, :x], out[y : y + h, x + w :] = placement.fill, placement.fill
    resize_to_rgb(picture, (w, h), inner, placement.resampling)
    return placed
