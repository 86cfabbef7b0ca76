"""A node whose thread stands still says so, and heals where it can."""

import pytest

from tests.support.held_thread import time_to_notice
from tests.support.node import running_node


@pytest.mark.slow
def test_a_held_thread_of_zeromq_is_noticed_and_replaced(tmp_path):
    with running_node(tmp_path) as (process, http):
        try:
            noticed_s, answer, again_s = time_to_notice(process, http)
        except PermissionError:
            pytest.skip("this machine does not allow ptrace")
    assert "has not heard its own heartbeat" in answer["broken_sinks"]["0-zeromq"]
    assert 2 < noticed_s < again_s < 25
