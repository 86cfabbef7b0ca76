"""Decoded frames of PyAV as pictures: planes are passed on in place, not converted."""

from __future__ import annotations

from typing import cast

import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import Colorspace

from edge.errors import SourceError
from edge.types import U8, Picture, RgbPicture, YuvPicture

_PLANAR = {
    f"{name}{chroma}p" for name in ("yuv", "yuvj") for chroma in ("420", "422", "444", "440", "411")
}
# How the formats begin that are converted: at others, Bayer patterns among them, libswscale may end
# the process.
_CONVERTIBLE = (
    "yuv", "yuyv", "yvyu", "uyvy", "ayuv", "vuy", "vyu", "nv", "p0", "p2", "p4", "y21", "gray",
    "ya8", "ya16", "mono", "pal8", "rgb", "bgr", "argb", "abgr", "0rgb", "0bgr", "gbr", "x2rgb",
    "x2bgr", "xyz",
)  # fmt: skip
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

    8-bit planar YUV and NV12 stay views of the decoder's memory; anything else becomes RGB, or YUV
    where RGB would need more memory than FFmpeg may ask for.

    Raises:
        SourceError: Its format is none that can be converted, or it is too large for that.
    """
    turns = round(frame.rotation / 90) % 4
    aspect = 1 / pixel_aspect if turns % 2 else pixel_aspect
    bottom_up = any(plane.line_size < 0 for plane in frame.planes)
    if bottom_up or frame.format.name not in {*_PLANAR, "nv12"}:
        frame = _convert(frame)
    name = frame.format.name
    if name == "rgb24":
        rgb = cast(U8, frame.to_ndarray())
        return RgbPicture(np.ascontiguousarray(np.rot90(rgb, turns)), aspect)
    if name == "nv12":
        luma, chroma = frame.planes
        y, uv = _view(luma, luma.width), _view(chroma, 2 * chroma.width)
        u, v = uv[:, 0::2], uv[:, 1::2]
    else:
        y, u, v = (_view(plane, plane.width) for plane in frame.planes)
    full_range = frame.color_range == _FULL_RANGE or name.startswith("yuvj")
    return YuvPicture(y, u, v, _is_bt709(frame), full_range, turns, aspect)


def _is_bt709(frame: VideoFrame) -> bool:
    if frame.colorspace in _BT709 | _BT601:
        return frame.colorspace in _BT709
    return frame.height >= _HD_HEIGHT


def _convert(frame: VideoFrame) -> VideoFrame:
    """The frame in RGB, top row first; in YUV, half as large, if there is no room for RGB."""
    name, problem = frame.format.name, "not supported"
    if name.startswith(_CONVERTIBLE):
        for wanted, colorspace in (("rgb24", None), ("yuv420p", Colorspace.ITU601)):
            try:
                return frame.reformat(format=wanted, dst_colorspace=colorspace)
            except MemoryError:
                problem = f"too large to be converted ({frame.width}x{frame.height})"
            except (FFmpegError, ValueError):
                break
    raise SourceError(f"pictures in the format {name} are {problem}")


def _view(plane: VideoPlane, width_bytes: int) -> U8:
    """``(H, width_bytes)`` view of a plane, without the padding at the end of its rows."""
    rows = np.frombuffer(cast(bytes, plane), np.uint8).reshape(plane.height, -1)
    return rows[:, :width_bytes]
