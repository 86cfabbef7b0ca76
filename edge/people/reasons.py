"""Reasons: why a face got its outcome, as a code for programs and a sentence for people."""

from __future__ import annotations

from typing import NamedTuple

from edge.types import ReasonCode


class Reason(NamedTuple):
    """A reason: a stable word for programs, and a sentence for people with measured values."""

    code: ReasonCode
    text: str


TOO_FAINT = Reason(ReasonCode.TOO_FAINT, "too faint to be followed")
TOO_SMALL = Reason(ReasonCode.TOO_SMALL, "too small")
TURNED_AWAY = Reason(ReasonCode.TURNED_AWAY, "turned away")
BLURRED = Reason(ReasonCode.BLURRED, "blurred")
TOO_DARK = Reason(ReasonCode.TOO_DARK, "too dark")
TOO_BRIGHT = Reason(ReasonCode.TOO_BRIGHT, "too bright")
LOW_CONTRAST = Reason(ReasonCode.LOW_CONTRAST, "too little contrast")
FROZEN_PICTURE = Reason(ReasonCode.FROZEN_PICTURE, "the picture does not change")
NOT_COMPARED = Reason(ReasonCode.NOT_COMPARED, "not compared with the gallery yet")
AMBIGUOUS = Reason(ReasonCode.AMBIGUOUS, "resembles several enrolled people")
NO_LIVENESS_MODEL = Reason(ReasonCode.NO_LIVENESS_MODEL, "no liveness model is configured")
LIVENESS_CLIP_TOO_SHORT = Reason(
    ReasonCode.LIVENESS_PENDING, "the clip for the liveness model is not complete yet"
)
LIVENESS_MODEL_NAN = Reason(ReasonCode.LIVENESS_MODEL_NAN, "the liveness model returned NaN")
WITNESS_NAN = Reason(ReasonCode.LIVENESS_MODEL_NAN, "a witness of liveness returned NaN")
NO_3D_MOTION = Reason(ReasonCode.NO_3D_MOTION, "no 3-D motion observed")
SPOOFED_BEFORE = Reason(ReasonCode.SPOOF, "was taken for a picture of a face before")
