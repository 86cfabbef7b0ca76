"""The audit log goes up by the sinks that want it, each entry, whatever is full or closed."""

import pytest

from edge import plugins
from edge.people.gallery.audit_reader import AuditReader
from edge.replay import Replay
from edge.service.audit_forwarder import AGAIN_S, AuditForwarder
from edge.wire.message_builder import MessageBuilder
from tests.edge.sinks.test_nats import until
from tests.support.gallery import faces, open_new
from tests.support.nats_server import nats_server

BUILDER = MessageBuilder("gate", "5eed", (), "none", "")


@pytest.fixture
def path(tmp_path):
    """A gallery with three entries: create, enroll, forget."""
    path = tmp_path / "gallery.db"
    with open_new(path) as gallery:
        gallery.enroll("Ann", faces(1), consent=True)
        gallery.forget("Ann")
    return path


class Sinks:
    """A forwarder, and a sink of families that is opened and closed."""

    def __init__(self, tmp_path, path, families=("audit",), url="nats://127.0.0.1:1"):
        self.table = {"kind": "nats", "servers": [url], "spool": str(tmp_path / "spool.db"),
                      "families": list(families)}  # fmt: skip
        self.handed = []
        self.is_full = False
        self.sink = plugins.create("sinks", self.table)
        self.forwarder = AuditForwarder(
            lambda: path, lambda: [(self.sink, self.put)], BUILDER.build_audit
        )

    def put(self, messages):
        self.handed.append([message.body.seq for message in messages])
        if not self.is_full:
            self.sink.send(messages)

    def start_anew(self):
        self.sink = plugins.create("sinks", self.table)


def test_every_entry_arrives_once_over_restarts(tmp_path, path):
    with nats_server(tmp_path / "nats") as server:
        sinks = Sinks(tmp_path, path, url=server.url)
        for name in ("Bob", "Eve"):
            sinks.start_anew()
            with sinks.sink.open():
                sinks.forwarder.forward(0)
                with open_new(path) as gallery:
                    gallery.enroll(name, faces(1, seed=len(name) + ord(name[0])), consent=True)
                sinks.forwarder.forward(1)
                until(lambda: not sinks.sink.look().messages)
        with Replay(server.url, since_s=0, until_s=4e9, families=["audit"]) as replay:
            found = [(topic, body) for topic, body in replay]
            [account] = replay.account()
    entries = AuditReader(path).read_after(0, 99)
    assert [(body.seq, body.action, body.mac) for _, body in found] == [
        (entry.seq, entry.action, entry.mac.hex()) for entry in entries
    ]
    assert {topic for topic, _ in found} == {"v1/audit/"}
    assert not any(name in repr(found) for name in ("Ann", "Bob", "Eve"))
    assert (account.boot, account.missed, account.repeated) == (
        AuditReader(path).identify(), 0, 0,
    )  # fmt: skip


def test_what_a_queue_lost_is_handed_over_again(tmp_path, path):
    sinks = Sinks(tmp_path, path)
    with sinks.sink.open():
        sinks.is_full = True
        sinks.forwarder.forward(0)
        sinks.is_full = False
        sinks.forwarder.forward(1)  # it may be on its way still
        assert sinks.handed == [[1, 2, 3]]
        sinks.forwarder.forward(AGAIN_S)
        assert sinks.handed == [[1, 2, 3]] * 2
        sinks.forwarder.forward(AGAIN_S + 1)
        assert sinks.sink.look().messages == 3
        assert len(sinks.handed) == 2


def test_an_entry_that_does_not_follow_waits_for_the_one_before(tmp_path, path):
    entries = [BUILDER.build_audit("log", entry) for entry in AuditReader(path).read_after(0, 9)]
    sinks = Sinks(tmp_path, path)
    with sinks.sink.open():
        sinks.sink.send([entries[0], entries[2]])
        assert sinks.sink.find_audited("log") == 1
        sinks.sink.send([entries[0], entries[1], entries[2]])
        assert sinks.sink.find_audited("log") == 3
        assert sinks.sink.look().messages == 3


def test_another_gallery_begins_anew(tmp_path, path):
    sinks = Sinks(tmp_path, path)
    with sinks.sink.open():
        sinks.forwarder.forward(0)
        path.unlink()
        with open_new(path):
            pass
        sinks.forwarder.forward(1)
    assert sinks.handed == [[1, 2, 3], [1]]


@pytest.mark.parametrize("families", [("events",), ("audit",)])
def test_a_sink_that_wants_none_or_is_closed_gets_none(tmp_path, path, families):
    sinks = Sinks(tmp_path, path, families)
    if families == ("audit",):
        sinks.forwarder.forward(0)
    else:
        with sinks.sink.open():
            sinks.forwarder.forward(0)
    assert not sinks.handed


def test_a_log_that_cannot_be_read_is_told_once(tmp_path, path, caplog):
    path.write_bytes(b"nonsense" * 1000)
    sinks = Sinks(tmp_path, path)
    with sinks.sink.open():
        sinks.forwarder.forward(0)
        sinks.forwarder.forward(1)
    assert caplog.text.count("the audit log is not forwarded") == 1
