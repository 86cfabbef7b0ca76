"""CURVE: libzmq's own clients are served, strangers and eavesdroppers get nothing."""

import contextlib
import os
import socket
import threading
import time

import pytest
import zmq
import zmq.auth
from nacl.bindings import crypto_box_afternm
from pydantic import ValidationError
from zmq.utils import z85

from edge.client import Received, Subscriber
from edge.errors import SinkError
from edge.redaction import redact
from edge.sinks import zeromq
from edge.wire.curve import CurveServer
from edge.wire.key_pair import KeyPair, create_key_pair, decode_key, read_key_pair
from edge.wire.key_ring import read_clients, write_clients
from edge.wire.zmtp import Frame, ProtocolError, make_frame
from tests.edge.sinks.test_zeromq import drained, message, published, until
from tests.edge.wire.test_subscriber_guard import Counted, fill, is_cut, port_of
from tests.support.hostile_subscribers import GREETING, READY, frame

TOPIC = b"v1/detections/"


@pytest.fixture
def keys(tmp_path):
    """The node's key, Ann's, and the settings of a sink that serves Ann."""
    server = create_key_pair(tmp_path / "node.key_secret")
    ann = create_key_pair(tmp_path / "ann.key_secret")
    write_clients(tmp_path / "clients.toml", {"ann": ann.public})
    settings = {
        "key_file": str(tmp_path / "node.key_secret"),
        "clients_file": str(tmp_path / "clients.toml"),
    }
    return server, ann, settings


@contextlib.contextmanager
def client(endpoint, server, pair, *topics):
    """libzmq's own CURVE."""
    with zmq.Context.instance().socket(zmq.SUB) as socket_:
        socket_.linger = 0
        socket_.heartbeat_ivl = 200
        if pair:
            socket_.curve_serverkey = server.encode()
            socket_.curve_publickey = pair.public.encode()
            socket_.curve_secretkey = pair.secret.encode()
        for topic in topics:
            socket_.subscribe(topic)
        socket_.connect(endpoint)
        yield socket_


def test_an_authorized_client_gets_every_message_whole_and_in_order(keys):
    server, ann, settings = keys
    with published(**settings) as sink, client(sink.endpoint, server.public, ann, TOPIC) as peer:
        until(sink, lambda: sink.subscribed[TOPIC])
        jpeg = os.urandom(300_000)
        sink.send([message(seq=n, jpeg=jpeg if n % 10 == 0 else None) for n in range(100)])
        parts = drained(sink, peer, 100)
    assert [len(each) for each in parts] == [3 if n % 10 == 0 else 2 for n in range(100)]
    assert all(each[2] == jpeg for each in parts[::10])
    assert all(each[0] == b"v1/detections/door/" for each in parts)


def test_pings_are_answered_and_subscriptions_cancelled(keys):
    server, ann, settings = keys
    with published(**settings) as sink, client(sink.endpoint, server.public, ann, TOPIC) as peer:
        until(sink, lambda: sink.subscribed[TOPIC])
        began_s = time.monotonic()
        until(sink, lambda: time.monotonic() - began_s > 1)  # five heartbeats of libzmq
        sink.send([message(seq=5)])
        assert drained(sink, peer, 1)
        peer.unsubscribe(TOPIC)
        peer.subscribe(b"v1/status/")
        until(sink, lambda: sink.subscribed[b"v1/status/"])
        sink.send([message(seq=6), message("status", seq=7)])
        assert [each[0] for each in drained(sink, peer, 1)] == [b"v1/status/door/"]
        assert Counted(sink)().cut == {}


@pytest.mark.parametrize("who", ["plain", "stranger", "wrong server"])
def test_who_has_not_the_keys_gets_no_message(keys, who, caplog):
    server, ann, settings = keys
    pair = {"plain": None, "stranger": KeyPair.generate(), "wrong server": ann}[who]
    expected = KeyPair.generate().public if who == "wrong server" else server.public
    with published(**settings) as sink, client(sink.endpoint, expected, pair, b"") as peer:
        counted = Counted(sink)
        until(sink, lambda: counted().cut)
        sink.send([message(seq=n) for n in range(20)])
        assert drained(sink, peer) == []
        reasons = {*counted().cut}
    assert reasons == {"protocol"} if who == "wrong server" else reasons == {"security"}
    if who == "stranger":
        assert f"its CURVE key {pair.public} is not authorized" in caplog.text
    assert server.secret not in caplog.text


def test_a_revoked_client_is_cut_off_within_a_second_and_others_are_not(keys, tmp_path):
    server, ann, settings = keys
    bob = KeyPair.generate()
    write_clients(tmp_path / "clients.toml", {"ann": ann.public, "bob": bob.public})
    with (
        published(**settings) as sink,
        client(sink.endpoint, server.public, ann, TOPIC) as first,
        client(sink.endpoint, server.public, bob, TOPIC) as second,
    ):
        counted = Counted(sink)
        until(sink, lambda: counted().connected == 2)
        write_clients(tmp_path / "clients.toml", {"bob": bob.public})
        began_s = time.monotonic()
        until(sink, lambda: counted().cut.get("revoked") == 1)
        assert time.monotonic() - began_s < 1
        sink.send([message(seq=1)])
        assert len(drained(sink, second, 1)) == 1
        assert drained(sink, first) == []
        write_clients(tmp_path / "clients.toml", {"ann": ann.public, "bob": bob.public})
        # authorized again, no restart; libzmq subscribes again only in a thread that reads
        until(sink, lambda: not first.poll(1) and counted().connected == 2)


def test_a_broken_clients_file_changes_nothing_and_is_told(keys, tmp_path, caplog):
    server, ann, settings = keys
    with published(**settings) as sink, client(sink.endpoint, server.public, ann, TOPIC) as peer:
        until(sink, lambda: sink.subscribed[TOPIC])
        (tmp_path / "clients.toml").write_text("clients = 3")
        until(sink, lambda: "those who were authorized last stay so" in caplog.text)
        sink.send([message(seq=1)])
        assert len(drained(sink, peer, 1)) == 1


def test_what_passes_on_the_wire_shows_nothing(keys):
    server, ann, settings = keys
    seen = bytearray()
    with (
        published(**settings) as sink,
        relayed(port_of(sink), seen) as endpoint,
        client(endpoint, server.public, ann, TOPIC) as peer,
    ):
        until(sink, lambda: sink.subscribed[TOPIC])
        sink.send([message(seq=n) for n in range(10)])
        assert len(drained(sink, peer, 10)) == 10
    assert len(seen) > 5000
    for plain in (b"v1/", b"detections", b"door", b"person", b"seq", b"node"):
        assert plain not in seen


@contextlib.contextmanager
def relayed(port, seen):
    """An endpoint that passes everything on to a port and keeps it, both ways."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def copy(source, target):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    seen.extend(data)
                    target.sendall(data)

        def serve():
            with contextlib.suppress(OSError):
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                back = threading.Thread(target=copy, args=(far, near), daemon=True)
                back.start()
                copy(near, far)
                far.close()
                back.join(2)
                near.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    thread.join(2)


def test_the_node_hears_itself_and_a_greedy_client_goes_alone(keys):
    server, ann, settings = keys
    with (
        published(**settings) as sink,
        client(sink.endpoint, server.public, ann, TOPIC) as good,
        client(sink.endpoint, server.public, ann, b"v1/status/") as greedy,
    ):
        counted = Counted(sink)
        until(sink, lambda: counted().connected == 2)
        for number in range(600):
            greedy.subscribe(b"v1/%d" % number)
        until(sink, lambda: counted().cut.get("subscriptions"))
        began_s = time.monotonic()
        while time.monotonic() - began_s < 4:
            sink.send([message("heartbeat")])
            sink.idle()  # raises if the self-test hears nothing
            time.sleep(0.3)
        sink.send([message(seq=1)])
        assert len(drained(sink, good, 1)) == 1


@pytest.mark.parametrize(
    "sent",
    [GREETING, GREETING + READY, b"GET / HTTP/1.1\r\n\r\n", CurveServer.greeting + READY,
     CurveServer.greeting + frame(b"\5HELLO" + bytes(194)),
     CurveServer.greeting + make_frame(b"\5HELLO\1\0" + bytes(192), is_command=True),
     CurveServer.greeting + make_frame(b"\x08INITIATE" + bytes(300), is_command=True),
     CurveServer.greeting + make_frame(b"\7MESSAGE" + bytes(40))],
    ids=["plain", "plain and ready", "HTTP", "READY", "no command", "zeros", "INITIATE", "MESSAGE"],
)  # fmt: skip
def test_a_handshake_that_is_none_is_cut_off(keys, sent):
    with (
        published(**keys[2]) as sink,
        socket.create_connection(("127.0.0.1", port_of(sink))) as peer,
    ):
        counted = Counted(sink)
        peer.sendall(sent)
        assert is_cut(peer)
        until(sink, lambda: sum(counted().cut.values()) == 1)
        assert {*counted().cut} <= {"security", "protocol"}


def test_ten_thousand_random_bytes_after_each_step_end_one_connection_only(keys):
    server, ann, settings = keys
    with published(**settings) as sink, client(sink.endpoint, server.public, ann, TOPIC) as good:
        until(sink, lambda: sink.subscribed[TOPIC])
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", port_of(sink))) as peer:
                fill(peer, CurveServer.greeting + os.urandom(100))
                assert is_cut(peer)
        sink.send([message(seq=1)])
        assert len(drained(sink, good, 1)) == 1


def test_a_frame_that_comes_twice_or_was_changed_is_refused():
    server = CurveServer(decode_key(KeyPair.generate().secret), lambda _: "ann")
    other = CurveServer(decode_key(KeyPair.generate().secret), lambda _: "ann")
    server._shared = other._shared = os.urandom(32)
    sealed = _as_client(other, b"\0\1topic")
    assert server.open(sealed).body == b"\1topic"
    with pytest.raises(ProtocolError, match="repeats"):
        server.open(sealed)
    changed = _as_client(other, b"\0\1topic")
    raw = bytearray(changed.raw)
    raw[-1] ^= 1
    with pytest.raises(ProtocolError, match="keys of the connection"):
        server.open(Frame(bytes(raw), changed.start))


def _as_client(server, content):
    """A frame as the peer seals it."""
    nonce = server._take_nonce()
    box = crypto_box_afternm(content, b"CurveZMQMESSAGEC" + nonce, server._shared)
    return Frame(make_frame(b"\7MESSAGE" + nonce + box), 2)


def test_the_client_library_subscribes_with_its_key_file(keys, tmp_path):
    server, _, settings = keys
    with published(**settings) as sink, Subscriber(
        sink.endpoint, ("v1/detections/",),
        server_key=server.public, key_file=tmp_path / "ann.key_secret",
    ) as subscriber:  # fmt: skip
        until(sink, lambda: sink.subscribed[TOPIC])
        sink.send([message(seq=1)])
        item = subscriber.receive(5)
    assert isinstance(item, Received)


def test_key_files_are_those_of_zmq_auth(keys, tmp_path):
    server, *_ = keys
    public, secret = zmq.auth.load_certificate(tmp_path / "node.key_secret")
    assert (public.decode(), secret.decode()) == (server.public, server.secret)
    zmq.auth.create_certificates(tmp_path, "theirs")
    (tmp_path / "theirs.key_secret").chmod(0o600)
    pair = read_key_pair(tmp_path / "theirs.key_secret")
    assert zmq.auth.load_certificate(tmp_path / "theirs.key_secret")[1].decode() == pair.secret
    assert pair.secret not in repr(pair)


def test_keys_and_their_letters_are_those_of_libzmq():
    for _ in range(100):
        pair = KeyPair.generate()
        assert zmq.curve_public(pair.secret.encode()).decode() == pair.public
        assert z85.decode(pair.public) == decode_key(pair.public)
        assert z85.encode(decode_key(pair.public)).decode() == pair.public
    public, secret = zmq.curve_keypair()
    assert decode_key(public.decode()) == z85.decode(public)
    assert decode_key(secret.decode()) == z85.decode(secret)


@pytest.mark.parametrize("missing", ["key_file", "clients_file"])
def test_one_file_without_the_other_is_refused(keys, missing):
    settings = {name: path for name, path in keys[2].items() if name != missing}
    with pytest.raises(ValidationError, match="belong together"):
        zeromq.Options.model_validate(settings)


def test_with_keys_other_machines_may_connect(keys):
    with pytest.raises(ValidationError, match="set key_file and clients_file"):
        zeromq.Options.model_validate({"bind": "tcp://0.0.0.0:5555"})
    assert zeromq.Options.model_validate({"bind": "tcp://0.0.0.0:5555", **keys[2]})


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [("node.key_secret", "x", "no CURVE certificate"), ("clients.toml", "[clients]\na = 'b'", "40"),
     ("clients.toml", "[clients]\n'a b' = 'c'", "letters"), ("clients.toml", None, "authorize")],
)  # fmt: skip
def test_broken_files_are_told_in_one_message(keys, tmp_path, file, content, said):
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
        (tmp_path / file).chmod(0o600)
    with pytest.raises(SinkError, match=said), published(**keys[2]):
        pass


def test_a_secret_that_others_may_read_is_refused(keys, tmp_path):
    (tmp_path / "node.key_secret").chmod(0o644)
    with pytest.raises(SinkError, match="chmod 600"), published(**keys[2]):
        pass


def test_several_strangers_are_told_one_by_one(keys, caplog):
    server, _, settings = keys
    pairs = [KeyPair.generate() for _ in range(4)]
    with published(**settings) as sink, contextlib.ExitStack() as stack:
        for pair in pairs:
            stack.enter_context(client(sink.endpoint, server.public, pair, b""))
        until(sink, lambda: all(pair.public in caplog.text for pair in pairs))
    assert all(caplog.text.count(pair.public) == 1 for pair in pairs)


def test_public_keys_are_not_redacted_in_the_log():
    for _ in range(300):
        key = KeyPair.generate().public
        assert not key.startswith("-")
        text = f"its CURVE key {key} is not authorized: rtsp://ann:Sesame@door/{key}"
        assert redact(text).startswith(f"its CURVE key {key} is not authorized: rtsp://")
        assert "Sesame" not in redact(text)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_new_clients_file_belongs_to_the_group_of_its_folder(tmp_path):
    os.chown(tmp_path, 0, 12345)
    path = tmp_path / "clients.toml"
    write_clients(path, {"ann": KeyPair.generate().public})
    assert (path.stat().st_gid, path.stat().st_mode & 0o777) == (12345, 0o640)
    os.chown(path, 4321, 12345)
    write_clients(path, {})
    assert (path.stat().st_uid, path.stat().st_gid) == (4321, 12345)


def test_clients_are_written_and_read(tmp_path):
    pairs = {f"shop-{n}": KeyPair.generate().public for n in range(20)}
    write_clients(tmp_path / "clients.toml", pairs)
    assert read_clients(tmp_path / "clients.toml") == pairs
