"""What the motion gate saves on quiet scenes, and that it loses nobody; `make proof`.

Each scene is shown twice, to a pipeline that looks at every frame and to one behind the gate.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from edge.config import Camera, Config, Line, Models, Zone
from edge.pipeline import Pipeline
from edge.service.model_set import ModelSet
from edge.types import Frame, TrackEvent
from edge.vision.boxes import iou
from edge.vision.motion import MotionDetector
from edge.vision.tracker import make_track_ids
from tests.support.quiet_scenes import COCO, QuietScene, cut_recognized

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not COCO.exists(), reason="needs ../shared/data"),
]

FPS = 5
SCENES, SCENE_S, WALKERS = 90, 60.0, 3
LONG_SCENES = 2  # of ten minutes, with twelve people each
HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
CAMERA = Camera(
    name="a",
    source={"kind": "synthetic"},
    labels=("person",),
    zones=(Zone(name="left", polygon=HALF),),
    lines=(Line(name="middle", a=(0.5, 0), b=(0.5, 1)),),
)


@dataclass
class Watched:
    """What a pipeline said about a scene.

    Attributes:
        events: With the number of their frame, those about walkers.
        looks: Frames that the network looked at.
        idle_looks: Those of them in which nobody was in the picture.
    """

    events: list[tuple[int, TrackEvent]] = field(default_factory=list)
    looks: int = 0
    idle_looks: int = 0
    frames: int = 0


class Watcher:
    """One pipeline and what it said."""

    def __init__(self, detector, *, gated):
        self.pipeline = Pipeline(detector, None, make_track_ids(1.0))
        self.pipeline.watch([CAMERA])
        self.motion = MotionDetector() if gated else None
        self.followed = False
        self.watched = Watched()

    def show(self, scene, row):
        at_s = row / FPS
        picture = scene.render(at_s)
        moving = None
        if self.motion:
            moving = bool(self.motion.update(picture, at_s, followed=self.followed).any())
        frame = Frame("a", 1, row, at_s, at_s, picture, moving=moving)
        (result,) = self.pipeline.step([frame])
        self.followed = result.followed
        boxes = [box for walker in scene.walkers for box in [walker.locate(at_s)] if box]
        self.watched.frames += 1
        self.watched.looks += result.looked
        self.watched.idle_looks += result.looked and not _is_busy(scene, at_s)
        self.watched.events += [
            (row, change) for change in result.changes
            if boxes and iou(np.float32([change.xyxy]), np.float32(boxes)).max() > 0.3
        ]  # fmt: skip


def _is_busy(scene, at_s):
    """Whether somebody is in the picture, or was until the track ends."""
    return any(walker.begins_s <= at_s <= walker.ends_s + 2 for walker in scene.walkers)


def _match(events, others, within):
    """How many events have no counterpart of the same kind and place near in time."""
    left = list(others)
    lost = []
    for row, event in events:
        same = [
            (abs(row - other_row), n)
            for n, (other_row, other) in enumerate(left)
            if (other.change, other.place, other.direction)
            == (event.change, event.place, event.direction)
            and abs(row - other_row) <= within
        ]
        if same:
            del left[min(same)[1]]
        else:
            lost.append((row, event))
    return lost


@pytest.fixture(scope="module")
def detector():
    models = Models(detector="zoo:detect-nano-wide")
    return ModelSet.load(Config(models=models, cameras=(CAMERA,)), Path()).detector


@pytest.fixture(scope="module")
def sprites(detector):
    return cut_recognized(detector)


@pytest.fixture(scope="module")
def outcome(detector, sprites):
    every, gated, lost, late = Watched(), Watched(), [], []
    for seed in range(SCENES):
        scene = QuietScene.draw(seed, SCENE_S, WALKERS, sprites)
        one, two = Watcher(detector, gated=False), Watcher(detector, gated=True)
        for row in range(int(SCENE_S * FPS)):
            one.show(scene, row)
            two.show(scene, row)
        for total, part in ((every, one.watched), (gated, two.watched)):
            total.looks += part.looks
            total.idle_looks += part.idle_looks
            total.frames += part.frames
            total.events += part.events
        lost += [(seed, *item) for item in _match(one.watched.events, two.watched.events, 2)]
        late += [(seed, *item) for item in _match(two.watched.events, one.watched.events, 2)]
        print(f"scene {seed}: {len(one.watched.events)} events, lost {len(lost)} so far, "
              f"looks {two.watched.looks} of {one.watched.looks}, "
              f"{two.watched.idle_looks} with nobody there", flush=True)  # fmt: skip
    return every, gated, lost, late


def test_nothing_that_happens_is_lost(outcome, keep):
    every, _, lost, more = outcome
    print(f"{len(every.events)} events, lost {len(lost)}: {lost[:10]}; more {len(more)}")
    assert len(every.events) >= 500
    keep("events lost", len(lost))


def test_in_ten_quiet_minutes_hardly_anybody_looks(detector, sprites, keep):
    looks = frames = idle_looks = idle_frames = 0
    for seed in range(LONG_SCENES):
        scene = QuietScene.draw(1000 + seed, 600.0, 12, sprites)
        watcher = Watcher(detector, gated=True)
        for row in range(600 * FPS):
            watcher.show(scene, row)
            idle_frames += not _is_busy(scene, row / FPS)
        looks, frames = looks + watcher.watched.looks, frames + watcher.watched.frames
        idle_looks += watcher.watched.idle_looks
    print(f"looks: {looks / frames:.3f} of all frames, "
          f"{idle_looks / idle_frames:.3f} of those with nobody in them", flush=True)  # fmt: skip
    keep("idle looks", idle_looks / idle_frames)
