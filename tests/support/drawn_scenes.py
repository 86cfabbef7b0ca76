"""Drawn scenes: a yard with a gate and a parked car, and a door, with somebody who walks."""

from __future__ import annotations

import cv2
import numpy as np

from tests.support.film_camera import Scene

_SHIFT = 4  # fixed-point bits of OpenCV's drawing
SIZE_WH = (640, 360)
COAT, TROUSERS, SKIN, HAIR = (176, 74, 52), (48, 56, 78), (226, 186, 158), (62, 44, 36)


def draw_yard(number: int, count: int) -> Scene:
    """Somebody walks past a parked car; picture ``number`` of ``count``."""
    rgb = _shade((178, 205, 228), (222, 232, 236))
    _fill(rgb, [(0, 205), (640, 190), (640, 360), (0, 360)], (128, 132, 130))
    _fill(rgb, [(0, 190), (640, 172), (640, 200), (0, 214)], (112, 142, 96))
    for left, top, size in ((60, 150, 46), (118, 160, 36), (560, 138, 52)):
        cv2.circle(rgb, (left, top), size, (92, 128, 84), -1, cv2.LINE_AA)
        cv2.circle(rgb, (left + 14, top - 10), size // 2, (110, 148, 98), -1, cv2.LINE_AA)
    _fill(rgb, [(200, 60), (470, 60), (470, 196), (200, 200)], (214, 204, 188))
    _fill(rgb, [(184, 64), (335, 18), (486, 64)], (134, 84, 70))
    for left in (226, 300, 398):
        _fill(rgb, [(left, 92), (left + 42, 92), (left + 42, 140), (left, 140)], (120, 150, 172))
        cv2.rectangle(rgb, (left, 92), (left + 42, 140), (240, 238, 232), 3, cv2.LINE_AA)
    for post in range(0, 160, 18):
        cv2.rectangle(rgb, (post, 192), (post + 6, 236), (236, 234, 228), -1)
    cv2.rectangle(rgb, (0, 202), (156, 207), (236, 234, 228), -1)
    car = _draw_car(rgb, 400, 232)
    walked = number / count
    person = _draw_person(rgb, 40 + 520 * walked, 336, 140, number)
    boxes = np.array([person, car], np.float32)
    return Scene(rgb, boxes, ("person", "car"), ("", ""))


def draw_door(number: int, count: int) -> Scene:
    """Somebody comes to a door; picture ``number`` of ``count``."""
    rgb = _shade((202, 192, 178), (184, 172, 158))
    _fill(rgb, [(0, 288), (640, 288), (640, 360), (0, 360)], (150, 146, 140))
    for row in range(0, 288, 24):
        cv2.line(rgb, (0, row), (640, row), (190, 179, 165), 1, cv2.LINE_AA)
    _fill(rgb, [(392, 66), (524, 66), (524, 296), (392, 296)], (240, 236, 228))
    _fill(rgb, [(404, 78), (512, 78), (512, 296), (404, 296)], (58, 92, 94))
    _fill(rgb, [(424, 96), (492, 96), (492, 170), (424, 170)], (158, 186, 190))
    cv2.circle(rgb, (498, 200), 5, (226, 200, 120), -1, cv2.LINE_AA)
    _fill(rgb, [(380, 296), (538, 296), (560, 318), (358, 318)], (172, 168, 162))
    _fill(rgb, [(96, 84), (250, 84), (250, 190), (96, 190)], (126, 154, 170))
    cv2.rectangle(rgb, (96, 84), (250, 190), (240, 236, 228), 6, cv2.LINE_AA)
    cv2.line(rgb, (173, 84), (173, 190), (240, 236, 228), 4, cv2.LINE_AA)
    for left in (572, 596, 612):
        cv2.ellipse(rgb, (left, 236), (12, 44), 14 * (left - 594) // 10, 0, 360, (86, 124, 80), -1,
                    cv2.LINE_AA)  # fmt: skip
    _fill(rgb, [(568, 262), (622, 262), (614, 316), (576, 316)], (170, 102, 78))
    person = _draw_person(rgb, 60 + 390 * number / count, 330, 210, number)
    return Scene(rgb, np.array([person], np.float32))


def _shade(above: tuple[int, int, int], below: tuple[int, int, int]) -> np.ndarray:
    """A picture that goes from one colour to another."""
    width, height = SIZE_WH
    ramp = np.linspace(0, 1, height)[:, None, None]
    return np.ascontiguousarray(
        (np.array(above) * (1 - ramp) + np.array(below) * ramp).repeat(width, 1).astype(np.uint8)
    )


def _fill(rgb: np.ndarray, corners: list[tuple[float, float]], colour: tuple[int, ...]) -> None:
    points = np.round(np.array(corners) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(rgb, [points], colour, cv2.LINE_AA, _SHIFT)


def _draw_car(rgb: np.ndarray, left: int, top: int) -> tuple[float, ...]:
    """A car of 180 by 70 pixels; its box."""
    _fill(rgb, [(left + 34, top + 26), (left + 58, top), (left + 128, top), (left + 156, top + 26)],
          (60, 88, 124))  # fmt: skip
    _fill(rgb, [(left + 46, top + 25), (left + 63, top + 6), (left + 90, top + 6),
                (left + 90, top + 25)], (186, 208, 220))  # fmt: skip
    _fill(rgb, [(left + 96, top + 25), (left + 96, top + 6), (left + 124, top + 6),
                (left + 143, top + 25)], (186, 208, 220))  # fmt: skip
    _fill(rgb, [(left, top + 32), (left + 12, top + 25), (left + 170, top + 25),
                (left + 180, top + 34), (left + 178, top + 58), (left + 2, top + 58)],
          (72, 104, 146))  # fmt: skip
    for wheel in (left + 40, left + 142):
        cv2.circle(rgb, (wheel, top + 56), 16, (40, 42, 46), -1, cv2.LINE_AA)
        cv2.circle(rgb, (wheel, top + 56), 7, (170, 172, 174), -1, cv2.LINE_AA)
    return left, top, left + 180, top + 72


def _draw_person(
    rgb: np.ndarray, x: float, ground: float, height: float, step: int
) -> tuple[float, ...]:
    """Somebody who walks, feet at ``(x, ground)``; the box."""
    unit = height / 8
    swing = unit * 0.9 * np.sin(step * 0.7)
    hip, neck = ground - 3.6 * unit, ground - 6.5 * unit
    for side in (-1, 1):
        _limb(rgb, (x, hip), (x + side * swing, ground - 0.2 * unit), 0.85 * unit, TROUSERS)
    _limb(rgb, (x, neck + 0.6 * unit), (x - swing, hip - 0.1 * unit), 0.6 * unit, (146, 58, 42))
    _fill(rgb, [(x - 0.95 * unit, neck + 0.3 * unit), (x - 0.5 * unit, neck),
                (x + 0.5 * unit, neck), (x + 0.95 * unit, neck + 0.3 * unit),
                (x + 0.85 * unit, hip + 0.5 * unit), (x - 0.85 * unit, hip + 0.5 * unit)],
          COAT)  # fmt: skip
    _limb(rgb, (x, neck + 0.7 * unit), (x + swing, hip - 0.1 * unit), 0.6 * unit, (196, 92, 66))
    centre = (round(x), round(neck - 0.75 * unit))
    cv2.circle(rgb, centre, round(0.75 * unit), SKIN, -1, cv2.LINE_AA)
    cv2.ellipse(rgb, centre, (round(0.8 * unit),) * 2, 0, 180, 360, HAIR, -1, cv2.LINE_AA)
    half = max(1.1 * unit, abs(swing) + 0.5 * unit)
    return x - half, ground - height, x + half, ground + 0.1 * unit


def _limb(rgb: np.ndarray, begin: tuple[float, float], end: tuple[float, float], width: float,
          colour: tuple[int, ...]) -> None:  # fmt: skip
    first, last = (tuple(round(value) for value in point) for point in (begin, end))
    cv2.line(rgb, first, last, colour, max(1, round(width)), cv2.LINE_AA)
