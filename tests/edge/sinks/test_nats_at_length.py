"""Sixty thousand messages through the NATS sink, while its server is killed."""

import time

import pytest

from tests.edge.sinks.test_nats import numbers, opened, until
from tests.edge.sinks.test_zeromq import message
from tests.support.nats_server import nats_server

MESSAGES, AT_ONCE = 60_000, 500


@pytest.mark.slow
def test_of_sixty_thousand_none_is_lost_or_doubled_while_the_server_is_killed_twice(tmp_path):
    with nats_server(tmp_path / "nats") as server:
        with opened(server, tmp_path, families=["detections"]) as sink:
            for first in range(1, MESSAGES, AT_ONCE):
                sink.send([message("detections", "door", seq=first + n) for n in range(AT_ONCE)])
                time.sleep(0.01)  # so that the sender is in the midst of it when ...
                if first // AT_ONCE in (30, 80):
                    server.kill()
                if first // AT_ONCE in (50, 100):
                    server.start()
            until(lambda: sink.look().messages == 0)
            assert sink.look().lost == 0
        found = numbers(server)
    assert {seq for _, _, seq in found} == set(range(1, MESSAGES + 1))
    assert set(found.values()) == {1}
