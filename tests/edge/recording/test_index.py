"""The index of events and files."""

import itertools
import random
import sqlite3
from dataclasses import replace

import pytest

from edge.errors import StorageError
from edge.event import BestView, Event, KnownPerson, Severity
from edge.recording.index import Index
from edge.recording.records import EventFilter, EventRecord, FileKind, StoredFile

ANN = KnownPerson("p1", "Ann")
BEST = BestView(7, "person", 0.9, (1.0, 2.0, 3.0, 4.0), (640, 360), 101.0)


def make_event(number, **changes):
    event = Event(
        f"e{number:05d}", "door", Severity.DETECTION, ("began",), ("person",), (), (), (7,),
        100.0 + number, 103.0 + number, BEST,
    )  # fmt: skip
    return replace(event, **changes)


@pytest.fixture
def index(tmp_path):
    opened = Index(tmp_path / "index.db")
    yield opened
    opened.close()


def test_an_event_comes_back_as_it_was_put(index):
    event = make_event(1, people=(ANN,), places=("entrance",), severity=Severity.ALERT)
    index.put_event(replace(event, ended_s=None))
    index.put_event(event)
    assert index.get_event("e00001") == EventRecord(event)
    assert index.get_event("e00002") is None


def test_an_index_of_version_1_is_taken_over_with_all_that_it_holds(tmp_path):
    path = tmp_path / "index.db"
    index = Index(path)
    index.put_event(make_event(1))
    index.mark_seen(["e00001"])
    index.close()
    with sqlite3.connect(path) as old:  # as the version before wrote it
        for statement in (
            "DROP INDEX events_protected", "DROP INDEX events_doomed",
            "ALTER TABLE events DROP COLUMN protected", "ALTER TABLE events DROP COLUMN doomed",
            "PRAGMA user_version = 1",
        ):  # fmt: skip
            old.execute(statement)
    old.close()
    for _ in range(2):
        index = Index(path)
        assert index.get_event("e00001") == EventRecord(make_event(1), seen=True)
        index.check()
        index.close()


def test_an_event_is_protected_and_found_as_such(index):
    for number in range(3):
        index.put_event(make_event(number))
        index.put_file(
            StoredFile(f"{number}.mp4", FileKind.CLIP, "door", f"e0000{number}", 1, 2, 7)
        )
    index.protect("e00001")
    index.put_event(make_event(1, labels=("car",)))  # what is told of it changes nothing
    assert index.get_event("e00001").protected
    found = index.find_events(EventFilter(protected=True))
    assert [record.event.event_id for record in found] == ["e00001"]
    assert len(index.find_events(EventFilter(protected=False))) == 2
    assert index.sum_protected_bytes() == 7
    assert list(index.list_event_ids()) == ["e00000", "e00002"]
    index.protect("e00001", protected=False)
    assert index.find_events(EventFilter(protected=True)) == []
    assert index.sum_protected_bytes() == 0


def test_only_what_is_over_and_not_protected_is_doomed_and_then_seen_by_nobody(index):
    index.put_event(make_event(1, ended_s=None))
    index.put_event(make_event(2))
    index.put_event(make_event(3))
    index.protect("e00002")
    assert [index.doom(f"e0000{number}") for number in range(1, 5)] == [False, False, True, False]
    assert index.list_doomed() == ["e00003"]
    for number in (2, 3):
        clip = StoredFile(f"{number}", FileKind.CLIP, "door", f"e0000{number}", 9.0, 19.0, 1)
        index.put_file(clip)
    assert [file.path for file in index.find_video("door", 10.0, 20.0)] == ["2"]
    assert index.get_event("e00003") is None
    assert [r.event.event_id for r in index.find_events(EventFilter())] == ["e00002", "e00001"]
    assert index.find_events(EventFilter(label="person"))[0].event.event_id == "e00002"


def test_a_folder_that_is_named_with_many_steps_up_is_opened(tmp_path):
    path = tmp_path / ("../" * 200) / tmp_path.relative_to("/") / "index.db"
    Index(path).close()
    assert (tmp_path / "index.db").is_file()


def test_it_tells_which_files_are_whole(index):
    index.put_event(make_event(1))
    index.put_file(StoredFile("a.mp4", FileKind.CLIP, "door", "e00001", 99.0))
    index.put_file(StoredFile("a.jpg", FileKind.SNAPSHOT, "door", "e00001", 101.0, 101.0, 900))
    assert index.get_event("e00001").files == {FileKind.SNAPSHOT}
    index.put_file(StoredFile("a.mp4", FileKind.CLIP, "door", "e00001", 99.0, 110.0, 5000))
    assert index.get_event("e00001").files == {FileKind.SNAPSHOT, FileKind.CLIP}
    assert index.sum_bytes() == {FileKind.CLIP: 5000, FileKind.SNAPSHOT: 900}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    rng = random.Random(1)
    index = Index(tmp_path_factory.mktemp("many") / "index.db")
    events = [
        make_event(
            number,
            camera=rng.choice(["door", "yard", "gate"]),
            severity=rng.choice(list(Severity)),
            labels=tuple(rng.sample(["person", "car", "dog"], rng.randint(1, 2))),
            places=tuple(rng.sample(["entrance", "bench"], rng.randint(0, 2))),
            people=(ANN,) if rng.random() < 0.05 else (),
            began_s=float(rng.randint(0, 300)),
        )
        for number in range(2000)
    ]
    for event in events:
        index.put_event(event)
    index.mark_seen(event.event_id for event in events[::7])
    yield index, events
    index.close()


def matches(event, seen, wanted):
    return (
        (not wanted.cameras or event.camera in wanted.cameras)
        and (not wanted.label or wanted.label in event.labels)
        and (not wanted.place or wanted.place in event.places)
        and (not wanted.person or wanted.person in [p.person for p in event.people])
        and wanted.severity in (None, event.severity)
        and (wanted.after_s is None or event.began_s >= wanted.after_s)
        and (wanted.before_s is None or event.began_s < wanted.before_s)
        and wanted.seen in (None, seen)
    )


FILTERS = [
    EventFilter(*values)
    for values in itertools.product(
        [(), ("door",), ("door", "gate")], ["", "car"], ["", "bench"], ["", "p1"],
        [None, Severity.ALERT], [None, 100.0], [None, 200.0], [None, True, False],
    )
]  # fmt: skip


@pytest.mark.parametrize("wanted", FILTERS[::5])
def test_a_filter_selects_what_it_says_in_pages_that_miss_and_repeat_nothing(many, wanted):
    index, events = many
    expected = sorted(
        (event for row, event in enumerate(events) if matches(event, row % 7 == 0, wanted)),
        key=lambda event: (event.began_s, event.event_id),
        reverse=True,
    )
    found, before = [], None
    while page := index.find_events(wanted, 300, before):
        found += [record.event for record in page]
        before = found[-1].began_s, found[-1].event_id
    assert found == expected


def test_a_forgotten_person_leaves_no_name_in_the_file(index, tmp_path):
    event = make_event(1, people=(KnownPerson("p1", "Ann Unmistakable"), KnownPerson("p2", "Bob")))
    index.put_event(event)
    assert index.forget_person("p1") == ["e00001"]
    people = index.get_event("e00001").event.people
    assert people == (KnownPerson("p1", ""), KnownPerson("p2", "Bob"))
    index.close()
    assert not any(b"Unmistakable" in file.read_bytes() for file in tmp_path.iterdir())


def test_a_denied_name_does_not_return_to_an_event_that_goes_on(index):
    event = make_event(1, ended_s=None, people=(KnownPerson("p1", "Ann"), KnownPerson("p2", "Bob")))
    index.put_event(event)
    assert index.deny_person("e00001", "p1").event.people == (KnownPerson("p2", "Bob"),)
    assert index.put_event(event).people == (KnownPerson("p2", "Bob"),)
    assert index.get_event("e00001").event.people == (KnownPerson("p2", "Bob"),)
    assert index.find_events(EventFilter(person="p1")) == []
    assert index.deny_person("none", "p1") is None
    index.delete_event("e00001")
    index.put_event(event)
    assert index.get_event("e00001").event.people == event.people


def test_video_of_a_time_is_found_in_clips_and_continuous_files(index):
    for begin in range(0, 50, 10):
        index.put_file(
            StoredFile(f"{begin}.mp4", FileKind.CONTINUOUS, "door", "", begin, begin + 10.0, 1)
        )
    index.put_file(StoredFile("open.mp4", FileKind.CONTINUOUS, "door", "", 50.0))
    index.put_file(StoredFile("c.mp4", FileKind.CLIP, "door", "e1", 12.0, 18.0, 1))
    index.put_file(StoredFile("s.jpg", FileKind.SNAPSHOT, "door", "e1", 12.0, 18.0, 1))
    index.put_file(StoredFile("y.mp4", FileKind.CONTINUOUS, "yard", "", 10.0, 20.0, 1))
    index.put_file(StoredFile("d.mp4", FileKind.CLIP, "door", "e2", 50.0))
    assert [f.path for f in index.find_video("door", 10.0, 25.0)] == ["10.mp4", "c.mp4", "20.mp4"]
    assert [f.path for f in index.find_video("door", 48.0, 60.0)] == ["40.mp4", "open.mp4"]


def test_another_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(StorageError, match="no index of events"):
        Index(path)
    path.write_bytes(b"not a database, but long enough to be read as one" * 40)
    with pytest.raises(StorageError, match="not a database"):
        Index(path)


@pytest.mark.parametrize("wanted", [w for w in FILTERS if len(w.cameras) < 2])
def test_a_page_is_walked_in_the_order_of_time_and_nothing_is_sorted(many, wanted):
    index, _ = many
    statements = []
    index._connection.set_trace_callback(statements.append)
    index.find_events(wanted, 50, (150.0, "e01000"))
    index._connection.set_trace_callback(None)
    plan = [step for *_, step in index._fetch(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert plan
    assert not [step for step in plan if "TEMP B-TREE" in step]


@pytest.mark.parametrize(
    "change",
    ["UPDATE events SET body = '0'", "UPDATE files SET kind = ''", "UPDATE files SET kind = x'ff'"],
)
def test_rows_that_hold_no_event_and_no_file_are_damage(index, change):
    index.put_event(make_event(1))
    index.put_file(StoredFile("c.mp4", FileKind.CLIP, "door", "e00001", 101.0, 104.0, 9))
    index._connection.execute(change)
    with pytest.raises(StorageError, match="damaged"):
        index.find_events(EventFilter())
