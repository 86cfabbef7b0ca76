"""How long a thread of ZeroMQ that stands still goes unnoticed: five runs."""

import pytest

from tests.support.held_thread import time_to_notice
from tests.support.node import running_node


@pytest.mark.proof
def test_a_held_thread_is_noticed_within_five_seconds(tmp_path, keep):
    for run in range(5):
        with running_node(tmp_path) as (process, http):
            noticed_s, _, again_s = time_to_notice(process, http)
        print(
            f"\n{run}: noticed {noticed_s:.2f} s, ready again {again_s:.2f} s", end="", flush=True
        )
        keep("held", noticed_s)
