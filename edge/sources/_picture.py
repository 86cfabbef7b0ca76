"""Decoded frames of PyAV as pictures: planes are passed on in place, not converted."""

from __future__ import annotations

from typing import cast

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from edge.types import U8, Picture, RgbPicture, YuvPicture

_PLANAR = {
    f"{name}{chroma}p" for name in ("yuv", "yuvj") for chroma in ("420", "422", "444", "440", "411")
}
_BT601, _BT709 = {4, 5, 6}, {1, 7, 9, 10}  # AVCOL_SPC_*: 2020 is nearer to 709 than to 601
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_HD_HEIGHT = 720
_MAX_PIXEL_ASPECT = 4.0


def measure_pixel_aspect(context: VideoCodecContext) -> float:
    """Width of a pixel over its height, as a stream says; 1 where it says nothing credible."""
    aspect = float(context.sample_aspect_ratio or 1)
    return aspect if 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT else 1.0


def to_picture(frame: VideoFrame, pixel_aspect: float = 1.0) -> Picture:
    """Wrap a frame in a picture that keeps it alive.

    8-bit planar YUV and NV12 stay views of the decoder's memory; anything else becomes RGB.
    """
    name, turns = frame.format.name, round(frame.rotation / 90) % 4
    aspect = 1 / pixel_aspect if turns % 2 else pixel_aspect
    if name in _PLANAR:
        y, u, v = (_view(plane, plane.width) for plane in frame.planes)
    elif name == "nv12":
        luma, chroma = frame.planes
        y, uv = _view(luma, luma.width), _view(chroma, 2 * chroma.width)
        u, v = uv[:, 0::2], uv[:, 1::2]
    else:
        rgb = cast(U8, frame.to_ndarray(format="rgb24"))
        return RgbPicture(np.ascontiguousarray(np.rot90(rgb, turns)), aspect)
    full_range = frame.color_range == _FULL_RANGE or name.startswith("yuvj")
    return YuvPicture(y, u, v, _is_bt709(frame), full_range, turns, aspect)


def _is_bt709(frame: VideoFrame) -> bool:
    if frame.colorspace in _BT709 | _BT601:
        return frame.colorspace in _BT709
    return frame.height >= _HD_HEIGHT


def _view(plane: VideoPlane, width_bytes: int) -> U8:
    """``(H, width_bytes)`` view of a plane, without the padding at the end of its rows."""
    rows = np.frombuffer(cast(bytes, plane), np.uint8).reshape(plane.height, -1)
    if plane.line_size < 0:  # bottom-up: the pointer is to the last row in memory
        raise ValueError("bottom-up planes are not supported")
    return rows[:, :width_bytes]
