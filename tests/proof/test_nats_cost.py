"""The CPU that the NATS sink takes for a message, of the kind and in the numbers of a full node."""

import pytest

from tests.support.nats_cost import send
from tests.support.nats_server import nats_server

CAMERAS, COUNT = 10, 60_000


@pytest.mark.proof
def test_a_message_costs_the_sink_little(tmp_path, keep):
    with nats_server(tmp_path / "nats") as server:
        costs = {
            at_once: send(server.url, tmp_path / f"spool{at_once}", "detections", COUNT, at_once)
            for at_once in (CAMERAS, 100)
        }
    for at_once, cost in costs.items():
        print(f"\n{at_once} messages at a time: {cost.sink_us:.1f} us each", end="", flush=True)
        keep("sink cost", cost.sink_us)
