"""Decoded frames as pictures: every format that FFmpeg has is converted or refused in words."""

import itertools
import struct
import threading

import av
import numpy as np
import pytest
from av.video.format import names

from edge.errors import SourceError
from edge.sources import video_file
from edge.sources._av import limit_allocations
from edge.sources._picture import to_picture
from edge.types import YuvPicture
from edge.vision.resize import to_rgb

ON_A_DEVICE = (
    "cuda", "vaapi", "vdpau", "dxva", "d3d", "drm", "qsv", "mmal", "opencl", "mediacodec", "vulkan",
    "videotoolbox", "xvmc", "amf", "ohcodec",
)  # fmt: skip
USUAL = {"rgb24", "bgra", "gray", "gray10le", "yuv420p10le", "gbrp", "pal8", "nv12", "yuyv422"}
FORMATS = sorted(name for name in names if not any(word in name for word in ON_A_DEVICE))


@pytest.mark.parametrize("size_wh", [(64, 48), (17, 3), (1, 1)])
def test_every_format_becomes_a_picture_or_is_refused(size_wh):
    refused = {}
    for name in FORMATS:
        try:
            frame = av.VideoFrame(*size_wh, name)
        except ValueError:  # PyAV cannot make one
            continue
        try:
            assert to_picture(frame).size_wh == size_wh
        except SourceError as error:
            refused[name] = str(error)
    assert refused == {name: f"pictures in the format {name} are not supported" for name in refused}
    assert {"bayer_rggb8", "bayer_gbrg16le", "yaf32le"} <= set(refused)
    assert not USUAL & set(refused)


@pytest.mark.parametrize("name", ["gray", "pal8"])
def test_a_picture_that_is_too_large_for_rgb_becomes_yuv_and_one_too_large_for_that_is_refused(
    name,
):
    limit_allocations()
    small, large, huge = (
        av.VideoFrame(*wh, "gray") for wh in [(64, 48), (3840, 2160), (5200, 4000)]
    )
    for frame in (small, large):
        frame.planes[0].update(bytes([99]) * frame.planes[0].buffer_size)
    picture = to_picture(large)
    assert isinstance(picture, YuvPicture)
    assert picture.size_wh == (3840, 2160)
    y, u, v = (int(plane[0, 0]) for plane in (picture.y, picture.u, picture.v))
    tiny = YuvPicture(*(np.full((2, 2), value, np.uint8) for value in (y, u, v)), False, False)
    expected = to_rgb(to_picture(small))[0, 0].astype(int)
    assert np.abs(to_rgb(tiny)[0, 0] - expected).max() <= 2
    with pytest.raises(SourceError, match=r"format gray are too large .* \(5200x4000\)"):
        to_picture(huge)


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def write_bottom_up_avi(path, width=64, height=48, frames=3):
    """Planes whose last row comes first, as old capture cards wrote them; the top is white."""
    luma = np.zeros((height, width), np.uint8)
    luma[: height // 2] = 235
    picture = luma[::-1].tobytes() + bytes([128]) * (width * height // 2)
    size = len(picture)
    main = struct.pack("<14I", 100_000, 0, 0, 0x10, frames, 0, 1, size, width, height, 0, 0, 0, 0)
    stream = b"vidsI420" + struct.pack(
        "<IHHIIIIIIIIhhhh", 0, 0, 0, 0, 1, 10, 0, frames, size, 0, 0, 0, 0, width, height
    )
    bottom_up = b"BottomUp\0"
    form = struct.pack("<IiiHH4sIiiII", 40 + len(bottom_up), width, height, 1, 12, b"I420", size,
                       0, 0, 0, 0) + bottom_up  # fmt: skip
    head = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", form))
    movie = b"movi" + chunk(b"00dc", picture) * frames
    lists = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + head) + chunk(b"LIST", movie)
    path.write_bytes(chunk(b"RIFF", b"AVI " + lists))
    return path


def test_rows_that_come_bottom_up_are_turned(tmp_path):
    path = write_bottom_up_avi(tmp_path / "a.avi")
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).planes[0].line_size < 0
    source = video_file.build(video_file.Options(path=str(path), every_frame=True))
    with source.connect(threading.Event()) as captures:
        rgb = to_rgb(next(captures).picture)
    assert rgb[:20].min() > 200
    assert rgb[28:].max() < 50


@pytest.mark.parametrize("name", ["rgb4", "bayer_bggr8"])
def test_a_recording_in_a_format_that_is_not_supported_says_so(name, tmp_path):
    path = tmp_path / "a.nut"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = 17, 3, name
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(17, 3, name)))
    source = video_file.build(video_file.Options(path=str(path)))
    with (
        pytest.raises(SourceError, match=rf"a\.nut: pictures in the format {name} are not"),
        source.connect(threading.Event()) as captures,
    ):
        list(itertools.islice(captures, 1))
