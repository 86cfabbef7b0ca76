"""Letterboxing: a picture of any size, placed into a network's input."""

from __future__ import annotations

from functools import lru_cache

from edge.types import U8, Letterbox, Picture
from edge.vision.resize import resize_to_rgb


@lru_cache(maxsize=256)
def place_letterbox(
    source_wh: tuple[int, int],
    network_wh: tuple[int, int],
    align: str = "top_left",
    pixel_aspect: float = 1.0,
) -> tuple[Letterbox, tuple[int, int]]:
    """Compute where an image goes in a network input, ``top_left``, ``center`` or ``stretch``.

    Returns:
        The letterbox and the width and height of the image inside the input.
    """
    if align == "stretch":
        both = (network_wh[0] / source_wh[0], network_wh[1] / source_wh[1])
        return Letterbox(both, (0, 0), source_wh), network_wh
    shown_w = source_wh[0] * pixel_aspect
    scale = min(network_wh[0] / shown_w, network_wh[1] / source_wh[1])
    inner_w = min(network_wh[0], max(1, round(shown_w * scale)))
    inner_h = min(network_wh[1], max(1, round(source_wh[1] * scale)))
    rest = network_wh[0] - inner_w, network_wh[1] - inner_h
    pad = (rest[0] // 2, rest[1] // 2) if align == "center" else (0, 0)
    placed = Letterbox((inner_w / source_wh[0], inner_h / source_wh[1]), pad, source_wh)
    return placed, (inner_w, inner_h)


def letterbox(picture: Picture, out: U8, align: str = "top_left", fill: int = 114) -> Letterbox:
    """Lay a picture into a network input ``out``, ``(h, w, 3)`` uint8, keeping its aspect
    unless ``align`` is ``stretch``.

    All of ``out`` is overwritten; ``fill`` is the gray value around the image.
    """
    network_wh = (out.shape[1], out.shape[0])
    placed, (w, h) = place_letterbox(picture.size_wh, network_wh, align, picture.pixel_aspect)
    x, y = int(placed.pad_xy[0]), int(placed.pad_xy[1])
    inner = out[y : y + h, x : x + w]
    if inner.shape != out.shape:
        out[:y], out[y + h :] = fill, fill
        out[y : y + h, :x], out[y : y + h, x + w :] = fill, fill
    resize_to_rgb(picture, (w, h), inner)
    return placed
