"""The gallery: what it keeps, what it refuses, what it notices."""

import base64
import os
import random
import re
import shutil
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.people.gallery import database
from edge.people.gallery.encryption import GalleryError, KeyStore, MasterKey
from edge.people.gallery.export import export_person
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.index import NO_PERSON
from edge.people.gallery.records import RecordState, compute_expiry_s
from tests.support.gallery import (
    EMBEDDER,
    KEY,
    OTHER_EMBEDDER,
    Clock,
    faces,
    fetch,
    open_new,
    tamper,
)

ANN, BOB = faces(3, seed=1), faces(2, seed=2)
NAME = "Annabella Quartermaine"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A gallery with two people."""
    file = tmp_path_factory.mktemp("gallery") / "gallery.db"
    with open_new(file) as gallery:
        gallery.enroll(NAME, ANN, consent=True, until=date(2030, 1, 1))
        gallery.enroll("Bob", BOB, consent=True)
    return file


@pytest.fixture
def path(original, tmp_path):
    """A copy of it."""
    return Path(shutil.copy(original, tmp_path))


def content(path) -> bytes:
    """All bytes of all files of a gallery."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


# --- enrolling ----------------------------------------------------------------------------------


def test_an_enrolled_person_is_found_again(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        index = gallery.index()
        assert [known.name for known in index.people] == [NAME, "Bob"]
        assert index.search(BOB).person_row.tolist() == [1, 1]
        record = gallery.find(NAME.upper())
    assert np.array_equal(record.own, ANN)
    assert record.person.details.until == "2030-01-01"
    assert record.person.state is RecordState.ACTIVE


def test_more_photographs_join_those_there_are(path):
    more = faces(1, seed=3)
    with Gallery(path, KEY, EMBEDDER) as gallery:
        before = gallery.find("bob").person
        after = gallery.enroll("BOB", more, consent=True)
        assert after.id == before.id
        assert after.name == "Bob"
        assert np.array_equal(gallery.find("Bob").own, np.concatenate([BOB, more]))


def test_replacing_leaves_nothing_of_the_old_templates(path):
    old = [row[0] for row in fetch(path, "SELECT sealed FROM template")]
    with Gallery(path, KEY, EMBEDDER) as gallery:
        for name in (NAME, "Bob"):
            gallery.enroll(name, faces(1, seed=4), consent=True, replace_templates=True)
        assert len(gallery.find("Bob").own) == 1
        assert not any(sealed in content(path) for sealed in old)


def test_nothing_is_stored_without_consent(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        with pytest.raises(GalleryError, match="--consent"):
            gallery.enroll("Carl", BOB, consent=False)
        assert len(gallery.people()) == 2


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "x" * 101, "line\x1b[2J"])
def test_a_name_must_be_printable(path, name):
    with Gallery(path, KEY, EMBEDDER) as gallery, pytest.raises(GalleryError, match="printable"):
        gallery.enroll(name, BOB, consent=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (b"J\xf6rg".decode(errors="replace"), "could not be read"),
        ("known person", "may not see names"),
        (" Known  PERSON ", "may not see names"),
        ("\uff2bnown person", "may not see names"),  # a full-width K
    ],
)
def test_a_name_was_read_whole_and_is_not_what_stands_for_all_names(path, name, says):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        with pytest.raises(GalleryError, match=says):
            gallery.enroll(name, BOB, consent=True)
        with pytest.raises(GalleryError, match=says):
            gallery.rename("Bob", name)
        assert [person.name for person in gallery.people()] == [NAME, "Bob"]
        gallery.rename("Bob", "Well-known person")


@pytest.mark.parametrize(
    "templates",
    [BOB * 2, BOB * np.float32("nan"), BOB[:, :8], BOB[:0], BOB[0]],
    ids=["long", "nan", "other dimension", "none", "flat"],
)
def test_unsound_templates_are_refused(path, templates):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        with pytest.raises(GalleryError, match="templates must"):
            gallery.enroll("Carl", templates, consent=True)
        assert len(gallery.people()) == 2
        assert gallery.generation == 2


def test_a_look_alike_vetoes_only_whom_it_is_not(path):
    look_alike = faces(1, seed=9)
    with Gallery(path, KEY, EMBEDDER) as gallery:
        assert gallery.index().search(look_alike).person_row[0] != NO_PERSON
        gallery.add_negatives("Bob", look_alike)
        gallery.add_negatives(NAME, look_alike)
        found = gallery.index().search(np.concatenate([look_alike, BOB[:1]]))
    assert found.person_row.tolist() == [NO_PERSON, 1]
    assert found.vetoed.tolist() == [True, False]


def test_rename_keeps_the_id_and_frees_the_old_name(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        before = gallery.find("Bob").person
        assert gallery.rename("Bob", "Robert").id == before.id
        assert gallery.rename("Robert", "ROBERT").name == "ROBERT"
        with pytest.raises(GalleryError, match="not enrolled"):
            gallery.find("Bob")
        assert gallery.index().search(BOB).person_row.tolist() == [1, 1]


def test_two_people_cannot_have_one_name(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        with pytest.raises(GalleryError, match="another person"):
            gallery.rename("Bob", NAME.lower())
        assert [person.name for person in gallery.people()] == [NAME, "Bob"]


# --- keys and embedders -------------------------------------------------------------------------


def test_another_key_is_refused_with_the_remedy(path):
    with pytest.raises(GalleryError, match="the key it was made with") as refused:
        Gallery(path, MasterKey(bytes(32)), EMBEDDER)
    assert refused.value.exit_code == 78


def test_another_embedder_is_refused_with_the_command_that_enrolls_again(path):
    with pytest.raises(GalleryError, match=r"edge enroll .*--change-embedder") as refused:
        Gallery(path, KEY, OTHER_EMBEDDER)
    assert "made-up (abababababab)" in str(refused.value)


def test_a_changed_embedder_counts_nobody_until_enrolled_again(path):
    with Gallery(path, KEY, OTHER_EMBEDDER, change_embedder=True) as gallery:
        assert len(gallery.index()) == 0
        before = gallery.find("Bob").person
        assert before.state is RecordState.OTHER_EMBEDDER
        after = gallery.enroll("Bob", faces(1, seed=5), consent=True)
        assert (after.id, after.state, after.details.templates) == (
            before.id,
            RecordState.ACTIVE,
            1,
        )
        assert [known.name for known in gallery.index().people] == ["Bob"]
        with pytest.raises(GalleryError, match="enrolled again"):
            gallery.add_negatives(NAME, BOB)
        gallery.rename(NAME, "Ann")
        assert gallery.find("Ann").person.state is RecordState.OTHER_EMBEDDER
        gallery.audit.verify()


def test_a_reader_notices_that_the_embedder_changed_and_refuses(path):
    with Gallery(path, KEY, EMBEDDER) as reader:
        reader.index()
        Gallery(path, KEY, OTHER_EMBEDDER, change_embedder=True).close()
        assert reader.changed()
        with pytest.raises(GalleryError, match="--change-embedder"):
            reader.index()
        with pytest.raises(GalleryError, match="give --embedder"):
            reader.enroll("Carl", BOB, consent=True)


def test_an_empty_gallery_takes_the_embedder_that_enrolls(path):
    with Gallery(path, KEY) as gallery:
        for person in gallery.people():
            gallery.forget(person.id)
    with Gallery(path, KEY, OTHER_EMBEDDER) as reader:
        assert len(reader.index()) == 0
    with Gallery(path, KEY, OTHER_EMBEDDER, create=True) as gallery:
        assert gallery.embedder == OTHER_EMBEDDER


def test_a_gallery_opened_without_an_embedder_enrolls_nobody(path):
    with Gallery(path, KEY) as gallery, pytest.raises(GalleryError, match="--embedder"):
        gallery.enroll("Carl", BOB, consent=True)


def test_a_calibration_is_kept_and_belongs_to_the_embedder(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        assert gallery.calibration() is None
        gallery.set_calibration({"threshold": 0.41})
    with Gallery(path, KEY, EMBEDDER) as gallery:
        assert gallery.calibration() == {"threshold": 0.41}
    with Gallery(path, KEY, OTHER_EMBEDDER, change_embedder=True) as gallery:
        assert gallery.calibration() is None


def test_a_tampered_calibration_is_noticed(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.set_calibration({"threshold": 0.41})
    tamper(path, "UPDATE setting SET value = zeroblob(60) WHERE name = 'calibration'")
    with pytest.raises(GalleryError, match="changed without its key"):
        Gallery(path, KEY, EMBEDDER)
    with Gallery(path, KEY, EMBEDDER, accept="") as gallery:
        with pytest.raises(GalleryError, match="calibrate"):
            gallery.calibration()
        gallery.set_calibration({"threshold": 0.42})
    with Gallery(path, KEY, EMBEDDER) as gallery:
        assert gallery.calibration() == {"threshold": 0.42}


# --- time ---------------------------------------------------------------------------------------


def test_people_whose_time_is_over_are_not_loaded_and_purged(path):
    clock = Clock()
    with Gallery(path, KEY, EMBEDDER, clock=clock) as gallery:
        gallery.enroll("Carl", faces(1, seed=6), consent=True, until=date(2027, 1, 20))
        assert len(gallery.index()) == 3
        clock.now_s += 5.5 * 86400  # in the evening of the last day
        assert not gallery.changed()
        clock.now_s += 0.5 * 86400
        assert gallery.changed()
        assert [known.name for known in gallery.index().people] == [NAME, "Bob"]
        assert gallery.find("Carl").person.state is RecordState.EXPIRED
        assert gallery.purge() == ["Carl"]
        assert gallery.purge() == []
        assert len(gallery.people()) == 2
        gallery.audit.verify()


def test_any_day_there_is_can_be_the_last_one(path):
    with Gallery(path, KEY, EMBEDDER, clock=Clock()) as gallery:
        with pytest.raises(GalleryError, match="0001-01-01 has passed"):
            gallery.enroll("Carl", BOB, consent=True, until=date.min)
        carl = gallery.enroll("Carl", faces(1, seed=6), consent=True, until=date.max)
        assert (carl.details.until, carl.state) == ("9999-12-31", RecordState.ACTIVE)
        assert [known.name for known in gallery.index().people] == [NAME, "Bob", "Carl"]
        assert gallery.purge() == []
    assert compute_expiry_s("9999-12-31") == 253_402_300_800
    assert compute_expiry_s("1970-01-01") == 86_400


def test_a_day_that_is_over_is_no_retention_date(path):
    with Gallery(path, KEY, EMBEDDER, clock=Clock()) as gallery:
        with pytest.raises(GalleryError, match="has passed"):
            gallery.enroll("Carl", BOB, consent=True, until=date(2027, 1, 14))
        assert len(gallery.people()) == 2


# --- a running daemon ---------------------------------------------------------------------------


def test_a_reader_sees_each_change_of_another_connection(path):
    with Gallery(path, KEY, EMBEDDER) as reader, Gallery(path, KEY, EMBEDDER) as writer:
        assert reader.changed()
        reader.index()
        assert not reader.changed()
        writer.enroll("Carl", faces(1, seed=6), consent=True)
        assert reader.changed()
        assert len(reader.index()) == 3
        assert not reader.changed()
        writer.forget(NAME)
        assert reader.changed()
        assert [known.name for known in reader.index().people] == ["Bob", "Carl"]
        writer.rename("Bob", "Robert")
        writer.add_negatives("Carl", BOB)
        index = reader.index()
        assert [known.name for known in index.people] == ["Robert", "Carl"]
        assert len(index.negatives) == len(BOB)
        writer.audit.note_comparison("somebody", 0.5, same=False)
        assert not reader.changed()


def test_one_s_own_changes_are_changes(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.index()
        gallery.forget("Bob")
        assert gallery.changed()
        assert len(gallery.index()) == 1


def test_a_gallery_put_in_the_place_of_another_is_noticed(path, tmp_path):
    other = tmp_path / "other.db"
    with open_new(other) as gallery:
        gallery.enroll("Dora", faces(1, seed=8), consent=True)
    with Gallery(path, KEY, EMBEDDER) as reader:
        reader.index()
        other.replace(path)
        assert reader.changed()
        assert [known.name for known in reader.index().people] == ["Dora"]
        path.unlink()
        with pytest.raises(GalleryError, match="put it back"):
            reader.changed()


# --- what the file tells ------------------------------------------------------------------------


def test_the_file_belongs_to_its_owner_alone(path):
    with Gallery(path, KEY, EMBEDDER):
        for file in path.parent.glob("gallery.db*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_no_file_holds_a_name_a_template_or_a_key_in_plain_text(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.enroll("Zacharias Threadgold", faces(2, seed=6), consent=True)
        gallery.rename("Bob", "Bartholomew Winterbourne")
        gallery.add_negatives(NAME, BOB)
        gallery.set_calibration({"threshold": 0.4})
        assert (path.parent / "gallery.db-wal").stat().st_size > 0
        everything = content(path)
        keys = KeyStore(KEY, fetch(path, "SELECT value FROM setting WHERE name = 'id'")[0][0])
        people = fetch(path, "SELECT id, wrapped_key FROM person")
    keys = [keys.unwrap_person_key(*row) for row in people] + [KEY.secret, keys.audit_key]
    templates = [row.tobytes() for row in (*ANN, *BOB, *faces(2, seed=6))]
    secrets = [*keys, *templates]
    secrets += [base64.b64encode(secret) for secret in secrets]
    secrets += [struct.pack("<f", value) for value in ANN[0]]
    for word in ("Annabella", "Quartermaine", "Zacharias", "Bartholomew", "Winterbourne"):
        secrets += [word.encode(), word.lower().encode(), word.encode("utf-16-le")]
    assert len(keys) == 5
    assert not [secret for secret in secrets if secret in everything]


def test_after_forget_nothing_of_the_person_is_left_even_with_the_key(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        person = gallery.find(NAME).person.id
        sealed = fetch(path, f"SELECT sealed FROM template WHERE person = '{person}'")
        sealed += fetch(path, f"SELECT wrapped_key FROM person WHERE id = '{person}'")
        sealed += fetch(path, f"SELECT details FROM person WHERE id = '{person}'")
        sealed += fetch(path, f"SELECT name_tag FROM person WHERE id = '{person}'")
        assert all(row[0] in content(path) for row in sealed)
        assert gallery.forget(NAME.lower()) == person
        left = content(path)
        assert not [row for row in sealed if row[0] in left or row[0][-24:] in left]
        assert gallery.audit.verify() == 4
        assert [entry.action for entry in gallery.audit.entries()][-1] == "forget"


def test_forget_says_so_when_a_reader_keeps_old_pages(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with Gallery(path, KEY, EMBEDDER) as gallery, Gallery(path, KEY, EMBEDDER) as reader:
        gallery.enroll("Carl", faces(1, seed=6), consent=True)
        with reader.store.database.reading() as connection:
            connection.execute("SELECT count(*) FROM person").fetchone()
            with pytest.raises(GalleryError, match="edge people purge"):
                gallery.forget(NAME)
        assert gallery.purge() == []
        assert [person.name for person in gallery.people()] == ["Bob", "Carl"]
        assert (path.parent / "gallery.db-wal").stat().st_size == 0


# --- damage -------------------------------------------------------------------------------------

SEALED = [
    ("template", "sealed"),
    ("person", "details"),
    ("person", "wrapped_key"),
    ("person", "name_tag"),
]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(SEALED), st.integers(0, 10**6))
def test_every_flipped_bit_is_noticed_and_the_person_is_nobody(path, place, number):
    table, column = place
    row, sealed = fetch(path, f"SELECT rowid, {column} FROM {table} ORDER BY rowid")[0]
    flipped, bit = bytearray(sealed), number % (len(sealed) * 8)
    flipped[bit // 8] ^= 1 << bit % 8
    change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
    tamper(path, change, bytes(flipped), row)
    with Gallery(path, KEY, EMBEDDER) as gallery:
        assert [p.state for p in gallery.people()] == [RecordState.DAMAGED, RecordState.ACTIVE]
        assert [known.name for known in gallery.index().people] == ["Bob"]
    tamper(path, change, sealed, row)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE template SET kind = 'lookalike'",
        "UPDATE template SET kind = 'nonsense'",
        "UPDATE template SET generation = generation + 1",
        "UPDATE template SET person = (SELECT max(id) FROM person)",
        "UPDATE template SET sealed = (SELECT sealed FROM template ORDER BY row LIMIT 1)",
        "UPDATE template SET sealed = 'text'",
        "DELETE FROM template WHERE row = 1",
        "UPDATE person SET generation = generation + 1",
        "UPDATE person SET wrapped_key = (SELECT wrapped_key FROM person WHERE rowid = 1)",
        "UPDATE person SET details = (SELECT details FROM person WHERE rowid = 1)",
        "UPDATE person SET details = 5",
    ],
)
def test_what_is_moved_or_taken_away_is_noticed(path, change):
    tamper(path, change)
    with Gallery(path, KEY, EMBEDDER) as gallery:
        people = gallery.people()
        damaged = [person for person in people if person.state is RecordState.DAMAGED]
        assert damaged
        assert len(gallery.index()) == len(people) - len(damaged)
        with pytest.raises(GalleryError, match="damaged"):
            export_person(gallery.store, damaged[0].id)
        gallery.forget(damaged[0].id)
        assert len(gallery.people()) == 1


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 10**9))
def test_a_flipped_bit_anywhere_in_the_file_never_changes_a_template(path, number):
    sound = path.read_bytes()
    flipped, bit = bytearray(sound), number % (len(sound) * 8)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    try:
        with Gallery(path, KEY, EMBEDDER) as gallery:
            index = gallery.index()
    except GalleryError:
        pass
    else:
        known = [row.tobytes() for row in (*ANN, *BOB)]
        assert all(row.tobytes() in known for row in index.templates)
        assert {person.name for person in index.people} <= {NAME, "Bob"}
    for file in path.parent.glob("gallery.db-*"):
        file.unlink()
    path.write_bytes(sound)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"\x00" * 4096])
def test_another_file_is_no_gallery(tmp_path, content):
    path = tmp_path / "gallery.db"
    path.write_bytes(content)
    with pytest.raises(GalleryError):
        open_new(path)
    assert path.read_bytes() == content


def test_of_a_file_that_is_no_gallery_nothing_is_advised_but_the_path(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text('node = "gate-1"\n')
    path.chmod(0o644)
    with pytest.raises(GalleryError, match="not a gallery: check the path") as caught:
        open_new(path)
    assert "chmod" not in str(caught.value)


def test_a_database_of_somebody_else_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    tamper(path, "CREATE TABLE theirs (a)")
    path.chmod(0o600)
    with pytest.raises(GalleryError, match="not a gallery"):
        open_new(path)
    assert fetch(path, "SELECT name FROM sqlite_schema") == [("theirs",)]


def test_a_missing_gallery_is_not_made_by_looking(tmp_path):
    with pytest.raises(GalleryError, match="edge enroll"):
        Gallery(tmp_path / "gallery.db", KEY, EMBEDDER)
    assert not list(tmp_path.iterdir())


def test_an_empty_file_is_a_gallery_to_be(tmp_path):
    path = tmp_path / "gallery.db"
    path.touch(0o600)
    with pytest.raises(GalleryError, match="is empty"):
        Gallery(path, KEY, EMBEDDER)
    with open_new(path) as gallery:
        assert gallery.people() == []


def test_a_newer_format_asks_for_an_update(path):
    tamper(path, "UPDATE setting SET value = 2 WHERE name = 'format'")
    with pytest.raises(GalleryError, match="update Edgewatch"):
        Gallery(path, KEY, EMBEDDER)


def test_export_tells_everything_about_one_person_and_nothing_about_others(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.add_negatives("Bob", ANN[:1])
        told = export_person(gallery.store, "bob")
    rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in told["templates_float32_base64"]]
    assert np.array_equal(rows, BOB)
    assert told["name"] == "Bob"
    assert told["lookalikes"] == 1
    assert [entry["action"] for entry in told["audit"]] == ["enroll", "lookalike", "export"]


# --- seals --------------------------------------------------------------------------------------


def put_back(copy, path):
    for file in path.parent.glob("gallery.db-*"):
        file.unlink()
    path.write_bytes(copy)


def test_an_older_copy_does_not_bring_forgotten_people_back(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        assert len(gallery.index()) == 2
    older = path.read_bytes()
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.forget("Bob")
    put_back(older, path)
    with pytest.raises(GalleryError, match=r"older copy .*`edge people accept --head \d:[0-9a-f]"):
        Gallery(path, KEY, EMBEDDER)


def test_a_reader_that_is_open_notices_an_older_copy(path):
    older = path.read_bytes()  # two people
    with Gallery(path, KEY, EMBEDDER) as reader:
        with Gallery(path, KEY, EMBEDDER) as gallery:
            gallery.forget("Bob")
        assert len(reader.index()) == 1
        replacement = path.with_name("older.db")
        replacement.write_bytes(older)
        replacement.chmod(0o600)
        replacement.replace(path)
        with pytest.raises(GalleryError, match="older copy"):
            reader.changed()


def test_a_gallery_that_was_restored_while_it_is_followed_is_followed_again(path):
    older = path.read_bytes()  # two people
    with Gallery(path, KEY, EMBEDDER) as follower:
        with Gallery(path, KEY, EMBEDDER) as gallery:
            gallery.forget("Bob")
        assert len(follower.index()) == 1
        for file in path.parent.glob("gallery.db-*"):
            file.unlink()
        path.write_bytes(older)  # cp: the file is the same, and holds other people
        for act in (follower.changed, lambda: follower.set_calibration({"threshold": 0.4})):
            with pytest.raises(GalleryError, match=r"written over .* with `mv`"):
                act()
    assert path.read_bytes() == older  # closing it writes nothing over what was restored


def test_an_older_copy_that_was_changed_since_is_another_branch(path, tmp_path, monkeypatch):
    older = path.read_bytes()
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.forget("Bob")
    put_back(older, path)
    with monkeypatch.context() as elsewhere:  # somebody with the key, on another machine
        elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
        with Gallery(path, KEY, EMBEDDER) as gallery:
            for _ in range(5):
                gallery.set_calibration({"threshold": 0.4})
    with pytest.raises(GalleryError, match="another branch"):
        Gallery(path, KEY, EMBEDDER)


def test_an_older_copy_can_be_accepted_by_who_has_the_key(path):
    older = path.read_bytes()
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.forget("Bob")
    put_back(older, path)
    with pytest.raises(GalleryError) as refused:
        Gallery(path, KEY, EMBEDDER)
    head = re.search(r"--head ([0-9a-f:]+)", str(refused.value))[1]
    with pytest.raises(GalleryError, match="older copy"):
        Gallery(path, KEY, EMBEDDER, accept="4:0123456789abcdef012345")
    put_back(older, path)
    with Gallery(path, KEY, EMBEDDER, accept=head) as gallery:
        assert [entry.action for entry in gallery.audit.entries()][-1] == "accept"
    with Gallery(path, KEY, EMBEDDER) as gallery:
        assert {person.name for person in gallery.people()} == {NAME, "Bob"}


def test_another_user_accepts_what_a_daemon_refused(path, tmp_path, monkeypatch):
    older = path.read_bytes()
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.forget("Bob")
    put_back(older, path)
    with pytest.raises(GalleryError) as refused:
        Gallery(path, KEY, EMBEDDER)
    head = re.search(r"--head ([0-9a-f:]+)", str(refused.value))[1]
    with monkeypatch.context() as another:
        another.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
        with pytest.raises(GalleryError, match="nothing to accept"):
            Gallery(path, KEY, EMBEDDER, accept="")
        Gallery(path, KEY, EMBEDDER, accept=head).close()
    Gallery(path, KEY, EMBEDDER).close()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM setting WHERE name = 'calibration'",
        "UPDATE setting SET value = x'00' WHERE name = 'calibration'",
        "UPDATE setting SET value = 0 WHERE name = 'generation'",
        "DELETE FROM setting WHERE name = 'seal'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)",
        "DELETE FROM person WHERE rowid = 1",
        "CREATE TRIGGER emptied AFTER INSERT ON audit BEGIN DELETE FROM audit; END",
        "CREATE VIEW theirs AS SELECT * FROM person",
    ],
)
def test_what_is_deleted_or_emptied_by_sql_is_noticed_when_the_gallery_is_opened(path, change):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.set_calibration({"threshold": 0.41})
        tamper(path, change)
    with pytest.raises(GalleryError, match=r"without its key|tampered with|cut off|older copy"):
        Gallery(path, KEY, EMBEDDER)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o666])
def test_a_gallery_that_others_can_open_is_refused(path, mode):
    path.chmod(mode)
    with pytest.raises(GalleryError, match=f"mode {mode:04o}.*chmod 600"):
        Gallery(path, KEY, EMBEDDER)


READ_ONLY_SCRIPT = """
import sys
from pathlib import Path
from edge.people.gallery.gallery import Gallery
from edge.errors import GalleryError
from tests.support.gallery import EMBEDDER, KEY
path = Path(sys.argv[1])
with Gallery(path, KEY, EMBEDDER) as gallery:
    print(len(gallery.index()), gallery.changed())
    try:
        gallery.forget("Bob")
    except GalleryError as error:
        print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a disk of its own")
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_gallery_on_a_disk_that_takes_no_changes_is_still_read(path, tmp_path, how):
    disk = tmp_path / "disk"
    disk.mkdir()
    fill = f"cat /dev/zero > {disk}/filler 2>/dev/null || true"
    remount = f"mount -o remount,ro {disk}"
    script = f"""
set -e
mount -t tmpfs -o size=256k tmpfs {disk}
cp -p {path} {disk}/gallery.db
{fill if how == "full" else remount}
{sys.executable} -c '{READ_ONLY_SCRIPT}' {disk}/gallery.db
"""
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script], capture_output=True, text=True
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine allows no mounts")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2 False"
    assert "cannot be changed" in lines[1] or "the disk is full" in lines[1]


def rows_of(path, name):
    """Everything a gallery holds of a person, as it can be put back by SQL."""
    with Gallery(path, KEY, EMBEDDER) as gallery:
        person = gallery.find(name).person.id
    connection = sqlite3.connect(path)
    rows = [
        (table, connection.execute(f"SELECT * FROM {table} WHERE {key} = ?", (person,)).fetchall())
        for table, key in (("person", "id"), ("template", "person"))
    ]
    connection.close()
    return person, rows


def put_back_rows(path, person, rows):
    tamper(path, "DELETE FROM template WHERE person = ?", person)
    for table, content in rows:
        for row in content:
            tamper(
                path, f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", *row
            )


@pytest.mark.parametrize("tables", [("person", "template"), ("template",)])
def test_an_earlier_record_of_one_person_is_damaged_and_stays_so(path, tables):
    person, rows = rows_of(path, "Bob")
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.enroll("Bob", faces(2, seed=9), consent=True, replace_templates=True)
    put_back_rows(path, person, [(table, content) for table, content in rows if table in tables])
    for _ in range(2):
        with Gallery(path, KEY, EMBEDDER) as gallery:
            states = {p.id: p.state for p in gallery.people()}
            assert states[person] is RecordState.DAMAGED
            assert [known.name for known in gallery.index().people] == [NAME]
            gallery.set_calibration({"threshold": 0.4})  # a change does not make it genuine
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.forget(person)
        assert [p.name for p in gallery.people()] == [NAME]


@pytest.mark.parametrize("content", [b"", b"x" * 1000, b"\xff\n", None])
def test_what_was_seen_last_cannot_be_emptied(path, content):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.forget("Bob")
    (seen,) = (Path(os.environ["XDG_STATE_HOME"]) / "edgewatch" / "galleries").iterdir()
    seen.unlink()
    if content is None:
        seen.mkdir()
    else:
        seen.write_bytes(content)
    with pytest.raises(GalleryError, match="does not hold what was seen"):
        Gallery(path, KEY, EMBEDDER)


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """The one folder for copies of galleries whose disk takes no changes."""
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setattr(database, "COPY_FOLDERS", (str(folder),))
    return folder


DISK_TAKES_NO_CHANGES = database.ReadOnlyError("the disk takes no changes")


def test_a_copy_has_what_the_log_adds_and_no_name(path, copies):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.enroll("Cid", faces(1), consent=True)
        assert path.with_name(f"{path.name}-wal").stat().st_size > 0
        link = path.with_name("link.db")
        link.symlink_to(path)
        copy = database._open_copy(link, DISK_TAKES_NO_CHANGES)
    assert list(copies.iterdir()) == []
    assert copy.execute("SELECT count(*) FROM person").fetchone() == (3,)
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()


@pytest.mark.parametrize("content", [b"", b"SQLite", bytes(9000)])
def test_a_copy_of_what_is_no_gallery_has_no_people(content, copies):
    copy = database._open_nameless(str(copies), content, b"")
    with pytest.raises(sqlite3.DatabaseError, match=r"not a database|no such table"):
        copy.execute("SELECT * FROM person")
    copy.close()


COPY_SCRIPT = """
import sys
from pathlib import Path
from edge.people.gallery import database
database.COPY_FOLDERS = (sys.argv[2],)
print("ready", flush=True)
while True:
    database._open_copy(Path(sys.argv[1]), database.ReadOnlyError()).close()
"""


def test_whenever_a_process_is_killed_nothing_of_a_gallery_stays_behind(path, copies):
    assert b"EDGW" in path.read_bytes()
    rng = random.Random(6)
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", COPY_SCRIPT, path, copies],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        left = [file.read_bytes() for file in copies.rglob("*") if file.is_file()]
        assert not any(b"EDGW" in content for content in left)


KILLED_SCRIPT = """
import os, signal, sys
from pathlib import Path
from edge.people.gallery.gallery import Gallery
from tests.support.gallery import EMBEDDER, KEY
with Gallery(Path(sys.argv[1]), KEY, EMBEDDER) as gallery:
    print(len(gallery.index()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a disk of its own")
@pytest.mark.parametrize("shared_memory", ["rw", "ro"])
def test_a_killed_reader_of_a_read_only_disk_leaves_nothing(path, tmp_path, shared_memory):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    script = f"""
mount -t tmpfs -o {shared_memory} tmpfs /dev/shm &&
mount --bind {path.parent} {path.parent} && mount -o remount,bind,ro {path.parent} &&
mount -t tmpfs tmpfs {temporary} || exit 1
TMPDIR={temporary} {sys.executable} -c '{KILLED_SCRIPT}' {path}
find /dev/shm {temporary} -mindepth 1
"""
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script], capture_output=True, text=True
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine allows no mounts")
    assert "its disk takes no changes" in done.stderr
    assert done.stdout == "2\n", done.stderr


def test_a_gallery_that_vanishes_while_it_is_opened_leaves_no_copy(tmp_path, copies):
    with pytest.raises(GalleryError, match="No such file"):
        database._open_copy(tmp_path / "gone.db", DISK_TAKES_NO_CHANGES)
    assert list(copies.iterdir()) == []


def test_where_no_copy_can_be_kept_the_disk_is_at_fault(path, copies):
    copies.rmdir()
    with pytest.raises(database.ReadOnlyError, match="takes no changes"):
        database._open_copy(path, DISK_TAKES_NO_CHANGES)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_gallery_too_large_to_copy_is_refused_unread(tmp_path, copies, suffix):
    path = tmp_path / "huge.db"
    path.touch()
    with path.with_name(f"{path.name}{suffix}").open("wb") as file:
        file.truncate(3 << 30)  # a hole
    with pytest.raises(GalleryError, match="larger than 1024 MiB"):
        database._open_copy(path, DISK_TAKES_NO_CHANGES)


def bind_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, bind_socket, Path.mkdir, lambda path: path.symlink_to("/dev/zero")],
    ids=["pipe", "socket", "folder", "device"],
)
def test_what_is_no_regular_file_is_refused_before_it_is_read(make, tmp_path):
    path = tmp_path / "gallery.db"
    make(path)
    with pytest.raises(GalleryError, match="the gallery is not a file"):
        Gallery(path, KEY, EMBEDDER)
    with pytest.raises(GalleryError, match=r"regular file|No such device"):  # if it becomes one
        database._open_copy(path, DISK_TAKES_NO_CHANGES)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_what_is_no_file_in_the_place_of_a_log_is_refused_before_sqlite_waits_for_it(
    suffix, tmp_path
):
    path, link = tmp_path / "gallery.db", tmp_path / "link.db"
    open_new(path).close()
    link.symlink_to(path)
    log_file = Path(f"{path}{suffix}")
    log_file.unlink(missing_ok=True)
    os.mkfifo(log_file)
    for name in (path, link):
        with pytest.raises(GalleryError, match=f"gallery.db{suffix} is not a file, .*: remove it"):
            open_new(name)
