"""Strict JSON: NaN and infinities, which are not JSON, become null."""

from __future__ import annotations

import json
import math


def dumps(value: object) -> str:
    """JSON of dictionaries, sequences, texts, numbers, booleans and None."""
    return json.dumps(_replace_non_finite(value), ensure_ascii=False, allow_nan=False)


def _replace_non_finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _replace_non_finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
