"""Explanations: what a face still lacks for a name, in plain words.

They need nothing but the message about the face, so that they say of a node far away what they say
of a camera before which one stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec import UNSET, UnsetType

from edge.people.recognition.face_quality import LOOK, estimate_pose, measure_eyes_px
from edge.types import Liveness, Outcome, ReasonCode
from edge.wire.schema import Face

ADVICE: Final = {
    ReasonCode.TOO_FAINT: "come closer, or more light: the face is hardly detected",
    ReasonCode.BLURRED: "hold still, or focus the camera: the face is blurred",
    ReasonCode.TOO_DARK: "more light on the face",
    ReasonCode.TOO_BRIGHT: "less light on the face",
    ReasonCode.LOW_CONTRAST: "clearer light: the face has too little contrast",
    ReasonCode.FROZEN_PICTURE: "a picture that changes: the camera repeats the same one",
    ReasonCode.NOT_SEEN_LATELY: "look into the camera again: the person has not been recognized "
    "for some seconds",
    ReasonCode.NO_LIVENESS_MODEL: "a liveness model: set recognition.liveness",
    ReasonCode.LIVENESS_MODEL_NAN: "a liveness model that works: this one returns NaN",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a name needs.

    Attributes:
        what: A stable word: ``size``, ``pose``, ``votes``, ``similarity``, ``margin``, ``liveness``
            or a reason code.
        text: What to do, or what was measured and what is needed.
    """

    what: str
    text: str


def find_missing(face: Face) -> list[Missing]:
    """What a face lacks for a name, the nearest step first; nothing if it is known."""
    if face.outcome is UNSET:
        return [Missing("recognition", "recognition is off: there is no [recognition] table")]
    if face.outcome == Outcome.KNOWN:
        return []
    missing = _check_view(face)
    if face.reason_code in ADVICE:
        code = ReasonCode(str(face.reason_code))
        missing.append(Missing(str(code), ADVICE[code]))
    if face.needs is not UNSET:
        missing += _check_liveness(face, face.needs) + _check_votes(face, face.needs)
    if not missing:
        missing.append(Missing(str(face.reason_code or "unexplained"), str(face.reason or "")))
    return missing


def describe(face: Face) -> list[tuple[str, str]]:
    """All that was measured, as labels and texts."""
    needs = {} if face.needs is UNSET else face.needs
    rows = [("outcome", f"{face.outcome or 'none'}: {face.reason or 'not recognized'}")]
    if face.name:
        rows.append(("name", face.name))
    eyes_px, yaw_deg, pitch_deg = _measure_view(face)
    view = (
        f"eyes {eyes_px:.0f} px apart ({LOOK.eyes_px:.0f} needed), turned {yaw_deg:+.0f}°, "
        f"looking up {pitch_deg:+.0f}°, quality {face.quality:.2f}"
    )
    rows.append(("view", view))
    if face.looks is not UNSET:
        rows.append(("looks", str(face.looks)))
    if face.votes is not UNSET:
        rows.append(("votes", f"{face.votes}{_format_need(needs, 'votes', 0)}"))
    if face.similarity is not UNSET:
        rows.append(("similarity", f"{face.similarity:.2f}{_format_need(needs, 'similarity')}"))
    if face.similarity is not UNSET and face.margin is not UNSET:
        second = face.similarity - face.margin
        lead = f"{face.margin:.2f} ahead{_format_need(needs, 'margin')}"
        text = f"{second:.2f}, {lead}" if second > -1 else "no one else is enrolled"
        rows.append(("second best", text))
    if face.liveness is not UNSET:
        score = "" if face.live_score is UNSET else f", score {face.live_score:.2f}"
        rows.append(("liveness", f"{face.liveness}{score}{_format_need(needs, 'live_score')}"))
    if face.evidence is not UNSET:
        told = ", ".join(f"{name} {nats:+.1f}" for name, nats in face.evidence.items())
        rows.append(("witnesses", f"{told} (nats, for life above 0)"))
    return rows


def _format_need(needs: Mapping[str, float], name: str, digits: int = 2) -> str:
    return f" ({needs[name]:.{digits}f} needed)" if name in needs else ""


def _measure_view(face: Face) -> tuple[float, float, float]:
    """Distance of the eyes in pixels, yaw and pitch in degrees."""
    landmarks = np.array([face.landmarks], np.float32)
    pose = estimate_pose(landmarks)
    return float(measure_eyes_px(landmarks)[0]), float(pose.yaw_deg[0]), float(pose.pitch_deg[0])


def _check_view(face: Face) -> list[Missing]:
    """Whether the face is large enough and faces the camera, in this frame."""
    eyes_px, yaw_deg, pitch_deg = _measure_view(face)
    missing = []
    if not eyes_px >= LOOK.eyes_px:
        text = f"come closer: the eyes are {eyes_px:.0f} px apart, {LOOK.eyes_px:.0f} are needed"
        missing.append(Missing("size", text))
    if not estimate_pose(np.array([face.landmarks], np.float32)).is_within(LOOK)[0]:
        text = f"look into the camera: turned {yaw_deg:+.0f}°, looking up {pitch_deg:+.0f}°"
        missing.append(Missing("pose", text))
    return missing


def _check_votes(face: Face, needs: Mapping[str, float]) -> list[Missing]:
    if not face.looks:
        return [Missing("votes", "a first look that is good enough to be compared")]
    similarity, margin = _number(face.similarity), _number(face.margin)
    least, lead = needs.get("similarity", -1.0), needs.get("margin", 0.0)
    if not similarity >= least:
        text = (
            f"similarity {similarity:.2f} to the nearest person, {least:.2f} is "
            "needed: not enrolled, or with photos that are too different"
        )
        return [Missing("similarity", text)]
    if not margin >= lead:
        text = (
            f"a lead of {margin:.2f} over the second-best person, {lead:.2f} is needed: "
            "enroll more photos of both"
        )
        return [Missing("margin", text)]
    votes, needed = _number(face.votes), needs.get("votes", 0)
    if face.outcome == Outcome.UNKNOWN:
        text = f"most looks speak for nobody enrolled ({votes:.0f} of {face.looks})"
        return [Missing("votes", text)]
    if not votes >= needed:
        return [Missing("votes", f"{votes:.0f} of {needed:.0f} agreeing looks at a live face")]
    return []


def _check_liveness(face: Face, needs: Mapping[str, float]) -> list[Missing]:
    if "live_score" not in needs or face.liveness == Liveness.LIVE:
        return []
    if face.liveness == Liveness.SPOOF:
        return [Missing("liveness", f"not a picture: {_list_against(face)}")]
    if face.reason_code in (ReasonCode.LIVENESS_PENDING, ReasonCode.LIVENESS_STALE):
        return [Missing("liveness", str(face.reason))]
    if face.live_score is UNSET:
        return [Missing("liveness", "no liveness score yet")]
    if not face.live_score >= needs["live_score"]:
        text = (
            f"liveness score {face.live_score:.2f}, {needs['live_score']:.2f} is needed: turn the "
            f"head a little, look into the camera; {_list_against(face)}"
        )
        return [Missing("liveness", text)]
    text = (
        "turn the head a little: nothing has moved yet as only a head can, so it may be a "
        f"photograph; liveness score {face.live_score:.2f}, {_list_against(face)}"
    )
    return [Missing("liveness", text)]


def _list_against(face: Face) -> str:
    """Which witnesses speak against a living face, the strongest first."""
    evidence = {} if face.evidence is UNSET else face.evidence
    against = sorted((nats, name) for name, nats in evidence.items() if nats < 0)
    told = ", ".join(f"{name} {nats:+.1f}" for nats, name in against)
    return f"against it: {told}" if told else "nothing speaks against it"


def _number(value: float | UnsetType) -> float:
    return float("nan") if value is UNSET else float(value)
