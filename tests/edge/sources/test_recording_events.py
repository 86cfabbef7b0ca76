"""The events of a recording are the recording's own: the same at every speed of reading."""

import itertools
import threading
import time

import numpy as np
import pytest

from edge.config import Camera
from edge.pipeline import Pipeline
from edge.sources.video_file import Options, build
from edge.types import Detections, Frame
from tests.support.videos import write_video

SOURCE = {"kind": "video_file"}
ROOM = {"name": "room", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "dwell_s": 10}


class Visits:
    """Finds one person in the frames whose number is in ``present``."""

    name, sha256, classes = "visits", "0" * 64, ("person",)

    def __init__(self, present):
        self._present = present

    def detect(self, frames):
        box = np.float32([[40, 20, 80, 110]])
        one = Detections(box, np.float32([0.9]), np.int32([0]))
        none = Detections(box[:0], np.float32([]), np.int32([]))
        return [one if frame.seq in self._present else none for frame in frames]


def list_events(video, present, pause_s=0.0, **options):
    """Frame number and kind of each event of a recording."""
    pipeline = Pipeline(Visits(present), None, itertools.count(1))
    pipeline.watch([Camera(name="a", source=SOURCE, zones=[ROOM])])
    events = []
    with build(Options(path=str(video), **options)).connect(threading.Event()) as captures:
        for seq, c in enumerate(captures):
            frame = Frame("a", 1, seq, c.captured_s, c.monotonic_s, c.picture, c.arrived_s)
            (result,) = pipeline.step([frame])
            events += [(seq, str(e.change), e.track_id, e.dwell_s) for e in result.changes]
            time.sleep(pause_s)
    return events


WAYS = [
    {"every_frame": True},
    {"every_frame": True, "pause_s": 0.01},
    {"speed": 100},
    {"speed": 400},
]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Thirty seconds at two frames per second."""
    return write_video(tmp_path_factory.mktemp("film") / "a.mp4", 60, fps=2, options={"bf": "0"})


@pytest.mark.parametrize("way", WAYS)
def test_a_dwell_is_told_when_the_recording_says_so(film, way):
    events = list_events(film, range(60), **way)
    (dwelled,) = [event for event in events if event[1] == "dwelled"]
    entered = next(event for event in events if event[1] == "entered")
    assert dwelled[0] == entered[0] + 20
    assert events == list_events(film, range(60), **WAYS[0])


@pytest.mark.parametrize("way", WAYS)
def test_two_people_with_six_seconds_between_are_two_tracks(film, way):
    present = {*range(2, 14), *range(26, 38)}
    events = list_events(film, present, **way)
    kinds = [kind for _, kind, *_ in events]
    assert [kinds.count(k) for k in ("began", "entered", "left", "ended")] == [2, 2, 2, 2]
    assert events == list_events(film, present, **WAYS[0])
