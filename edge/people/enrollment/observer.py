"""The witness: what the pictures of a live enrolment show of the one person before the camera."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from edge.people.enrollment.challenge import Observation
from edge.people.liveness import planarity as flatness
from edge.people.liveness.clip import Clip
from edge.people.liveness.score_fusion import Demands, Vitality
from edge.people.reasons import FROZEN_PICTURE, Reason
from edge.people.recognition import face_quality as quality
from edge.people.recognition.recognizer import View
from edge.ports import Embedder, FaceFinder, LivenessModel
from edge.types import F32, U8, Faces, Frame
from edge.vision.face_crops import align_face
from edge.vision.resize import crop

RIVAL = 0.5  # a face of so much of the subject's height is a second face, not a passer-by
LOOKS = (1.6, 2.0, 2.5, 3.2)  # sides of the face's box
FACING_DEG = 25  # a liveness network knows faces as they look into a camera


@dataclass(frozen=True, slots=True)
class Subject:
    """The face that is followed.

    Attributes:
        track: its track.
        vitality: whether it lives.
        clip: what the liveness network sees of it.
    """

    track: int
    vitality: Vitality
    clip: Clip


class Witness:
    """Turns frames of one camera into observations.

    Points of one look are off by tenths of the eyes' distance, a pose by 10 degrees and more: so
    they are the mean of several looks at several sizes, which halves that.

    Args:
        finder: finds faces.
        embedder: describes the face.
        liveness: tells faces from pictures of faces.
        demands: what a living face must show.
    """

    def __init__(
        self, finder: FaceFinder, embedder: Embedder, liveness: LivenessModel, demands: Demands
    ) -> None:
        self._finder = finder
        self._embedder = embedder
        self._liveness = liveness
        self._demands = demands
        self._view = View(itertools.count(1))
        self._subject = Subject(-1, Vitality(demands), Clip())
        self._crop = np.zeros(0, np.uint8)

    def observe(self, frame: Frame) -> Observation:
        """Look at one frame."""
        faces = self._finder.find([frame])[0]
        self._view.begin(frame)
        tracks = self._view.follow(faces, frame.monotonic_s)
        height = np.where(tracks >= 0, faces.xyxy[:, 3] - faces.xyxy[:, 1], 0)
        if not height.any():
            return Observation(frame.monotonic_s)
        row = self._row(tracks, height)
        rivals = int(np.sum(height >= RIVAL * height[row])) - 1
        points = self._points(frame, faces.xyxy[row], faces.landmarks[row])
        aligned = align_face(frame.picture, points)
        measured = quality.assess(points[None], aligned[None])
        pose = measured.pose
        poor = _join(measured.refusals(0))
        if np.array_equal(aligned, self._crop):
            poor = poor or FROZEN_PICTURE.text
        self._crop = aligned
        yaw, pitch = float(pose.yaw_deg[0]), float(pose.pitch_deg[0])
        embedding = np.zeros(0, np.float32)
        if not poor:
            embedding = self._embedder.embed(aligned[None])[0]
            self._check_life(frame, faces, row, aligned, facing=max(abs(yaw), abs(pitch)))
        state, alive = self._subject.vitality.state(frame.monotonic_s)
        facing = math.cos(math.radians(yaw)) * math.cos(math.radians(pitch))
        return Observation(
            at_s=frame.monotonic_s,
            track=self._subject.track,
            rivals=rivals,
            yaw_deg=yaw,
            pitch_deg=pitch,
            frontal_px=float(measured.eye_px[0]) / max(facing, 0.3),
            poor=poor,
            flaw=poor or _join(measured.refusals(0, quality.ENROLL)),
            quality=float(measured.value[0]),
            embedding=embedding,
            sketch=flatness.sketch(aligned),
            liveness=state,
            alive=alive.text,
        )

    def _points(self, frame: Frame, xyxy: F32, points: F32) -> F32:
        """``(5, 2)`` the mean of looks at several sizes at the face in ``xyxy`` (4,)."""
        middle, side = (xyxy[:2] + xyxy[2:]) / 2, float((xyxy[2:] - xyxy[:2]).max())
        parts, corners = [], []
        for size in LOOKS:
            low, high = middle - side * size / 2, middle + side * size / 2
            part, corner = crop(frame.picture, *map(int, (*low, *high)))
            parts.append(replace(frame, picture=part))
            corners.append(corner)
        found = [points]
        for faces, corner in zip(self._finder.find(parts), corners, strict=True):
            if len(faces):
                centres = (faces.xyxy[:, :2] + faces.xyxy[:, 2:]) / 2 + corner
                away = np.abs(centres - middle).max(axis=1)
                nearest = int(away.argmin())
                if away[nearest] <= side / 4:  # else it is another face
                    found.append(faces.landmarks[nearest] + np.array(corner, np.float32))
        mean: F32 = np.mean(found, axis=0, dtype=np.float32)
        return mean

    def _row(self, tracks: np.ndarray, height: np.ndarray) -> int:
        """The subject's row; where it is gone the largest face is a new subject."""
        same = tracks == self._subject.track
        if same.any():
            return int(same.argmax())
        row = int(height.argmax())
        self._subject = Subject(int(tracks[row]), Vitality(self._demands), Clip())
        return row

    def _check_life(
        self, frame: Frame, faces: Faces, row: int, aligned: U8, *, facing: float
    ) -> None:
        subject, model = self._subject, self._liveness
        subject.vitality.watch(flatness.sketch(aligned))
        if not facing <= FACING_DEG:
            return
        crops = model.crops(frame.picture, faces.xyxy[row])
        clip = subject.clip.add(crops, frame.monotonic_s, model.clip_frames, model.clip_s)
        if clip is not None:
            score = float(model.live(clip[None])[0])
            subject.vitality.score(score, frame.monotonic_s)


def _join(issues: Iterable[Reason]) -> str:
    return ", ".join(issue.text for issue in issues)
