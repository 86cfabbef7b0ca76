"""What the hub gathers of boxes, each by itself, and what it says where that cannot be."""

import asyncio

import pytest

from edge.errors import EdgeError
from edge.fleet.gathering import gather
from edge.fleet.names import name_account, name_gathered
from tests.support.hub_server import Hub


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path, ["gate", "dock"]).serve() as running:
        yield running


def use(hub, act):
    async def connected():
        client = await hub.hub.connect()
        try:
            return await act(client)
        finally:
            await client.close()

    return asyncio.run(connected())


def test_gathering_again_changes_the_bounds_of_that_box_alone(hub):
    async def act(client):
        for box, max_bytes in (("gate", 10**6), ("dock", 10**6), ("gate", 2 * 10**6)):
            await gather(client, box, max_bytes, 3600)
        return [
            (
                await client.jetstream(domain=name_account(box)).stream_info(name_gathered(box))
            ).config
            for box in ("gate", "dock")
        ]

    gate, dock = use(hub, act)
    assert (gate.max_bytes, dock.max_bytes) == (2 * 10**6, 10**6)
    assert (gate.max_age, dock.max_age) == (3600, 3600)
    assert [len(gate.sources), len(dock.sources)] == [1, 1]


def test_a_hub_without_room_says_what_to_do(hub):
    with pytest.raises(EdgeError, match="give fewer --max-bytes"):
        use(hub, lambda client: gather(client, "gate", 10**17, 3600))


def test_a_box_that_nobody_authorized_is_named(hub):
    with pytest.raises(EdgeError, match="no account of door: edge hub authorize it"):
        use(hub, lambda client: gather(client, "door", 10**6, 3600))
