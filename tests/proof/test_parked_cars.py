"""A parked car that people walk past for half an hour is one track and one event, as seen.

Cars, buses, trucks, people and streets are cut from photographs, and looked at by the detector that
ships. One in four stops before the car for up to fifteen seconds. SCENES and MINUTES say how much.
"""

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import Camera, Config, Models
from edge.event import EventChange
from edge.events.camera_events import CameraEvents
from edge.pipeline import Pipeline
from edge.service.model_set import ModelSet
from edge.types import Frame, RgbPicture, TrackEventType
from tests.support.quiet_scenes import COCO, SIZE_WH, cut_recognized, cut_vehicles, lay, take_street

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not COCO.exists(), reason="needs ../shared/data"),
]

SCENES = int(os.environ.get("SCENES", "20"))
MINUTES = float(os.environ.get("MINUTES", "30"))
FPS = 2
SHIFT_PX = 64  # by which the field of noise is shifted from picture to picture, at most
EVERY_S = (8.0, 40.0)  # from one who walks past to the next
STOP_S = (2.0, 15.0)
VEHICLES = ("car", "bus", "truck")
CAMERA = Camera(name="street", source={}, events=[{"when": ["began"], "labels": [*VEHICLES]}])


@dataclass
class Passer:
    """Somebody who walks past the car, and may stop before it."""

    begins_s: float
    speed_px: float
    height_px: int
    foot_y: int
    rightward: bool
    stops_s: float
    sprite: np.ndarray = field(repr=False)

    def locate(self, at_s, stop_x):
        """The box; None while not in the picture."""
        width = self.height_px * self.sprite.shape[1] / self.sprite.shape[0]
        way = (at_s - self.begins_s) * self.speed_px
        stop = stop_x + width if self.rightward else SIZE_WH[0] - stop_x
        if way > stop:
            way = max(stop, way - self.stops_s * self.speed_px)
        if not 0 <= way <= SIZE_WH[0] + width:
            return None
        x1 = way - width if self.rightward else SIZE_WH[0] - way
        return x1, self.foot_y - self.height_px, x1 + width, self.foot_y


class ParkedScene:
    """A street with one parked car."""

    def __init__(self, seed, cars, people, detector):
        self._rng = rng = np.random.default_rng(seed)
        while True:  # until the detector recognizes it where it stands
            self._still = take_street(int(rng.integers(1 << 30)))
            car = cars[rng.integers(len(cars))]
            width = int(rng.uniform(260, 520))
            height = int(width * car.shape[0] / car.shape[1])
            x, foot = int(rng.uniform(100, SIZE_WH[0] - width - 100)), int(rng.uniform(480, 640))
            self.car = (x, foot - height, x + width, foot)
            lay(self._still, car, self.car)
            if find_vehicles(self._still, detector) == 1:
                break
        noise = np.round(rng.normal(0, 3, (SIZE_WH[1] + SHIFT_PX, SIZE_WH[0] + SHIFT_PX, 1)))
        noise = np.repeat(noise, 3, axis=2)
        self._noise = np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)
        self.passers = list(self._invite(people, foot, height))

    def _invite(self, people, foot, car_height):
        rng, at_s = self._rng, 20.0
        while at_s < MINUTES * 60:
            height = int(car_height * rng.uniform(1.0, 1.4))
            yield Passer(
                at_s, rng.uniform(0.6, 0.95) * height, height, foot + int(rng.uniform(5, 40)),
                bool(rng.integers(2)), rng.uniform(*STOP_S) if rng.random() < 0.25 else 0.0,
                people[rng.integers(len(people))],
            )  # fmt: skip
            at_s += rng.uniform(*EVERY_S)

    def show(self, at_s):
        bgr = self._still.copy()
        for passer in self.passers:
            if box := passer.locate(at_s, (self.car[0] + self.car[2]) / 2):
                lay(bgr, passer.sprite, box)
        y, x = np.random.default_rng(int(at_s * FPS)).integers(0, SHIFT_PX, 2)
        bright, dark = self._noise
        height, width = bgr.shape[:2]
        cv2.add(bgr, bright[y : y + height, x : x + width], bgr)
        return cv2.subtract(bgr, dark[y : y + height, x : x + width])


def find_vehicles(bgr, detector):
    """How many vehicles a picture shows to a detector that may be sure of them."""
    picture = RgbPicture(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    (found,) = detector.detect([Frame("street", 1, 1, 0.0, 0.0, picture)])
    kinds = np.isin([detector.classes[number] for number in found.class_id], VEHICLES)
    return int((kinds & (found.score > 0.6)).sum())


@pytest.fixture(scope="module")
def detector():
    models = Models(detector="zoo:detect-nano-wide")
    return ModelSet.load(Config(models=models, cameras=(CAMERA,)), Path()).detector


def watch(scene, detector):
    """What began, the events, and in how many frames the car was seen."""
    numbers = itertools.count(1)
    pipeline = Pipeline(detector, None, numbers)
    pipeline.watch([CAMERA])
    events = CameraEvents(CAMERA, detector.classes, lambda _: f"e{next(numbers)}")
    wanted = {detector.classes.index(name) for name in VEHICLES}
    began, updates, seen = [], [], 0
    for row in range(round(MINUTES * 60 * FPS)):
        at_s = row / FPS
        picture = RgbPicture(cv2.cvtColor(scene.show(at_s), cv2.COLOR_BGR2RGB))
        (result,) = pipeline.step([Frame("street", 1, row, 1000 + at_s, at_s, picture)])
        seen += bool(np.isin(result.tracks.class_id, [*wanted]).any())
        began += [c.track_id for c in result.changes
                  if c.class_id in wanted and c.change is TrackEventType.BEGAN]  # fmt: skip
        updates += events.note(result)
    return began, [u.event for u in updates if u.change is EventChange.BEGUN], seen


def test_half_an_hour_with_people_before_it_is_one_event(detector, keep):
    cars, people = cut_vehicles(detector), cut_recognized(detector)
    once = 0
    for seed in range(SCENES):
        scene = ParkedScene(seed, cars, people, detector)
        began, events, seen = watch(scene, detector)
        once += len(began) == len(events) == 1
        print(f"scene {seed}: {len(scene.passers)} walked past, {len(began)} tracks and "
              f"{len(events)} events of the car, seen in {seen / (MINUTES * 60 * FPS):.2f} of the "
              "frames", flush=True)  # fmt: skip
    print(f"{once} of {SCENES} are one track and one event")
    keep("parked", 100 * once / SCENES)
