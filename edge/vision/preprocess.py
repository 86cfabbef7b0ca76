"""Preprocessing: the only resize in the repository, used by the daemon and by the trainers.

A picture shrinks by halves (2x2 means) until less than a half remains to be done, then
bilinearly: as free of aliasing as area averaging where it matters, at a fifth of its cost.
YUV planes are resized before they are converted, so that only network pixels pay for colour.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from edge.types import F32, U8, Letterbox, Picture, RgbPicture, YuvPicture

cv2.setNumThreads(1)  # threads belong to cameras and to the runtime


def resize(plane: U8, size_wh: tuple[int, int], out: U8 | None = None) -> U8:
    """``(H, W)`` or ``(H, W, C)`` uint8 -> ``(h, w[, C])``, anti-aliased.

    Args:
        plane: pixels; rows may be padded.
        size_wh: new width and height.
        out: where to write, of the new shape.
    """
    while plane.shape[1] > 2 * size_wh[0] and plane.shape[0] > 2 * size_wh[1]:
        even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        half_wh = (even.shape[1] // 2, even.shape[0] // 2)
        plane = cv2.resize(even, half_wh, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return cv2.resize(plane, size_wh, dst=out, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


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
    return scaled_rgb(picture, picture.size_wh)


def scaled_rgb(picture: Picture, size_wh: tuple[int, int], out: U8 | None = None) -> U8:
    """The whole picture as ``(h, w, 3)`` uint8 RGB, upright, resized to ``size_wh``.

    Args:
        picture: any size.
        size_wh: new width and height.
        out: where to write, of the new shape; fresh pages cost more than the arithmetic.
    """
    if isinstance(picture, RgbPicture):
        if out is None and picture.size_wh == size_wh:
            return picture.rgb
        return resize(picture.rgb, size_wh, out)
    turned = picture.quarter_turns % 2
    width, height = (size_wh[1], size_wh[0]) if turned else size_wh
    target = None if picture.quarter_turns else out
    planes = [resize(plane, (width, height)) for plane in (picture.y, picture.u, picture.v)]
    yuv = cv2.merge(planes, dst=target)
    rgb = cv2.transform(yuv, _YUV_TO_RGB[picture.bt709, picture.full_range], dst=yuv)
    if not picture.quarter_turns:
        return rgb  # type: ignore[return-value]
    upright: U8 = np.ascontiguousarray(np.rot90(rgb, picture.quarter_turns))
    if out is None:
        return upright
    out[:] = upright
    return out


@lru_cache(maxsize=256)
def place_letterbox(
    source_wh: tuple[int, int], network_wh: tuple[int, int], align: str = "top_left"
) -> tuple[Letterbox, tuple[int, int]]:
    """Where an image of ``source_wh`` goes in a network input, and its size there.

    Args:
        source_wh: source pixels.
        network_wh: network pixels.
        align: ``top_left`` or ``center``.

    Returns:
        The letterbox and the width and height of the image inside the input.
    """
    scale = min(network_wh[0] / source_wh[0], network_wh[1] / source_wh[1])
    inner_w = min(network_wh[0], max(1, round(source_wh[0] * scale)))
    inner_h = min(network_wh[1], max(1, round(source_wh[1] * scale)))
    pad = (
        ((network_wh[0] - inner_w) // 2, (network_wh[1] - inner_h) // 2)
        if align == "center"
        else (0, 0)
    )
    placed = Letterbox((inner_w / source_wh[0], inner_h / source_wh[1]), pad, source_wh)
    return placed, (inner_w, inner_h)


def letterbox(picture: Picture, out: U8, align: str = "top_left", fill: int = 114) -> Letterbox:
    """Lay a picture into a network input, keeping its aspect.

    Args:
        picture: any size.
        out: ``(h, w, 3)`` uint8, overwritten whole.
        align: ``top_left`` or ``center``.
        fill: grey value around the image.
    """
    network_wh = (out.shape[1], out.shape[0])
    placed, (w, h) = place_letterbox(picture.size_wh, network_wh, align)
    x, y = int(placed.pad_xy[0]), int(placed.pad_xy[1])
    inner = out[y : y + h, x : x + w]
    if inner.shape != out.shape:
        out[:y], out[y + h :] = fill, fill
        out[y : y + h, :x], out[y : y + h, x + w :] = fill, fill
    scaled_rgb(picture, (w, h), inner)
    return placed


# --- faces ------------------------------------------------------------------------------------

# Where an aligned face of 112 x 112 pixels has its left eye, right eye, nose and mouth corners,
# left and right as seen in the image (ArcFace, Deng et al. 2019).
FACE_POINTS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)
FACE_PX = 112


def crop(picture: Picture, x1: int, y1: int, x2: int, y2: int) -> tuple[Picture, tuple[int, int]]:
    """Cut a rectangle out of a picture without converting the rest.

    Returns:
        The part inside the picture, grown to whole chroma samples and at least one pixel, and
        the x and y of its top left corner in pixels of the source.
    """
    width, height = picture.size_wh
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    x2, y2 = min(max(x2, x1 + 1), width), min(max(y2, y1 + 1), height)
    if isinstance(picture, RgbPicture):
        return RgbPicture(picture.rgb[y1:y2, x1:x2]), (x1, y1)
    y, u, v = (
        _upright(plane, picture.quarter_turns) for plane in (picture.y, picture.u, picture.v)
    )
    step_x, step_y = round(y.shape[1] / u.shape[1]), round(y.shape[0] / u.shape[0])
    x1, y1 = x1 - x1 % step_x, y1 - y1 % step_y
    chroma = slice(y1 // step_y, -(-y2 // step_y)), slice(x1 // step_x, -(-x2 // step_x))
    part = YuvPicture(
        np.ascontiguousarray(y[y1:y2, x1:x2]),
        np.ascontiguousarray(u[chroma]),
        np.ascontiguousarray(v[chroma]),
        picture.bt709,
        picture.full_range,
    )
    return part, (x1, y1)


def align_face(picture: Picture, landmarks: F32, size_px: int = FACE_PX) -> U8:
    """Turn, scale and shift a face so that its points lie where an embedder expects them.

    The transform is the least-squares similarity without mirroring (Umeyama 1991); in two
    dimensions, with points as complex numbers, it is ``z -> a z + b``.

    Args:
        picture: any size.
        landmarks: ``(5, 2)`` float32 in pixels of the picture, in the order of `Faces`.
        size_px: side of the result.

    Returns:
        ``(size_px, size_px, 3)`` uint8 RGB, black outside the picture; all black when the
        points are not finite or all the same.
    """
    blank = np.zeros((size_px, size_px, 3), np.uint8)
    source, target = (p[:, 0] + 1j * p[:, 1] for p in (landmarks, FACE_POINTS * size_px / FACE_PX))
    spread = source - source.mean()
    power = float(np.sum(np.abs(spread) ** 2))
    if not np.isfinite(power) or power < 1e-3:
        return blank
    a = complex(np.vdot(spread, target - target.mean())) / power
    b = complex(target.mean() - a * source.mean())
    if abs(a) < 1e-3:
        return blank
    corners = (np.array([0, size_px, 1j * size_px, size_px * (1 + 1j)]) - b) / a
    low = np.floor([corners.real.min(), corners.imag.min()]).astype(int) - 2
    high = np.ceil([corners.real.max(), corners.imag.max()]).astype(int) + 2
    if np.any(high <= 0) or np.any(low >= picture.size_wh):
        return blank
    part, (x, y) = crop(picture, *low.tolist(), *high.tolist())
    shrink = max(1, int(1 / abs(a)))  # a warp reads 2x2 pixels: more than that aliases
    width, height = (max(1, round(side / shrink)) for side in part.size_wh)
    rgb = scaled_rgb(part, (width, height))
    across, down = part.size_wh[0] / width, part.size_wh[1] / height
    # centres of pixels lie at half a pixel in a resized picture, at 0 in landmarks and in a warp
    offset = a * complex(x + (across - 1) / 2, y + (down - 1) / 2) + b
    matrix = np.array(
        [
            [a.real * across, -a.imag * down, offset.real],
            [a.imag * across, a.real * down, offset.imag],
        ]
    )
    return cv2.warpAffine(rgb, matrix, (size_px, size_px))  # type: ignore[return-value]
