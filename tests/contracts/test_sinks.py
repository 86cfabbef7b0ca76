"""What every sink promises, run over each module of `edge.sinks`.

A new sink is found by itself. It gets a table below only if it needs options.
"""

from pathlib import Path

import pytest
from pydantic import ValidationError

from edge import plugins
from edge.errors import SinkError
from edge.wire.schema import Message, decode

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.json"))
WORKING = {
    "zeromq": {"bind": "ipc://{tmp}/bus"},
    "jsonl": {"path": "{tmp}/out.jsonl"},
    "nats": {"spool": "{tmp}/spool.db"},
}
UNOPENABLE = {
    "zeromq": {"bind": "ipc://{tmp}/no/bus"},
    "jsonl": {"path": "{tmp}/no/out.jsonl"},
    "nats": {"spool": "{tmp}/no/spool.db"},
}


def table(tables, kind, tmp_path):
    options = tables.get(kind, {})
    return {"kind": kind} | {key: value.format(tmp=tmp_path) for key, value in options.items()}


def golden_messages():
    for path in GOLDEN:
        family = path.stem.partition("_")[0]
        topic = "v1/heartbeat/" if family == "heartbeat" else f"v1/{family}/door/"
        jpeg = b"\xff\xd8" if family == "detections" else None
        yield Message(topic, decode(topic, path.read_bytes()), jpeg)


@pytest.fixture(params=plugins.kinds("sinks"))
def kind(request):
    return request.param


@pytest.fixture
def sink(kind, tmp_path):
    return plugins.create("sinks", table(WORKING, kind, tmp_path))


def test_building_touches_nothing(sink, tmp_path):
    assert list(tmp_path.iterdir()) == []


def test_every_message_can_be_sent(sink):
    messages = list(golden_messages())
    with sink.open():
        sink.idle()
        sink.send(messages)
        sink.send([])
        sink.idle()
    assert messages == list(golden_messages()), "messages stay as they were"


def test_it_opens_again_after_it_was_closed(sink):
    for _ in range(3):
        with sink.open():
            sink.send(list(golden_messages()))
            sink.idle()


def test_it_closes_when_its_user_fails(sink):
    with pytest.raises(ZeroDivisionError), sink.open():
        _ = 1 / 0
    with sink.open():
        sink.idle()


def test_what_cannot_be_opened_is_a_sink_error_that_names_it(kind, tmp_path):
    if kind not in UNOPENABLE:
        pytest.skip(f"{kind} has no table of options that cannot be opened")
    sink = plugins.create("sinks", table(UNOPENABLE, kind, tmp_path))
    for _ in range(2):
        with pytest.raises(SinkError, match=str(tmp_path / "no")), sink.open():
            pass


def test_options_are_frozen_and_know_all_their_keys(kind, tmp_path):
    plugin = plugins.load("sinks", kind)
    options = plugins.validate(plugin, table(WORKING, kind, tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(options, next(iter(plugin.options.model_fields)), None)
    with pytest.raises(ValidationError, match="stranger"):
        plugins.validate(plugin, table(WORKING, kind, tmp_path) | {"stranger": 1})


def test_every_option_is_documented(kind):
    options = plugins.load("sinks", kind).options
    for name in options.model_fields:
        assert f"\n        {name}: " in options.__doc__ or f"\n    {name}: " in options.__doc__
