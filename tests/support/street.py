"""A street that nobody films: boxes as a detector gives them, of a parked car and of walkers.

Boxes tremble, scores vary, and what is covered is found worse, elsewhere or not at all: a detector
shrinks the box of what is partly hidden to what shows of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge.types import Detections

WIDTH, HEIGHT = 640, 360
PERSON, CAR = 0, 1
CLASSES = ("person", "car")


@dataclass(slots=True)
class Walker:
    """Somebody who walks to a place, stays there for a while, and leaves on the other side.

    Attributes:
        began_s: When they come into the picture.
        stays_s: How long they stand still.
        at_x: Where, in pixels.
        foot_y: Where their feet are.
        height: Their height in pixels.
        speed: In pixels a second; negative to the left.
    """

    began_s: float
    stays_s: float
    at_x: float
    foot_y: float
    height: float
    speed: float

    @property
    def ended_s(self):
        """When they are gone."""
        return self.began_s + WIDTH / abs(self.speed) + self.stays_s

    def locate(self, at_s):
        """Their box at a time, ``(4,)`` xyxy."""
        passed_s = at_s - self.began_s
        first = 0 if self.speed > 0 else WIDTH
        arrives_s = (self.at_x - first) / self.speed
        walked_s = min(passed_s, arrives_s) + max(passed_s - arrives_s - self.stays_s, 0)
        x, half = first + self.speed * walked_s, 0.18 * self.height
        return np.array([x - half, self.foot_y - self.height, x + half, self.foot_y])


@dataclass(slots=True)
class Street:
    """A car that stands all the time, and walkers before it, drawn from a seed.

    Args:
        seed: Of all that is drawn.
        minutes: How long people walk by.

    Attributes:
        car: Its box, ``(4,)`` xyxy.
        covered_s: How long it was covered by more than half, without a break, at most.
    """

    seed: int
    minutes: float
    car: np.ndarray = field(init=False)
    covered_s: float = 0.0
    _walkers: list[Walker] = field(init=False)
    _rng: np.random.Generator = field(init=False)
    _since_s: float | None = None

    def __post_init__(self):
        rng = self._rng = np.random.default_rng(self.seed)
        width = rng.uniform(50, 260)
        height = width * rng.uniform(0.4, 0.75)
        x = rng.uniform(5, WIDTH - width - 5)
        foot_y = rng.uniform(max(height + 5, 0.5 * HEIGHT), HEIGHT - 5)
        self.car = np.array([x, foot_y - height, x + width, foot_y])
        self._walkers, at_s = [], 20.0
        while at_s < 60 * self.minutes:
            at_s += rng.exponential(rng.uniform(4, 25))
            tall = height * rng.uniform(0.9, 2.2)
            stays_s = rng.exponential(6) if rng.random() < 0.4 else 0.0
            speed = rng.uniform(0.25, 1.2) * tall * rng.choice([-1, 1])
            foot = min(foot_y + rng.uniform(0.02, 0.3) * height, HEIGHT - 1)
            middle = rng.uniform(x, x + width)
            self._walkers.append(Walker(at_s, min(stays_s, 40.0), middle, foot, tall, speed))

    def detect(self, at_s):
        """What a detector finds at a time."""
        rng, boxes, scores, classes = self._rng, [], [], []
        people = [w.locate(at_s) for w in self._walkers if w.began_s <= at_s < w.ended_s]
        car, share = _show(self.car, people)
        self._note(at_s, share)
        # what shows decides whether it is found, how surely, and in which box
        if share > rng.uniform(0.15, 0.4) and rng.random() < 0.97:
            boxes.append(car)
            scores.append(np.clip(rng.normal(0.25 + 0.6 * share, 0.08), 0.05, 0.98))
            classes.append(CAR)
        for box in people:
            if rng.random() < 0.95:
                boxes.append(box)
                scores.append(np.clip(rng.normal(0.8, 0.1), 0.05, 0.98))
                classes.append(PERSON)
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        sides = np.tile(xyxy[:, 2:] - xyxy[:, :2], 2)
        xyxy += (rng.normal(0, 0.015, xyxy.shape) * sides).astype(np.float32)
        return Detections(xyxy, np.array(scores, np.float32), np.array(classes, np.int32))

    def _note(self, at_s, share):
        if share >= 0.5:
            self._since_s = None
        else:
            self._since_s = at_s if self._since_s is None else self._since_s
            self.covered_s = max(self.covered_s, at_s - self._since_s)


def _show(box, others):
    """The box of what shows of an object behind others, and which share of it shows."""
    columns = np.ones(64, np.bool_)
    for other in others:
        if other[1] < box[3] and other[3] > box[1]:
            hidden = (other[[0, 2]] - box[0]) / (box[2] - box[0]) * 64
            first, last = np.clip(np.round(hidden), 0, 64).astype(int)
            over = (min(other[3], box[3]) - max(other[1], box[1])) / (box[3] - box[1])
            if over > 0.5:
                columns[first:last] = False
    share = columns.mean()
    if not columns.any():
        return box, 0.0
    shown = np.flatnonzero(columns)
    left, right = shown[0], shown[-1] + 1
    width = (box[2] - box[0]) / 64
    return np.array([box[0] + left * width, box[1], box[0] + right * width, box[3]]), share
