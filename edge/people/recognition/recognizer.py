"""The recognizer: whose face is it, is it alive, and why do we say so.

Per face, not per frame. Each camera follows its faces with a tracker of its own, so that what is
learnt of one face stays with that face even where the tracks of two bodies are swapped; a face
that lies in a person goes by that person's track on the wire. Everything is forgotten at a new
epoch, at a cut of the picture, and when a face suddenly resembles itself no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.config import Recognition, Tracking
from edge.people import reasons
from edge.people.gallery.index import Index
from edge.people.liveness import planarity as flatness
from edge.people.liveness.score_fusion import Demands
from edge.people.reasons import TOO_SMALL, TURNED_AWAY, Reason
from edge.people.recognition import face_quality as quality
from edge.people.recognition import voting as votes
from edge.people.recognition.face_track import Dossier
from edge.ports import Embedder, LivenessModel
from edge.types import (
    F32,
    I64,
    U8,
    Decision,
    Detections,
    Faces,
    Frame,
    FrameResult,
    Liveness,
    Outcome,
    ReasonCode,
    TrackEventType,
)
from edge.vision import scene_cut
from edge.vision.face_crops import align_face
from edge.vision.tracker import Tracker

FOLLOW = Tracking(confirm_frames=1, max_missed_s=1.0)
STRANGER = 0.2  # likeness: 98 % of strangers are below, 0.1 % of a video's own looks
FAINT = Decision(
    -1, Outcome.REJECTED, "", "", math.nan, math.nan, Liveness.NOT_CHECKED, math.nan, 0,
    reasons.TOO_FAINT.text, reasons.TOO_FAINT.code,
)  # fmt: skip


class View:
    """What is remembered of one camera.

    Args:
        ids: for faces that lie in no person.
    """

    def __init__(self, ids: Iterator[int]) -> None:
        self.tracker = Tracker(FOLLOW, ids)
        self.dossiers: dict[int, Dossier] = {}  # by the face's own track
        self.spoofed: set[int] = set()  # tracks of people who showed a picture of a face
        self._epoch = -1
        self._grid = np.zeros((0, 0), np.float32)

    def begin(self, frame: Frame) -> None:
        """Forget what does not continue into this frame."""
        grid = scene_cut.compute_grid(frame.picture)
        if frame.epoch != self._epoch:
            self.spoofed.clear()
            self._forget(frame)
        elif scene_cut.is_cut(self._grid, grid):
            self._forget(frame)
        self._epoch, self._grid = frame.epoch, grid

    def _forget(self, frame: Frame) -> None:
        self.tracker.reset(frame.monotonic_s)
        self.dossiers.clear()

    def end(self, event: FrameResult) -> None:
        """Forget people who are gone."""
        if self.spoofed:
            self.spoofed -= {c.track_id for c in event.changes if c.change is TrackEventType.ENDED}

    def follow(self, faces: Faces, at_s: float) -> I64:
        """``(M,)`` the track of each face, -1 for those too faint to be followed."""
        found = Detections(
            faces.xyxy.copy(), faces.score.copy(), np.zeros(len(faces), np.int32)
        )  # fmt: skip
        update = self.tracker.update(found, at_s)
        for change in update.ended:
            self.dossiers.pop(change.track_id, None)
        tracks = update.tracks
        same = (faces.xyxy[:, None] == tracks.xyxy[None]).all(axis=2)  # (M, N)
        if not len(tracks):
            return np.full(len(faces), -1, np.int64)
        return np.where(same.any(axis=1), tracks.track_id[same.argmax(axis=1)], -1)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A face in a frame of this step.

    Attributes:
        dossier: what is known of it.
        frame: the frame.
        xyxy: ``(4,)``.
        landmarks: ``(5, 2)``.
        shown_px: distance of the eyes as it is seen: a face that turns to the camera shows more.
        poor: why it is not even cut out; None when it is.
    """

    dossier: Dossier
    frame: Frame
    xyxy: F32
    landmarks: F32
    shown_px: float
    poor: Reason | None


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A face that was cut out and is good enough.

    Attributes:
        seen: where.
        crop: ``(112, 112, 3)`` aligned.
        quality: 0..1.
    """

    seen: Seen
    crop: U8
    quality: float


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """With whom faces are compared.

    Attributes:
        index: a snapshot of the gallery.
        rules: when votes make a name.
        closed: why nobody may be named; None when people may.
    """

    index: Index
    rules: votes.Rules
    closed: Reason | None = None


class Recognizer:
    """Decides who faces are. `look` is called by one thread at a time.

    Args:
        rules: thresholds and budgets.
        embedder: describes faces.
        liveness: tells faces from pictures of faces; None checks nothing.
        ids: for faces that lie in no person; those of the pipeline's tracks.
    """

    def __init__(
        self,
        rules: Recognition,
        embedder: Embedder,
        liveness: LivenessModel | None,
        ids: Iterator[int],
    ) -> None:
        self._rules = rules
        self._embedder = embedder
        self._liveness = liveness
        self._ids = ids
        self._views: dict[str, View] = {}
        self._demands = Demands(
            rules.live_score, rules.spoof_score, rules.live_window_s, rules.require_motion
        )
        self.close("no gallery is open")
        self._people = self._offered

    # --- the gallery ----------------------------------------------------------------------------

    def use(self, index: Index, threshold: float) -> None:
        """Compare with these people from the next step on; safe from any thread.

        Looks at faces in view are asked again.

        Args:
            index: a snapshot of the gallery.
            threshold: similarity a name needs, where the configuration gives none.
        """
        rules = self._rules
        if len(index) and index.templates.shape[1:] != (self._embedder.dimension,):
            self.close("the gallery belongs to another embedder")
            return
        self._offered = People(
            index,
            votes.Rules(
                rules.threshold or threshold,
                rules.min_margin,
                rules.min_votes,
                rules.min_vote_ratio,
            ),
        )

    def close(self, why: str) -> None:
        """Name nobody from the next step on; safe from any thread."""
        nobody = Index.build((), (), dimension=self._embedder.dimension)
        rules = votes.Rules(1.0, 1.0, self._rules.min_votes, self._rules.min_vote_ratio)
        self._offered = People(nobody, rules, Reason(ReasonCode.GALLERY_CLOSED, why))

    def keep(self, cameras: Sequence[str]) -> None:
        """Forget all cameras but these; safe from any thread."""
        self._views = {name: view for name, view in self._views.copy().items() if name in cameras}

    def _renew(self, views: Mapping[str, View]) -> None:
        """Take the people that were offered."""
        self._people = self._offered
        for view in views.values():
            for dossier in view.dossiers.values():
                dossier.ballot.recast(self._people.index, self._people.rules)

    # --- looking --------------------------------------------------------------------------------

    def look(self, events: Sequence[FrameResult]) -> list[FrameResult]:
        """One event a camera -> the same with decisions, in the same order."""
        views = [self._view(event.frame.camera) for event in events]
        if self._people is not self._offered:
            self._renew(self._views)
        seen = [self._see(view, event) for view, event in zip(views, events, strict=True)]
        self._examine(self._choose([face for faces in seen for face in faces if face]))
        columns = zip(views, events, seen, strict=True)
        return [self._decide(view, event, faces) for view, event, faces in columns]

    def _view(self, camera: str) -> View:
        view = self._views.get(camera)
        if view is None:
            view = self._views[camera] = View(self._ids)
        return view

    def _see(self, view: View, event: FrameResult) -> list[Seen | None]:
        """The faces of one frame, tied to what is known of them."""
        frame, faces = event.frame, event.faces
        view.begin(frame)
        view.end(event)
        tracks = view.follow(faces, frame.monotonic_s)
        if not len(faces):
            return []
        owners = _owners(event)
        eyes, turned = quality.eye_px(faces.landmarks), quality.pose(faces.landmarks)
        shown_px = eyes * np.cos(np.radians(turned.pitch_deg))
        limits = quality.LOOK
        away = ~(
            (np.abs(turned.yaw_deg) <= limits.yaw_deg)
            & (np.abs(turned.pitch_deg) <= limits.pitch_deg)
            & (np.abs(turned.roll_deg) <= limits.roll_deg)
        )
        small = ~(eyes >= limits.eye_px)
        return [
            None if track < 0 else Seen(
                self._dossier(view, track, owner), frame, faces.xyxy[row], faces.landmarks[row],
                float(shown_px[row]),
                TOO_SMALL if small[row] else TURNED_AWAY if away[row] else None,
            )
            for row, (track, owner) in enumerate(zip(tracks.tolist(), owners, strict=True))
        ]  # fmt: skip

    def _dossier(self, view: View, track: int, owner: int) -> Dossier:
        """What is known of a face; begun anew when it lies in another person than before."""
        known = view.dossiers.get(track)
        if known is not None and (owner < 0 or known.owner in (-1, owner)):
            if owner >= 0:
                known.owner = owner
                known.vitality.spoof |= owner in view.spoofed
            return known
        spoofed = owner in view.spoofed
        dossier = Dossier(self._rules, self._demands, track, owner, spoofed=spoofed)
        view.dossiers[track] = dossier
        return dossier

    def _choose(self, seen: Sequence[Seen]) -> list[Seen]:
        """Whom to look at within the budget: new ones, then better ones, then the longest ago."""
        ranked: list[tuple[int, float, int, Seen]] = []
        for face in seen:
            if face.poor:
                face.dossier.refuse(face.poor)
                continue
            rank = face.dossier.urgency(face.frame.monotonic_s, face.shown_px)
            if rank > 0:
                ranked.append((-rank, face.dossier.looked_s, len(ranked), face))
        return [face for *_, face in sorted(ranked)[: self._rules.max_faces_per_batch]]

    def _examine(self, chosen: Sequence[Seen]) -> None:
        """Cut out, judge, embed, compare, vote: one batch."""
        if not chosen:
            return
        crops = np.stack([align_face(face.frame.picture, face.landmarks) for face in chosen])
        measured = quality.assess(np.stack([face.landmarks for face in chosen]), crops)
        looks = []
        for row, face in enumerate(chosen):
            value = float(measured.value[row])
            refusals = measured.refusals(row)
            at_s = face.frame.monotonic_s
            if face.dossier.admit(crops[row], at_s, face.shown_px, refusals):
                looks.append(Look(face, crops[row], value))
        if not looks:
            return
        embeddings = self._embedder.embed(np.stack([look.crop for look in looks]))
        live = self._vitality(looks)
        said = votes.votes_of(self._people.index, embeddings, self._people.rules)
        for look, embedding, score, vote in zip(looks, embeddings, live, said, strict=True):
            dossier = look.seen.dossier
            if not dossier.ballot.likeness(embedding) >= STRANGER:
                dossier.begin_anew()
            dossier.quality = look.quality
            dossier.vitality.watch(flatness.sketch(look.crop))
            alive = not self._rules.require_liveness
            if self._liveness is not None:
                dossier.vitality.score(score, look.seen.frame.monotonic_s)
                alive = score >= 0.5  # a NaN is not
            dossier.ballot.cast(embedding, vote, look.seen.frame.monotonic_s, live=alive)

    def _vitality(self, looks: Sequence[Look]) -> list[float]:
        """What the liveness network says of each look; NaN while a clip is too short or old."""
        scores = [math.nan] * len(looks)
        model = self._liveness
        if model is None:
            return scores
        rows, clips = [], []
        for row, look in enumerate(looks):
            seen = look.seen
            crops = model.crops(seen.frame.picture, seen.xyxy)
            clip = seen.dossier.clip(crops, seen.frame.monotonic_s, model.clip_frames, model.clip_s)
            if clip is not None:
                rows.append(row)
                clips.append(clip)
        if clips:
            for row, score in zip(rows, model.live(np.stack(clips)).tolist(), strict=True):
                scores[row] = score
        return scores

    def _decide(self, view: View, event: FrameResult, seen: Sequence[Seen | None]) -> FrameResult:
        if not seen:
            return event
        now_s, checked = event.frame.monotonic_s, self._liveness is not None
        decisions, decided = [], []
        for row, face in enumerate(seen):
            if face is None:
                decisions.append(FAINT)
                continue
            dossier = face.dossier
            people = self._people
            decision = dossier.decide(now_s, people.rules, checked=checked, closed=people.closed)
            if decision.liveness is Liveness.SPOOF and dossier.owner >= 0:
                view.spoofed.add(dossier.owner)
            if dossier.is_news(decision):
                decided.append(row)
            decisions.append(decision)
        worth = np.array([face.dossier.quality if face else 0 for face in seen], np.float32)
        return replace(
            event,
            faces=replace(event.faces, quality=worth),
            decisions=tuple(decisions),
            decided=tuple(decided),
        )


def _owners(event: FrameResult) -> list[int]:
    """Track of the person each face lies in; the best face of a person, -1 for all others."""
    faces = event.faces
    owners, best = [-1] * len(faces), dict[int, int]()
    for row, person in enumerate(faces.track_row.tolist()):
        if person >= 0 and (person not in best or faces.score[row] > faces.score[best[person]]):
            best[person] = row
    for person, row in best.items():
        owners[row] = int(event.tracks.track_id[person])
    return owners
