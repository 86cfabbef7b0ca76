"""Strict JSON: what any parser reads."""

import json
import math

import pytest

from edge import strict_json


def test_what_is_no_number_is_null_wherever_it_stands():
    value = {"a": math.nan, "b": [1.5, (math.inf, {"c": -math.inf})], "d": "NaN", "e": True}
    text = strict_json.dumps(value)
    parsed = json.loads(text, parse_constant=pytest.fail)
    assert parsed == {"a": None, "b": [1.5, [None, {"c": None}]], "d": "NaN", "e": True}
