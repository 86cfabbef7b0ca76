"""The message builder: results, states and heartbeats to numbered messages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, cast

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from edge.event import Event, EventChange
from edge.types import (
    AuditRow,
    CameraStatus,
    Classified,
    Decision,
    Faces,
    Frame,
    FrameResult,
    TrackEvent,
    TrackEventType,
    TrackLoss,
)
from edge.wire import topics
from edge.wire.schema import (
    Attribute,
    AuditMessage,
    DetectionsMessage,
    EventMessage,
    EventPerson,
    Face,
    FacesMessage,
    HeartbeatMessage,
    Landmarks,
    Message,
    Model,
    StateMessage,
    StatusMessage,
    TrackedObject,
    TracksMessage,
)

Clock = Callable[[], float]


class MessageBuilder:
    """Builds the messages of one run of the daemon; safe to call from any thread.

    A message gets its sequence number when it is built. Hand the messages of one topic to the
    sinks in that order; dropping some is allowed, and the numbers make it visible. ``boot`` is a
    random id of this start; ``wall_s`` dates heartbeats.
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
        self._node = node
        self._boot = boot
        self._classes = tuple(classes)
        self._model = Model(model_name, model_sha256[:12])
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._lock = Lock()
        self._last_seq: dict[str, int] = {}
        self._last_frame: dict[str, tuple[int, int]] = {}  # camera -> epoch, frame

    def rename(self, node: str, boot: str) -> Message:
        """Begin to count anew under another name; the last heartbeat under the former one."""
        with self._lock:
            last = self._build_heartbeat()
            self._node, self._boot = node, boot
            self._last_seq.clear()
        return last

    def use_model(self, classes: Sequence[str], name: str, sha256: str) -> None:
        """Name another detector and its classes from now on; not while `build` runs."""
        with self._lock:
            self._classes, self._model = tuple(classes), Model(name, sha256[:12])

    def build(self, result: FrameResult, jpeg: bytes | None = None) -> list[Message]:
        """One frame's messages: detections, track events, new decisions about faces."""
        frame = result.frame
        messages = self.build_loss(result.loss) if result.loss else []
        self._last_frame[frame.camera] = (frame.epoch, frame.seq)
        messages.append(self._build_detections(result, jpeg))
        messages += [self._build_track(frame, change) for change in result.changes]
        messages += [self._build_face(result, row) for row in result.decided]
        messages += [self._build_attribute(result, *told) for told in result.told_attributes]
        camera, size_wh = frame.camera, frame.size_wh
        for told in result.told_states:
            messages.append(self.build_state(camera, told, frame.captured_s, size_wh))
        return messages

    def build_state(
        self,
        camera: str,
        state: Classified,
        at_s: float,
        size_wh: tuple[int, int] = (0, 0),
    ) -> Message:
        """The message of the state of a place, at a Unix time; ``(0, 0)`` is an unknown size."""
        topic = topics.states(camera)
        epoch, frame = self._last_frame.get(camera, (0, 0))
        width, height = size_wh
        body = StateMessage(
            **self._envelope(topic, at_s),
            camera=camera,
            epoch=epoch,
            frame=frame,
            width=width,
            height=height,
            name=state.name,
            value=state.value,
            before=state.before,
            score=round(state.score, 4),
            votes=state.votes,
            looks=state.looks,
        )
        return Message(topic, body, captured_monotonic_s=self._monotonic_s())

    def build_loss(self, loss: TrackLoss) -> list[Message]:
        """The track events of a camera that was lost."""
        return [self._build_track(loss.frame, change) for change in loss.changes]

    def build_status(self, status: CameraStatus) -> Message:
        """The message of a camera's state."""
        topic = topics.status(status.camera)
        epoch, frame = self._last_frame.get(status.camera, (0, 0))
        width, height = status.size_wh
        body = StatusMessage(
            **self._envelope(topic, status.at_s),
            camera=status.camera,
            epoch=status.epoch,
            frame=frame if epoch == status.epoch else 0,
            width=width,
            height=height,
            state=str(status.state),
            reason=status.reason,
            reason_code=str(status.reason_code),
        )
        return Message(topic, body, captured_monotonic_s=self._monotonic_s())

    def build_event(
        self, event: Event, change: EventChange, *, snapshot: bool, clip: bool
    ) -> Message:
        """The message of a change of an event, of which a picture or a clip may be kept."""
        topic = topics.events(event.camera)
        best: dict[str, Any] = {}
        if event.best:
            width, height = event.best.size_wh
            best = {
                "track": event.best.track_id or UNSET, "label": event.best.label,
                "score": round(event.best.score, 4),
                "box": tuple(round(edge, 1) for edge in event.best.xyxy),
                "best_at": event.best.captured_s, "width": width, "height": height,
            }  # fmt: skip
        body = EventMessage(
            **self._envelope(topic, self._wall_s()),
            camera=event.camera,
            event=event.event_id,
            change=str(change),
            severity=str(event.severity),
            triggers=event.triggers,
            labels=event.labels,
            places=event.places,
            people=tuple(EventPerson(person=p.person, name=p.name) for p in event.people),
            tracks=event.tracks,
            began_at=event.began_s,
            ended_at=UNSET if event.ended_s is None else event.ended_s,
            snapshot=snapshot,
            clip=clip,
            **best,
        )
        return Message(topic, body, captured_monotonic_s=self._monotonic_s())

    def build_audit(self, log_id: str, entry: AuditRow) -> Message:
        """The message of an entry of a gallery's audit log; see `AuditMessage` on its numbers."""
        with self._lock:
            node, model = self._node, self._model
        body = AuditMessage(
            node=node, boot=log_id, seq=entry.seq, captured_at=entry.at_s, published_at=0.0,
            age_s=0.0, model=model, actor=entry.actor, action=entry.action, person=entry.person,
            detail=entry.detail, mac=entry.mac.hex(),
        )  # fmt: skip
        age_s = max(self._wall_s() - entry.at_s, 0.0)
        return Message(topics.AUDIT, body, captured_monotonic_s=self._monotonic_s() - age_s)

    def build_heartbeat(self) -> Message:
        """A heartbeat with the last sequence number of every topic."""
        with self._lock:
            return self._build_heartbeat()

    def _build_heartbeat(self) -> Message:
        last_seq = {t: seq for t, seq in self._last_seq.items() if t != topics.HEARTBEAT}
        envelope = self._number(topics.HEARTBEAT, self._wall_s())
        body = HeartbeatMessage(**envelope, last_seq=last_seq)
        return Message(topics.HEARTBEAT, body, captured_monotonic_s=self._monotonic_s())

    def _envelope(self, topic: str, captured_s: float) -> dict[str, Any]:
        """Fields of every message; the sink's thread stamps the last two."""
        with self._lock:
            return self._number(topic, captured_s)

    def _number(self, topic: str, captured_s: float) -> dict[str, Any]:
        seq = self._last_seq[topic] = self._last_seq.get(topic, 0) + 1
        return {
            "node": self._node,
            "boot": self._boot,
            "seq": seq,
            "captured_at": captured_s,
            "model": self._model,
            "published_at": 0.0,
            "age_s": 0.0,
        }

    def _frame_envelope(self, topic: str, frame: Frame) -> dict[str, Any]:
        """Fields of every message about a frame."""
        width, height = frame.size_wh
        return self._envelope(topic, frame.captured_s) | {
            "camera": frame.camera,
            "epoch": frame.epoch,
            "frame": frame.seq,
            "width": width,
            "height": height,
        }

    def _build_detections(self, result: FrameResult, jpeg: bytes | None) -> Message:
        frame, tracks = result.frame, result.tracks
        tracked, loose = _assign_faces(result.faces, result.decisions)
        topic = topics.detections(frame.camera)
        rows = zip(
            tracks.track_id.tolist(),
            tracks.class_id.tolist(),
            _round(tracks.score, 4),
            _round(tracks.xyxy, 1),
            result.zones,
            tracks.stationary.tolist(),
            result.attributes or ((),) * len(tracks),
            strict=True,
        )
        body = DetectionsMessage(
            **self._frame_envelope(topic, frame),
            objects=tuple(
                [
                    TrackedObject(
                        track=track,
                        label=self._classes[class_id],
                        score=score,
                        box=tuple(box),
                        zones=zones,
                        face=tracked.get(row, UNSET),
                        stationary=stationary,
                        attributes={c.name: _describe(c) for c in said} or UNSET,
                    )
                    for row, (track, class_id, score, box, zones, stationary, said) in enumerate(
                        rows
                    )
                ]
            ),
            faces=loose,
            looked=UNSET if result.looked else False,
        )
        return Message(topic, body, jpeg, frame.age_from_s)

    def _build_track(self, frame: Frame, change: TrackEvent) -> Message:
        topic = topics.tracks(frame.camera)
        x1, y1, x2, y2 = change.xyxy
        body = TracksMessage(
            **self._frame_envelope(topic, frame),
            track=change.track_id,
            label=self._classes[change.class_id],
            change=str(change.change),
            place=change.place,
            direction=change.direction,
            dwell_s=round(change.dwell_s, 3),
            score=round(change.score, 4),
            box=(round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)),
        )
        return Message(topic, body, captured_monotonic_s=frame.age_from_s)

    def _build_attribute(self, result: FrameResult, row: int, told: Classified) -> Message:
        frame, tracks = result.frame, result.tracks
        topic = topics.tracks(frame.camera)
        body = TracksMessage(
            **self._frame_envelope(topic, frame),
            track=int(tracks.track_id[row]),
            label=self._classes[int(tracks.class_id[row])],
            change=str(TrackEventType.ATTRIBUTE),
            place="",
            direction="",
            dwell_s=0.0,
            score=round(float(tracks.score[row]), 4),
            box=tuple(_round(tracks.xyxy[row], 1)),
            name=told.name,
            attribute=_describe(told),
        )
        return Message(topic, body, captured_monotonic_s=frame.age_from_s)

    def _build_face(self, result: FrameResult, row: int) -> Message:
        frame = result.frame
        topic = topics.faces(frame.camera)
        body = FacesMessage(
            **self._frame_envelope(topic, frame),
            track=result.decisions[row].track_id,
            face=build_faces(result.faces, result.decisions)[row],
        )
        return Message(topic, body, captured_monotonic_s=frame.age_from_s)


def stamp(message: Message, now_s: float, now_monotonic_s: float) -> Message:
    """A copy of a message with ``published_at`` and ``age_s`` of the moment it is sent."""
    age_s = round(max(0.0, now_monotonic_s - message.captured_monotonic_s), 6)
    body = msgspec.structs.replace(message.body, published_at=now_s, age_s=age_s)
    return Message(message.topic, body, message.jpeg, message.captured_monotonic_s)


def _describe(said: Classified) -> Attribute:
    return Attribute(
        value=said.value, score=round(said.score, 4), votes=said.votes, looks=said.looks
    )


def _round(column: np.ndarray, digits: int) -> list[Any]:
    """Python floats that print short; a float32 rounded as float32 would print nine digits."""
    rounded: list[Any] = np.round(column.astype(np.float64), digits).tolist()
    return rounded


def _assign_faces(
    faces: Faces, decisions: tuple[Decision, ...]
) -> tuple[dict[int, Face], tuple[Face, ...]]:
    """The best face of each track by its row, and all other faces."""
    if not len(faces):
        return {}, ()
    tracked: dict[int, Face] = {}
    loose: list[Face] = []
    for row, face in zip(faces.track_row.tolist(), build_faces(faces, decisions), strict=True):
        best = tracked.get(row)
        if row < 0 or (best is not None and best.score >= face.score):
            loose.append(face)
            continue
        if best is not None:
            loose.append(best)
        tracked[row] = face
    return tracked, tuple(loose)


def build_faces(faces: Faces, decisions: tuple[Decision, ...]) -> list[Face]:
    """All faces with the decisions about them."""
    columns = zip(
        _round(faces.score, 4),
        _round(faces.quality, 4),
        _round(faces.xyxy, 1),
        _round(faces.landmarks, 1),
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
    return [_add_decision(face, decision) for face, decision in zip(found, decisions, strict=True)]


def _add_decision(face: Face, decision: Decision) -> Face:
    """A face with its decision; what was not measured is left out."""
    return msgspec.structs.replace(
        face,
        outcome=str(decision.outcome),
        person=decision.person or UNSET,
        name=decision.name or UNSET,
        similarity=_round_finite(decision.similarity),
        margin=_round_finite(decision.margin),
        liveness=str(decision.liveness),
        live_score=_round_finite(decision.live_score),
        votes=decision.votes,
        reason=decision.reason,
        reason_code=str(decision.reason_code),
        evidence={
            name: round(nats, 2) for name, nats in decision.evidence if math.isfinite(nats)
        } or UNSET,
        track=decision.track_id if decision.track_id >= 0 else UNSET,
        looks=decision.looks,
        needs={name: round(value, 4) for name, value in decision.needs} or UNSET,
    )  # fmt: skip


def _round_finite(value: float) -> float | UnsetType:
    return round(value, 4) if math.isfinite(value) else UNSET
