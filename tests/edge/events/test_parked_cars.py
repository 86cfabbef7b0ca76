"""A parked car that people walk past, through tracker and events: one track, one event."""

import itertools

import numpy as np
import pytest

from edge.config import Camera
from edge.event import EventChange
from edge.events.camera_events import CameraEvents
from edge.types import Faces, Frame, FrameResult, RgbPicture, TrackEventType
from edge.vision.tracker import Tracker
from tests.support.street import CAR, CLASSES, HEIGHT, WIDTH, Street

FPS = 5
BLANK = RgbPicture(np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def watch(street, minutes):
    """The tracks and events that a street makes: those of cars."""
    camera = Camera(name="street", source={}, events=[{"when": ["began"], "labels": ["car"]}])
    numbers = itertools.count(1)
    tracker = Tracker(camera.tracking, numbers, CLASSES)
    events = CameraEvents(camera, CLASSES, lambda _: f"e{next(numbers)}")
    began, updates = [], []
    for row in range(round(minutes * 60 * FPS)):
        at_s = row / FPS
        found = tracker.update(street.detect(at_s), at_s)
        frame = Frame("street", 1, row, 1000 + at_s, at_s, BLANK)
        changes = (*found.ended, *found.began)
        result = FrameResult(frame, found.tracks, ((),) * len(found.tracks), Faces.empty(), changes)
        began += [c.track_id for c in found.began
                  if c.class_id == CAR and c.change is TrackEventType.BEGAN]  # fmt: skip
        updates += events.note(result)
    return began, [u.event for u in updates if u.change is EventChange.BEGUN]


def check(seed, minutes):
    street = Street(seed, minutes)
    began, events = watch(street, minutes)
    assert street.covered_s > 1, "nobody stood before it"
    assert len(began) == 1
    assert len(events) == 1


@pytest.mark.parametrize("seed", [0, 5, 7, 13, 15])
def test_a_parked_car_that_people_stop_before_is_one_track_and_one_event(seed):
    check(seed, 6)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(20))
def test_a_parked_car_is_one_event_for_half_an_hour(seed):
    check(seed, 30)
