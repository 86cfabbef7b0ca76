"""What `zoom` and `tiles` find of small people, and what they cost.

Run: ``python -m tests.benchmarks.zoom [SCENES] [MODEL]``. People are cut out of photographs and
laid, 40 to 90 pixels tall, into photographs of 1920x1080 without people; regions are those that the
motion detector finds between the empty scene and the one with the people.

Goal: an AP at IoU 0.5 of at least 1.5 times that of the whole picture alone.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.config import Camera, Config, Models
from edge.service.model_set import ModelSet
from edge.types import Detections, Frame, RgbPicture
from edge.vision.motion import MotionDetector, find_regions
from edge.vision.zoom import NO_WINDOWS, Zoom, detect_near
from tests.support.quiet_scenes import cut_recognized, find_photographs, lay
from trainers.metrics.detection import evaluate

SIZE_WH = (1920, 1080)
HEIGHT_PX = (40, 90)
PEOPLE = 3
SETTINGS = {
    "whole picture": {},
    "zoom": {"zoom": True},
    "tiles 2x1": {"tiles": "2x1"},
    "tiles 3x2": {"tiles": "3x2"},
}


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene without people and with them; their boxes, ``(P, 4)`` xyxy."""

    empty: RgbPicture
    peopled: RgbPicture
    xyxy: np.ndarray

    @property
    def class_id(self) -> np.ndarray:
        return np.zeros(len(self.xyxy), np.int32)


def draw(seed: int, sprites: list[np.ndarray]) -> Scene:
    """A scene with people in it who stand apart."""
    rng = np.random.default_rng(seed)
    photos = find_photographs()
    image = cv2.imread(str(photos[rng.integers(len(photos))]))
    scale = max(SIZE_WH[0] / image.shape[1], SIZE_WH[1] / image.shape[0])
    bgr = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    bgr = np.ascontiguousarray(bgr[: SIZE_WH[1], : SIZE_WH[0]])
    empty = RgbPicture(cv2.cvtColor(_add_noise(bgr, rng), cv2.COLOR_BGR2RGB))
    boxes = []
    for part in range(PEOPLE):
        sprite = sprites[rng.integers(len(sprites))]
        height = int(rng.uniform(*HEIGHT_PX))
        width = max(round(height * sprite.shape[1] / sprite.shape[0]), 1)
        third = SIZE_WH[0] // PEOPLE
        x = int(part * third + rng.uniform(10, third - width - 10))
        y = int(rng.uniform(200, SIZE_WH[1] - height - 10))
        boxes.append((x, y, x + width, y + height))
        lay(bgr, sprite, boxes[-1])
    peopled = RgbPicture(cv2.cvtColor(_add_noise(bgr, rng), cv2.COLOR_BGR2RGB))
    return Scene(empty, peopled, np.array(boxes, np.float32))


def _add_noise(bgr: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(0, 2, bgr.shape[:2])[..., None]
    return np.clip(bgr + noise, 0, 255).astype(np.uint8)


def look(detector, settings: dict, scene: Scene) -> tuple[Detections, float]:
    """What is found in a scene by a camera with these settings, and the CPU seconds it took."""
    motion = MotionDetector()
    for row in range(4):
        motion.update(scene.empty, 0.2 * row)
    cells = motion.update(scene.peopled, 0.8)
    regions = find_regions(cells, scene.peopled)
    frame = Frame("a", 1, 1, 0.0, 0.0, scene.peopled, regions=regions)
    zoom = Zoom.from_settings(Camera(name="a", source={}, **settings))
    begun_s = time.process_time()
    windows = zoom.plan(frame, NO_WINDOWS, detector.input_wh) if zoom.enabled else NO_WINDOWS
    (found,) = detect_near(detector, [frame], [windows])
    took_s = time.process_time() - begun_s
    return found[found.class_id == 0], took_s


def main(scenes: int = 100, model: str = "zoo:detect-nano-wide") -> None:
    camera = Camera(name="a", source={"kind": "synthetic"})
    settings = Config(models=Models(detector=model), cameras=(camera,))
    detector = ModelSet.load(settings, Path()).detector
    sprites = cut_recognized(detector)
    drawn = [draw(seed, sprites) for seed in range(scenes)]
    print(f"{scenes} scenes, {len(sprites)} people", flush=True)
    base = None
    for name, keys in SETTINGS.items():
        looks = [look(detector, keys, scene) for scene in drawn]
        evaluation = evaluate(drawn, [found for found, _ in looks], ("person",))
        ap = float(evaluation.matches["all"][0].average_precision()[0])
        took_ms = 1e3 * float(np.median([took_s for _, took_s in looks]))
        base = base or (ap, took_ms)
        print(f"{name:14} AP50 {ap:.3f}, {ap / base[0]:.2f} times; {took_ms:.1f} ms of CPU, "
              f"{took_ms / base[1]:.2f} times", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(*(int(argument) if argument.isdigit() else argument for argument in sys.argv[1:]))
