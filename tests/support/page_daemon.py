"""A whole daemon that watches somebody who comes and goes before an RTSP camera, with its page."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from edge.client import Received, Subscriber
from edge.sources.synthetic import find_shipped_photo
from tests.support.rtsp_server import rtsp_server

FPS = 10
STEP_PX = 12  # of the person, from a picture to the next
COUNT = 60  # pictures until the person is where they began, and goes away
ABSENT = 60  # pictures until they come again
BITS, BIT_PX = 7, 40  # of the number in each picture
SIZE_WH = (640, 360)
_PHOTO_WH = (256, 300)
CONFIG = """
node = "gate"
[models]
detector = "zoo:detect-nano"
[storage]
folder = "kept"
min_free_bytes = 0
[[cameras]]
name = "hall"
source = {{ kind = "rtsp", url = "{url}" }}
fps = {fps}
[cameras.record]
post_s = 2
[[cameras.events]]
when = ["began"]
[[sinks]]
kind = "zeromq"
bind = "ipc://{folder}/bus"
[http]
port = 0
"""


@dataclass(frozen=True)
class PageDaemon:
    """Where its page and its messages are."""

    address: str
    endpoint: str


def find_left(number: int) -> int:
    """Where the left edge of the person is in picture ``number``, in pixels."""
    half = COUNT // 2
    return STEP_PX * (number if number <= half else COUNT - number)


@contextlib.contextmanager
def watching_somebody(folder: Path) -> Iterator[PageDaemon]:
    """Run it until the end of the block."""
    film = folder / "film.mp4"
    _write_film(film)
    with rtsp_server(film) as server:
        path, log = folder / "edge.toml", folder / "log"
        path.write_text(CONFIG.format(url=server.url, fps=FPS, folder=folder))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge", "run", str(path)], cwd=folder, stderr=output,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        try:
            port = _wait_for_port(process, log)
            yield PageDaemon(f"http://127.0.0.1:{port}/", f"ipc://{folder}/bus")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline_s = time.monotonic() + 60
    while not (found := re.search(r"ready: .*http port (\d+)", log.read_text(errors="replace"))):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline_s, log.read_text(errors="replace")
        time.sleep(0.05)
    return int(found[1])


def _write_film(path: Path) -> None:
    photo = cv2.imread(str(find_shipped_photo()))
    photo = cv2.resize(photo, _PHOTO_WH, interpolation=cv2.INTER_AREA)
    width, height = _PHOTO_WH
    options = {"preset": "veryfast", "tune": "zerolatency", "g": str(FPS), "bf": "0",
               "x264-params": "sliced-threads=0"}  # fmt: skip
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        for number in range(COUNT + ABSENT):
            picture = np.full((SIZE_WH[1], SIZE_WH[0], 3), 120, np.uint8)
            for bit in range(BITS):
                columns = slice(bit * BIT_PX, (bit + 1) * BIT_PX)
                picture[:BIT_PX, columns] = 235 * (number >> bit & 1)
            if number < COUNT:
                left = find_left(number)
                picture[-height:, left : left + width] = photo
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def draw_zone(page: Any, name: str) -> None:
    """Draw a zone that everybody is in, in the editor, by mouse."""
    page.get_by_role("button", name="Add a zone").click()
    stage = page.locator(".stage").bounding_box()
    for corner, (x, y) in enumerate(((0.02, 0.5), (0.98, 0.5), (0.98, 1.1), (0.02, 1.1))):
        page.locator(".corner").nth(corner).hover()
        page.mouse.down()
        page.mouse.move(stage["x"] + x * stage["width"], stage["y"] + y * stage["height"])
        page.mouse.up()
    page.get_by_label("Name").fill(name)


def wait_for_zone(subscriber: Subscriber, name: str, patience_s: float) -> bool:
    """Whether a message names a zone in time."""
    deadline_s = time.monotonic() + patience_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        item = subscriber.receive(left_s)
        if isinstance(item, Received) and any(name in found.zones for found in item.body.objects):
            return True
    return False
