"""Decoding 1080p H.264 as the daemon does, with letterboxing, on the processor and on NVDEC."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
from av.codec.hwaccel import hwdevices_available

from edge import plugins
from edge.errors import SourceError
from edge.vision.preprocess import letterbox

SIZE_WH, FPS, INPUT_WH = (1920, 1080), 30, (416, 416)


def measure(day):
    clip = encode(day, 30 if day.is_quick else 300)
    for device in ("", "cuda"):
        for streams in (1, 2) if day.is_quick else (1, 8, 32):
            where = "NVDEC" if device else "the processor"
            what = f"{streams} x 1080p H.264 on {where}"
            if device and device not in hwdevices_available():
                day.results.absent(what, f"PyAV {av.__version__} here is built without {device}")
                continue
            try:
                day.results.measured(what, decode(clip, device, streams), "frames/s")
            except SourceError as error:
                day.results.absent(what, error)


def encode(day, frames):
    path = day.work / "1080p.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "g": str(FPS)}
        for picture in day.pictures(SIZE_WH, frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def decode(clip, device, streams):
    """Frames per second of all streams together; each decodes the whole clip."""
    started_s = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        frames = sum(pool.map(lambda _: decode_one(clip, device), range(streams)))
    return frames / (time.perf_counter() - started_s)


def decode_one(clip, device):
    table = {"kind": "video_file", "path": str(clip), "every_frame": True, "hwaccel": device}
    image, frames = np.empty((*INPUT_WH[::-1], 3), np.uint8), 0
    with plugins.create("sources", table).connect(threading.Event()) as captures:
        for capture in captures:
            letterbox(capture.picture, image)
            frames += 1
    return frames
