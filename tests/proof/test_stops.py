"""A node ends with 0 within five seconds, whatever its cameras do: STOPS stops for each fault."""

import collections
import os

import pytest

from tests.support.faulty_camera import FAULTS
from tests.support.node import stop_once

STOPS = int(os.environ.get("STOPS", "200"))


@pytest.mark.proof
@pytest.mark.parametrize("fault", FAULTS)
def test_every_stop_is_clean(fault, tmp_path, keep):
    ends, longest_s = collections.Counter(), 0.0
    for _ in range(STOPS):
        code, took_s = stop_once(fault, tmp_path)
        ends[code] += 1
        longest_s = max(longest_s, took_s)
    print(f"\n{fault}: {dict(ends)}, longest {longest_s:.2f} s", end="", flush=True)
    assert set(ends) == {0}
    keep("stop", longest_s)
