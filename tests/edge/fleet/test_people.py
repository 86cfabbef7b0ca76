"""People are enrolled at the hub, and known, named and forgotten at boxes as it says."""

import asyncio
import os
import random
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from hashlib import sha256

import msgspec
import numpy as np
import pytest

from edge.errors import ConfigError, EdgeError, GalleryError
from edge.fleet import people_bucket, people_messages
from edge.fleet.people_hub import HubPeople
from edge.fleet.people_keys import BoxKey, HubKey, check_hub_key
from edge.fleet.people_messages import (
    Manifest,
    Signed,
    SignedLease,
    open_manifest,
    open_signed,
    seal_person,
    sign,
)
from edge.fleet.people_sender import PeopleSender
from edge.people.gallery.encryption import MasterKey, create_key_file
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.scope import parse_boxes
from tests.support.fleet_people import DAY_S, Box, Hub, KeptBucket
from tests.support.gallery import OTHER_EMBEDDER, faces, fetch, open_new, tamper

ANN, BOB, CLEO = faces(3, seed=1), faces(2, seed=2), faces(1, seed=3)


@pytest.fixture
def hub(tmp_path):
    made = Hub(tmp_path / "hub")
    yield made
    made.gallery.close()


@pytest.fixture
def gate(tmp_path, hub):
    return Box(tmp_path / "gate", "gate", hub).join()


@pytest.fixture
def door(tmp_path, hub):
    return Box(tmp_path / "door", "door", hub).join()


def test_each_box_knows_those_whose_consent_holds_there(hub, gate, door):
    hub.enroll("Ann", ANN, "*")
    hub.enroll("Bob", BOB, "gate")
    hub.enroll("Cleo", CLEO)
    hub.send()
    assert gate.ask().problem == door.ask().problem == ""
    assert (gate.names(), door.names()) == (["Ann", "Bob"], ["Ann"])
    assert all(each.is_well for each in hub.judge(gate, door).values())
    cleo = hub.gallery.find("Cleo").person.id
    assert f"person.{cleo}" not in hub.bucket.values


def test_what_a_box_gets_is_what_was_enrolled(hub, gate):
    hub.enroll("Ann", ANN, "gate", until=date(2030, 1, 1))
    hub.gallery.add_negatives("Ann", BOB)
    hub.gallery.set_calibration({"threshold": 0.5})
    hub.send()
    gate.ask()
    with gate.open() as gallery:
        theirs, ours = gallery.find("Ann"), hub.gallery.find("Ann")
        assert gallery.calibration() == {"threshold": 0.5}
        assert gallery.audit.verify() > 0
    assert theirs.person.id == ours.person.id
    np.testing.assert_array_equal(theirs.own, ours.own)
    np.testing.assert_array_equal(theirs.negatives, ours.negatives)
    assert theirs.person.details.until == "2030-01-01"
    assert theirs.person.details.consent_s == ours.person.details.consent_s


def test_a_rename_an_exchange_of_names_and_new_pictures_arrive(hub, gate):
    for name, templates in (("Ann", ANN), ("Bob", BOB)):
        hub.enroll(name, templates, "gate")
    hub.send()
    gate.ask()
    for old, new in (("Ann", "x"), ("Bob", "Ann"), ("x", "Bob")):
        hub.gallery.rename(old, new)
    hub.gallery.enroll("Bob", CLEO, consent=True)
    hub.send()
    assert gate.ask().problem == ""
    with gate.open() as gallery:
        np.testing.assert_array_equal(gallery.find("Ann").own, BOB)
        np.testing.assert_array_equal(gallery.find("Bob").own, np.concatenate([ANN, CLEO]))


def test_forgetting_is_owed_until_each_box_confirms_it(hub, gate, door):
    person = hub.enroll("Ann", ANN, "*").id
    hub.enroll("Bob", BOB, "*")
    hub.send()
    gate.ask()
    door.ask()
    hub.gallery.forget("Ann")
    hub.send()
    assert f"person.{person}" not in hub.bucket.values
    assert hub.judge(gate, door)["gate"].owed == (person,)
    gate.ask()
    found = hub.judge(gate, door)
    assert (found["gate"].owed, found["door"].owed) == ((), (person,))
    assert "1 not forgotten yet" in found["door"].describe(hub.clock())
    assert gate.stored() == ["Bob"]
    hub.people.settle({"gate": gate.people.receipt})
    door.ask()
    assert hub.judge(gate, door)["door"].owed == ()
    with gate.open() as gallery:
        assert gallery.audit.verify() > 0


def test_nothing_of_a_forgotten_person_is_left_in_the_files_of_a_box(hub, gate):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.enroll("Bob", BOB, "gate")
    hub.send()
    gate.ask()
    [(wrapped,)] = fetch(gate.path, f"SELECT wrapped_key FROM person WHERE id = '{person}'")
    files = lambda: b"".join(p.read_bytes() for p in gate.folder.glob("g.db*"))  # noqa: E731
    assert wrapped in files()
    hub.gallery.forget("Ann")
    hub.send()
    assert gate.ask().number
    assert wrapped not in files()


def test_consent_that_is_withdrawn_at_one_box_is_a_forgetting_there(hub, gate, door):
    person = hub.enroll("Ann", ANN, "gate", "door").id
    hub.send()
    gate.ask()
    door.ask()
    hub.gallery.set_scope("Ann", ("gate",))
    hub.send()
    assert hub.judge(gate, door)["door"].owed == (person,)
    door.ask()
    gate.ask()
    assert (gate.stored(), door.stored()) == (["Ann"], [])
    hub.gallery.set_scope("Ann", ("door",))
    hub.send()
    door.ask()
    gate.ask()
    assert (gate.stored(), door.stored()) == ([], ["Ann"])


def test_a_retention_date_that_passes_is_a_forgetting_everywhere(hub, gate):
    hub.enroll("Ann", ANN, "gate", until=date(2027, 1, 15))
    hub.send()
    gate.ask()
    assert gate.names() == ["Ann"]
    hub.clock.now_s += DAY_S
    assert gate.names() == []
    hub.send()
    gate.ask()
    assert gate.stored() == []


# --- the lease ------------------------------------------------------------------------------------


def test_a_box_that_stays_away_stops_naming_at_the_end_of_its_lease_without_a_restart(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=DAY_S)
    gate.ask()
    with gate.open() as node:
        assert node.index().search(ANN[:1]).person_row[0] == 0
        assert not node.changed()
        hub.clock.now_s += DAY_S - 1
        assert not node.changed()
        hub.clock.now_s += 1
        assert node.changed()
        assert len(node.index()) == 0
        assert "what the hub allowed ended on 2027-01-16" in node.suspended
        assert not node.changed()  # it is not read again and again
        hub.send(lease_s=DAY_S)
        gate.ask()
        assert node.changed()
        assert node.index().search(ANN[:1]).person_row[0] == 0
        assert node.suspended == ""
    assert gate.stored() == ["Ann"]  # they are not deleted, only not named


def test_a_lease_is_renewed_without_the_index_being_built_again(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=DAY_S)
    gate.ask()
    with gate.open() as node:
        node.index()
        hub.clock.now_s += DAY_S / 2
        hub.send(lease_s=DAY_S)
        gate.ask()
        assert not node.changed()
        hub.clock.now_s += DAY_S * 0.75
        assert len(node.index()) == 1


def test_a_lease_is_as_long_as_it_was_said_last_and_can_be_made_shorter(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=2 * DAY_S)
    gate.ask()
    hub.clock.now_s += 60
    hub.send(lease_s=3600)
    hub.clock.now_s += 60
    hub.send(lease_s=None)
    gate.ask()
    assert hub.judge(gate)["gate"].until_s == hub.clock.now_s + 3600
    hub.clock.now_s += 3599
    assert gate.names() == ["Ann"]
    hub.clock.now_s += 1
    assert gate.names() == []


def test_a_clock_that_is_set_back_before_the_lease_names_nobody(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=DAY_S)
    gate.ask()
    with gate.open() as node:
        assert len(node.index()) == 1
        hub.clock.now_s -= 200  # as clocks differ
        assert not node.changed()
        hub.clock.now_s -= 101
        assert node.changed()
        assert len(node.index()) == 0
        assert "the clock is wrong" in node.suspended
        hub.clock.now_s += 101
        assert node.changed()
        assert len(node.index()) == 1


def test_a_lease_that_ended_stays_ended_whatever_the_clock_says(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=DAY_S)
    gate.ask()
    with gate.open() as node:
        assert len(node.index()) == 1
        hub.clock.now_s += DAY_S
        assert node.changed()
        assert len(node.index()) == 0
        hub.clock.now_s -= DAY_S / 2
        assert node.changed()
        assert len(node.index()) == 0
        assert "what the hub allowed ended" in node.suspended
        assert not node.changed()  # it is not read again and again
    assert gate.names() == []  # nor after a restart
    assert "what the hub allowed ended" in gate.start().ask().problem
    hub.clock.now_s += DAY_S / 2
    hub.send(lease_s=DAY_S)
    assert gate.ask().problem == ""
    assert gate.names() == ["Ann"]


def test_a_clock_that_is_set_back_within_the_lease_names_nobody(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=7 * DAY_S)
    gate.ask()
    with gate.open() as node:
        assert len(node.index()) == 1
        hub.clock.now_s += DAY_S
        assert not node.changed()
        hub.clock.now_s -= 300  # as clocks are corrected
        assert not node.changed()
        hub.clock.now_s -= 1
        assert node.changed()
        assert len(node.index()) == 0
        assert "it was set back from 2027-01-16" in node.suspended
        assert not node.changed()
        hub.clock.now_s += 1
        assert node.changed()
        assert len(node.index()) == 1
    hub.clock.now_s -= 301
    assert gate.names() == []  # nor after a restart
    assert "it was set back" in gate.start().ask().problem
    hub.send(lease_s=DAY_S)  # a hub that says so is right
    assert gate.ask().problem == ""
    assert gate.names() == ["Ann"]


def test_the_hub_shows_that_the_clock_of_a_box_was_set_back(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=7 * DAY_S)
    for passed_s, shown in (
        (DAY_S, "1 person"),
        (-DAY_S / 2, "it was set back"),
        (DAY_S, "1 person"),
    ):
        hub.clock.now_s += passed_s
        gate.ask()
        assert shown in hub.judge(gate)["gate"].describe(hub.clock())
        assert hub.judge(gate)["gate"].is_well == (passed_s > 0)


def test_a_hub_whose_clock_was_ahead_is_followed_when_it_is_right_again(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.clock.now_s += 365 * DAY_S
    hub.send(lease_s=DAY_S)
    hub.clock.now_s -= 365 * DAY_S
    assert "the clock is wrong" in gate.ask().problem
    assert "the clock is wrong" in hub.judge(gate)["gate"].describe(hub.clock())
    hub.send(lease_s=DAY_S)
    assert gate.ask().problem == ""
    assert gate.names() == ["Ann"]
    assert hub.judge(gate)["gate"].is_well
    hub.clock.now_s += DAY_S
    assert gate.names() == []


def test_a_lease_that_is_older_than_the_one_before_is_told(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=DAY_S)
    before = hub.bucket.values["lease.gate"]
    hub.clock.now_s += 60
    hub.send(lease_s=DAY_S)
    assert gate.ask().problem == ""
    hub.bucket.values["lease.gate"] = before
    assert "the older lease" in gate.ask().problem
    assert "the older lease" in hub.judge(gate)["gate"].describe(hub.clock())
    assert gate.names() == ["Ann"]


def test_a_lease_for_an_older_list_is_told_and_ends(hub, gate):
    """As a hub gives one of which a backup was restored."""
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=DAY_S)
    older = open_signed(hub.people.key.public, hub.bucket.values["lease.gate"], SignedLease)
    hub.enroll("Bob", BOB, "gate")
    hub.send(lease_s=DAY_S)
    assert gate.ask().problem == ""
    hub.clock.now_s += DAY_S / 2
    lease = msgspec.structs.replace(
        older, serial=older.serial + 9, issued_s=hub.clock(), until_s=hub.clock() + DAY_S
    )
    hub.bucket.values["lease.gate"] = sign(hub.people.key, lease)
    assert "a backup was restored there" in gate.ask().problem
    assert gate.names() == ["Ann", "Bob"]
    hub.clock.now_s += DAY_S / 2
    assert gate.names() == []


def test_a_lease_that_was_deleted_from_the_gallery_is_noticed(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    tamper(gate.path, "DELETE FROM setting WHERE name = 'hub'")
    with pytest.raises(GalleryError, match="changed without its key"):
        gate.open()


# --- what a box refuses ---------------------------------------------------------------------------


def refuse(box, *words):
    """Ask, and be told why not; whom the box names nevertheless."""
    problem = box.ask().problem
    assert all(word in problem for word in words), problem
    return box.names()


def test_what_the_hub_did_not_sign_is_refused(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    for key in ("lease.gate", "box.gate"):
        kept = dict(hub.bucket.values)
        hub.clock.now_s += 10
        hub.enroll(f"Bob {key}", BOB, "gate")
        hub.send()
        signed = msgspec.msgpack.decode(hub.bucket.values[key], type=Signed)
        other = HubKey(os.urandom(32)).sign(signed.content)
        hub.bucket.values[key] = msgspec.msgpack.encode(Signed(signed.content, other))
        assert refuse(gate, "not signed by the hub") == ["Ann"]
        hub.gallery.forget(f"Bob {key}")
        hub.bucket.values = kept


def test_a_signature_of_one_kind_is_none_of_another(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    hub.bucket.values["box.gate"] = hub.bucket.values["lease.gate"]
    assert "not signed" in gate.ask().problem


def test_what_is_for_another_box_is_refused(hub, gate, door):
    hub.enroll("Ann", ANN, "door")
    hub.enroll("Bob", BOB, "gate")
    hub.send()
    gate.ask()
    for key in ("lease", "box"):
        hub.clock.now_s += 10
        hub.enroll("Bob", CLEO, "gate")
        hub.send()
        hub.bucket.values[f"{key}.gate"] = hub.bucket.values[f"{key}.door"]
        assert refuse(gate, "what is for 'door'") == ["Bob"]


def test_an_old_list_that_is_played_again_brings_nobody_back(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.enroll("Bob", BOB, "gate")
    hub.send()
    before = dict(hub.bucket.values)
    gate.ask()
    hub.clock.now_s += 60
    hub.gallery.forget("Ann")
    hub.send()
    gate.ask()
    assert gate.names() == ["Bob"]
    new_lease = hub.bucket.values["lease.gate"]
    hub.bucket.values = dict(before)  # all of it
    gate.ask()
    assert gate.names() == ["Bob"]
    hub.bucket.values |= {"lease.gate": new_lease}
    gate.start().ask()
    assert gate.names() == ["Bob"]
    for path in gate.folder.glob("g.db*"):
        path.unlink()
    problem = gate.start().ask().problem
    assert "an older list of people than the hub sent" in problem
    assert not gate.path.exists()


def test_a_server_that_keeps_the_news_back_cannot_renew_the_lease(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send(lease_s=DAY_S)
    gate.ask()
    old = hub.bucket.values["box.gate"]
    hub.clock.now_s += DAY_S / 2
    hub.gallery.forget("Ann")
    hub.send(lease_s=DAY_S)
    hub.bucket.values["box.gate"] = old
    assert refuse(gate, "an older list") == ["Ann"]
    hub.clock.now_s += DAY_S / 2
    assert gate.names() == []


def test_the_record_of_one_person_is_none_of_another(hub, gate):
    ann = hub.enroll("Ann", ANN, "gate").id
    bob = hub.enroll("Bob", BOB, "gate").id
    hub.send()
    values = hub.bucket.values
    values[f"person.{ann}"], values[f"person.{bob}"] = (
        values[f"person.{bob}"],
        values[f"person.{ann}"],
    )
    assert "another record of" in gate.ask().problem
    assert gate.stored() == []
    hub.send(everything=True)
    assert gate.ask().problem == ""
    assert gate.names() == ["Ann", "Bob"]


def test_an_earlier_record_of_a_person_is_refused(hub, gate):
    ann = hub.enroll("Ann", ANN, "gate").id
    hub.send()
    gate.ask()
    before = hub.bucket.values[f"person.{ann}"]
    hub.enroll("Ann", BOB, "gate", replace_templates=True)
    hub.send()
    hub.bucket.values[f"person.{ann}"] = before
    assert refuse(gate, "another record") == ["Ann"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: b"",
        lambda value: value[: len(value) // 2],
        lambda value: value + b"\0",
        lambda value: bytes([value[0] ^ 1]) + value[1:],
        lambda value: b"\x91" * 200_000,
        lambda value: b'{"a":' + b"[" * 100_000,
        lambda value: b"x" * (9 << 20),
        lambda value: msgspec.msgpack.encode(["x", "y"]),
        lambda value: msgspec.msgpack.encode([b"", b"\0" * 64]),
    ],
)
@pytest.mark.parametrize("kind", ["lease", "box", "person"])
def test_what_cannot_be_read_disturbs_nobody(hub, gate, kind, spoil):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.send()
    gate.ask()
    hub.clock.now_s += 10
    hub.enroll("Ann", BOB, "gate")
    hub.send()
    key = f"person.{person}" if kind == "person" else f"{kind}.gate"
    hub.bucket.values[key] = spoil(hub.bucket.values[key])
    problem = gate.ask().problem
    assert problem or kind == "lease"  # an empty lease is none
    assert gate.names() == ["Ann"]
    hub.send(everything=True)
    assert gate.ask().problem == ""


def test_damaged_messages_of_any_kind_are_refused(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    draw = random.Random(7)
    kept = dict(hub.bucket.values)
    for _ in range(150):
        key = draw.choice(sorted(kept))
        value = bytearray(kept[key])
        value[draw.randrange(len(value))] ^= 1 << draw.randrange(8)
        hub.bucket.values = kept | {key: bytes(value)}
        receipt = gate.ask()
        assert receipt.problem
        with gate.open() if gate.path.exists() else open_new(gate.folder / "none.db") as gallery:
            assert gallery.people() == []
    hub.bucket.values = kept
    assert gate.ask().problem == ""


def test_what_is_sealed_for_another_key_says_what_to_do(hub, gate, tmp_path):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    (gate.folder / "box-key").unlink()
    assert "edge hub trust it again" in gate.start().ask().problem


def test_a_hub_with_another_key_is_refused_until_it_is_pinned(hub, gate, tmp_path):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    other = Hub(tmp_path / "other", hub.clock)
    gate.hub = other
    gate.join()
    other.enroll("Bob", BOB, "gate")
    other.send()
    assert refuse(gate, "edge fleet join with --hub-key") == ["Ann"]
    gate.public = other.people.key.public
    gate.start()
    assert gate.ask().problem == ""
    assert gate.names() == ["Bob"]
    other.gallery.close()


def test_a_place_that_cannot_be_used_is_named_and_tried_again(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.path = gate.folder / "key" / "g.db"  # below a file
    assert gate.ask().problem
    gate.path = gate.folder / ("x" * 300)
    assert "too long" in gate.ask().problem
    gate.path = gate.folder / "missing" / "g.db"
    assert "No such file" in gate.ask().problem
    gate.path.parent.mkdir()
    assert gate.ask().problem == ""
    assert gate.names() == ["Ann"]


# --- a gallery that is moved ----------------------------------------------------------------------


def move(gate, name="new.db"):
    """Have the configuration name another gallery; the file of the one before."""
    before, gate.path = gate.path, gate.folder / name
    return before


def count_people(path):
    return fetch(path, "SELECT count(*) FROM person")[0][0]


def test_a_gallery_that_is_moved_leaves_nobody_behind(hub, gate):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.enroll("Bob", BOB, "gate")
    hub.send()
    gate.ask()
    [(wrapped,)] = fetch(gate.path, f"SELECT wrapped_key FROM person WHERE id = '{person}'")
    before = move(gate)
    assert gate.ask().problem == ""
    assert gate.names() == ["Ann", "Bob"]
    assert count_people(before) == 0
    assert wrapped not in b"".join(p.read_bytes() for p in gate.folder.glob("g.db*"))
    hub.gallery.forget("Ann")
    hub.send()
    gate.ask()
    assert hub.judge(gate)["gate"].is_well
    gate.path = before  # and back
    assert gate.ask().problem == ""
    assert gate.names() == ["Bob"]
    assert count_people(gate.folder / "new.db") == 0


def test_a_gallery_that_is_moved_while_the_agent_is_away_leaves_nobody_behind(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    before = move(gate)
    hub.gallery.forget("Ann")
    hub.send()
    gate.start().ask()
    assert hub.judge(gate)["gate"].is_well
    assert count_people(before) == 0


def test_people_who_are_left_behind_are_not_confirmed_to_be_forgotten(hub, gate):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.send()
    gate.ask()
    before = move(gate)
    kept = gate.key_file.read_bytes()
    gate.key_file.unlink()
    create_key_file(gate.key_file)  # another one
    hub.gallery.forget("Ann")
    hub.send()
    assert "people are left in" in gate.ask().problem
    assert hub.judge(gate)["gate"].owed == (person,)
    assert f"people are left in {before}" in hub.judge(gate)["gate"].describe(hub.clock())
    assert "people are left in" in gate.start().ask().problem
    gate.key_file.write_bytes(kept)
    gate.path.unlink()
    assert gate.start().ask().problem == ""
    assert hub.judge(gate)["gate"].is_well
    assert count_people(before) == 0


def test_a_file_that_is_reached_by_another_way_is_not_emptied(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    (gate.folder / "way").symlink_to(gate.folder)
    gate.path = gate.folder / "way" / "g.db"
    assert gate.ask().problem == ""
    assert gate.names() == ["Ann"]
    gate.path = gate.folder / "renamed.db"
    (gate.folder / "g.db").rename(gate.path)
    assert gate.ask().problem == ""
    assert gate.names() == ["Ann"]


def test_a_gallery_that_is_nobodys_hubs_is_left_alone(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    before = move(gate)
    before.unlink()
    with open_new(before, clock=hub.clock) as gallery:
        gallery.enroll("Local", CLEO, consent=True)
    gate.key_file.write_bytes(bytes(range(32)))
    assert gate.ask().problem == ""
    assert count_people(before) == 1


def test_people_who_were_enrolled_on_the_box_are_never_taken_away(hub, gate):
    with gate.open(create=True) as gallery:
        gallery.enroll("Local", CLEO, consent=True)
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    assert "who were enrolled on this box" in gate.ask().problem
    assert gate.names() == ["Local"]


def test_people_of_another_embedder_are_refused_but_the_forgotten_go(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    ann = hub.enroll("Bob", BOB, "gate").id
    hub.send()
    gate.ask()
    hub.gallery.close()
    hub.gallery = Gallery(
        hub.path, MasterKey(bytes(range(32))), OTHER_EMBEDDER, change_embedder=True,
        clock=hub.clock,
    )  # fmt: skip
    hub.clock.now_s += 10
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    assert refuse(gate, "enrolled with another", "--change-embedder") == ["Ann"]
    assert gate.stored() == ["Ann"]  # Bob is of no embedder of the hub any more
    assert ann not in str(hub.judge(gate)["gate"].owed)
    entries = len(fetch(gate.path, "SELECT * FROM audit"))
    gate.ask()
    assert len(fetch(gate.path, "SELECT * FROM audit")) == entries  # it is not tried on and on
    hub.send(change_embedder=True)
    assert gate.ask().problem == ""
    gate.embedder = OTHER_EMBEDDER
    assert gate.names() == ["Ann"]
    assert hub.judge(gate)["gate"].is_well


def test_a_gallery_of_a_hub_is_changed_at_the_hub(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    with gate.open() as gallery:
        for change in (
            lambda: gallery.enroll("Eve", CLEO, consent=True),
            lambda: gallery.rename("Ann", "Eve"),
            lambda: gallery.forget("Ann"),
            lambda: gallery.add_negatives("Ann", CLEO),
            lambda: gallery.set_calibration({"threshold": 0.1}),
            lambda: gallery.set_scope("Ann", ("*",)),
        ):
            with pytest.raises(GalleryError, match="its people come from the hub"):
                change()
        assert gallery.purge() == []
    with pytest.raises(GalleryError, match="change the embedder there"):
        Gallery(
            gate.path, gallery.store._key, OTHER_EMBEDDER, change_embedder=True, clock=hub.clock
        )
    assert gate.names() == ["Ann"]


def test_a_gallery_that_follows_a_hub_is_no_hub(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    hub.gallery.close()
    hub.gallery = gate.open()
    with pytest.raises(GalleryError, match="follows a hub itself"):
        hub.send()


def test_a_receipt_that_nobody_at_the_box_wrote_confirms_nothing(hub, gate):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.send()
    before = gate.ask()
    hub.gallery.forget("Ann")
    hub.send()
    number = hub.people.file.read().boxes["gate"].number
    forged = msgspec.structs.replace(before, number=number)
    for receipt in (before, forged, msgspec.structs.replace(forged, number=1 << 70)):
        assert hub.people.judge({"gate": receipt})["gate"].owed == (person,)


# --- kills, restarts, sizes -----------------------------------------------------------------------

KILLED = """
import asyncio, os, sys
from pathlib import Path
from edge.people.gallery import hub_copy
from tests.support import fleet_people, gallery
folder = Path(sys.argv[1])
hub = type("H", (), {"clock": gallery.Clock(float(sys.argv[2]))})()
box = fleet_people.Box(folder / "gate", "gate", hub, public=sys.argv[3])
bucket = fleet_people.KeptBucket()
bucket.values = {p.name: p.read_bytes() for p in (folder / "values").iterdir()}
hub_copy.HubCopy.scrub = lambda self: os.kill(os.getpid(), 9)
box.ask(bucket)
"""


def test_a_box_that_is_killed_before_it_reports_confirms_when_it_is_back(hub, gate, tmp_path):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.send()
    gate.ask()
    hub.clock.now_s += 10
    hub.gallery.forget("Ann")
    hub.send()
    (tmp_path / "values").mkdir()
    for key, value in hub.bucket.values.items():
        (tmp_path / "values" / key).write_bytes(value)
    command = [
        sys.executable, "-c", KILLED, tmp_path, str(hub.clock.now_s), hub.people.key.public,
    ]  # fmt: skip
    done = subprocess.run([*map(str, command)], timeout=60, check=False)
    assert done.returncode == -9
    assert gate.stored() == []
    assert hub.judge(gate.start())["gate"].owed == (person,)
    assert gate.ask().problem == ""
    assert hub.judge(gate)["gate"].owed == ()


def test_old_pages_that_somebody_holds_are_not_confirmed(hub, gate):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.send()
    gate.ask()
    hub.gallery.forget("Ann")
    hub.send()
    with gate.open() as reader, reader.store.database.reading() as connection:
        connection.execute("SELECT count(*) FROM person").fetchone()
        assert "holds old pages" in gate.ask().problem
        assert hub.judge(gate)["gate"].owed == (person,)
    gate.ask()
    assert hub.judge(gate)["gate"].owed == ()


def test_what_boxes_owe_survives_a_server_that_is_away(hub, gate):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.send()
    gate.ask()
    hub.gallery.forget("Ann")

    class Away(KeptBucket):
        async def create(self):
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        hub.send(Away())
    assert hub.judge(gate)["gate"].owed == (person,)
    hub.bucket.values.clear()  # and comes back without anything
    hub.send()
    gate.ask()
    assert hub.judge(gate)["gate"].is_well


@pytest.mark.parametrize("change", ["gallery", "ledger"])
def test_what_changes_while_boxes_are_told_is_told_next(hub, gate, tmp_path, change):
    hub.enroll("Ann", ANN, "*")
    (tmp_path / "key").write_bytes(bytes(range(32)))
    (tmp_path / "key").chmod(0o600)
    box_key = BoxKey.ensure(tmp_path / "door").public
    told = []

    class Sender(PeopleSender):
        async def _send(self, gallery):
            await self._people.publish(gallery, hub.bucket, None)
            told.append(sorted(hub.bucket.values))
            if len(told) == 1 and change == "ledger":
                HubPeople(hub.path, hub.clock).trust("door", box_key)
            elif len(told) == 1:
                with Gallery(hub.path, MasterKey(bytes(range(32)))) as other:
                    other.forget("Ann")

    sender = Sender(hub.people, str(tmp_path / "key"), None, None, hub.clock)
    sender.start()
    deadline_s = time.monotonic() + 20
    while len(told) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    sender.stop()
    expected = {"gallery": ["box.gate", "lease.gate"],
                "ledger": ["box.door", "box.gate", "lease.door", "lease.gate"]}  # fmt: skip
    assert [key for key in told[1] if change == "gallery" or key[0] != "p"] == expected[change]
    assert len(told) == 2  # nor is anything told again and again


def test_two_thousand_people_arrive_and_one_of_them_is_forgotten(hub, gate, monkeypatch):
    everybody = faces(2000, seed=9)
    monkeypatch.setattr(hub.gallery.store.database, "after_commit", lambda: None)
    with hub.gallery.store.database.connection as connection:
        connection.execute("PRAGMA synchronous = OFF")
    for number, row in enumerate(everybody):
        hub.enroll(f"Person {number}", row[None], "gate")
    hub.send()
    assert len(hub.bucket.values["box.gate"]) < 300_000
    assert gate.ask().problem == ""
    assert len(gate.names()) == 2000
    hub.gallery.forget("Person 77")
    hub.send()
    assert gate.ask().problem == ""
    assert len(gate.names()) == 1999


def test_what_is_larger_than_the_server_takes_keeps_nobody_from_being_forgotten(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    bob = hub.enroll("Bob", BOB, "gate").id
    hub.send()
    gate.ask()
    hub.enroll("Ann", faces(200, seed=5), "gate")
    hub.gallery.forget("Bob")
    hub.bucket._client.max_payload = 8000
    with pytest.raises(EdgeError, match="raise max_payload"):
        hub.send()
    assert "has no record" not in gate.ask().problem
    assert "another record" in gate.people.receipt.problem
    assert gate.stored() == ["Ann"]
    assert bob not in hub.judge(gate)["gate"].owed


def test_a_list_that_no_box_takes_is_not_sent(hub, gate, monkeypatch):
    """Also where the server takes more."""
    hub.bucket = KeptBucket(max_payload=64 << 20)
    monkeypatch.setattr(people_bucket, "MAX_BYTES", 2000)
    for number in range(20):
        hub.enroll(f"Person {number}", faces(1, number), "gate")
    with pytest.raises(EdgeError, match=r"the list of people for gate .* a box takes 2000: send"):
        hub.send()
    assert "box.gate" not in hub.bucket.values


def test_a_record_that_is_too_large_is_not_even_hashed(hub, gate, monkeypatch):
    person = hub.enroll("Ann", ANN, "gate").id
    hub.send()
    hub.bucket.values[f"person.{person}"] = bytes((8 << 20) + 1)
    hashed = []
    monkeypatch.setattr(
        people_messages.hashlib,
        "sha256",
        lambda content=b"": hashed.append(len(content)) or sha256(content),
    )
    assert "too large" in gate.ask().problem
    assert max(hashed, default=0) < 8 << 20


def test_records_are_checked_as_they_come(hub, gate):
    """So that a server that answers with others cannot fill the memory of a box."""
    for number in range(200):
        hub.enroll(f"Person {number}", faces(1, number), "gate")
    hub.send()

    class Filling(KeptBucket):
        asked = 0

        async def read(self, key):
            if key.startswith("person"):
                self.asked += 1
                await asyncio.sleep(0)
                return bytes(1000)
            return await super().read(key)

    filling = Filling()
    filling.values = hub.bucket.values
    assert "another record" in gate.ask(filling).problem
    assert filling.asked < 100


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_an_agent_as_root_writes_belongs_to_the_service(hub, gate):
    nobody = 65534
    os.chown(gate.folder, nobody, nobody)
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.ask()
    with gate.open() as node:  # its log and that log's index are there meanwhile
        node.index()
        hub.clock.now_s += 10
        hub.enroll("Bob", BOB, "gate")
        hub.send()
        assert gate.ask().problem == ""
        files = sorted(gate.folder.glob("g.db*"))
        assert [path.name for path in files] == ["g.db", "g.db-shm", "g.db-wal"]
        for path in files:
            state = path.stat()
            assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (nobody, 0o600)
        assert node.changed()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is led elsewhere")
def test_a_gallery_that_is_a_link_leads_root_nowhere(hub, gate, tmp_path):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    gate.path.symlink_to(tmp_path / "elsewhere.db")
    assert "the gallery is a link" in gate.ask().problem
    assert not (tmp_path / "elsewhere.db").exists()


# --- keys, scopes, the ledger ---------------------------------------------------------------------


def test_keys_are_private_and_told_apart(tmp_path):
    hub, box = HubKey.ensure(tmp_path / "h"), BoxKey.ensure(tmp_path / "b")
    assert HubKey.ensure(tmp_path / "h").public == hub.public
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600
    assert check_hub_key(hub.public) == hub.public
    for wrong in (box.public, "", "hub_", hub.public[:-1], hub.public + "A", "hub_" + "é" * 43):
        with pytest.raises(ConfigError, match="no public key of a hub"):
            check_hub_key(wrong)
    with pytest.raises(ConfigError):
        BoxKey.ensure(tmp_path / "h")
    (tmp_path / "b").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        BoxKey.ensure(tmp_path / "b")


def test_a_box_has_one_key_and_a_key_one_box(hub, gate, tmp_path):
    key = BoxKey.ensure(tmp_path / "another").public
    with pytest.raises(ConfigError, match="has another key"):
        hub.people.trust("gate", key)
    with pytest.raises(ConfigError, match="the key of 'gate'"):
        hub.people.trust("door", BoxKey.ensure(gate.folder / "box-key").public)
    zero = "box_" + "A" * 43  # a point with which every secret is zero
    with pytest.raises(ConfigError, match="is no key of a box"):
        hub.people.trust("door", zero)
    hub.people.trust("gate", BoxKey.ensure(gate.folder / "box-key").public)
    assert [*hub.people.file.read().boxes] == ["gate"]


def test_a_signing_key_that_is_lost_is_not_made_anew_in_silence(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    receipt = gate.ask()
    file = hub.path.with_name("hub.db.hub-key")
    kept = file.read_bytes()
    file.unlink()
    later = HubPeople(hub.path, hub.clock)
    for use in (lambda: later.key, lambda: later.judge({"gate": receipt})):
        with pytest.raises(ConfigError, match="the key that boxes trust is gone"):
            use()
    assert not file.exists()
    file.write_bytes(kept)
    file.chmod(0o600)
    assert later.judge({"gate": receipt})["gate"].is_well


def test_a_record_that_another_box_made_with_its_key_is_refused(hub, gate, door):
    """It has the key of the person as well, and whoever runs the server may help it."""
    person = hub.enroll("Ann", ANN, "*").id
    hub.send()
    gate.ask()
    signed = msgspec.msgpack.decode(hub.bucket.values["box.door"], type=Signed)
    manifest = msgspec.msgpack.decode(signed.content, type=Manifest)
    [entry] = open_manifest(BoxKey.ensure(door.folder / "box-key"), manifest).people
    record = replace(hub.gallery.find("Ann"), own=CLEO)
    forged = seal_person(manifest.gallery, record, hub.gallery.embedder.sha256, entry.key)
    hub.bucket.values[f"person.{person}"] = forged.content
    for path in gate.folder.glob("g.db*"):
        path.unlink()
    assert "another record" in gate.start().ask().problem
    assert gate.stored() == []


def test_a_box_that_is_taken_off_is_sent_nothing_more(hub, gate, door):
    hub.enroll("Ann", ANN, "*")
    hub.send()
    assert hub.people.forget_box("door").people
    hub.send()
    assert sorted(k for k in hub.bucket.values if not k.startswith("person")) == [
        "box.gate", "lease.gate",
    ]  # fmt: skip
    assert [*hub.judge(gate)] == ["gate"]


@pytest.mark.parametrize(
    ("text", "boxes"),
    [("", ()), ("gate, door,gate", ("gate", "door")), ("*", ("*",)), ("gate,*", ("*",))],
)
def test_scopes_are_lists_of_boxes(text, boxes):
    assert parse_boxes(text) == boxes


@pytest.mark.parametrize("text", ["a b", "../x", "gate;door", "x" * 65])
def test_what_is_no_box_is_no_scope(text):
    with pytest.raises(GalleryError, match="is no name of a box"):
        parse_boxes(text)


def test_a_record_without_a_scope_is_as_versions_before_fleets_wrote_it(tmp_path):
    with open_new(tmp_path / "g.db") as gallery:
        gallery.enroll("Ann", ANN, consent=True)
        details = gallery.store.records
        with gallery.store.database.reading():
            person = gallery.store.records.ids()[0]
            key = details._key(person)
            row = details._row(person)
    from edge.people.gallery.encryption import unseal
    from edge.people.gallery.records import _about

    content = unseal(key, row[4], _about("details", person, row[2], row[3]))
    assert b"boxes" not in content


def test_a_ledger_that_is_damaged_is_named(hub, gate):
    hub.people.file.path.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="ledger is damaged"):
        hub.people.file.read()


def test_numbers_grow_also_where_the_hubs_clock_is_set_back_or_the_ledger_is_lost(hub, gate):
    hub.enroll("Ann", ANN, "gate")
    hub.send()
    first = gate.ask().number
    hub.clock.now_s -= 3600
    hub.enroll("Bob", BOB, "gate")
    hub.send()
    hub.clock.now_s += 3600
    second = gate.ask().number
    assert second > first
    hub.people.file.path.unlink()
    hub.clock.now_s += 1
    gate.join()
    hub.send()
    assert gate.ask().number > second


def test_messages_name_their_kind_box_and_gallery(hub, gate):
    hub.send()
    for key, kind in (("lease.gate", SignedLease), ("box.gate", Manifest)):
        signed = msgspec.msgpack.decode(hub.bucket.values[key], type=Signed)
        message = msgspec.msgpack.decode(signed.content, type=kind)
        assert message.box == "gate"
        assert message.gallery == hub.gallery.store.metadata.identity()[0].hex()
    assert sign(hub.people.key, message) != sign(HubKey(os.urandom(32)), message)


def test_the_server_sees_no_name_and_no_template(hub, gate):
    hub.enroll("Annabella Quartermaine", ANN, "gate")
    hub.send()
    seen = b"".join(hub.bucket.values.values())
    assert b"Annabella" not in seen
    assert ANN[0].tobytes()[:16] not in seen


def test_one_key_never_seals_two_contents_with_one_nonce(hub):
    """A backup of the hub's gallery that was put back counts its changes again."""
    hub.enroll("Ann", ANN, "gate")
    record, key = hub.gallery.find("Ann"), os.urandom(32)
    first, again, other = (
        seal_person("g", each, "e", key).content
        for each in (record, record, replace(record, own=CLEO))
    )
    assert first == again
    assert first[:12] != other[:12]
