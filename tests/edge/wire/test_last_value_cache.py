from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from edge.wire import topics
from edge.wire.last_value_cache import MAX_RECENT, LastValueCache
from edge.wire.schema import Message, decode

GOLDEN = Path(__file__).parents[2] / "golden"


class Node:
    """Says things to a cache, numbering them."""

    def __init__(self, max_tracks=256):
        self.cache = LastValueCache(max_tracks)
        self.seq = 0

    def say(self, family, camera="door", **fields):
        self.seq += 1
        topic = f"v1/{family}/{camera}/"
        body = decode(topic, (GOLDEN / f"{family}.json").read_bytes())
        fields = {"camera": camera, "seq": self.seq, "epoch": 3} | fields
        message = Message(topic, msgspec.structs.replace(body, **fields))
        self.cache.update(message)

    def track(self, change, track=1, place="", **fields):
        self.say("tracks", change=change, track=track, place=place, **fields)

    def known(self, topic="v1/tracks/door/"):
        assert all(message.body.cached for message in self.cache.messages(topic))
        bodies = [message.body for message in self.cache.messages(topic)]
        return [(body.track, body.change, body.place) for body in bodies]


def test_the_last_status_is_kept():
    node = Node()
    node.say("status", state="offline")
    node.say("status", state="online")
    [message] = node.cache.messages("v1/status/door/")
    assert message.body.state == "online"
    assert message.body.seq == 2, "the old number"
    assert message.body.cached


def test_a_living_track_is_kept_and_an_ended_one_is_not():
    node = Node()
    node.track("began", 1)
    node.track("began", 2)
    node.track("ended", 1)
    assert node.known() == [(2, "began", "")]


def test_a_late_joiner_hears_which_zones_a_track_stands_in():
    node = Node()
    node.track("began")
    node.track("entered", place="yard")
    node.track("entered", place="gate")
    node.track("dwelled", place="yard")
    node.track("crossed", place="line")
    assert node.known() == [(1, "entered", "gate"), (1, "dwelled", "yard"), (1, "crossed", "line")]


def test_a_late_joiner_hears_which_attributes_were_decided_and_the_states_of_places():
    node = Node()
    vest = decode("v1/tracks/door/", (GOLDEN / "tracks_attribute.json").read_bytes()).attribute
    yes = msgspec.structs.replace(vest, value="yes")
    node.track("began")
    for attribute in (vest, yes):
        node.track("attribute", name="vest", attribute=attribute)
    node.track("attribute", name="cap", attribute=vest)
    node.track("entered", place="yard")
    messages = [message.body for message in node.cache.messages("v1/tracks/door/")]
    assert [(m.change, m.name, m.place) for m in messages] == [
        ("attribute", "vest", ""), ("attribute", "cap", ""), ("entered", UNSET, "yard"),
    ]  # fmt: skip
    assert messages[0].attribute.value == "yes"
    node.say("states", name="gate", value="open")
    node.say("states", name="door", value="shut")
    node.say("states", name="gate", value="shut")
    assert "v1/states/door/" in node.cache.find_topics(b"v1/")
    states = [message.body for message in node.cache.messages("v1/states/door/")]
    assert [(s.name, s.value, s.cached) for s in states] == [
        ("door", "shut", True), ("gate", "shut", True),
    ]  # fmt: skip
    node.say("status", state="offline")
    assert len(node.cache.messages("v1/states/door/")) == 2, "a gate stays as it was seen last"
    node.say("states", name="gate", value="undecided")
    assert [m.body.name for m in node.cache.messages("v1/states/door/")] == ["door"]


def test_a_zone_that_was_left_is_told_only_while_it_is_the_last_word():
    node = Node()
    node.track("began")
    node.track("entered", place="yard")
    node.track("left", place="yard")
    assert node.known() == [(1, "left", "yard")]
    node.track("crossed", place="line")
    assert node.known() == [(1, "crossed", "line")]


@pytest.mark.parametrize("family", ["detections", "status", "tracks"])
def test_a_new_epoch_ends_the_tracks_of_the_old_one(family):
    node = Node()
    node.track("began", 1)
    node.say(family, epoch=4, **({"track": 9} if family == "tracks" else {}))
    assert 1 not in [track for track, *_ in node.known()]


def test_going_offline_ends_the_tracks():
    node = Node()
    node.track("began", 1)
    node.say("status", state="frozen")
    assert node.known()
    node.say("status", state="offline")
    assert node.known() == []


def test_another_camera_is_left_alone():
    node = Node()
    node.track("began", 1)
    node.say("detections", camera="yard", epoch=9)
    node.say("status", camera="yard", epoch=9, state="offline")
    assert node.known() == [(1, "began", "")]


def test_memory_is_bounded_though_no_track_ever_ends():
    node = Node(max_tracks=3)
    for track in range(10):
        node.track("began", track)
    assert [track for track, *_ in node.known()] == [7, 8, 9]


@pytest.mark.parametrize(
    ("prefix", "want"),
    [
        (b"", ["v1/heartbeat/", "v1/status/cam1/", "v1/status/cam10/", "v1/tracks/cam1/"]),
        (b"v1/status/", ["v1/status/cam1/", "v1/status/cam10/"]),
        (b"v1/status/cam1/", ["v1/status/cam1/"]),
        (b"v1/status/cam1", ["v1/status/cam1/", "v1/status/cam10/"]),  # the prefix trap
        (b"v1/detections/", []),
        (b"\xff", []),
    ],
)
def test_a_prefix_finds_the_topics_that_begin_with_it(prefix, want):
    node = Node()
    node.say("status", camera="cam1", state="online")
    node.say("status", camera="cam10", state="online")
    node.say("tracks", camera="cam1", change="began")
    assert sorted(node.cache.find_topics(prefix)) == want


changes = st.tuples(
    st.sampled_from(["began", "entered", "dwelled", "left", "crossed", "ended"]),
    st.integers(1, 3),
    st.sampled_from(["yard", "gate"]),
)


@given(st.lists(changes, max_size=40))
def test_the_cache_tells_what_a_subscriber_from_the_start_knows(changes):
    node, living, zones = Node(), {}, {}
    for change, track, place in changes:
        node.track(change, track, place)
        living[track] = (track, change, place)
        standing = zones.setdefault(track, set())
        if change in ("entered", "dwelled"):
            standing.add(place)
        elif change == "left":
            standing.discard(place)
        elif change == "ended":
            del living[track], zones[track]
    told = node.known()
    assert {track for track, *_ in told} == living.keys()
    assert set(living.values()) <= set(told)
    for track, standing in zones.items():
        inside = {p for t, c, p in told if t == track and c in ("entered", "dwelled")}
        assert inside == standing
    numbers = [message.body.seq for message in node.cache.messages(topics.tracks("door"))]
    assert numbers == sorted(set(numbers))


def test_a_face_that_left_is_remembered_for_a_minute_without_its_name():
    node = Node()
    face = decode("v1/faces/door/", (GOLDEN / "faces.json").read_bytes()).face
    face = msgspec.structs.replace(face, track=7)
    node.say("detections", objects=(), faces=(face,), captured_at=100.0)
    node.say("detections", objects=(), faces=(), captured_at=160.0)
    [message] = node.cache.messages("v1/recent/door/")
    assert (message.body.track, message.body.cached) == (7, True)
    assert message.body.face == msgspec.structs.replace(face, name=UNSET, person=UNSET)
    assert node.cache.find_topics(b"v1/recent/") == ["v1/recent/door/"]
    node.say("detections", objects=(), faces=(), captured_at=160.1)
    assert node.cache.messages("v1/recent/door/") == []


def test_no_more_than_so_many_faces_are_remembered_and_the_latest_stay():
    node = Node()
    face = decode("v1/faces/door/", (GOLDEN / "faces.json").read_bytes()).face
    for track in range(MAX_RECENT + 3):
        faces = (msgspec.structs.replace(face, track=track),)
        node.say("detections", objects=(), faces=faces)
    tracks = [message.body.track for message in node.cache.messages("v1/recent/door/")]
    assert tracks == list(range(3, MAX_RECENT + 3))
