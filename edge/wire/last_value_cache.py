"""The last-value cache: what a late subscriber must receive to know the present state.

It holds each camera's last status, the last message about the state of each place and, for each
live track, its last message, the last message about every zone it is in and about every attribute
that was decided of it, and the number of the last message of each topic. A track is removed when it
ends, when its camera goes offline and when its camera starts a new epoch. What was decided last
about a face stays for `RECENT_S` after the face has left, without the name, which may have to be
forgotten sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from edge.types import UNDECIDED, CameraState, TrackEventType
from edge.wire import topics
from edge.wire.schema import (
    AuditMessage,
    Body,
    DetectionsMessage,
    EventMessage,
    Face,
    FacesMessage,
    HeartbeatMessage,
    Message,
    RecentMessage,
    StateMessage,
    StatusMessage,
    TracksMessage,
)

MAX_TRACKS = 256  # per camera; times zones it stays below a socket's high-water mark
MAX_RECENT = 32  # faces per camera
RECENT_S = 60


@dataclass(slots=True)
class _LiveTrack:
    """A track: its last message, and the last one of each zone it is in and each attribute."""

    last: Message
    zones: dict[str, Message] = field(default_factory=dict)
    attributes: dict[str, Message] = field(default_factory=dict)

    def messages(self) -> list[Message]:
        """The messages in the order in which they were built, each once."""
        known = (*self.zones.values(), *self.attributes.values())
        return [*(message for message in known if message is not self.last), self.last]


class LastValueCache:
    """Messages of status and tracks by topic; beyond ``max_tracks`` per camera the oldest go."""

    def __init__(self, max_tracks: int = MAX_TRACKS) -> None:
        self._max_tracks = max_tracks
        self._status: dict[str, Message] = {}  # by topic
        self._states: dict[str, dict[str, Message]] = {}  # by topic, by name
        self._tracks: dict[str, dict[int, _LiveTrack]] = {}  # by topic, by track
        self._recent: dict[str, dict[int, RecentMessage]] = {}  # by topic, by track
        self._epochs: dict[str, int] = {}  # by camera
        self._latest: Body | None = None
        self._last_seq: dict[str, int] = {}  # by topic, of what was sent

    def update(self, message: Message) -> None:
        """Take a message into account."""
        body = message.body
        if isinstance(body, AuditMessage):
            return  # its `boot` is none of ours
        if self._latest is None or self._latest.boot != body.boot:
            self._last_seq.clear()
        self._latest = body
        self._last_seq[message.topic] = max(body.seq, self._last_seq.get(message.topic, 0))
        if isinstance(body, HeartbeatMessage | FacesMessage | EventMessage):
            return
        if body.epoch > self._epochs.get(body.camera, 0):
            self._epochs[body.camera] = body.epoch
            self._end_all(body.camera)
        if isinstance(body, DetectionsMessage):
            self._update_recent(body)
            return
        if isinstance(body, TracksMessage):
            self._update_track(message, body)
        elif isinstance(body, StateMessage):
            self._update_state(message, body)
        else:
            self._update_status(message, body)

    def find_topics(self, prefix: bytes) -> list[str]:
        """Cached topics that a subscription to ``prefix`` matches."""
        known = (
            *self._status,
            *self._states,
            *self._tracks,
            *self._recent,
            *((topics.HEARTBEAT,) if self._latest else ()),
        )
        return [topic for topic in known if topic.encode().startswith(prefix)]

    def messages(self, topic: str) -> list[Message]:
        """The cached messages of a topic, marked as ``cached``, oldest first."""
        if topic == topics.HEARTBEAT:
            return self._build_snapshot()
        messages = [self._status[topic]] if topic in self._status else []
        messages += self._states.get(topic, {}).values()
        for track in self._tracks.get(topic, {}).values():
            messages += track.messages()
        messages.sort(key=lambda message: message.body.seq)
        return self._list_recent(topic) + [
            Message(topic, msgspec.structs.replace(message.body, cached=True))
            for message in messages
        ]

    def _list_recent(self, topic: str) -> list[Message]:
        """Faces that are or were lately in view, the latest last."""
        now_s = self._latest.captured_at if self._latest else 0.0
        recent = self._recent.get(topic, {}).values()
        return [Message(topic, body) for body in recent if now_s - body.captured_at <= RECENT_S]

    def _build_snapshot(self) -> list[Message]:
        """A heartbeat with the number of the last message of each topic that was sent here."""
        latest = self._latest
        if latest is None:
            return []
        body = HeartbeatMessage(
            node=latest.node,
            boot=latest.boot,
            seq=0,
            captured_at=latest.published_at,
            published_at=latest.published_at,
            age_s=0.0,
            model=latest.model,
            cached=True,
            last_seq=dict(self._last_seq),
        )
        return [Message(topics.HEARTBEAT, body)]

    def _update_status(self, message: Message, body: StatusMessage) -> None:
        self._status[message.topic] = message
        if body.state == CameraState.OFFLINE:
            self._end_all(body.camera)

    def _update_state(self, message: Message, body: StateMessage) -> None:
        states = self._states.setdefault(message.topic, {})
        states.pop(body.name, None)  # the newest is last
        if body.value != UNDECIDED:
            states[body.name] = message

    def _update_track(self, message: Message, body: TracksMessage) -> None:
        tracks = self._tracks.setdefault(message.topic, {})
        if body.change == TrackEventType.ENDED:
            tracks.pop(body.track, None)
            return
        track = tracks.setdefault(body.track, _LiveTrack(message))
        track.last = message
        if body.change in (TrackEventType.ENTERED, TrackEventType.DWELLED):
            track.zones.pop(body.place, None)  # the newest is last
            track.zones[body.place] = message
        elif body.change == TrackEventType.LEFT:
            track.zones.pop(body.place, None)
        elif body.change == TrackEventType.ATTRIBUTE and body.name is not UNSET:
            track.attributes[body.name] = message
        if len(tracks) > self._max_tracks:
            del tracks[next(iter(tracks))]

    def _update_recent(self, body: DetectionsMessage) -> None:
        faces = [*(found.face for found in body.objects if found.face is not UNSET), *body.faces]
        decided = {face.track: face for face in faces if face.track is not UNSET}
        if not decided:
            return
        recent = self._recent.setdefault(topics.recent(body.camera), {})
        for track, face in decided.items():
            recent.pop(track, None)  # the latest is last
            recent[track] = _build_recent(body, track, face)
        while len(recent) > MAX_RECENT:
            del recent[next(iter(recent))]

    def _end_all(self, camera: str) -> None:
        self._tracks.pop(topics.tracks(camera), None)


def _build_recent(seen: DetectionsMessage, track: int, face: Face) -> RecentMessage:
    return RecentMessage(
        node=seen.node,
        boot=seen.boot,
        seq=seen.seq,
        captured_at=seen.captured_at,
        published_at=seen.published_at,
        age_s=seen.age_s,
        model=seen.model,
        cached=True,
        camera=seen.camera,
        epoch=seen.epoch,
        frame=seen.frame,
        width=seen.width,
        height=seen.height,
        track=track,
        face=msgspec.structs.replace(face, name=UNSET, person=UNSET),
    )
