"""The last-value cache: what a late subscriber must receive to know the present state.

It holds each camera's last status and, for each live track, its last message and the last message
about every zone it is in. A track is removed when it ends, when its camera goes offline and when
its camera starts a new epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from edge.types import CameraState, TrackEventType
from edge.wire import topics
from edge.wire.schema import (
    DetectionsMessage,
    FacesMessage,
    HeartbeatMessage,
    Message,
    StatusMessage,
    TracksMessage,
)

MAX_TRACKS = 256  # per camera; times zones it stays below a socket's high-water mark


@dataclass(slots=True)
class _LiveTrack:
    """A track: its last message, and the last one of each zone it is in."""

    last: Message
    zones: dict[str, Message] = field(default_factory=dict)

    def messages(self) -> list[Message]:
        """The messages in the order in which they were built, each once."""
        zones = [message for message in self.zones.values() if message is not self.last]
        return [*zones, self.last]


class LastValueCache:
    """Messages of status and tracks by topic; beyond ``max_tracks`` per camera the oldest go."""

    def __init__(self, max_tracks: int = MAX_TRACKS) -> None:
        self._max_tracks = max_tracks
        self._status: dict[str, Message] = {}  # by topic
        self._tracks: dict[str, dict[int, _LiveTrack]] = {}  # by topic, by track
        self._epochs: dict[str, int] = {}  # by camera

    def update(self, message: Message) -> None:
        """Take a message into account."""
        body = message.body
        if isinstance(body, HeartbeatMessage | FacesMessage):
            return
        if body.epoch > self._epochs.get(body.camera, 0):
            self._epochs[body.camera] = body.epoch
            self._end_all(body.camera)
        if isinstance(body, DetectionsMessage):
            return
        if isinstance(body, TracksMessage):
            self._update_track(message, body)
        else:
            self._update_status(message, body)

    def find_topics(self, prefix: bytes) -> list[str]:
        """Cached topics that a subscription to ``prefix`` matches."""
        return [
            topic for topic in (*self._status, *self._tracks) if topic.encode().startswith(prefix)
        ]

    def messages(self, topic: str) -> list[Message]:
        """The cached messages of a topic, marked as ``cached``, oldest first."""
        messages = [self._status[topic]] if topic in self._status else []
        for track in self._tracks.get(topic, {}).values():
            messages += track.messages()
        messages.sort(key=lambda message: message.body.seq)
        return [
            Message(topic, msgspec.structs.replace(message.body, cached=True))
            for message in messages
        ]

    def _update_status(self, message: Message, body: StatusMessage) -> None:
        self._status[message.topic] = message
        if body.state == CameraState.OFFLINE:
            self._end_all(body.camera)

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
        if len(tracks) > self._max_tracks:
            del tracks[next(iter(tracks))]

    def _end_all(self, camera: str) -> None:
        self._tracks.pop(topics.tracks(camera), None)
