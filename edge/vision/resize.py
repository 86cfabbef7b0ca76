"""Resizing, cropping and RGB conversion: the only resize of the daemon and the trainers.

A network is shown pictures that were resized as in its training, which its manifest says:

- ``halved_bilinear``: by halves (2x2 means) until less than a half remains to be done, then
  bilinearly: as free of aliasing as area averaging where it matters, at a fifth of its cost.
- ``bilinear``: OpenCV's ``INTER_LINEAR`` alone, which most networks were trained on. Where it
  shrinks by more than a half it leaves pixels out, and the texture of the rest stays sharp.

YUV planes are resized before they are converted, so that only network pixels pay for color. In
smooth pictures that differs from converting first by rounding, about a gray level; where colors
change from pixel to pixel by more, for the picture's chroma is then sampled once instead of twice.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import F32, U8, Picture, Resampling, RgbPicture, YuvPicture

cv2.setNumThreads(1)  # threads belong to cameras and to the runtime


def resize(
    plane: U8,
    size_wh: tuple[int, int],
    out: U8 | None = None,
    resampling: Resampling = "halved_bilinear",
) -> U8:
    """``(H, W)`` or ``(H, W, C)`` uint8 -> ``(h, w[, C])``, into ``out`` if given."""
    halved = resampling == "halved_bilinear"
    while halved and plane.shape[1] > 2 * size_wh[0] and plane.shape[0] > 2 * size_wh[1]:
        even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        half_wh = (even.shape[1] // 2, even.shape[0] // 2)
        plane = np.asarray(cv2.resize(even, half_wh, interpolation=cv2.INTER_AREA), np.uint8)
    resized = cv2.resize(plane, size_wh, dst=out, interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _yuv_matrix(bt709: bool, full_range: bool) -> F32:
    """``(3, 4)`` affine map from YUV bytes to RGB bytes (ITU-R BT.601-7, BT.709-6)."""
    k_red, k_blue = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    k_green = 1 - k_red - k_blue
    luma = 1.0 if full_range else 255 / 219
    chroma = 1.0 if full_range else 255 / 224
    to_rgb = np.array(
        [
            [luma, 0, 2 * (1 - k_red) * chroma],
            [
                luma,
                -2 * (1 - k_blue) * k_blue / k_green * chroma,
                -2 * (1 - k_red) * k_red / k_green * chroma,
            ],
            [luma, 2 * (1 - k_blue) * chroma, 0],
        ]
    )
    offset = -to_rgb @ np.array([0 if full_range else 16, 128, 128])
    return np.column_stack([to_rgb, offset]).astype(np.float32)


_YUV_TO_RGB = {(b, f): _yuv_matrix(b, f) for b in (False, True) for f in (False, True)}


def _upright(image: U8, quarter_turns: int) -> U8:
    return np.rot90(image, quarter_turns) if quarter_turns else image


def to_rgb(picture: Picture) -> U8:
    """The whole picture as ``(H, W, 3)`` uint8 RGB, upright, at its own size."""
    return resize_to_rgb(picture, picture.size_wh)


def resize_to_rgb(
    picture: Picture,
    size_wh: tuple[int, int],
    out: U8 | None = None,
    resampling: Resampling = "halved_bilinear",
) -> U8:
    """The whole picture as ``(h, w, 3)`` uint8 RGB, upright, resized to ``size_wh``.

    It is written to ``out`` if given: fresh pages cost more than the arithmetic.
    """
    if isinstance(picture, RgbPicture):
        if out is None and picture.size_wh == size_wh:
            return picture.rgb
        return resize(picture.rgb, size_wh, out, resampling)
    turned = picture.quarter_turns % 2
    width, height = (size_wh[1], size_wh[0]) if turned else size_wh
    target = None if picture.quarter_turns else out
    planes = [
        resize(plane, (width, height), None, resampling)
        for plane in (picture.y, picture.u, picture.v)
    ]
    yuv = cv2.merge(planes, dst=target)
    rgb = cv2.transform(yuv, _YUV_TO_RGB[picture.bt709, picture.full_range], dst=yuv)
    if not picture.quarter_turns:
        return np.asarray(rgb, np.uint8)
    upright: U8 = np.ascontiguousarray(np.rot90(rgb, picture.quarter_turns))
    if out is None:
        return upright
    out[:] = upright
    return out


def _find_step(luma: int, chroma: int) -> int:
    """Luma samples per chroma sample in a row or column: the last one may have fewer."""
    return next((step for step in (1, 2, 4) if -(-luma // step) == chroma), round(luma / chroma))


def crop(picture: Picture, x1: int, y1: int, x2: int, y2: int) -> tuple[Picture, tuple[int, int]]:
    """Crop a rectangle without converting the rest of the picture.

    Returns:
        The part inside the picture, grown to whole chroma samples and at least one pixel, and
        the x and y of its top left corner in pixels of the source.
    """
    width, height = picture.size_wh
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    x2, y2 = min(max(x2, x1 + 1), width), min(max(y2, y1 + 1), height)
    if isinstance(picture, RgbPicture):
        return RgbPicture(picture.rgb[y1:y2, x1:x2], picture.pixel_aspect), (x1, y1)
    y, u, v = (
        _upright(plane, picture.quarter_turns) for plane in (picture.y, picture.u, picture.v)
    )
    step_y, step_x = map(_find_step, y.shape, u.shape)
    x1, y1 = x1 - x1 % step_x, y1 - y1 % step_y
    chroma = slice(y1 // step_y, -(-y2 // step_y)), slice(x1 // step_x, -(-x2 // step_x))
    part = YuvPicture(
        np.ascontiguousarray(y[y1:y2, x1:x2]),
        np.ascontiguousarray(u[chroma]),
        np.ascontiguousarray(v[chroma]),
        picture.bt709,
        picture.full_range,
        pixel_aspect=picture.pixel_aspect,
    )
    return part, (x1, y1)
