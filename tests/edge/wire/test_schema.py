import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.wire import topics
from edge.wire.schema import BODIES, decode, decode_line, encode, encode_line

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.json"))


def topic_of(path):
    family = path.stem.partition("_")[0]
    return topics.HEARTBEAT if family == "heartbeat" else f"v1/{family}/door/"


def test_every_family_has_a_golden_message():
    assert {path.stem.partition("_")[0] for path in GOLDEN} == set(BODIES)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_golden_message_survives_the_round_trip(path, encoding):
    body = decode(topic_of(path), path.read_bytes())
    assert type(body) is BODIES[path.stem.partition("_")[0]]
    assert decode(topic_of(path), encode(body, encoding)) == body
    assert json.loads(encode(body)) == json.loads(path.read_text())


def with_strangers(value):
    """A field that nobody knows, on every level."""
    if isinstance(value, dict):
        known = {key: with_strangers(part) for key, part in value.items()}
        is_map = all(isinstance(part, float | int) for part in value.values())  # of numbers by name
        return known if is_map else known | {"stranger": {"deep": [1]}}
    return [with_strangers(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_unknown_fields_are_ignored(path):
    newer = with_strangers(json.loads(path.read_text()))
    assert decode(topic_of(path), json.dumps(newer).encode()) == decode(
        topic_of(path), path.read_bytes()
    )


def test_absent_parts_are_left_out():
    [path] = [path for path in GOLDEN if path.stem == "detections"]
    message = json.loads(encode(decode(topic_of(path), path.read_bytes())))
    assert "cached" not in message
    assert "face" not in message["objects"][1]
    assert "outcome" not in message["objects"][0]["face"]


def test_a_new_word_of_a_vocabulary_is_no_error_to_an_older_reader():
    [path] = [path for path in GOLDEN if path.stem == "tracks"]
    newer = json.loads(path.read_text()) | {"change": "decided"}
    assert decode("v1/tracks/door/", json.dumps(newer).encode()).change == "decided"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"{}",
        b"null",
        b"\xff\xfe",
        b'{"schema":"edge/2"}',  # another major version
        b'{"a":' * 100_000,  # deeper than anybody can read
        b"\x81\xa4node\xc0",  # MessagePack of the wrong type
    ],
)
@pytest.mark.parametrize("family", BODIES)
def test_what_is_no_message_is_a_value_error(payload, family):
    with pytest.raises(ValueError, match=f"v1/{family}/"):
        decode(f"v1/{family}/door/", payload)


@given(st.binary(), st.sampled_from([*BODIES, "else"]))
def test_garbage_is_a_value_error(payload, family):
    with pytest.raises(ValueError):
        decode(f"v1/{family}/door/", payload)


@pytest.mark.parametrize("topic", ["", "v1/", "v2/detections/door/", "v1/else/door/", "heartbeat"])
def test_a_topic_of_another_version_is_a_value_error(topic):
    with pytest.raises(ValueError, match="not a topic of version"):
        decode(topic, b"{}")


def test_a_line_is_the_message_with_its_topic():
    [path] = [path for path in GOLDEN if path.stem == "status"]
    body = decode("v1/status/door/", path.read_bytes())
    line = encode_line("v1/status/door/", body)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == {"topic": "v1/status/door/"} | json.loads(path.read_text())


def test_messages_are_frozen():
    body = decode(topic_of(GOLDEN[0]), GOLDEN[0].read_bytes())
    with pytest.raises(AttributeError):
        body.seq = 2
    assert msgspec.structs.replace(body, seq=2).seq == 2


def test_no_topic_is_a_prefix_of_another_cameras():
    for make in (topics.detections, topics.tracks, topics.faces, topics.recent, topics.status):
        assert not make("cam10").startswith(make("cam1"))


def test_a_topic_names_its_family_and_camera():
    assert (topics.parse_family("v1/tracks/door/"), topics.parse_camera("v1/tracks/door/")) == (
        "tracks",
        "door",
    )
    assert (topics.parse_family("v1/heartbeat/"), topics.parse_camera("v1/heartbeat/")) == (
        "heartbeat",
        "",
    )
    assert topics.parse_family("v2/tracks/door/") == ""


@pytest.mark.parametrize("read", [decode, lambda topic, line: decode_line(line)])
def test_what_a_peer_writes_into_a_message_does_not_command_a_terminal(read):
    with pytest.raises(ValueError, match=r"\\x1b\[2J") as caught:
        read("v1/status/door/", b'{"topic": "v1/status/door/", "schema": "\\u001b[2J"}')
    assert str(caught.value).isprintable()
