"""Camera faces: the face tracks of one camera, until an epoch or a scene ends."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from edge.config import Recognition, Tracking
from edge.people.liveness.evidence import LivenessPolicy
from edge.people.recognition.face_track import FaceTrack
from edge.types import I64, Detections, Faces, Frame, FrameResult, TrackEventType
from edge.vision import scene_cut
from edge.vision.tracker import Tracker

FACE_TRACKING = Tracking(confirm_frames=1, max_missed_s=1.0)


class CameraFaces:
    """Follows the faces of one camera.

    Attributes:
        spoofed: When people showed a picture of a face last, by their track.
        face_tracks: By the face's own track.
    """

    def __init__(self, ids: Iterator[int]) -> None:
        self.face_tracks: dict[int, FaceTrack] = {}
        self.spoofed: dict[int, float] = {}
        self._tracker = Tracker(FACE_TRACKING, ids)
        self._epoch = -1
        self._grid = np.zeros((0, 0), np.float32)

    def begin(self, frame: Frame) -> None:
        """Forget the faces if this frame begins another epoch or scene."""
        grid = scene_cut.compute_grid(frame.picture)
        is_new_epoch = frame.epoch != self._epoch
        if is_new_epoch:
            self.spoofed.clear()
        if is_new_epoch or scene_cut.is_cut(self._grid, grid):
            self._tracker.reset(frame.monotonic_s)
            self.face_tracks.clear()
        self._epoch, self._grid = frame.epoch, grid

    def forget_ended(self, result: FrameResult) -> None:
        """Forget people whose tracks ended."""
        for event in result.changes:
            if event.change is TrackEventType.ENDED:
                self.spoofed.pop(event.track_id, None)

    def follow(self, faces: Faces, at_s: float) -> I64:
        """``(M,)`` the track of each face, -1 for those too faint to be followed."""
        detections = Detections(
            faces.xyxy.copy(), faces.score.copy(), np.zeros(len(faces), np.int32)
        )
        update = self._tracker.update(detections, at_s)
        for event in update.ended:
            self.face_tracks.pop(event.track_id, None)
        tracks = update.tracks
        same = (faces.xyxy[:, None] == tracks.xyxy[None]).all(axis=2)  # (M, N)
        if not len(tracks):
            return np.full(len(faces), -1, np.int64)
        return np.where(same.any(axis=1), tracks.track_id[same.argmax(axis=1)], -1)

    def get_track(
        self, settings: Recognition, policy: LivenessPolicy, track: int, owner: int
    ) -> FaceTrack:
        """The state of a face; a new one when it moves to another person, see `FaceTrack`."""
        spoof_s = self.spoofed.get(owner, -math.inf)
        known = self.face_tracks.get(track)
        if known is not None and (owner < 0 or known.owner in (-1, owner)):
            if owner >= 0:
                known.owner = owner
                known.evidence.spoof_s = max(known.evidence.spoof_s, spoof_s)
            return known
        new = self.face_tracks[track] = FaceTrack(settings, policy, track, owner, spoof_s=spoof_s)
        return new
