"""What recording costs: CPU time of an archivist that keeps four cameras, beside one that does not.

``python -m tests.benchmarks.recording [TURNS]`` reads four RTSP main streams of 720p25 and about
4 Mbit/s in this process, as `edge run` does, without decoding them, and has them kept whole and as
clips of events (one every ten seconds a camera, eight seconds long, with a picture of the main
stream), then not, in turn. Printed are CPU seconds of this process a second and camera, medians and
spreads of the turns, and the difference, which is what recording costs.
"""

import contextlib
import logging
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from edge import plugins
from edge.config import Camera, Storage
from edge.recording.ring import PacketRing
from edge.service.archivist import Archivist, RecordedCamera
from edge.service.backoff import Backoff
from edge.service.main_stream import MainStream
from edge.service.workers import Worker
from tests.support.archiving import keep_happening
from tests.support.counted_films import write_film
from tests.support.rtsp_server import rtsp_server

CAMERAS = 4
TURN_S, SETTLE_S = 30, 5
EVENT_S, LASTS_S = 10.0, 5.0
RECORD = {"pre_s": 2, "post_s": 1}
WAYS = {
    "nothing": {"clips": False, "continuous": False},
    "clips": {"clips": True, "continuous": False},
    "everything": {"clips": True, "continuous": True},
}


@contextlib.contextmanager
def reading(urls):
    """The rings of main streams that are read."""
    rings, workers = {}, []
    for number, url in enumerate(urls):
        ring = rings[f"c{number}"] = PacketRing(RECORD["pre_s"] + 3)
        source = plugins.create("sources", {"kind": "rtsp", "url": url})
        stream = MainStream(f"c{number}", source, ring, Backoff(random.Random(1)), lambda _: None)
        workers.append(Worker(f"main {number}", stream.run, lambda _: None))
        workers[-1].start()
    try:
        yield rings
    finally:
        for worker in workers:
            worker.stop.set()
        for worker in workers:
            worker.join(5)


def measure(folder, rings, way):
    """CPU seconds a second and camera."""
    settings = Storage(folder=str(folder), min_free_bytes=0)
    archivist = Archivist(settings, folder, lambda *_, **__: None, lambda _: None)
    archivist.cameras = {
        name: RecordedCamera(
            Camera(name=name, source={}, record={**RECORD, **WAYS[way]}), None, ring
        )
        for name, ring in rings.items()
    }
    worker, stop = Worker("storage", archivist.run, lambda _: None), threading.Event()
    if way != "nothing":
        worker.start()
    for name in rings if way != "nothing" else ():
        threading.Thread(
            target=keep_happening, args=(archivist, stop, EVENT_S, LASTS_S, name), daemon=True
        ).start()
    time.sleep(SETTLE_S)
    began_s = time.process_time()
    time.sleep(TURN_S)
    used_s = time.process_time() - began_s
    stop.set()
    worker.stop.set()
    worker.join(20)
    return used_s / TURN_S / len(rings)


def main():
    """Measure all ways in turn."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        film = write_film(folder / "main.mp4", (1280, 720), 25, 50, bit_rate=4_000_000)
        print(f"{film.stat().st_size * 8 / 8e6:.1f} Mbit/s")
        urls = [stack.enter_context(rtsp_server(film)).url for _ in range(CAMERAS)]
        rings = stack.enter_context(reading(urls))
        time.sleep(SETTLE_S)
        used = {way: [] for way in WAYS}
        for _ in range(turns):
            for way in WAYS:
                used[way].append(100 * measure(folder / way, rings, way))
        for way, percents in used.items():
            extra = statistics.median(
                own - base for own, base in zip(percents, used["nothing"], strict=True)
            )
            print(
                f"{way:11} {statistics.median(percents):5.2f} % of a core a camera "
                f"({min(percents):.2f} to {max(percents):.2f}), {extra:+.2f} % for recording"
            )


if __name__ == "__main__":
    main()
