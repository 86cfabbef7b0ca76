"""The enrollment observer: what a camera's frames show of the one person in front of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edge.people.enrollment.challenge import Observation
from edge.people.liveness.clip import Clip
from edge.people.liveness.evidence import Evidence, LivenessPolicy
from edge.people.liveness.planarity import make_thumbnail
from edge.people.liveness.witness import LivenessLook
from edge.people.reasons import FROZEN_PICTURE, Reason
from edge.people.recognition import face_quality
from edge.people.recognition.camera_faces import CameraFaces
from edge.people.recognition.close_up import ENROLL_SCALES, FoundFace, refine_landmarks
from edge.ports import Embedder, FaceFinder, LivenessModel
from edge.types import Faces, Frame
from edge.vision.face_crops import align_face

OTHER_FACE = 0.5  # a face of at least this ratio of the subject's height is not a passer-by
FACING_DEG = 25  # liveness models are trained on faces that look into the camera


@dataclass(frozen=True, slots=True)
class Subject:
    """The face that is followed."""

    track: int
    evidence: Evidence
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
        self._subject = Subject(-1, Evidence(policy), Clip())
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
        face = FoundFace(frame, faces.xyxy[row], faces.landmarks[row])
        [landmarks] = refine_landmarks(self._finder, [face], ENROLL_SCALES)
        aligned = align_face(frame.picture, landmarks, resampling=self._embedder.resampling)
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
            self._subject.evidence.add_look(
                LivenessLook(frame.picture, aligned, faces.xyxy[row], landmarks, frame.monotonic_s)
            )
            if max(abs(yaw), abs(pitch)) <= FACING_DEG:
                self._score_liveness(frame, faces, row)
        verdict = self._subject.evidence.judge(frame.monotonic_s)
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
            liveness=verdict.liveness,
            liveness_reason=verdict.reason.text,
        )

    def _find_subject(self, tracks: np.ndarray, height: np.ndarray) -> int:
        """The subject's row; when it is gone, the largest face becomes a new subject."""
        same = tracks == self._subject.track
        if same.any():
            return int(same.argmax())
        row = int(height.argmax())
        self._subject = Subject(int(tracks[row]), Evidence(self._policy), Clip())
        return row

    def _score_liveness(self, frame: Frame, faces: Faces, row: int) -> None:
        subject, model = self._subject, self._liveness
        crops = model.crops(frame.picture, faces.xyxy[row])
        clip = subject.clip.add(crops, frame.monotonic_s, model.clip_frames, model.clip_s)
        if clip is not None:
            score = float(model.live(clip[None])[0])
            subject.evidence.add_score(score, frame.monotonic_s)


def _join(issues: Iterable[Reason]) -> str:
    return ", ".join(issue.text for issue in issues)
