"""The last-value cache: what a late subscriber must hear to know how things stand.

Kept are each camera's last status and, for each living track, its last message and the last
message about every zone it stands in. A track is forgotten when it ends, when its camera goes
offline and when its camera begins a new epoch.
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

MOST_TRACKS = 256  # a camera; times zones it stays under a socket's high-water mark


@dataclass(slots=True)
class _Living:
    """A track: its last message, and the last one of each zone it stands in."""

    last: Message
    zones: dict[str, Message] = field(default_factory=dict)

    def messages(self) -> list[Message]:
        """In the order in which they were composed, each once."""
        zones = [message for message in self.zones.values() if message is not self.last]
        return [*zones, self.last]


class LastValues:
    """Messages of status and tracks by topic, bounded by cameras and `MOST_TRACKS`."""

    def __init__(self, most_tracks: int = MOST_TRACKS) -> None:
        """Begin empty.

        Args:
            most_tracks: living tracks that are kept a camera; beyond it the oldest go.
        """
        self._most_tracks = most_tracks
        self._status: dict[str, Message] = {}  # by topic
        self._tracks: dict[str, dict[int, _Living]] = {}  # by topic, by track
        self._epochs: dict[str, int] = {}  # by camera

    def note(self, message: Message) -> None:
        """Remember what this message changes."""
        body = message.body
        if isinstance(body, HeartbeatMessage | FacesMessage):
            return
        if body.epoch > self._epochs.get(body.camera, 0):
            self._epochs[body.camera] = body.epoch
            self._end_all(body.camera)
        if isinstance(body, DetectionsMessage):
            return
        if isinstance(body, TracksMessage):
            self._note_track(message, body)
        else:
            self._note_status(message, body)

    def topics_of(self, prefix: bytes) -> list[str]:
        """Topics with something to tell that a subscription to ``prefix`` matches."""
        return [
            topic for topic in (*self._status, *self._tracks) if topic.encode().startswith(prefix)
        ]

    def messages(self, topic: str) -> list[Message]:
        """What is known of a topic, marked as ``cached``, oldest first."""
        known = [self._status[topic]] if topic in self._status else []
        for living in self._tracks.get(topic, {}).values():
            known += living.messages()
        known.sort(key=lambda message: message.body.seq)
        return [
            Message(topic, msgspec.structs.replace(message.body, cached=True)) for message in known
        ]

    def _note_status(self, message: Message, body: StatusMessage) -> None:
        self._status[message.topic] = message
        if body.state == CameraState.OFFLINE:
            self._end_all(body.camera)

    def _note_track(self, message: Message, body: TracksMessage) -> None:
        tracks = self._tracks.setdefault(message.topic, {})
        if body.change == TrackEventType.ENDED:
            tracks.pop(body.track, None)
            return
        living = tracks.setdefault(body.track, _Living(message))
        living.last = message
        if body.change in (TrackEventType.ENTERED, TrackEventType.DWELLED):
            living.zones.pop(body.place, None)  # the newest stands last
            living.zones[body.place] = message
        elif body.change == TrackEventType.LEFT:
            living.zones.pop(body.place, None)
        if len(tracks) > self._most_tracks:
            del tracks[next(iter(tracks))]

    def _end_all(self, camera: str) -> None:
        self._tracks.pop(topics.tracks(camera), None)
