"""An archivist that is busy, in a process that may be killed.

Arguments of ``python -m tests.support.archiving`` are a film, the storage folder and the bytes that
it may take. Two cameras send the film in a loop; of both everything is kept, and of the first an
event with clip and pictures begins several times a second. A line is printed when the folder is
open.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge import plugins
from edge.config import Camera, Storage
from edge.event import BestView, Event, EventChange, Severity
from edge.events.camera_events import EventUpdate
from edge.events.ids import EventIds
from edge.recording import clip
from edge.recording.ring import PacketRing
from edge.service.archivist import Archivist, RecordedCamera
from edge.service.workers import Worker
from edge.types import Faces, Frame, FrameResult, RgbPicture, Tracks

CLASSES = ("person", "car")
SEGMENT_S = 2.0
RECORD = {"pre_s": 1, "post_s": 0.3, "max_clip_s": 10, "continuous": True}


def read_packets(path):
    """The packets of a film."""
    source = plugins.create(
        "sources", {"kind": "video_file", "path": str(path), "every_frame": True}
    )
    packets = []
    source.tap = packets.append
    with source.connect(threading.Event()) as captures:
        for _ in captures:
            pass
    return packets


def play(ring, packets, stop):
    """Send a film in a loop, at its pace."""
    began_s, shift_s = time.monotonic(), 0.0
    lasts_s = packets[-1].monotonic_s - packets[0].monotonic_s + 0.04
    for packet in itertools.cycle(packets):
        if packet is packets[0] and ring.read(time.time()):
            shift_s += lasts_s
        at_s = began_s + packet.monotonic_s - packets[0].monotonic_s + shift_s
        if stop.wait(max(at_s - time.monotonic(), 0)):
            return
        captured_s = time.time() - time.monotonic() + at_s
        stamp = round((at_s - began_s) / packet.format.time_base)
        ring.put(replace(packet, captured_s=captured_s, monotonic_s=at_s, pts=stamp, dts=stamp))


def make_event(event_id, began_s, ended_s=None, camera="a"):
    """An event with a person in it."""
    best = BestView(7, "person", 0.9, (40, 20, 80, 100), (160, 120), began_s)
    return Event(
        event_id, camera, Severity.DETECTION, ("began",), ("person",), (), (), (7,), began_s,
        ended_s, best,
    )  # fmt: skip


def make_result(at_s, camera="a"):
    """The frame of such an event."""
    noise = np.random.default_rng().integers(0, 256, (120, 160, 3), np.uint8)
    tracks = Tracks(
        np.array([[40, 20, 80, 100]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32),
        np.array([7]), np.ones(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.bool_),
    )  # fmt: skip
    frame = Frame(camera, 1, 0, at_s, time.monotonic(), RgbPicture(noise))
    return FrameResult(frame, tracks, ((),), Faces.empty(), ())


def keep_happening(archivist, stop, pause_s=0.25, lasts_s=0.6, camera="a"):
    """Events that begin, change and end, several at a time."""
    ids, running = EventIds(), []
    while not stop.wait(pause_s):
        now_s = time.time()
        event_id = ids.make(now_s)
        running.append((event_id, now_s))
        began = make_event(event_id, now_s, camera=camera)
        updates = [EventUpdate(EventChange.BEGUN, began, make_result(now_s, camera), CLASSES)]
        for other_id, began_s in [pair for pair in running if now_s - pair[1] > lasts_s]:
            running.remove((other_id, began_s))
            ended = make_event(other_id, began_s, now_s, camera)
            updates.append(
                EventUpdate(EventChange.ENDED, ended, make_result(now_s, camera), CLASSES)
            )
        archivist.put(updates)


def main():
    """Run until killed."""
    film, folder, max_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    clip.SEGMENT_S = SEGMENT_S
    packets, stop = read_packets(film), threading.Event()

    def report(problem):
        print(problem or "open", flush=True)

    settings = Storage(folder=str(folder), max_bytes=max_bytes, min_free_bytes=0)
    archivist = Archivist(settings, folder, lambda *_, **__: None, report)
    rings = {name: PacketRing(4.0) for name in "ab"}
    archivist.cameras = {
        name: RecordedCamera(Camera(name=name, source={}, record=RECORD), ring)
        for name, ring in rings.items()
    }
    for ring in rings.values():
        threading.Thread(target=play, args=(ring, packets, stop), daemon=True).start()
    worker = Worker("storage", archivist.run, lambda _: None)
    worker.start()
    keep_happening(archivist, stop)


if __name__ == "__main__":
    main()
