"""Topics: what a message is about, and what a subscriber asks for.

A subscription is a byte prefix. Every topic ends with ``/``, so that a subscription to
``v1/detections/cam1/`` never matches ``cam10``.
"""

from __future__ import annotations

VERSION = "v1/"
HEARTBEAT = f"{VERSION}heartbeat/"


def detections(camera: str) -> str:
    """Every processed frame of a camera, empty ones too."""
    return f"{VERSION}detections/{camera}/"


def tracks(camera: str) -> str:
    """A track begins, enters, leaves, dwells, crosses, ends."""
    return f"{VERSION}tracks/{camera}/"


def faces(camera: str) -> str:
    """A decision about a face, with its reason."""
    return f"{VERSION}faces/{camera}/"


def status(camera: str) -> str:
    """A camera goes online, offline or is frozen."""
    return f"{VERSION}status/{camera}/"


def family(topic: str) -> str:
    """``v1/detections/door/`` -> ``detections``; empty when it is no topic of this version."""
    version, _, rest = topic.partition("/")
    return rest.partition("/")[0] if f"{version}/" == VERSION else ""


def camera_of(topic: str) -> str:
    """``v1/detections/door/`` -> ``door``; empty when the topic is about no camera."""
    parts = topic.split("/")
    return parts[2] if len(parts) == 4 else ""
