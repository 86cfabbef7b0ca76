"""A hub and a box with servers of their own, set up as the document says."""

import shutil
import time
from collections import Counter

import pytest

from edge import plugins
from edge.config_file import read_tree
from edge.replay import Replay
from tests.edge.sinks.test_zeromq import message
from tests.support.documented_fleet import DocumentedFleet

PATIENCE_S = 120  # the hub looks for a box that was away every half minute


@pytest.fixture
def fleet(tmp_path):
    with DocumentedFleet(tmp_path) as running:
        yield running


def until(true):
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.1)


def open_sink(fleet):
    """The sink that `edge fleet box` proposes."""
    text = fleet.said[fleet.said.index("[[sinks]]") :]
    (table,) = read_tree(text)["sinks"]
    return plugins.create("sinks", table | {"spool": str(fleet.root / "spool.db")})


def gathered(fleet):
    """How often each message is at the hub, by its number."""
    with Replay(
        fleet.hub_url, since_s=0, until_s=time.time() + 60, box="gate",
        credentials_file=fleet.key, tls_ca=fleet.ca,
    ) as replay:  # fmt: skip
        found = Counter(body.seq for _, body in replay)
        accounts = replay.account()
    return found, accounts


def send(sink, numbers):
    for number in numbers:
        sink.send([message("events", "door", seq=number)])


@pytest.mark.slow
def test_what_a_box_sent_while_the_line_was_cut_is_at_the_hub_once(fleet):
    sink = open_sink(fleet)
    with sink.open():
        send(sink, range(1, 101))
        until(lambda: len(gathered(fleet)[0]) == 100)
        fleet.line.cut()
        send(sink, range(101, 201))
        until(lambda: sink.look().messages == 0)  # the box has them, the hub has not
        assert sink.look().problem == ""
        assert len(gathered(fleet)[0]) == 100
        fleet.box.kill()  # and its server is killed meanwhile
        send(sink, range(201, 251))
        fleet.box.start()
        until(lambda: sink.look().messages == 0)
        fleet.line.mend()
        until(lambda: len(gathered(fleet)[0]) == 250)
        send(sink, range(251, 301))
        until(lambda: len(gathered(fleet)[0]) == 300)
    found, [account] = gathered(fleet)
    assert set(found.values()) == {1}
    assert (account.received, account.missed, account.repeated) == (300, 0, 0)


@pytest.mark.slow
def test_what_a_hub_missed_while_it_was_killed_arrives(fleet):
    sink = open_sink(fleet)
    with sink.open():
        send(sink, range(1, 51))
        until(lambda: len(gathered(fleet)[0]) == 50)
        fleet.hub.kill()
        send(sink, range(51, 101))
        until(lambda: sink.look().messages == 0)
        fleet.hub.start()
        until(lambda: len(gathered(fleet)[0]) == 100)
    found, [account] = gathered(fleet)
    assert set(found.values()) == {1}
    assert account.missed == 0


@pytest.mark.slow
def test_a_box_that_was_set_up_anew_is_gathered_too(fleet):
    sink = open_sink(fleet)
    with sink.open():
        send(sink, range(1, 31))
        until(lambda: len(gathered(fleet)[0]) == 30)
        fleet.box.kill()
        shutil.rmtree(fleet.root / "box/jetstream")
        fleet.box.start()
        send(sink, range(31, 41))
        until(lambda: len(gathered(fleet)[0]) == 40)
