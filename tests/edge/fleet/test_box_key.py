"""What can be done at the hub with the key of a box, and what cannot, by whatever trick."""

import asyncio
import contextlib
import json
import re
from pathlib import Path

import pytest
from nats.errors import Error, NoRespondersError
from nats.js.api import StreamConfig

from edge.errors import EdgeError
from edge.fleet.box_store import BoxStore
from edge.fleet.gathering import gather
from edge.fleet.models import ModelStore
from edge.fleet.names import name_account, name_gathered
from edge.fleet.nats_files import HubAccess, render_configuration
from edge.fleet.people_bucket import PeopleBucket
from edge.fleet.records import Desired, Report
from edge.fleet.store import FleetStore
from edge.wire.nats_connection import FAILURES, NatsServers
from tests.support.documented_fleet import Server, free_port
from tests.support.hub_server import Hub
from tests.support.nats_server import BINARY

SEALED = [f"person.{'ab' * 16}", "lease.gate", "box.gate", "lease.dock", "box.dock"]
REFUSED = (Error, asyncio.TimeoutError, EdgeError)
STREAMS = ("KV_EDGE_DESIRED", "KV_EDGE_BOXES", "KV_EDGE_PEOPLE", "OBJ_EDGE_MODELS")
COMMANDS = ("DELETE", "PURGE", "UPDATE")
STATUS = b"NATS/1.0 100 FlowControl Request\r\n\r\n"


def make_report(box):
    return Report(box, "1", 0, None, "", True, 0.0)


@contextlib.asynccontextmanager
async def connected(*servers):
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for each in servers:
            clients.append(await each.connect())
            stack.push_async_callback(clients[-1].close)
        yield clients


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("GOMEMLIMIT", "100MiB")  # garbage is collected before it is more
    with Hub(tmp_path, ["gate", "dock"]).serve() as running:
        asyncio.run(fill(running, tmp_path))
        yield running


async def fill(hub, folder):
    """What a fleet has."""
    model = folder / "model"
    model.write_bytes(b"m" * 300_000)
    async with connected(hub.hub) as [client]:
        store = await FleetStore.open(client)
        for box in hub.own:
            await store.want(box, Desired(f"for {box}", "ann", 0.0))
        await store.send_models({"0" * 64 + "-x.onnx": model})
        people = PeopleBucket(client)
        await people.create()
        await people.write(dict.fromkeys(SEALED, b"sealed"))
        for box, own in hub.own.items():
            async with connected(own) as [at_box]:
                await BoxStore(at_box, box).report(make_report(box))


async def look(client, account=None, streams=STREAMS):
    """How many messages each stream has, by subject."""
    stream = client.jetstream(timeout=2, domain=account)
    return {
        name: (await stream.stream_info(name, subjects_filter=">")).state.subjects
        for name in streams
    }


def test_a_box_has_what_is_its_own_and_nothing_else(hub, tmp_path):
    async def act():
        async with connected(hub.own["gate"], hub.hub) as [box, client]:
            own, others, people = BoxStore(box, "gate"), BoxStore(box, "dock"), PeopleBucket(box)
            assert (await own.read_wanted()).desired.text == "for gate"
            with pytest.raises(EdgeError, match="another file"):  # it is not what its name says
                await own.fetch_models(["0" * 64 + "-x.onnx"], tmp_path)
            assert set((await people.read_all(SEALED[:3])).values()) == {b"sealed"}
            before = await look(client)
            models = await ModelStore.open(client)
            models._objects._js = box.jetstream(timeout=1)
            attempts = [
                others.read_wanted(),
                others.report(make_report("dock")),
                models.send({"0" * 64 + "-y.onnx": tmp_path / "model"}),
                box.jetstream(timeout=1).purge_stream("KV_EDGE_DESIRED"),
                people.read("lease.dock"),
                people.write({"lease.gate": b"mine"}),
                people.remove(["lease.gate"]),
                people.list_keys("person"),
                box.jetstream(timeout=1).publish("$KV.EDGE_DESIRED.gate", b"mine"),
                box.jetstream(timeout=1).stream_info("KV_EDGE_DESIRED"),
                box.jetstream(timeout=1, domain=name_account("dock")).streams_info(),
            ]
            done = await asyncio.gather(*attempts, return_exceptions=True)
            assert [isinstance(each, REFUSED) for each in done] == [True] * len(attempts)
            assert await look(client) == before
            heard = await box.subscribe("_INBOX.>")
            await client.publish("_INBOX.x", b"an answer to somebody else")
            await client.flush()
            with pytest.raises(Error):
                await heard.next_msg(timeout=0.5)

    asyncio.run(act())


def test_the_answer_of_the_server_lands_in_the_account_of_the_box(hub):
    """Permissions bind where a request goes, but not where it has its answer put."""
    asked = [
        ("$JS.API.DIRECT.GET.KV_EDGE_DESIRED.$KV.EDGE_DESIRED.gate", b""),
        ("$JS.API.DIRECT.GET.OBJ_EDGE_MODELS", b'{"seq": 1}'),
        ("$KV.EDGE_BOXES.gate", b"{}"),
    ]
    places = [
        *(f"{api}.STREAM.{command}.{stream}" for api in ("$JS.API", "$JS.hub.API")
          for command in COMMANDS for stream in STREAMS),
        "$KV.EDGE_DESIRED.dock", "$KV.EDGE_BOXES.dock", "$KV.EDGE_PEOPLE.lease.dock",
        f"$JS.{name_account('dock')}.API.STREAM.DELETE.{name_gathered('dock')}",
    ]  # fmt: skip

    async def act():
        async with connected(hub.own["gate"], hub.hub) as [box, client]:
            await gather(client, "dock", 10**7, 3600)
            before = await look(client)
            for place in places:
                for subject, body in asked:
                    await box.publish(subject, body, reply=place)
            await box.flush()
            await asyncio.sleep(1)
            assert await look(client) == before
            await client.jetstream(domain=name_account("dock")).stream_info(name_gathered("dock"))

    asyncio.run(act())


def test_a_header_of_a_report_does_not_remove_what_others_reported(hub):
    async def act():
        async with connected(hub.own["gate"], hub.hub) as [box, client]:
            before = await look(client)
            for scope in ("all", "sub"):
                with contextlib.suppress(Error):
                    await box.jetstream(timeout=1).publish(
                        "$KV.EDGE_BOXES.gate", b"{}", headers={"Nats-Rollup": scope}
                    )
            assert await look(client) == before

    asyncio.run(act())


@pytest.mark.parametrize("status", ["503", "404", "100", "abc"])
def test_a_report_that_looks_like_an_error_of_the_server_hides_no_other(hub, status):
    async def act():
        async with connected(hub.own["gate"], hub.hub) as [box, client]:
            await box.jetstream(timeout=1).publish(
                "$KV.EDGE_BOXES.gate", b"", headers={"Status": status, "KV-Operation": "DEL"}
            )
            store = await FleetStore.open(client)
            reports = await store.list_reports()
            assert (reports["dock"].problem, reports["dock"].is_ready) == ("", True)
            assert reports["gate"].problem == "its report cannot be read"
            assert await store.forget("gate")
            assert set((await look(client))["KV_EDGE_BOXES"]) == {"$KV.EDGE_BOXES.dock"}

    asyncio.run(act())


def read_memory_mb(pid):
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def test_the_server_keeps_no_ids_of_reports(hub):
    async def act():
        async with connected(hub.own["gate"]) as [box]:
            reports = box.jetstream(timeout=30)
            for number in range(8000):
                headers = {"Nats-Msg-Id": f"{number:060000}"}
                publish = box.publish if number % 100 else reports.publish  # waits until it is kept
                await publish("$KV.EDGE_BOXES.gate", b"{}", headers=headers)

    before_mb = read_memory_mb(hub.server.pid)
    asyncio.run(act())
    assert read_memory_mb(hub.server.pid) - before_mb < 240  # 480 MB were sent


def test_the_connections_of_a_key_have_an_end_and_lock_nobody_else_out(hub):
    async def act():
        clients = await asyncio.gather(
            *(hub.own["gate"].connect() for _ in range(30)), return_exceptions=True
        )
        made = [each for each in clients if not isinstance(each, BaseException)]
        assert 0 < len(made) < 30
        assert all(isinstance(each, FAILURES) for each in clients if each not in made)
        async with connected(hub.own["dock"]) as [other]:
            assert await BoxStore(other, "dock").read_wanted()
        for each in made:
            await each.close()

    asyncio.run(act())


@contextlib.contextmanager
def leaf(hub, folder, box):
    """The server of a box, of which whoever took it over has all; its address."""
    port, path = free_port(), folder / f"{box}.conf"
    access = HubAccess(hub.leaf_url, hub.seeds[box], "", "")
    path.write_text(render_configuration(box, access, port, 10**7))
    variables = {"STATE_DIRECTORY": str(folder / box)}
    server = Server([BINARY, "-c", str(path)], port, folder / f"{box}.log", variables)
    server.start()
    try:
        yield NatsServers((f"nats://127.0.0.1:{port}",))
    finally:
        server.kill()


def test_what_a_box_delivers_does_nothing_to_the_hub_and_to_others(hub, tmp_path):
    """A server answers flow control wherever it is told to, with an empty message."""

    async def act(own, others):
        asked = []

        async def note(message):
            asked.append(json.loads(message.data)["config"]["deliver_subject"])

        async with connected(own, others, hub.own["gate"], hub.hub) as [box, dock, agent, client]:
            for each in (box, dock):
                await each.jetstream().add_stream(StreamConfig("EDGE", subjects=["edge.>"]))
                await each.jetstream().publish("edge.a.b.c", b"one")
            await box.subscribe("$JS.API.CONSUMER.CREATE.EDGE", cb=note)
            await box.subscribe("$JS.API.CONSUMER.CREATE.EDGE.>", cb=note)
            await box.flush()
            for name in ("gate", "dock"):
                await gather(client, name, 10**7, 3600)
            kept = {}
            while sum(kept.values()) < 2:
                await asyncio.sleep(0.1)
                kept = await count(client)
            before = await look(client)
            apis = ("$JS.API", "$JS.hub.API", f"$JS.{name_account('dock')}.API")
            places = [f"{api}.STREAM.{command}.{stream}" for api in apis for command in COMMANDS
                      for stream in (*STREAMS, name_gathered("dock"))]  # fmt: skip
            for sender in (box, agent):
                for place in places:
                    head = f"HPUB {asked[-1]} {place} {len(STATUS)} {len(STATUS)}\r\n".encode()
                    sender._transport.write(head + STATUS + b"\r\n")
                await sender.flush()
            for place in places:
                with contextlib.suppress(*REFUSED):
                    claim = {"Nats-Request-Info": '{"acc": "HUB", "svc": "HUB", "user": "ann"}'}
                    await box.request(place, b"", timeout=0.02, headers=claim)
            await asyncio.sleep(1)
            assert await look(client) == before
            assert await count(client) == {"gate": 1, "dock": 1}
            place = f"$JS.API.STREAM.PURGE.{name_gathered('gate')}"  # only of itself, it can
            head = f"HPUB {asked[-1]} {place} {len(STATUS)} {len(STATUS)}\r\n".encode()
            box._transport.write(head + STATUS + b"\r\n")
            await box.flush()
            await asyncio.sleep(1)
            assert await count(client) == {"gate": 0, "dock": 1}

    async def count(client):
        return {
            box: (
                await client.jetstream(domain=name_account(box)).stream_info(name_gathered(box))
            ).state.messages
            for box in ("gate", "dock")
        }

    with leaf(hub, tmp_path, "gate") as own, leaf(hub, tmp_path, "dock") as others:
        asyncio.run(asyncio.wait_for(act(own, others), 60))


def test_a_server_that_is_no_hub_is_named(tmp_path):
    with Hub(tmp_path, ["gate"]).serve() as running:

        async def act():
            async with connected(running.own["gate"]) as [box]:
                await BoxStore(box, "gate").read_wanted()

        with pytest.raises((EdgeError, NoRespondersError), match="no bucket"):
            asyncio.run(act())
