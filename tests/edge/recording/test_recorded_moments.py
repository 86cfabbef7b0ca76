"""Clips and pictures of the recorder show the moment that they claim, whatever the codec."""

import time

import av
import cv2
import numpy as np
import pytest

from edge.config import Camera, Storage
from edge.event import BestView, Event, EventChange, Severity
from edge.events.camera_events import EventUpdate
from edge.recording.index import Index
from edge.recording.records import FileKind
from edge.recording.ring import PacketRing
from edge.service.archivist import Archivist, RecordedCamera
from edge.service.workers import Worker
from edge.types import Faces, Frame, FrameResult, RgbPicture, Tracks
from tests.edge.recording.test_mp4 import read_source
from tests.edge.service.test_archivist import play
from tests.support.counted_films import find_run, read_number, read_slices, write_film

FPS, GOP, PRE_S, POST_S = 25, 10, 1.0, 1.0
CODECS = {"libx264": "film.mp4", "libx265": "film.mp4", "mjpeg": "film.mov"}
GENEROUS_S = 20


def record(folder, packets, trigger, detected):
    """Keep an event that begins with one packet and is seen best in another; captures' times."""
    settings = Storage(folder="kept", min_free_bytes=0)
    told = []
    archivist = Archivist(
        settings, folder, lambda _, change, **kept: told.append((change, kept)),
        lambda _: None,
    )  # fmt: skip
    main = PacketRing(20.0)
    camera = Camera(name="door", source={}, record={"pre_s": PRE_S, "post_s": POST_S})
    archivist.cameras = {"door": RecordedCamera(camera, None, main)}
    times = play(main, packets, time.time() - packets[-1].captured_s)
    began_s, at_s = times[trigger], times[detected] + 0.4 / FPS  # of a stream with other times
    best = BestView(7, "person", 0.9, (40, 20, 80, 100), (160, 120), at_s)
    event = Event("1nj3k5vk4d", "door", Severity.ALERT, ("began",), ("person",), (), (), (7,),
                  began_s, began_s + 0.5, best)  # fmt: skip
    tracks = Tracks(
        np.array([[40, 20, 80, 100]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32),
        np.array([7]), np.ones(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.bool_),
    )  # fmt: skip
    frame = Frame("door", 1, 0, at_s, at_s, RgbPicture(np.zeros((120, 160, 3), np.uint8)))
    result = FrameResult(frame, tracks, ((),), Faces.empty(), ())
    worker = Worker("storage", archivist.run, lambda _: None)
    worker.start()
    try:
        archivist.put([EventUpdate(EventChange.BEGUN, event, result, ("person",)),
                       EventUpdate(EventChange.ENDED, event)])  # fmt: skip
        deadline_s = time.monotonic() + GENEROUS_S
        while len(told) < 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
    finally:
        worker.stop.set()
        assert worker.join(GENEROUS_S)
    assert told[-1] == (EventChange.ENDED, {"snapshot": True, "clip": True})
    return times


@pytest.mark.parametrize("codec", CODECS)
def test_numbers_in_the_pictures_say_when_they_were_captured(tmp_path, codec):
    film = write_film(tmp_path / CODECS[codec], (320, 192), FPS, GOP, codec=codec, seconds=4)
    packets, trigger, detected = read_source(film)[0], 47, 58
    times = record(tmp_path, packets, trigger, detected)
    index = Index(tmp_path / "kept" / "index.db")
    [clip], [snapshot] = index.list_files(FileKind.CLIP), index.list_files(FileKind.SNAPSHOT)
    index.close()
    with av.open(str(tmp_path / "kept" / clip.path)) as container:
        frames = list(container.decode(video=0))
    numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in frames]
    first = numbers[0]
    group = 1 if codec == "mjpeg" else GOP
    assert packets[first].is_key
    assert times[trigger] - PRE_S - group / FPS <= times[first] <= times[trigger] - PRE_S
    assert numbers == list(range(first, first + len(numbers)))
    assert times[numbers[-1]] >= times[trigger] + 0.5 + POST_S - 1.5 / FPS
    assert [clip.began_s + frame.time for frame in frames] == pytest.approx(
        [times[number] for number in numbers], abs=0.5 / FPS
    )
    assert find_run(read_slices(tmp_path / "kept" / clip.path), read_slices(film)) == first
    shown = cv2.imread(str(tmp_path / "kept" / snapshot.path))
    assert read_number(shown) == detected
