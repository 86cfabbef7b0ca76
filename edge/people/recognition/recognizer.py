"""The recognizer: whose face is it, is it live, and why.

It decides per face, not per frame. Each camera follows its faces with a tracker of its own, so that
what is known of a face stays with it even where the tracks of two bodies are swapped; on the wire
a face that belongs to a tracked person has that person's track. A face track is reset at a new
epoch, at a scene cut, when it moves to another person, and when its embedding stops matching.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.config import Recognition
from edge.people import reasons
from edge.people.gallery.index import Index
from edge.people.liveness.evidence import LivenessPolicy
from edge.people.liveness.witness import LivenessLook
from edge.people.reasons import Reason
from edge.people.recognition import face_quality
from edge.people.recognition.camera_faces import CameraFaces
from edge.people.recognition.close_up import FoundFace, refine_landmarks
from edge.people.recognition.face_track import FaceTrack
from edge.people.recognition.voting import LOOK_RATIO, VotingRules, match_votes
from edge.ports import Embedder, FaceFinder, LivenessModel
from edge.types import F32, U8, Bool, Decision, Frame, FrameResult, Liveness, Outcome, ReasonCode
from edge.vision.face_crops import align_face

# Mean similarity of a look to the earlier ones below which it is another face: 98 % of other
# people are below, 0.1 % of a video's own looks.
SAME_FACE = 0.2
FAINT = Decision(
    -1, Outcome.REJECTED, "", "", math.nan, math.nan, Liveness.NOT_CHECKED, math.nan, 0,
    reasons.TOO_FAINT.text, reasons.TOO_FAINT.code,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """A face in a frame of this batch.

    Attributes:
        xyxy: ``(4,)`` float32, source pixels.
        landmarks: ``(5, 2)`` float32, source pixels.
        visible_px: Distance of the eyes times the cosine of the pitch, source pixels: grows as
            a face turns to the camera.
        issue: Why it is not even looked at, or None.
    """

    state: FaceTrack
    frame: Frame
    xyxy: F32
    landmarks: F32
    visible_px: float
    issue: Reason | None


@dataclass(frozen=True, slots=True, eq=False)
class FaceSample:
    """A good enough face.

    Attributes:
        crop: The aligned face, ``(112, 112, 3)`` uint8 RGB.
        landmarks: ``(5, 2)`` float32 by which it was aligned, source pixels.
        quality: 0..1.
    """

    face: TrackedFace
    crop: U8
    landmarks: F32
    quality: float


@dataclass(frozen=True, slots=True, eq=False)
class GallerySnapshot:
    """What faces are compared with; ``closed`` is why no names can be given, if so."""

    index: Index
    rules: VotingRules
    closed: Reason | None = None


class Recognizer:
    """Decides who faces are. `look` is called by one thread at a time.

    Args:
        liveness: Tells faces from pictures of faces; None checks nothing.
        ids: Track ids of faces that belong to no tracked person; those of the pipeline's tracks.
        finder: Finds the landmarks of a face again, in a close-up; None takes those it is given.
    """

    def __init__(
        self,
        settings: Recognition,
        embedder: Embedder,
        liveness: LivenessModel | None,
        ids: Iterator[int],
        finder: FaceFinder | None = None,
    ) -> None:
        self._settings = settings
        self._embedder = embedder
        self._liveness = liveness
        self._ids = ids
        self._finder = finder
        self._cameras: dict[str, CameraFaces] = {}
        self._policy = LivenessPolicy.from_settings(settings)
        self.close("no gallery is open")
        self._gallery = self._next_gallery

    # --- the gallery ----------------------------------------------------------------------------

    def use(self, index: Index, threshold: float, *, of_tracks: bool = False) -> None:
        """Compare with these people from the next batch on; safe from any thread.

        Earlier looks at faces in view are matched again. A name needs the similarity ``threshold``
        unless the configuration gives one: the fused looks if it was measured ``of_tracks``, else
        every look that counts.
        """
        if len(index) and index.templates.shape[1:] != (self._embedder.dimension,):
            self.close("the gallery belongs to another embedder")
            return
        s = self._settings
        needed = s.threshold or threshold
        each = needed * LOOK_RATIO if of_tracks and not s.threshold else needed
        rules = VotingRules(needed, s.min_margin, s.min_votes, s.min_vote_ratio, each)
        self._next_gallery = GallerySnapshot(index, rules)

    def close(self, why: str) -> None:
        """Give no names from the next batch on; safe from any thread."""
        empty = Index.build((), (), dimension=self._embedder.dimension)
        rules = VotingRules(1.0, 1.0, self._settings.min_votes, self._settings.min_vote_ratio, 1.0)
        self._next_gallery = GallerySnapshot(empty, rules, Reason(ReasonCode.GALLERY_CLOSED, why))

    def take_over(self, other: Recognizer) -> None:
        """Follow the faces that another one followed; who they are is found out anew.

        Not while either of them looks.
        """
        self._cameras = other._cameras
        for camera in self._cameras.values():
            camera.face_tracks.clear()  # of them `CameraFaces.spoofed` alone is known

    def forget_other_cameras(self, cameras: Sequence[str]) -> None:
        """Forget all cameras but these; safe from any thread."""
        self._cameras = {
            name: faces for name, faces in self._cameras.copy().items() if name in cameras
        }

    def _swap_gallery(self, cameras: Mapping[str, CameraFaces]) -> None:
        self._gallery = self._next_gallery
        for camera in cameras.values():
            for state in camera.face_tracks.values():
                state.votes.rematch(self._gallery.index, self._gallery.rules)

    # --- looking --------------------------------------------------------------------------------

    def look(self, results: Sequence[FrameResult]) -> list[FrameResult]:
        """One result per camera -> the same with decisions, in the same order."""
        cameras = [self._get_camera(result.frame.camera) for result in results]
        if self._gallery is not self._next_gallery:
            self._swap_gallery(self._cameras)
        faces = [self._track(c, result) for c, result in zip(cameras, results, strict=True)]
        self._examine(self._choose([face for row in faces for face in row if face]))
        columns = zip(cameras, results, faces, strict=True)
        return [self._decide(camera, result, row) for camera, result, row in columns]

    def _get_camera(self, name: str) -> CameraFaces:
        camera = self._cameras.get(name)
        if camera is None:
            camera = self._cameras[name] = CameraFaces(self._ids)
        return camera

    def _track(self, camera: CameraFaces, result: FrameResult) -> list[TrackedFace | None]:
        """The faces of one frame with what is known of them; None for those too faint."""
        frame, faces = result.frame, result.faces
        camera.begin(frame)
        camera.forget_ended(result)
        tracks = camera.follow(faces, frame.monotonic_s)
        if not len(faces):
            return []
        owners = _find_owners(result)
        eyes_px = face_quality.measure_eyes_px(faces.landmarks)
        pose = face_quality.estimate_pose(faces.landmarks)
        visible_px = eyes_px * np.cos(np.radians(pose.pitch_deg))
        limits = face_quality.GLANCE if self._finder else face_quality.LOOK
        small, away = ~(eyes_px >= limits.eyes_px), ~pose.is_within(limits)
        return [
            None if track < 0 else TrackedFace(
                camera.get_track(self._settings, self._policy, track, owner),
                frame, faces.xyxy[row], faces.landmarks[row], float(visible_px[row]),
                reasons.TOO_SMALL if small[row] else reasons.TURNED_AWAY if away[row] else None,
            )
            for row, (track, owner) in enumerate(zip(tracks.tolist(), owners, strict=True))
        ]  # fmt: skip

    def _choose(self, faces: Sequence[TrackedFace]) -> list[TrackedFace]:
        """Faces to look at within the budget: new, then better, then longest not looked at."""
        ranked: list[tuple[int, float, int, TrackedFace]] = []
        for face in faces:
            if face.frame.blind:  # a picture that repeats proves nothing, and no one is there
                face.state.withdraw(reasons.FROZEN_PICTURE)
                continue
            if face.issue:
                face.state.reject(face.issue)
                continue
            rank = face.state.rank(face.frame.monotonic_s, face.visible_px)
            if rank > 0:
                ranked.append((-rank, face.state.looked_s, len(ranked), face))
        return [face for *_, face in sorted(ranked)[: self._settings.max_faces_per_batch]]

    def _examine(self, chosen: Sequence[TrackedFace]) -> None:
        """Crop, assess, embed, compare and vote: one batch."""
        samples = self._sample(chosen)
        if not samples:
            return
        gallery = self._gallery
        embeddings = self._embedder.embed(np.stack([sample.crop for sample in samples]))
        known: Bool = np.asarray(np.isfinite(embeddings).all(axis=1))
        if not known.all():  # the embedder is broken, and says so
            samples = [sample for sample, good in zip(samples, known, strict=True) if good]
            embeddings = embeddings[known]
        if not samples:
            return
        scores = self._score_liveness(samples)
        votes = match_votes(gallery.index, embeddings, gallery.rules)
        for sample, embedding, score, vote in zip(samples, embeddings, scores, votes, strict=True):
            state, at_s = sample.face.state, sample.face.frame.monotonic_s
            if not state.votes.mean_similarity(embedding) >= SAME_FACE:  # NaN is not, either
                state.reset()
            state.quality = sample.quality
            face = sample.face
            state.evidence.add_look(
                LivenessLook(
                    face.frame.picture, sample.crop, face.xyxy, sample.landmarks,
                    face.frame.monotonic_s,
                )
            )  # fmt: skip
            live = not self._settings.require_liveness
            if self._liveness is not None:
                state.evidence.add_score(score, at_s)
                live = score is not None and score >= 0.5  # NaN is not
            state.votes.add(embedding, vote, sample.quality, at_s, live=live)
            state.votes.match(gallery.index, gallery.rules)

    def _sample(self, chosen: Sequence[TrackedFace]) -> list[FaceSample]:
        """Crops of the faces that are good enough."""
        if not chosen:
            return []
        resampling = self._embedder.resampling
        landmarks = np.stack([face.landmarks for face in chosen])
        if self._finder:
            found = [FoundFace(face.frame, face.xyxy, face.landmarks) for face in chosen]
            landmarks = refine_landmarks(self._finder, found)
        crops = np.stack([
            align_face(face.frame.picture, points, resampling=resampling)
            for face, points in zip(chosen, landmarks, strict=True)
        ])  # fmt: skip
        quality = face_quality.assess(landmarks, crops)
        samples = []
        for row, face in enumerate(chosen):
            at_s, issues = face.frame.monotonic_s, quality.find_issues(row)
            if face.state.admit(crops[row], at_s, face.visible_px, issues):
                samples.append(
                    FaceSample(face, crops[row], landmarks[row], float(quality.value[row]))
                )
        return samples

    def _score_liveness(self, samples: Sequence[FaceSample]) -> list[float | None]:
        """The liveness model's score of each face; None while its clip is not complete."""
        scores: list[float | None] = [None] * len(samples)
        model = self._liveness
        if model is None:
            return scores
        rows, clips = [], []
        for row, sample in enumerate(samples):
            face = sample.face
            crops, at_s = model.crops(face.frame.picture, face.xyxy), face.frame.monotonic_s
            clip = face.state.add_to_clip(crops, at_s, model.clip_frames, model.clip_s)
            if clip is not None:
                rows.append(row)
                clips.append(clip)
        if clips:
            for row, score in zip(rows, model.live(np.stack(clips)).tolist(), strict=True):
                scores[row] = score
        return scores

    def _decide(
        self, camera: CameraFaces, result: FrameResult, faces: Sequence[TrackedFace | None]
    ) -> FrameResult:
        if not faces:
            return result
        now_s, checked = result.frame.monotonic_s, self._liveness is not None
        gallery = self._gallery
        decisions, decided = [], []
        for row, face in enumerate(faces):
            if face is None:
                decisions.append(FAINT)
                continue
            state = face.state
            decision = state.decide(now_s, gallery.rules, checked=checked, closed=gallery.closed)
            if decision.liveness is Liveness.SPOOF and state.owner >= 0:
                camera.spoofed[state.owner] = now_s
            if state.is_news(decision):
                decided.append(row)
            decisions.append(decision)
        quality = np.array([face.state.quality if face else 0 for face in faces], np.float32)
        return replace(
            result,
            faces=replace(result.faces, quality=quality),
            decisions=tuple(decisions),
            decided=tuple(decided),
        )


def _find_owners(result: FrameResult) -> list[int]:
    """The track of the person each face belongs to; -1 for all but the person's best face."""
    faces = result.faces
    owners, best = [-1] * len(faces), dict[int, int]()
    for row, person in enumerate(faces.track_row.tolist()):
        if person >= 0 and (person not in best or faces.score[row] > faces.score[best[person]]):
            best[person] = row
    for person, row in best.items():
        owners[row] = int(result.tracks.track_id[person])
    return owners
