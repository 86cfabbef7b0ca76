"""Obstacles: why a trigger of a camera's rules never comes."""

from __future__ import annotations

from edge.config import Camera, Config, EventRule, split_trigger


def list_obstacles(camera: Camera, settings: Config) -> list[str]:
    """What the rules of a camera wait for in vain, a sentence for each."""
    rows = [
        f"{trigger} never comes: {why}"
        for rule in camera.events
        for trigger in rule.when
        if (why := _explain(trigger, rule, camera, settings))
    ]
    return list(dict.fromkeys(rows))


def _explain(trigger: str, rule: EventRule, camera: Camera, settings: Config) -> str:
    """Why a trigger never comes; empty if it may."""
    word, _, name = trigger.partition(":")
    if word in ("known", "unknown", "spoof"):
        return "" if settings.recognition else "add [recognition]"
    if word == "attribute":
        asked = [a for a in settings.attributes if split_trigger(trigger)[1] in ("", a.name)]
        if not asked:
            return "add [[attributes]]"
        if all(_share_nothing(rule.labels or camera.labels, each.of) for each in asked):
            of = ", ".join(dict.fromkeys(label for each in asked for label in each.of))
            return f"it is asked of {of} only, which the rule or the camera leaves out"
    if word == "state":
        return "" if camera.states else "the camera has no states"
    if word == "crossed" and not camera.lines:
        return "the camera has no lines"
    if word in ("entered", "left", "dwelled") and not camera.zones:
        return "the camera has no zones"
    zones = [zone for zone in camera.zones if name in ("", zone.name)]
    if word == "dwelled" and not any(zone.dwell_s for zone in zones):
        return f"set dwell_s of {name or 'a zone'}"
    if word != "offline" and _share_nothing(rule.labels, camera.labels):
        return f"its labels are none of the camera's, {', '.join(camera.labels)}"
    return ""


def _share_nothing(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether two lists of labels, of which an empty one means all, have none in common."""
    return bool(some and others) and not {*some} & {*others}
