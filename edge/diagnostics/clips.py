"""Clips that the benchmark's cameras play: scenes in which everything moves, or nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from pathlib import Path

import av
import numpy as np

from edge import plugins
from edge.types import U8
from edge.vision import resize

CLIP_FPS = 30
NOISE = 3.0  # standard deviation of a still picture's sensor noise, in gray levels
NOISE_SHIFT_PX = 64  # the noise is one tile, shifted by at most this much per frame
TILES = 40  # by which a still picture is cut up along each side: too many to leave a face
CAMERAS_A_BUSY_ONE = 5  # of a mixed scene


class Scene(str, Enum):
    """What the cameras see.

    Attributes:
        QUIET: A still picture with sensor noise, nobody in it.
        MIXED: One camera in five busy, the others quiet.
        BUSY: The view pans and zooms, everything moves; or the given video.
    """

    QUIET = "quiet"
    MIXED = "mixed"
    BUSY = "busy"


def make_clips(
    folder: Path, scene: Scene, size_wh: tuple[int, int], frames: int, video: str = ""
) -> tuple[Path, ...]:
    """Encode the clips of a scene, which its cameras play in turn."""
    clips = []
    if scene is not Scene.QUIET:
        clips.append(make_clip(folder, size_wh, frames, video))
    if scene is not Scene.BUSY:
        still = make_quiet_clip(folder, size_wh, frames, video)
        clips += [still] * (CAMERAS_A_BUSY_ONE - 1 if clips else 1)
    return tuple(clips)


def make_clip(folder: Path, size_wh: tuple[int, int], frames: int, video: str = "") -> Path:
    """Encode a test clip: H.264, ``CLIP_FPS``, one key frame per second.

    It shows ``video``, scaled and looped; empty pans over the photograph of the demo.
    """
    path = folder / f"{size_wh[1]}p.mp4"
    _encode(path, size_wh, islice(_read(size_wh, video), frames))
    return path


def make_quiet_clip(folder: Path, size_wh: tuple[int, int], frames: int, video: str = "") -> Path:
    """Encode a clip like `make_clip`'s of a still picture with sensor noise.

    The picture is the first of that clip, cut into tiles and put together in another order, so that
    it has a photograph's detail and nobody in it.
    """
    path = folder / f"{size_wh[1]}p-quiet.mp4"
    still = shuffle_tiles(next(_read(size_wh, video)))
    _encode(path, size_wh, islice(_add_noise(still), frames))
    return path


def shuffle_tiles(image: U8) -> U8:
    """The same picture in ``TILES`` x ``TILES`` tiles, always in the same other order."""
    height, width = image.shape[0] // TILES, image.shape[1] // TILES
    shuffled = image.copy()
    order = np.random.default_rng(0).permutation(TILES * TILES)
    for place, origin in enumerate(order.tolist()):
        (to_y, to_x), (y, x) = divmod(place, TILES), divmod(origin, TILES)
        shuffled[to_y * height : (to_y + 1) * height, to_x * width : (to_x + 1) * width] = image[
            y * height : (y + 1) * height, x * width : (x + 1) * width
        ]
    return shuffled


def _add_noise(still: U8) -> Iterator[U8]:
    random = np.random.default_rng(0)
    height, width = still.shape[:2]
    shape = (height + NOISE_SHIFT_PX, width + NOISE_SHIFT_PX, 1)
    noise = random.normal(0, NOISE, shape).round().astype(np.int16)  # of luma
    while True:
        y, x = random.integers(0, NOISE_SHIFT_PX, 2)
        noisy = np.clip(still + noise[y : y + height, x : x + width], 0, 255)
        yield noisy.astype(np.uint8)


def _read(size_wh: tuple[int, int], video: str) -> Iterator[U8]:
    """Pictures of a video, or of the demo's synthetic camera; RGB."""
    source = (
        {"kind": "video_file", "path": video, "every_frame": True, "loop": True}
        if video
        else {"kind": "synthetic", "size_wh": size_wh, "fps": CLIP_FPS, "noise": 0}
    )
    with plugins.create("sources", source).connect(threading.Event()) as captures:
        for capture in captures:
            yield resize.resize_to_rgb(capture.picture, size_wh)


def _encode(path: Path, size_wh: tuple[int, int], images: Iterator[U8]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=CLIP_FPS)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "g": str(CLIP_FPS)}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
