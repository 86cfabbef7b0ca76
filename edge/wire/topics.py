"""Topics: the names that messages are published and subscribed under.

A subscription is a byte prefix. Every topic ends with ``/``, so that a subscription to
``v1/detections/cam1/`` does not match ``cam10``.
"""

from __future__ import annotations

VERSION = "v1/"
HEARTBEAT = f"{VERSION}heartbeat/"
AUDIT = f"{VERSION}audit/"


def detections(camera: str) -> str:
    """Topic of every processed frame of a camera, empty ones included."""
    return f"{VERSION}detections/{camera}/"


def tracks(camera: str) -> str:
    """Topic of the events in the lives of tracks."""
    return f"{VERSION}tracks/{camera}/"


def faces(camera: str) -> str:
    """Topic of decisions about faces."""
    return f"{VERSION}faces/{camera}/"


def recent(camera: str) -> str:
    """Topic of the last decisions about faces, for late subscribers."""
    return f"{VERSION}recent/{camera}/"


def status(camera: str) -> str:
    """Topic of a camera's state."""
    return f"{VERSION}status/{camera}/"


def states(camera: str) -> str:
    """Topic of the states of fixed places."""
    return f"{VERSION}states/{camera}/"


def events(camera: str) -> str:
    """Topic of events: what the rules of a camera say is worth to be told."""
    return f"{VERSION}events/{camera}/"


def parse_family(topic: str) -> str:
    """``v1/detections/door/`` -> ``detections``; empty for topics of other versions."""
    version, _, rest = topic.partition("/")
    return rest.partition("/")[0] if f"{version}/" == VERSION else ""


def parse_camera(topic: str) -> str:
    """``v1/detections/door/`` -> ``door``; empty when the topic is not about a camera."""
    parts = topic.split("/")
    return parts[2] if len(parts) == 4 else ""
