"""A clip and a picture show the moment that they claim: numbers in both streams of a camera.

A whole node, two real RTSP streams; when each of their pictures was sent is known. Prints how far
off clips and pictures are.
"""

import os
import time
from dataclasses import dataclass

import av
import cv2
import numpy as np
import pytest

from edge.client import Received
from edge.wire.schema import EventMessage
from tests.support.counted_films import find_run, read_number, read_slices, write_film
from tests.support.recording_node import CAMERA, read_rows, recording_node
from tests.support.rtsp_server import rtsp_server

EVENTS = int(os.environ.get("EVENTS", "6"))
PRE_S, POST_S = 3, 2
SUB, MAIN = (640, 360, 20, 20), (1280, 720, 25, 50)  # width, height, pictures a second, GOP
FRAME_S = 1 / MAIN[2]


@dataclass(slots=True)
class Sent:
    """When the pictures of a film were sent, in a loop."""

    path: object
    count: int

    def find(self, number, near_s):
        """Unix time at which a picture was sent, the time that is nearest to another."""
        times = self.read()
        return min(times[number :: self.count], key=lambda at_s: abs(at_s - near_s))

    def read(self):
        """All Unix times."""
        offset_s = time.time() - time.monotonic()
        lines = self.path.read_text().splitlines()
        return [float(line) + offset_s for line in lines if line.endswith(tuple("0123456789"))]


def write(folder, name, shape, codec="libx264", **options):
    width, height, fps, gop = shape
    return write_film(folder / name, (width, height), fps, gop, codec=codec, **options)


def listen_for(subscriber, count, limit_s=150):
    """Messages of events that ended, and by capture time the numbers of the sub-stream."""
    ended, numbers, until_s = [], {}, time.monotonic() + limit_s
    while len(ended) < count:
        assert time.monotonic() < until_s, ended
        item = subscriber.receive(0.2)
        if not isinstance(item, Received) or item.repeat:
            continue
        if item.jpeg:
            bgr = cv2.imdecode(np.frombuffer(item.jpeg, np.uint8), cv2.IMREAD_COLOR)
            numbers[item.body.captured_at] = read_number(bgr)
        if isinstance(item.body, EventMessage) and item.body.change == "ended":
            ended.append(item.body)
    return ended, numbers


@pytest.mark.proof
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_clips_and_pictures_show_the_moment_that_they_claim(tmp_path, codec, keep):
    sub = write(tmp_path, "sub.mp4", SUB, bit_rate=500_000)
    main = write(tmp_path, "main.mp4", MAIN, codec, bit_rate=4_000_000)
    sent = {name: tmp_path / f"{name}.sent" for name in ("sub", "main")}
    with rtsp_server(sub, sent=sent["sub"]) as one, rtsp_server(main, sent=sent["main"]) as two:
        camera = CAMERA.format(name="c", sub=one.url, main=two.url, pre_s=PRE_S, post_s=POST_S)
        with recording_node(tmp_path, camera) as node, node.listen("v1/") as subscriber:
            events, numbers = listen_for(subscriber, EVENTS + 1)
            check(tmp_path, events[1:], numbers, {  # the first one has less before it
                "sub": Sent(sent["sub"], 8 * SUB[2]), "main": Sent(sent["main"], 8 * MAIN[2]),
            }, main, keep)  # fmt: skip


def check(folder, events, numbers, sent, film, keep):
    pictures_off_s, frames_off_s, early_s = [], [], []
    whole = read_slices(film)
    kept = folder / "kept"
    rows = read_rows(kept, "SELECT kind, event, path, began_s, ended_s FROM files")
    files = {(kind, event): row for kind, event, *row in rows}
    for event in events:
        assert (event.snapshot, event.clip) == (True, True)
        path, best_s, _ = files["snapshot", event.event]
        assert abs(best_s - event.best_at) < 0.002
        detected_s = sent["sub"].find(nearest(numbers, event.best_at), event.best_at)
        shown = cv2.imread(str(kept / path))
        assert shown.shape[1::-1] == MAIN[:2]
        shown_s = sent["main"].find(read_number(shown), event.best_at)
        pictures_off_s.append(abs(shown_s - detected_s))
        path, began_s, ended_s = files["clip", event.event]
        assert find_run(read_slices(kept / path), whole) is not None, "other bytes"
        with av.open(str(kept / path)) as container:
            frames = [(f.time, read_number(f.to_ndarray(format="rgb24")))
                      for f in container.decode(video=0)]  # fmt: skip
        assert frames[0][1] % MAIN[3] == 0, "no key frame"
        early_s.append(event.began_at - PRE_S - began_s)
        assert 0 <= early_s[-1] <= 1.2 * MAIN[3] * FRAME_S  # the server is slower when busy
        for passed_s, number in frames:
            at_s = began_s + passed_s
            frames_off_s.append(abs(at_s - sent["main"].find(number, at_s)))
        assert ended_s >= event.ended_at + POST_S - FRAME_S
    print(
        f"\n{len(events)} events: pictures off by {max(pictures_off_s) * 1000:.0f} ms at most, "
        f"{len(frames_off_s)} frames of clips by {max(frames_off_s) * 1000:.0f} ms, "
        f"clips begin {min(early_s):.2f} to {max(early_s):.2f} s before they must"
    )
    keep("picture off", 1000 * max(pictures_off_s))
    keep("clip off", 1000 * max(frames_off_s))


def nearest(numbers, at_s):
    """The number of the sub-stream's picture that was captured at a time."""
    found = min(numbers, key=lambda captured_s: abs(captured_s - at_s))
    assert abs(found - at_s) < 0.002, "no thumbnail of that frame"
    return numbers[found]
