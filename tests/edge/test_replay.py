"""Replay: what arrived comes back once, what is missing is named."""

import asyncio
import time

import nats
import pytest

from edge import plugins
from edge.errors import EdgeError
from edge.replay import Account, Replay
from tests.edge.sinks.test_zeromq import message
from tests.support.nats_server import nats_server

BEGIN_S = 1_000_000.0  # of captures; the server's clock is the real one
TOPIC = "v1/events/door/"


@pytest.fixture
def server(tmp_path):
    with nats_server(tmp_path / "nats") as running:
        yield running


def send(server, tmp_path, messages):
    table = {"kind": "nats", "servers": [server.url], "spool": str(tmp_path / "spool.db"),
             "families": ["events", "detections"]}  # fmt: skip
    sink = plugins.create("sinks", table)
    with sink.open():
        sink.send(messages)
        deadline_s = time.monotonic() + 20
        while sink.look().messages:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)


def event(seq, at_s=None, **fields):
    return message("events", "door", seq=seq, captured_at=at_s or BEGIN_S + seq, **fields)


def heartbeat(at_s, **last_seq):
    claims = {f"v1/events/{camera}/": seq for camera, seq in last_seq.items()}
    return message("heartbeat", seq=int(at_s), captured_at=at_s, last_seq=claims)


def replay(server, since_s=BEGIN_S, until_s=BEGIN_S + 100, **options):
    with Replay(server.url, since_s=since_s, until_s=until_s, **options) as replayed:
        found = [(topic, body.seq) for topic, body in replayed]
        return found, replayed.account()


def account_of(server, **options) -> Account:
    [account] = replay(server, **options)[1]
    return account


def test_what_arrived_comes_back_in_order_and_nothing_is_missing(server, tmp_path):
    send(server, tmp_path, [event(seq) for seq in range(1, 51)])
    found, [account] = replay(server)
    assert found == [(TOPIC, seq) for seq in range(1, 51)]
    assert (account.received, account.missed, account.known_until_s) == (50, 0, BEGIN_S + 50)


def test_numbers_that_are_missing_are_named(server, tmp_path):
    lost = {7, 20, 21, 22}
    send(server, tmp_path, [event(seq) for seq in range(1, 51) if seq not in lost])
    account = account_of(server)
    assert account.missing == ((7, 7), (20, 22))
    assert account.missed == 4


def test_the_first_and_the_last_may_be_missing(server, tmp_path):
    sent = [heartbeat(BEGIN_S - 20), *(event(seq) for seq in range(3, 9))]
    send(server, tmp_path, [*sent, heartbeat(BEGIN_S + 60, door=12)])
    account = account_of(server)
    assert account.missing == ((1, 2), (9, 12))
    assert account.known_until_s == BEGIN_S + 60


def test_a_topic_of_which_nothing_arrived_is_named(server, tmp_path):
    send(server, tmp_path, [heartbeat(BEGIN_S + 60, door=3, gate=0)])
    account = account_of(server)
    assert (account.topic, account.received, account.missing) == (TOPIC, 0, ((1, 3),))


def test_a_range_knows_what_was_before_it_and_after(server, tmp_path):
    sent = [event(seq) for seq in range(1, 91) if seq not in (5, 45, 80)]
    send(server, tmp_path, sent)
    found, [account] = replay(server, BEGIN_S + 40, BEGIN_S + 60)
    assert [seq for _, seq in found] == [seq for seq in range(40, 61) if seq != 45]
    assert account.missing == ((45, 45),)


def test_each_boot_has_its_own_account(server, tmp_path):
    sent = [event(seq, boot=boot) for boot in ("a", "b") for seq in range(1, 11)]
    send(server, tmp_path, [each for each in sent if (each.body.boot, each.body.seq) != ("b", 4)])
    accounts = replay(server)[1]
    assert [(each.boot, each.received, each.missing) for each in accounts] == [
        ("a", 10, ()), ("b", 9, ((4, 4),)),
    ]  # fmt: skip


def test_what_comes_twice_is_returned_once_and_counted(server, tmp_path):
    send(server, tmp_path, [event(1), event(2)])
    send(server, tmp_path, [event(2), event(3)])  # another batch, as after a lost answer
    found, [account] = replay(server)
    assert [seq for _, seq in found] == [1, 2, 3]
    assert account.repeated == 1


def test_families_and_cameras_are_chosen(server, tmp_path):
    others = [message("detections", camera, seq=1, captured_at=BEGIN_S + 1)
              for camera in ("door", "gate")]  # fmt: skip
    send(server, tmp_path, [event(1), *others])
    assert replay(server, families=("detections",), cameras=("gate",))[0] == [
        ("v1/detections/gate/", 1)
    ]
    assert len(replay(server, families=("events", "detections"))[0]) == 3


def test_a_server_that_is_away_is_an_error():
    with (
        pytest.raises(EdgeError, match="cannot connect to"),
        Replay("nats://127.0.0.1:1", since_s=0, until_s=1),
    ):
        pass


def test_a_stream_that_is_not_there_is_an_error(server):
    with pytest.raises(EdgeError, match="the stream EDGE cannot be read"):
        replay(server)


def test_what_the_spool_gave_up_is_missing_though_nothing_else_of_its_boot_arrives(
    server, tmp_path
):
    table = {"kind": "nats", "servers": [server.url], "spool": str(tmp_path / "spool.db"),
             "families": ["events"], "max_bytes": 1 << 20}  # fmt: skip
    server.kill()
    sink = plugins.create("sinks", table)
    with sink.open():
        sink.send([event(seq, boot="old") for seq in range(1, 11)])
        for first in range(1, 6000, 500):
            sink.send([event(seq, boot="new") for seq in range(first, first + 500)])
        lost = sink.look().lost
        server.start()
        deadline_s = time.monotonic() + 20
        while sink.look().messages:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
    found, accounts = replay(server, since_s=0, until_s=2 * BEGIN_S)
    missing = {account.boot: account.missing for account in accounts}
    assert missing["old"] == ((1, 10),)
    assert sum(account.missed for account in accounts) == lost
    assert len(found) == 6010 - lost


STATUSES = ["503", "404", "408", "409", "100", "abc"]


@pytest.mark.parametrize("status", STATUSES)
def test_messages_that_look_like_errors_of_the_server_hide_no_other(server, tmp_path, status):
    """Whoever may store messages chooses their headers, and the client reads a status from them."""
    send(server, tmp_path, [event(1), event(2)])

    async def poison():
        client = await nats.connect(server.url)
        for _ in range(2):
            await client.jetstream().publish(
                "edge.home.node.events.door", b"", headers={"Status": status}
            )
        await client.close()

    asyncio.run(poison())
    send(server, tmp_path, [event(3)])
    found, [account] = replay(server)
    assert [seq for _, seq in found] == [1, 2, 3]
    assert account.missing == ()
