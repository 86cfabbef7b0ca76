"""The NATS sink against a real server: at least once, whatever is killed."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import nats
import nats.errors
import pytest
from nats.js.api import AckPolicy, ConsumerConfig
from pydantic import ValidationError

from edge import plugins
from edge.errors import ConfigError, SinkError
from edge.replay import Replay
from edge.sinks.nats import Options, to_token
from edge.wire.nats_credentials import make_seed, read_public_key
from edge.wire.schema import decode_line
from edge.wire.spool import Batch, Spool
from tests.edge.sinks.test_zeromq import message
from tests.support.nats_server import nats_server

PATIENCE_S = 20


@pytest.fixture
def server(tmp_path):
    with nats_server(tmp_path / "nats") as running:
        yield running


@contextmanager
def opened(server, tmp_path, **options):
    table = {"kind": "nats", "servers": [server.url], "spool": str(tmp_path / "spool.db")}
    sink = plugins.create("sinks", table | options)
    with sink.open():
        yield sink


def until(true):
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.02)


def stored(server, subject="edge.>"):
    """The subject and the content of what the server has."""

    async def read():
        client = await nats.connect(server.url)
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)
        found = []
        try:
            jetstream = client.jetstream()
            pull = await jetstream.pull_subscribe(subject, stream="EDGE", config=config)
            while True:
                try:
                    for each in await pull.fetch(500, timeout=0.5):
                        found.append((each.subject, each.data))
                except asyncio.TimeoutError:  # of the client, or its own kind of it
                    return found
        finally:
            await client.close()

    return asyncio.run(read())


def numbers(server):
    """How often each message was stored, by boot, topic and number."""
    return Counter(
        (body.boot, topic, body.seq)
        for _, content in stored(server)
        for topic, body in map(decode_line, content.splitlines())
    )


def test_messages_are_stored_under_their_subjects_and_leave_the_spool(server, tmp_path):
    with opened(server, tmp_path, families=["events", "detections"]) as sink:
        sink.send([message("events", "door"), message("detections", "door", seq=1)])
        sink.send([message("detections", "gate", seq=1), message("tracks", "door")])
        until(lambda: sink.look().messages == 0 and not sink.look().problem)
    node = message().body.node
    lines = {subject: content.splitlines() for subject, content in stored(server)}
    assert {subject: len(each) for subject, each in lines.items()} == {
        f"edge.home.{node}.events.door": 1, f"edge.home.{node}.detections": 2,
    }  # fmt: skip


def test_of_heartbeats_the_first_and_the_last_are_sent(server, tmp_path):
    with opened(server, tmp_path) as sink:
        for number in range(1, 21):
            sink.send([message("heartbeat", seq=number)])
        until(lambda: sink.look().messages == 0)
    assert [seq for _, _, seq in numbers(server)] == [1, 20]


def test_a_heartbeat_claims_nothing_that_is_not_sent(server, tmp_path):
    claimed = {"v1/events/door/": 3, "v1/detections/door/": 90}
    with opened(server, tmp_path, families=["events"]) as sink:
        sink.send([message("heartbeat", seq=1, captured_at=time.time(), last_seq=claimed)])
        until(lambda: sink.look().messages == 0)
    [(_, content)] = stored(server)
    assert decode_line(content)[1].last_seq == {"v1/events/door/": 3}
    with Replay(server.url, since_s=0, until_s=time.time() + 60) as replay:
        assert list(replay) == []
        assert [account.topic for account in replay.account()] == ["v1/events/door/"]


def test_of_a_boot_that_is_over_the_last_heartbeat_is_sent(server, tmp_path):
    with opened(server, tmp_path) as sink:
        for number in range(1, 4):
            sink.send([message("heartbeat", seq=number, boot="one")])
        for number in range(1, 4):
            sink.send([message("heartbeat", seq=number, boot="two")])
        until(lambda: sink.look().messages == 0)
    found = [(boot, seq) for boot, _, seq in numbers(server)]
    assert found == [("one", 1), ("one", 3), ("two", 1), ("two", 3)]


def test_nothing_is_lost_or_doubled_while_the_server_is_killed_twice(server, tmp_path):
    count = 0
    with opened(server, tmp_path, families=["events", "detections"]) as sink:
        for round_ in range(30):
            sink.send([message("detections", f"cam{n % 7}", seq=count + n) for n in range(200)])
            sink.send([message("events", "door", seq=round_ + 1)])
            count += 200
            if round_ in (10, 20):
                server.kill()
            if round_ in (15, 25):
                server.start()
            time.sleep(0.03)
        until(lambda: sink.look().messages == 0)
        assert sink.look().lost == 0
    found = numbers(server)
    assert len(found) == count + 30
    assert set(found.values()) == {1}


PUBLISHER = """
import sys
from edge import plugins
from tests.edge.sinks.test_zeromq import message
table = {"kind": "nats", "servers": [sys.argv[1]], "spool": sys.argv[2], "families": ["detections"]}
sink = plugins.create("sinks", table)
with sink.open():
    for number in range(1, 100_000):
        sink.send([message("detections", "door", seq=number, boot=sys.argv[3])])
        print(number, flush=True)
"""


def test_what_was_taken_before_a_kill_arrives_after_the_next_start(server, tmp_path):
    taken = {}
    for boot in ("one", "two", "three"):
        if boot == "two":
            server.kill()  # all of it must wait
        command = [sys.executable, "-c", PUBLISHER, server.url, str(tmp_path / "spool.db"), boot]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                taken[boot] = int(line)
                if taken[boot] >= 300:
                    process.kill()
        if boot == "two":
            server.start()
    with opened(server, tmp_path) as sink:
        until(lambda: sink.look().messages == 0)
    found = numbers(server)
    topic = "v1/detections/door/"
    for boot, last in taken.items():
        assert all(found[boot, topic, number] == 1 for number in range(1, last + 1))


def test_a_server_that_is_away_is_said_once_and_messages_wait(tmp_path, caplog):
    with nats_server(tmp_path / "nats") as server:
        server.kill()
        with opened(server, tmp_path) as sink:
            until(lambda: "messages wait in" in caplog.text)
            sink.send([message("events", "door", seq=1)])
            assert sink.look().messages == 1
            assert server.url in sink.look().problem
            server.start()
            until(lambda: sink.look().messages == 0)
            assert sink.look().problem == ""
    assert caplog.text.count("messages wait in") == 1


def test_a_sender_that_fails_in_a_way_nobody_foresaw_is_told(server, tmp_path, monkeypatch):
    async def fail(_):
        raise KeyError("unforeseen")

    monkeypatch.setattr("edge.wire.nats_connection.NatsServers.connect", fail)
    with opened(server, tmp_path) as sink, pytest.raises(SinkError, match="unforeseen"):
        until(sink.idle)


def test_passwords_are_never_told(tmp_path, caplog):
    url = "nats://ann:Sesame77@127.0.0.1:1"
    sink = plugins.create(
        "sinks", {"kind": "nats", "servers": [url], "spool": str(tmp_path / "spool.db")}
    )
    with sink.open():
        until(lambda: "messages wait in" in caplog.text)
        assert "Sesame77" not in caplog.text + sink.look().problem


@pytest.mark.parametrize(
    ("server", "said"),
    [("nats://hub.example.org", "show everything"), ("http://localhost", "no server"),
     ("nats://", "no server"), ("nats://localhost:99999", "no server")],
)  # fmt: skip
def test_servers_that_cannot_be_used_are_refused(server, said):
    with pytest.raises(ValidationError, match=said):
        Options.model_validate({"servers": [server], "spool": "s"})


def test_a_server_with_tls_may_be_anywhere():
    assert Options.model_validate({"servers": ["tls://hub.example.org:4222"], "spool": "s"})


def test_a_node_has_a_key_of_its_own(tmp_path):
    key, seed = tmp_path / "a.nk", make_seed()
    config = f'authorization {{ users = [ {{ nkey: "{read_public_key(seed)}" }} ] }}'
    with nats_server(tmp_path / "nats", config) as server:
        with opened(server, tmp_path, credentials_file=str(key)) as sink:
            sink.send([message("events")])
            until(lambda: "No such file" in sink.look().problem)
            key.touch(mode=0o600)
            key.write_text(seed)
            until(lambda: not sink.look().problem and not sink.look().messages)
        with Replay(
            server.url, since_s=0, until_s=time.time(), credentials_file=str(key)
        ) as replay:
            assert [topic for topic, _ in replay] == [message("events").topic]


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nats", None)
    monkeypatch.delitem(sys.modules, "edge.sinks.nats")
    with pytest.raises(ConfigError, match=r"pip install '\.\[nats\]'"):
        plugins.load("sinks", "nats")


@pytest.mark.parametrize(("name", "token"), [("a.b c*", "a_b_c_"), ("", "_"), ("tür-1", "tür-1")])
def test_names_become_words_of_subjects(name, token):
    assert to_token(name) == token


# --- the spool ------------------------------------------------------------------------------------


def batch(number, size=1000, messages=10):
    return Batch("edge.home.n.events.door", f"b/{number}", bytes(size), messages)


def test_the_oldest_goes_when_there_is_no_room_and_is_counted(tmp_path):
    spool = Spool(tmp_path / "spool.db", max_bytes=5000, max_age_s=100)
    spool.append([batch(n) for n in range(8)], now_s=0)
    assert [each.message_id for each in spool.read(99)] == ["b/3", "b/4", "b/5", "b/6", "b/7"]
    state = spool.look()
    assert (state.messages, state.size_bytes, state.lost) == (50, 5000, 30)
    assert spool.look().lost == 0
    spool.close()


def test_what_is_too_old_is_given_up(tmp_path):
    spool = Spool(tmp_path / "spool.db", max_bytes=5000, max_age_s=100)
    spool.append([batch(1)], now_s=0)
    spool.append([batch(2)], now_s=90)
    spool.append([batch(3)], now_s=150)
    assert [each.message_id for each in spool.read(99)] == ["b/2", "b/3"]
    assert spool.look().lost == 10
    spool.close()


def test_a_spool_is_read_again_by_the_next_process(tmp_path):
    spool = Spool(tmp_path / "spool.db", max_bytes=5000, max_age_s=100)
    spool.append([batch(1), batch(2)], now_s=0)
    spool.remove(spool.read(1))
    spool.close()
    spool = Spool(tmp_path / "spool.db", max_bytes=5000, max_age_s=100)
    assert (spool.look().messages, spool.look().size_bytes) == (10, 1000)
    spool.close()


@pytest.mark.parametrize("content", [b"nonsense" * 1000, None, "folder"])
def test_what_is_no_spool_is_refused_and_stays(tmp_path, content):
    path = tmp_path / "spool.db"
    if content == "folder":
        path.mkdir()
    elif content is None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE t (x)")
        other.close()
    else:
        path.write_bytes(content)
    with pytest.raises(SinkError, match=r"spool\.db"):
        Spool(path, 5000, 100)
    assert path.exists()
