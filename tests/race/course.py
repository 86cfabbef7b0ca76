"""The course: a film as a camera codes it, and the moments at which a server sends its pictures."""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from edge.vision.resize import resize_to_rgb
from tests.benchmarks.quiet_street import write_film
from tests.support.quiet_scenes import SIZE_WH, QuietScene, cut_recognized
from tests.support.rtsp_server import RtspServer, rtsp_server

FPS, WALK_EVERY_S, SEED = 10, 20, 1


def render_scene(folder: Path, seconds: float, detector) -> Path:
    """A quiet street, with somebody who walks by every twenty seconds and whom a detector knows."""
    walkers = max(round(seconds / WALK_EVERY_S), 1)
    scene = QuietScene.draw(SEED, seconds, walkers, cut_recognized(detector))
    pictures = (scene.render(row / FPS) for row in range(int(seconds * FPS)))
    images = (resize_to_rgb(picture, SIZE_WH)[..., ::-1] for picture in pictures)
    return write_film(folder / "course.mp4", map(np.ascontiguousarray, images), FPS)


def code_clip(folder: Path, clip: Path, seconds: float) -> Path:
    """A clip at its own rate in 720p, from the beginning and again where it is too short."""
    with av.open(str(clip)) as container:
        fps = round(container.streams.video[0].average_rate or FPS)
    images = itertools.islice(_read_endlessly(clip), int(seconds * fps))
    return write_film(folder / "course.mp4", images, fps)


def _read_endlessly(clip: Path) -> Iterator[np.ndarray]:
    while True:
        with av.open(str(clip)) as container:
            for frame in container.decode(video=0):
                yield frame.reformat(*SIZE_WH, format="bgr24").to_ndarray()


@contextlib.contextmanager
def open_course(film: Path) -> Iterator[tuple[RtspServer, Path]]:
    """Serve a film to one client; the file gets when each picture was sent, see `read_sent`."""
    with tempfile.TemporaryDirectory() as folder:
        sent = Path(folder) / "sent"
        with rtsp_server(film, sent=sent) as server:
            yield server, sent


def read_sent(sent: Path) -> list[float]:
    """When each picture was sent, in order, on the monotonic clock."""
    return [float(line) for line in sent.read_text().splitlines()]
