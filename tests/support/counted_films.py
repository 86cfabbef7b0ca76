"""Films whose pictures carry their number, as blocks that survive coding, and a person at times.

The number is sixteen blocks, white for one, in a row along the upper edge; below it a photograph of
a person is seen from second 2 to second 5 of 8, or a wall.
"""

from __future__ import annotations

import re

import av
import cv2
import numpy as np

from edge.sources.synthetic import find_shipped_photo
from edge.vision.image_file import read_picture

SECONDS = 8
SHOWN_S = (2, 5)
BITS = 16
OPTIONS = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency"},
    "libx265": {"preset": "ultrafast", "tune": "zerolatency"},
}
_VCL = {
    "h264": lambda nal: nal[0] & 31 in (1, 5),
    "hevc": lambda nal: nal[0] >> 1 & 63 < 32,
}


def write_film(
    path, size_wh, fps, gop, *, codec="libx264", bit_rate=0, seconds=SECONDS, shown_s=SHOWN_S
):
    """Code a film, without B-frames."""
    with av.open(str(path), "w") as container:
        x = {"x265-params": f"keyint={gop}:min-keyint={gop}:bframes=0:log-level=none:no-info=1"}
        x |= {"x264-params": f"sliced-threads=0:keyint={gop}:min-keyint={gop}"}
        options = {**OPTIONS.get(codec, {}), "g": str(gop)}
        options |= {key: value for key, value in x.items() if key[1:4] == codec[4:]}
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if bit_rate:
            stream.bit_rate = bit_rate
        for number in range(seconds * fps):
            rgb = draw(number, fps, size_wh, shown_s, noisy=bool(bit_rate))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    return path


def draw(number, fps, size_wh, shown_s=SHOWN_S, *, noisy=False):
    """A picture, ``(H, W, 3)`` RGB."""
    width, height = size_wh
    rgb = np.full((height, width, 3), (120, 130, 125), np.uint8)
    rgb[height // 2 :] -= 20
    if shown_s[0] <= number / fps < shown_s[1]:
        photo = read_picture(find_shipped_photo()).rgb
        side = height * 3 // 4
        photo = cv2.resize(photo, (side * photo.shape[1] // photo.shape[0], side))
        left = round((number / fps - shown_s[0]) / (shown_s[1] - shown_s[0]) * width / 4)
        rgb[height - side :, left + width // 4 :][:, : photo.shape[1]] = photo
    if noisy:
        noise = np.random.default_rng(number).integers(0, 24, (height, width, 1), np.uint8)
        rgb = cv2.subtract(rgb, np.repeat(noise, 3, axis=2))
    block = width // BITS
    for bit in range(BITS):
        level = 235 if number >> bit & 1 else 16
        rgb[: height // 8, bit * block : (bit + 1) * block] = level
    return rgb


def read_number(rgb):
    """The number of a picture."""
    height, width = rgb.shape[:2]
    block = width // BITS
    shown = rgb[height // 32 : height * 3 // 32, : block * BITS].mean(axis=(0, 2))
    middles = shown.reshape(BITS, block)[:, block // 4 : block * 3 // 4].mean(axis=1)
    return sum(1 << bit for bit in range(BITS) if middles[bit] > 126)


def read_slices(path):
    """What the pictures of a film are coded as, in order, without what surrounds it."""
    from av.bitstream import BitStreamFilterContext

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.name
        packets = [packet for packet in container.demux(stream) if packet.size]
        if codec == "mjpeg":
            return [bytes(packet) for packet in packets]
        convert = BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
        coded = b"".join(bytes(part) for p in [*packets, None] for part in convert.filter(p))
    nals = [nal for nal in re.split(b"\0\0\0?\1", coded) if nal]
    return [nal.rstrip(b"\0") for nal in nals if _VCL[codec](nal)]


def find_run(part, whole):
    """Where ``part`` begins in endless repetitions of ``whole``; None where it is not there."""
    for first, piece in enumerate(whole):
        if piece == part[0] and all(
            own == whole[(first + row) % len(whole)] for row, own in enumerate(part)
        ):
            return first
    return None
