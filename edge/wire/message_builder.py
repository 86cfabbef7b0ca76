"""The composer: turns what happened into messages and numbers them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import cast

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from edge.types import CameraStatus, Decision, Faces, FrameResult, TrackEvent
from edge.wire import topics
from edge.wire.schema import (
    DetectionsMessage,
    Face,
    FacesMessage,
    HeartbeatMessage,
    Landmarks,
    Message,
    Model,
    StatusMessage,
    TrackedObject,
    TracksMessage,
)

Clock = Callable[[], float]


class MessageBuilder:
    """Makes messages of one daemon's life; safe to call from any thread.

    A message is numbered when it is composed. Hand the messages of one topic to the sinks in
    that order, and drop as many as you must: the numbers make it visible.
    """

    def __init__(
        self,
        node: str,
        boot: str,
        classes: Sequence[str],
        model_name: str,
        model_sha256: str,
        *,
        wall_s: Clock = time.time,
        monotonic_s: Clock = time.monotonic,
    ) -> None:
        """Begin with every topic at 1.

        Args:
            node: name of the box.
            boot: random per start.
            classes: label by class_id.
            model_name: the detector's name.
            model_sha256: its full digest in hex.
            wall_s: clock that dates heartbeats, Unix seconds.
            monotonic_s: clock for the age of status and heartbeat.
        """
        self._node = node
        self._boot = boot
        self._classes = tuple(classes)
        self._model = Model(model_name, model_sha256[:12])
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._lock = Lock()
        self._last_seq: dict[str, int] = {}
        self._last_frame: dict[str, tuple[int, int]] = {}  # camera -> epoch, frame

    def event(self, event: FrameResult, jpeg: bytes | None = None) -> list[Message]:
        """Messages of one frame: the detections, changes of tracks, new decisions on faces."""
        frame = event.frame
        self._last_frame[frame.camera] = (frame.epoch, frame.seq)
        messages = [self._detections(event, jpeg)]
        messages += [self._change(event, change) for change in event.changes]
        messages += [self._decision(event, row) for row in event.decided]
        return messages

    def status(self, status: CameraStatus) -> Message:
        """A camera's state."""
        topic = topics.status(status.camera)
        epoch, frame = self._last_frame.get(status.camera, (0, 0))
        width, height = status.size_wh
        body = StatusMessage(
            node=self._node,
            boot=self._boot,
            seq=self._next(topic),
            captured_at=status.at_s,
            published_at=0.0,
            age_s=0.0,
            model=self._model,
            camera=status.camera,
            epoch=status.epoch,
            frame=frame if epoch == status.epoch else 0,
            width=width,
            height=height,
            state=str(status.state),
            reason=status.reason,
        )
        return Message(topic, body, captured_monotonic_s=self._monotonic_s())

    def heartbeat(self) -> Message:
        """A sign of life with the last sequence number of every topic."""
        with self._lock:
            last_seq = {t: seq for t, seq in self._last_seq.items() if t != topics.HEARTBEAT}
        body = HeartbeatMessage(
            node=self._node,
            boot=self._boot,
            seq=self._next(topics.HEARTBEAT),
            captured_at=self._wall_s(),
            published_at=0.0,
            age_s=0.0,
            model=self._model,
            last_seq=last_seq,
        )
        return Message(topics.HEARTBEAT, body, captured_monotonic_s=self._monotonic_s())

    def _next(self, topic: str) -> int:
        with self._lock:
            seq = self._last_seq.get(topic, 0) + 1
            self._last_seq[topic] = seq
        return seq

    def _detections(self, event: FrameResult, jpeg: bytes | None) -> Message:
        frame, tracks = event.frame, event.tracks
        owned, loose = _share_out(event.faces, event.decisions)
        topic = topics.detections(frame.camera)
        width, height = frame.size_wh
        rows = zip(
            tracks.track_id.tolist(),
            tracks.class_id.tolist(),
            _rounded(tracks.score, 4),
            _rounded(tracks.xyxy, 1),
            event.zones,
            strict=True,
        )
        body = DetectionsMessage(
            node=self._node,
            boot=self._boot,
            seq=self._next(topic),
            captured_at=frame.captured_s,
            published_at=0.0,
            age_s=0.0,
            model=self._model,
            camera=frame.camera,
            epoch=frame.epoch,
            frame=frame.seq,
            width=width,
            height=height,
            objects=tuple(
                [
                    TrackedObject(
                        track=track,
                        label=self._classes[class_id],
                        score=score,
                        box=tuple(box),
                        zones=zones,
                        face=owned.get(row, UNSET),
                    )
                    for row, (track, class_id, score, box, zones) in enumerate(rows)
                ]
            ),
            faces=loose,
        )
        return Message(topic, body, jpeg, frame.monotonic_s)

    def _change(self, event: FrameResult, change: TrackEvent) -> Message:
        frame = event.frame
        topic = topics.tracks(frame.camera)
        width, height = frame.size_wh
        x1, y1, x2, y2 = change.xyxy
        body = TracksMessage(
            node=self._node,
            boot=self._boot,
            seq=self._next(topic),
            captured_at=frame.captured_s,
            published_at=0.0,
            age_s=0.0,
            model=self._model,
            camera=frame.camera,
            epoch=frame.epoch,
            frame=frame.seq,
            width=width,
            height=height,
            track=change.track_id,
            label=self._classes[change.class_id],
            change=str(change.change),
            place=change.place,
            direction=change.direction,
            dwell_s=round(change.dwell_s, 3),
            score=round(change.score, 4),
            box=(round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)),
        )
        return Message(topic, body, captured_monotonic_s=frame.monotonic_s)

    def _decision(self, event: FrameResult, row: int) -> Message:
        frame = event.frame
        topic = topics.faces(frame.camera)
        width, height = frame.size_wh
        body = FacesMessage(
            node=self._node,
            boot=self._boot,
            seq=self._next(topic),
            captured_at=frame.captured_s,
            published_at=0.0,
            age_s=0.0,
            model=self._model,
            camera=frame.camera,
            epoch=frame.epoch,
            frame=frame.seq,
            width=width,
            height=height,
            track=event.decisions[row].track_id,
            face=_faces(event.faces, event.decisions)[row],
        )
        return Message(topic, body, captured_monotonic_s=frame.monotonic_s)


def stamped(message: Message, now_s: float, now_monotonic_s: float) -> Message:
    """The message as it is handed to a socket now: ``published_at`` and ``age_s`` filled in."""
    age_s = round(max(0.0, now_monotonic_s - message.captured_monotonic_s), 6)
    body = msgspec.structs.replace(message.body, published_at=now_s, age_s=age_s)
    return Message(message.topic, body, message.jpeg, message.captured_monotonic_s)


def _rounded(column: np.ndarray, digits: int) -> list:  # type: ignore[type-arg]
    """Python floats that print short: a float32 rounded as float32 would print 9 digits."""
    return np.round(column.astype(np.float64), digits).tolist()  # type: ignore[no-any-return]


def _share_out(
    faces: Faces, decisions: tuple[Decision, ...]
) -> tuple[dict[int, Face], tuple[Face, ...]]:
    """The best face of each row of the tracks, and all the others."""
    if not len(faces):
        return {}, ()
    owned: dict[int, Face] = {}
    loose: list[Face] = []
    for row, face in zip(faces.track_row.tolist(), _faces(faces, decisions), strict=True):
        best = owned.get(row)
        if row < 0 or (best is not None and best.score >= face.score):
            loose.append(face)
            continue
        if best is not None:
            loose.append(best)
        owned[row] = face
    return owned, tuple(loose)


def _faces(faces: Faces, decisions: tuple[Decision, ...]) -> list[Face]:
    """Every face, with what was decided about it."""
    columns = zip(
        _rounded(faces.score, 4),
        _rounded(faces.quality, 4),
        _rounded(faces.xyxy, 1),
        _rounded(faces.landmarks, 1),
        strict=True,
    )
    found = [
        Face(
            box=tuple(box),
            landmarks=cast(Landmarks, tuple(map(tuple, points))),
            score=score,
            quality=quality,
        )
        for score, quality, box, points in columns
    ]
    if not decisions:
        return found
    return [_decided(face, said) for face, said in zip(found, decisions, strict=True)]


def _decided(face: Face, said: Decision) -> Face:
    """A face with its decision; what nobody measured is absent."""
    return msgspec.structs.replace(
        face,
        outcome=str(said.outcome),
        person=said.person or UNSET,
        name=said.name or UNSET,
        similarity=_measured(said.similarity),
        margin=_measured(said.margin),
        liveness=str(said.liveness),
        live_score=_measured(said.live_score),
        votes=said.votes,
        reason=said.reason,
        reason_code=str(said.reason_code),
    )


def _measured(value: float) -> float | UnsetType:
    return round(value, 4) if math.isfinite(value) else UNSET
