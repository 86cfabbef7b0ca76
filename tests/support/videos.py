"""Small real videos for tests, encoded on the fly with PyAV, and where the large ones lie."""

from __future__ import annotations

import io
import re
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge.types import CodedPacket, StreamFormat

SHARED = Path(__file__).parents[3] / "shared" / "data" / "videos"
WALKING = SHARED / "one-by-one-person-detection.mp4"  # 768x432, 1394 frames, 10 fps
FACES_GIF = SHARED / "face-demographics-walking.gif"  # 480x270, 35 frames


def shared(path: Path) -> Path:
    """A video of the shared data; skips the test where there is none."""
    if not path.is_file():
        pytest.skip(f"no {path.name}: put the shared data beside the repository")
    return path


def write_video(
    path: Path,
    frames: int = 10,
    *,
    fps: int = 10,
    size_wh: tuple[int, int] = (160, 120),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Red above, grey below; the grey grows brighter by 8 a frame."""
    width, height = size_wh
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        for row in range(frames):
            image = np.full((height, width, 3), 8 * row % 256, np.uint8)
            image[: height // 2] = 220, 20, 20
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_talkie(path: Path, *, sound: str = "aac", seconds: int = 4, begins_s: float = 0) -> Path:
    """Pictures as of `write_video`, a key frame a second, and a tone of 440 Hz beside them."""
    rate = {"aac": 16000, "libopus": 48000}.get(sound, 8000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        tone = container.add_stream(sound, rate=rate, layout="mono")
        for row in range(10 * seconds):
            image = np.full((120, 160, 3), 8 * row % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            if row < 10 * begins_s:
                continue
            times = (row * rate // 10 + np.arange(rate // 10)) / rate
            noise = np.random.default_rng(row).normal(0, 300, len(times))  # no two packets alike
            samples = (8000 * np.sin(2 * np.pi * 440 * times) + noise).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            heard.sample_rate, heard.pts = rate, row * rate // 10
            container.mux(tone.encode(heard))
        container.mux(stream.encode())
        container.mux(tone.encode())
    return path


def write_noise(path: Path, frames: int, *, fps: int = 10, size_wh: tuple[int, int]) -> Path:
    """Coarse noise before a grey wall, new in its finest part in each frame."""
    width, height = size_wh
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (height // 4, width // 4, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(frames):
            image = coarse.repeat(4, 0).repeat(4, 1) + rng.integers(
                0, 30, (height, width, 1), np.uint8
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def truncate_slices(image: np.ndarray, share: float, frames: int = 60) -> Path:
    """A raw H.264 file of a moving, noisy image of whose slices a share is cut in half."""
    rng = np.random.default_rng(0)
    path = Path(tempfile.mkstemp(suffix=".h264")[1])
    height, width = image.shape[:2]
    options = {"g": "20", "bf": "0", "tune": "zerolatency", "x264-params": "sliced-threads=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for row in range(frames):
            moved = np.roll(image, 2 * row, 1) + rng.normal(0, 2, (height, width, 1))
            pixels = np.clip(moved, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    units = re.split(b"\0\0\0?\1", path.read_bytes())[1:]
    path.write_bytes(
        b"".join(
            b"\0\0\0\1" + (unit[: max(8, len(unit) // 2)] if cut else unit)
            for unit in units
            for cut in [unit[0] & 31 in (1, 5) and rng.random() < share]
        )
    )
    return path


def encode_packets(codec, count=30, size=(320, 240), **options):
    """Packets of a coded film of 10 pictures a second, as a camera's tap gives them."""
    buffer = io.BytesIO()
    kind = {"libx264": "h264", "libx265": "hevc", "mjpeg": "mjpeg"}[codec]
    with av.open(buffer, "w", format=kind) as output:
        stream = output.add_stream(codec, rate=10, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(count):
            frame = av.VideoFrame(*size, stream.pix_fmt)
            for plane in frame.planes:
                plane.update(bytes([number * 5 % 256]) * plane.buffer_size)
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    buffer.seek(0)
    form = StreamFormat(kind, b"", Fraction(1, 90_000))
    packets = []
    with av.open(buffer, format=kind) as container:
        for number, packet in enumerate(p for p in container.demux() if p.size):
            packets.append(
                CodedPacket(form, bytes(packet), number * 9000, number * 9000,
                            packet.is_keyframe, 1000 + number / 10, 50 + number / 10)
            )  # fmt: skip
    return packets
