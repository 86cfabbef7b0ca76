"""Face quality: is a face good enough to be compared?

Measured on 3059 television frames of 250 people (ytf_dev): what predicts whether two pictures
of a person match is, in this order, sharpness, size and pose. The limits of `LOOK` reject 5 %
of those frames, those of `ENROLL` 13 %. Discarding the worst tenth, fifth and half by `value`
reduces the false non-matches of MobileFaceNet at FAR 1e-3 from 19 % to 17, 14 and 8 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.people import reasons
from edge.people.reasons import Reason
from edge.types import F32, U8, Bool

# Eyes, nose and mouth corners of a mean face, millimeters: x right, y down, z to the camera.
_HEAD_MM = np.array(
    [[-31.5, -33, -30], [31.5, -33, -30], [0, 0, 0], [-25, 32, -21], [25, 32, -21]], np.float64
)
_FIT = np.linalg.pinv(_HEAD_MM - _HEAD_MM.mean(axis=0))  # (3, 5)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_INNER = slice(16, 96)  # of an aligned crop of 112: the face without hair and background


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a face must have. Raising a minimum rejects more faces.

    Attributes:
        eyes_px: Least distance of the eyes, source pixels.
        yaw_deg: Greatest turn to the left or right.
        pitch_deg: Greatest angle of looking up or down.
        roll_deg: Greatest tilt of the head.
        sharpness: Least variance of the Laplacian of the aligned crop.
        dark: Least mean luma, 0..255.
        bright: Greatest mean luma.
        contrast: Least standard deviation of luma.
    """

    eyes_px: float = 16
    yaw_deg: float = 55
    pitch_deg: float = 45
    roll_deg: float = 45
    sharpness: float = 10
    dark: float = 40
    bright: float = 220
    contrast: float = 12


LOOK = QualityLimits()
# what landmarks of a first look may show of a face that a close-up finds good enough
GLANCE = QualityLimits(eyes_px=12, yaw_deg=70, pitch_deg=60, roll_deg=55)
ENROLL = QualityLimits(eyes_px=18, yaw_deg=50, pitch_deg=40, roll_deg=40, sharpness=15, dark=45)


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Head poses of M faces.

    Attributes:
        yaw_deg: ``(M,)`` positive when the nose points to the right of the image.
        pitch_deg: ``(M,)`` positive when looking up.
        roll_deg: ``(M,)`` positive when tilted clockwise, as seen in the image.
    """

    yaw_deg: F32
    pitch_deg: F32
    roll_deg: F32

    def is_within(self, limits: QualityLimits) -> Bool:
        """``(M,)``; NaN is never within."""
        within: Bool = (
            (np.abs(self.yaw_deg) <= limits.yaw_deg)
            & (np.abs(self.pitch_deg) <= limits.pitch_deg)
            & (np.abs(self.roll_deg) <= limits.roll_deg)
        )
        return within


def estimate_pose(landmarks: F32) -> Pose:
    """Fit a mean head to five points under weak perspective, ``(M, 5, 2)`` -> M poses.

    Accurate to about 10 degrees, because faces differ from the mean one.
    """
    centered = landmarks - landmarks.mean(axis=1, keepdims=True)
    axes = np.einsum("kp,mpd->mdk", _FIT, centered)  # (M, 2, 3): the first rows of scale * R
    right = _unit(axes[:, 0])
    down = _unit(axes[:, 1])
    toward = np.cross(right, down)
    yaw = np.degrees(np.arctan2(right[:, 2], toward[:, 2]))
    pitch = np.degrees(np.arcsin(np.clip(-down[:, 2], -1, 1)))
    roll = np.degrees(np.arctan2(down[:, 0], down[:, 1]))
    return Pose(*(angle.astype(np.float32) for angle in (yaw, pitch, roll)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit


def measure_eyes_px(landmarks: F32) -> F32:
    """Distance of the eyes, ``(M, 5, 2)`` -> ``(M,)``, source pixels."""
    distance: F32 = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=1)
    return distance.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class FaceQuality:
    """Quality measures of M faces.

    Attributes:
        sharpness: ``(M,)`` variance of the Laplacian of the aligned crop.
        brightness: ``(M,)`` mean luma of the aligned crop.
        contrast: ``(M,)`` standard deviation of that luma.
        value: ``(M,)`` float32 in [0, 1], all measures combined; 0 if any is not finite.
    """

    eyes_px: F32
    pose: Pose
    sharpness: F32
    brightness: F32
    contrast: F32
    value: F32

    def __len__(self) -> int:
        return len(self.value)

    def find_issues(self, row: int, limits: QualityLimits = LOOK) -> tuple[Reason, ...]:
        """Why face ``row`` is not good enough; empty when it is. NaN is never good enough."""
        checks = (
            (reasons.TOO_SMALL, self.eyes_px[row] >= limits.eyes_px),
            (reasons.TURNED_AWAY, self.pose.is_within(limits)[row]),
            (reasons.BLURRED, self.sharpness[row] >= limits.sharpness),
            (reasons.TOO_DARK, self.brightness[row] >= limits.dark),
            (reasons.TOO_BRIGHT, self.brightness[row] <= limits.bright),
            (reasons.LOW_CONTRAST, self.contrast[row] >= limits.contrast),
        )
        return tuple(reason for reason, passed in checks if not passed)


def assess(landmarks: F32, crops: U8) -> FaceQuality:
    """Measure M faces: ``(M, 5, 2)`` landmarks, ``(M, 112, 112, 3)`` crops aligned by them."""
    inner = crops[:, _INNER, _INNER]
    # no matrix product: BLAS threads would wait for each other longer than they compute
    luma = inner[..., 0] * _LUMA[0] + inner[..., 1] * _LUMA[1] + inner[..., 2] * _LUMA[2]
    laplacian = (
        luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
        - 4 * luma[:, 1:-1, 1:-1]
    )  # fmt: skip
    eyes_px, pose = measure_eyes_px(landmarks), estimate_pose(landmarks)
    sharpness = laplacian.var(axis=(1, 2))
    brightness, contrast = luma.mean(axis=(1, 2)), luma.std(axis=(1, 2))
    return FaceQuality(
        eyes_px, pose, sharpness, brightness, contrast,
        _combine(eyes_px, pose, sharpness, brightness, contrast),
    )  # fmt: skip


def _combine(eyes_px: F32, pose: Pose, sharpness: F32, brightness: F32, contrast: F32) -> F32:
    """Product of all measures scaled to 0..1; size and sharpness count by their logarithm."""
    facing = np.cos(np.radians(pose.yaw_deg)) * np.cos(np.radians(pose.pitch_deg))
    value = (
        _ramp(np.log(np.maximum(eyes_px, 1)), np.log(8), np.log(48))
        * _ramp(np.log(np.maximum(sharpness, 1)), np.log(2), np.log(300))
        * np.clip(facing, 0, 1)
        * _ramp(brightness, 10, 60)
        * _ramp(brightness, 250, 200)
        * _ramp(contrast, 4, 18)
    ) ** 0.5
    finite: F32 = np.nan_to_num(value, nan=0.0).astype(np.float32)
    return finite


def _ramp(measure: F32, zero: float, one: float) -> F32:
    """0 at ``zero``, 1 at ``one``, linear between."""
    value: F32 = np.clip((measure - zero) / (one - zero), 0, 1)
    return value
