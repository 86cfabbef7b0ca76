"""What happened, in words."""

from __future__ import annotations

import time

from msgspec import UNSET

from edge.config import CLASSIFIED_TRIGGERS
from edge.event import Event, Severity
from edge.wire.schema import Body, EventMessage, FacesMessage, StateMessage, TracksMessage

_CHANGES = {
    "entered": "entered {place}",
    "left": "left {place} after {dwell_s:.0f} s",
    "dwelled": "stays in {place}",
    "crossed": "crossed {place} {direction}",
}
_DIRECTIONS = {"left_to_right": "from left to right", "right_to_left": "from right to left"}


def tell(body: Body) -> str:
    """A line about a message that tells something worth to be read; empty for others."""
    if isinstance(body, EventMessage) and body.change == "begun":
        words = describe_parts(body.triggers, body.labels, [p.name for p in body.people])
        alert = " (alert)" if body.severity == Severity.ALERT else ""
        return f"{format_time(body.began_at)} {body.camera}: {words}{alert} [{body.event}]"
    if isinstance(body, TracksMessage) and body.change in _CHANGES:
        direction = _DIRECTIONS.get(body.direction, "")
        change = _CHANGES[body.change].format(
            place=body.place, dwell_s=body.dwell_s, direction=direction
        )
        return f"{format_time(body.captured_at)} {body.camera}: {body.label} {change}".rstrip()
    if isinstance(body, TracksMessage) and body.attribute is not UNSET:
        said = f"{body.label} {body.name}: {body.attribute.value}"
        return f"{format_time(body.captured_at)} {body.camera}: {said}"
    if isinstance(body, StateMessage):
        was = f", was {body.before}" if body.before else ""
        return f"{format_time(body.captured_at)} {body.camera}: {body.name}: {body.value}{was}"
    if isinstance(body, FacesMessage) and body.face.outcome == "known":
        return f"{format_time(body.captured_at)} {body.camera}: {body.face.name} is known"
    if isinstance(body, FacesMessage) and body.face.outcome == "spoof":
        return f"{format_time(body.captured_at)} {body.camera}: a picture of a face"
    return ""


def describe_event(event: Event) -> str:
    """What an event is about: ``Ann entered entrance``."""
    return describe_parts(event.triggers, event.labels, [p.name for p in event.people])


def describe_parts(triggers: tuple[str, ...], labels: tuple[str, ...], people: list[str]) -> str:
    """Who or what, and what they did."""
    who = [name or "forgotten person" for name in people] or list(labels) or ["camera"]
    done = [_describe_trigger(trigger) for trigger in triggers if trigger not in ("began", "known")]
    return " ".join([", ".join(who), ", ".join(done)]).strip()


def _describe_trigger(trigger: str) -> str:
    """A trigger in words: ``entered entrance``, ``gate: open``."""
    word, _, rest = trigger.partition(":")
    if word in CLASSIFIED_TRIGGERS:
        return rest.replace("=", ": ")
    return trigger.replace(":", " ").replace("offline", "shows nothing")


def format_time(unix_s: float) -> str:
    """``16:50:33``, local time."""
    return time.strftime("%H:%M:%S", time.localtime(unix_s))
