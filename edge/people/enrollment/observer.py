"""The enrollment observer: what a camera's frames show of the one person in front of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from edge.people.enrollment.challenge import Observation
from edge.people.liveness.clip import Clip
from edge.people.liveness.planarity import make_thumbnail
from edge.people.liveness.score_fusion import LivenessFusion, LivenessPolicy
from edge.people.reasons import FROZEN_PICTURE, Reason
from edge.people.recognition import face_quality
from edge.people.recognition.camera_faces import CameraFaces
from edge.ports import Embedder, FaceFinder, LivenessModel
from edge.types import F32, Faces, Frame, Liveness
from edge.vision.face_crops import align_face
from edge.vision.resize import crop

OTHER_FACE = 0.5  # a face of at least this ratio of the subject's height is not a passer-by
CROP_SCALES = (1.6, 2.0, 2.5, 3.2)  # of the face's box, in which its landmarks are found again
FACING_DEG = 25  # liveness models are trained on faces that look into the camera


@dataclass(frozen=True, slots=True)
class Subject:
    """The face that is followed."""

    track: int
    fusion: LivenessFusion
    clip: Clip


class EnrollmentObserver:
    """Turns the frames of one camera into observations.

    Landmarks of a single frame are off by tenths of the eyes' distance and poses by 10 degrees and
    more, so they are averaged over crops of several sizes, which halves that.
    """

    def __init__(
        self,
        finder: FaceFinder,
        embedder: Embedder,
        liveness: LivenessModel,
        policy: LivenessPolicy,
    ) -> None:
        self._finder = finder
        self._embedder = embedder
        self._liveness = liveness
        self._policy = policy
        self._faces = CameraFaces(itertools.count(1))
        self._subject = Subject(-1, LivenessFusion(policy), Clip())
        self._crop = np.zeros(0, np.uint8)

    def observe(self, frame: Frame) -> Observation:
        """Look at one frame."""
        faces = self._finder.find([frame])[0]
        self._faces.begin(frame)
        tracks = self._faces.follow(faces, frame.monotonic_s)
        height = np.where(tracks >= 0, faces.xyxy[:, 3] - faces.xyxy[:, 1], 0)
        if not height.any():
            return Observation(frame.monotonic_s)
        row = self._find_subject(tracks, height)
        others = int(np.sum(height >= OTHER_FACE * height[row])) - 1
        landmarks = self._refine(frame, faces.xyxy[row], faces.landmarks[row])
        aligned = align_face(frame.picture, landmarks)
        thumbnail = make_thumbnail(aligned)
        quality = face_quality.assess(landmarks[None], aligned[None])
        issue = _join(quality.find_issues(0))
        if np.array_equal(aligned, self._crop):
            issue = issue or FROZEN_PICTURE.text
        self._crop = aligned
        yaw, pitch = float(quality.pose.yaw_deg[0]), float(quality.pose.pitch_deg[0])
        embedding = np.zeros(0, np.float32)
        if not issue:
            embedding = self._embedder.embed(aligned[None])[0]
            self._subject.fusion.add_thumbnail(thumbnail)
            if max(abs(yaw), abs(pitch)) <= FACING_DEG:
                self._score_liveness(frame, faces, row)
        liveness, reason = self._subject.fusion.judge(frame.monotonic_s)
        if liveness is Liveness.SPOOF:
            self._subject.fusion.mark_spoof()
        facing = math.cos(math.radians(yaw)) * math.cos(math.radians(pitch))
        return Observation(
            at_s=frame.monotonic_s,
            track=self._subject.track,
            other_faces=others,
            yaw_deg=yaw,
            pitch_deg=pitch,
            frontal_px=float(quality.eyes_px[0]) / max(facing, 0.3),
            quality_issue=issue,
            enrollment_issue=issue or _join(quality.find_issues(0, face_quality.ENROLL)),
            quality=float(quality.value[0]),
            embedding=embedding,
            thumbnail=thumbnail,
            liveness=liveness,
            liveness_reason=reason.text,
        )

    def _refine(self, frame: Frame, xyxy: F32, landmarks: F32) -> F32:
        """``(5, 2)`` mean of the landmarks found in crops of several sizes around ``(4,)``."""
        center, side = (xyxy[:2] + xyxy[2:]) / 2, float((xyxy[2:] - xyxy[:2]).max())
        crops, corners = [], []
        for scale in CROP_SCALES:
            low, high = center - side * scale / 2, center + side * scale / 2
            part, corner = crop(frame.picture, *map(int, (*low, *high)))
            crops.append(replace(frame, picture=part))
            corners.append(corner)
        estimates = [landmarks]
        for faces, corner in zip(self._finder.find(crops), corners, strict=True):
            if len(faces):
                centers = (faces.xyxy[:, :2] + faces.xyxy[:, 2:]) / 2 + corner
                distance = np.abs(centers - center).max(axis=1)
                nearest = int(distance.argmin())
                if distance[nearest] <= side / 4:  # otherwise it is another face
                    estimates.append(faces.landmarks[nearest] + np.array(corner, np.float32))
        mean: F32 = np.mean(estimates, axis=0, dtype=np.float32)
        return mean

    def _find_subject(self, tracks: np.ndarray, height: np.ndarray) -> int:
        """The subject's row; when it is gone, the largest face becomes a new subject."""
        same = tracks == self._subject.track
        if same.any():
            return int(same.argmax())
        row = int(height.argmax())
        self._subject = Subject(int(tracks[row]), LivenessFusion(self._policy), Clip())
        return row

    def _score_liveness(self, frame: Frame, faces: Faces, row: int) -> None:
        subject, model = self._subject, self._liveness
        crops = model.crops(frame.picture, faces.xyxy[row])
        clip = subject.clip.add(crops, frame.monotonic_s, model.clip_frames, model.clip_s)
        if clip is not None:
            score = float(model.live(clip[None])[0])
            subject.fusion.add_score(score, frame.monotonic_s)


def _join(issues: Iterable[Reason]) -> str:
    return ", ".join(issue.text for issue in issues)
