"""Reasons: stable codes, sentences without them."""

import re

from edge.people import reasons
from edge.people.reasons import Reason
from edge.types import ReasonCode


def test_codes_are_snake_case_and_equal_their_names():
    for code in ReasonCode:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
        assert code.name.lower() == code


def test_every_fixed_reason_has_a_text_of_its_own():
    fixed = [value for value in vars(reasons).values() if isinstance(value, Reason)]
    assert len({reason.text for reason in fixed}) == len(fixed) >= 10
