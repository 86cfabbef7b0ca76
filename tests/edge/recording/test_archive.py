"""The storage folder and its index."""

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge.config import KeepDays, Storage
from edge.errors import StorageError
from edge.recording.archive import DAY_S, Archive
from edge.recording.clip import ClipWriter, ContinuousWriter
from edge.recording.mp4 import Mp4Writer
from edge.recording.records import EventFilter, FileKind
from edge.recording.ring import PacketRing
from tests.edge.recording.test_index import make_event
from tests.edge.recording.test_mp4 import decode_times, read_source
from tests.support.videos import write_video

DAY = "1970-01-01"


@pytest.fixture
def archive(tmp_path):
    opened = open_archive(tmp_path / "kept")
    yield opened
    opened.close()


def open_archive(folder, **settings):
    return Archive(Storage(folder=str(folder), **{"min_free_bytes": 0} | settings), folder)


def make(number, **changes):
    return make_event(number, event_id=f"{number:010d}", **changes)


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    video = write_video(tmp_path_factory.mktemp("v") / "a.mp4", 40, options={"g": "10", "bf": "0"})
    return read_source(video)[0]


def keep_clip(archive, event, packets):
    file = archive.begin_clip(event, event.began_s)
    with archive.locate(file).open("wb") as target:
        writer = Mp4Writer(target, packets[0])
        for packet in packets:
            writer.write(packet)
        writer.close()
    archive.end(file, event.began_s + 4)
    return archive.locate(file)


def list_files(folder):
    return sorted(
        (Path(top) / name).relative_to(folder).as_posix()
        for top, _, names in os.walk(folder)
        for name in names
        if not name.startswith((".lock", "index.db"))
    )


def test_what_is_kept_lies_where_it_is_said_and_for_its_owner_alone(archive, packets):
    event = make(1)
    archive.put_event(event)
    archive.put_picture(FileKind.SNAPSHOT, event, b"jpeg", 101.0)
    archive.put_picture(FileKind.SNAPSHOT, event, b"better", 102.0)
    archive.put_picture(FileKind.THUMBNAIL, event, b"small", 102.0)
    clip = keep_clip(archive, event, packets)
    video = archive.begin_continuous("door", 3661.0)
    archive.locate(video).write_bytes(b"x")
    assert archive.begin_continuous("door", 3661.4).path == f"video/door/{DAY}/01/01.01-2.mp4"
    stem = f"events/{DAY}/{event.event_id}"
    assert list_files(archive.folder) == [
        f"{stem}.jpg", f"{stem}.mp4", f"{stem}.thumb.jpg", f"video/door/{DAY}/01/01.01.mp4"
    ]  # fmt: skip
    assert (archive.folder / f"{stem}.jpg").read_bytes() == b"better"
    assert archive.index.get_event(event.event_id).files == {
        FileKind.CLIP, FileKind.SNAPSHOT, FileKind.THUMBNAIL
    }  # fmt: skip
    assert archive.folder.stat().st_mode & 0o777 == 0o700
    assert archive.measure() == {
        FileKind.CLIP: clip.stat().st_size, FileKind.SNAPSHOT: 6, FileKind.THUMBNAIL: 5,
        FileKind.CONTINUOUS: 1,
    }  # fmt: skip


@pytest.fixture
def lenient():
    """A process whose files everybody may read and write."""
    former = os.umask(0)
    yield
    os.umask(former)


def list_modes(folder):
    """Modes of all that is in a folder, and of the folder: of folders, and of files."""
    found = [folder, *folder.rglob("*")]
    return tuple(
        {path.stat().st_mode & 0o777 for path in found if path.is_dir() is is_folder}
        for is_folder in (True, False)
    )


def test_nobody_but_the_owner_may_read_what_the_archive_makes(lenient, tmp_path, packets):
    archive = open_archive(tmp_path / "above" / "storage")
    event = make(1, began_s=packets[0].captured_s)
    archive.put_event(event)
    archive.put_picture(FileKind.SNAPSHOT, event, b"jpeg", 101.0)
    ring = PacketRing(30.0)
    clip = ClipWriter(archive, event, ring, 30.0, 60.0)
    continuous = ContinuousWriter(archive, "door", ring)
    for packet in packets:
        ring.put(packet)
    continuous.write()
    clip.write()
    assert {path.name for path in archive.folder.glob("index.db*")} == {
        "index.db", "index.db-wal", "index.db-shm"
    }  # fmt: skip
    assert len(list(archive.folder.rglob("*.mp4"))) == 2
    assert list_modes(tmp_path / "above") == ({0o700}, {0o600})
    clip.finish()
    continuous.finish()
    assert list_modes(tmp_path / "above") == ({0o700}, {0o600})
    archive.close()


def test_what_a_former_version_left_for_all_to_read_is_taken_away(tmp_path, packets):
    archive = open_archive(tmp_path)
    event = make(1)
    archive.put_event(event)
    clip = keep_clip(archive, event, packets)
    archive.close()
    for path in (clip, tmp_path / "index.db"):
        path.chmod(0o644)
    archive = open_archive(tmp_path)
    archive.repair()
    modes = [path.stat().st_mode & 0o777 for path in (clip, *tmp_path.glob("index.db*"))]
    assert set(modes) == {0o600}
    assert len(modes) == 4
    archive.close()


def test_a_disk_that_knows_no_modes_is_used_as_it_is(tmp_path, packets, monkeypatch):
    archive = open_archive(tmp_path)
    event = make(1)
    archive.put_event(event)
    clip = keep_clip(archive, event, packets)
    archive.close()
    for path in (clip, tmp_path / "index.db"):
        path.chmod(0o644)

    def refuse(path, mode, **_):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "chmod", refuse)
    archive = open_archive(tmp_path)
    archive.repair()
    assert [file.kind for file in archive.index.list_files()] == [FileKind.CLIP]
    archive.close()


def fill(archive, count, size=1000, first=1, day_s=0.0):
    """Events with picture and clip, and as much continuous video, oldest first."""
    for number in range(first, first + count):
        event = make(number, began_s=day_s + number, ended_s=day_s + number + 1)
        archive.put_event(event)
        archive.put_picture(FileKind.SNAPSHOT, event, b"j" * size, event.began_s)
        for file in (
            archive.begin_clip(event, event.began_s),
            archive.begin_continuous("door", event.began_s),
        ):
            archive.locate(file).write_bytes(b"v" * size)
            archive.end(file, event.began_s + 1)


def count_kinds(archive):
    return [len(archive.index.list_files(kind))
            for kind in (FileKind.CONTINUOUS, FileKind.CLIP, FileKind.SNAPSHOT)]  # fmt: skip


@pytest.mark.parametrize(
    ("max_bytes", "kinds"),
    [
        (30_000, [10, 10, 10]),
        (25_500, [5, 10, 10]),
        (15_000, [0, 5, 10]),
        (7_000, [0, 0, 7]),
        (0, [0, 0, 0]),
    ],
)
def test_beyond_its_bytes_the_oldest_go_continuous_video_first(tmp_path, max_bytes, kinds):
    archive = open_archive(tmp_path / "kept", max_bytes=max_bytes)
    fill(archive, 10)
    freed = archive.prune(100.0)
    assert count_kinds(archive) == kinds
    assert freed == 30_000 - 1000 * sum(kinds)
    assert len(list_files(archive.folder)) == sum(kinds)
    left = [record.event.event_id for record in archive.index.find_events(EventFilter())]
    assert len(left) == (10 if kinds[1] else kinds[2])
    newest = [f.event_id for f in archive.index.list_files(FileKind.CLIP)]
    assert newest == [f"{n:010d}" for n in range(11 - kinds[1], 11)]
    archive.close()


def test_each_kind_is_kept_for_its_days(tmp_path):
    days = KeepDays(events=9, clips=5, continuous=2)
    archive = open_archive(tmp_path / "kept", keep_days=days)
    for day in range(12):
        fill(archive, 1, first=day + 1, day_s=day * DAY_S)
    archive.prune(12 * DAY_S + 1)
    assert count_kinds(archive) == [2, 5, 9]
    assert len(archive.index.find_events(EventFilter())) == 9
    archive.close()


@pytest.mark.parametrize("how", ["bytes", "days"])
def test_what_is_protected_stays_and_counts(tmp_path, how):
    settings = (
        {"max_bytes": 5_000} if how == "bytes" else {"keep_days": KeepDays(events=1, clips=1)}
    )
    archive = open_archive(tmp_path / "kept", **settings)
    fill(archive, 150, day_s=0)
    protected = [f"{number:010d}" for number in (1, 2, 77)]
    for event_id in protected:
        archive.index.protect(event_id)
    archive.prune(9 * DAY_S)
    assert [f.event_id for f in archive.index.list_files(FileKind.CLIP)] == protected
    left = {record.event.event_id for record in archive.index.find_events(EventFilter())}
    assert left == set(protected)
    assert archive.index.sum_protected_bytes() == sum(archive.measure().values()) == 6000
    assert len(list_files(archive.folder)) == 6
    for event_id in protected:
        archive.index.protect(event_id, protected=False)
    archive.prune(9 * DAY_S)
    assert sum(archive.measure().values()) <= 5000
    archive.close()


def test_an_event_that_is_protected_while_others_are_deleted_stays(tmp_path):
    archive = open_archive(tmp_path / "kept", max_bytes=0)
    fill(archive, 3)
    victims = archive._list_oldest()
    files = [victim for victim in victims if getattr(victim, "event_id", "")]
    archive.index.protect("0000000002")
    for victim in files:
        archive._delete(victim)
    assert [f.event_id for f in archive.index.list_files(FileKind.CLIP)] == ["0000000002"]
    archive.close()


def test_what_somebody_deletes_is_gone_with_its_files_once_nothing_is_written_of_it(tmp_path):
    archive = open_archive(tmp_path / "kept")
    fill(archive, 3)
    event = make(2)
    clip = archive.begin_clip(replace(event, camera="other"), 100.0)
    archive.locate(clip).write_bytes(b"v")
    assert archive.index.doom("0000000001")
    assert archive.index.doom("0000000002")
    archive.prune(200.0)
    assert archive.locate(clip).exists()
    assert archive.index.list_doomed() == ["0000000002"]
    archive.end(clip, 104.0)
    archive.prune(200.0)
    assert archive.index.list_doomed() == []
    assert {f.event_id for f in archive.index.list_files()} == {"", "0000000003"}
    clips = [path for path in list_files(archive.folder) if path.startswith("events/")]
    assert {Path(path).name[:10] for path in clips} == {"0000000003"}
    archive.close()


def test_many_files_go_in_one_round(tmp_path):
    archive = open_archive(tmp_path / "kept", max_bytes=3000)
    fill(archive, 250, size=10)
    archive.prune(500)
    assert sum(archive.measure().values()) <= 3000
    archive.close()


def test_room_is_left_on_the_disk(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    archive = open_archive(tmp_path / "kept", min_free_bytes=free * 2)
    fill(archive, 3)
    archive.prune(100.0)
    assert count_kinds(archive) == [0, 0, 0]
    archive.close()


def test_what_is_being_written_is_not_deleted_but_counts(tmp_path):
    archive = open_archive(tmp_path / "kept", max_bytes=1000)
    event = make(1, ended_s=None)
    archive.put_event(event)
    clip = archive.begin_clip(event, 100.0)
    archive.locate(clip).write_bytes(b"v" * 5000)
    assert archive.measure()[FileKind.CLIP] == 5000
    archive.prune(200.0)
    assert archive.locate(clip).exists()
    archive.end(clip, 104.0)
    archive.prune(200.0)
    assert not archive.locate(clip).exists()
    archive.close()


def test_after_a_crash_files_and_index_agree(tmp_path, packets):
    folder = tmp_path / "kept"
    archive = open_archive(folder)
    whole, cut, lost, empty, going = (make(n) for n in range(1, 6))
    going = replace(going, ended_s=None)
    for event in (whole, cut, lost, empty, going):
        archive.put_event(event)
    keep_clip(archive, whole, packets)
    path = keep_clip(archive, cut, packets)
    file = archive.index.list_files(event_id=cut.event_id)[0]
    archive.index.put_file(replace(file, ended_s=None, size_bytes=0))
    path.write_bytes(path.read_bytes()[:-100])
    keep_clip(archive, lost, packets).unlink()
    archive.begin_clip(empty, 100.0)
    stray = folder / f"events/{DAY}/zzzzzzzzzz.mp4"
    part = folder / f"events/{DAY}/.{whole.event_id}.jpg.a0a0.part"
    foreign = folder / "events/holiday.mp4"
    for made in (stray, part, foreign):
        made.write_bytes(b"x")
    archive.close()

    archive = open_archive(folder)
    archive.repair()
    names = [f"events/{DAY}/{whole.event_id}.mp4", f"events/{DAY}/{cut.event_id}.mp4"]
    assert list_files(folder) == [*names, "events/holiday.mp4"]
    assert [f.path for f in archive.index.list_files()] == names
    assert len(decode_times(folder / names[1])) >= 30
    assert archive.index.list_files(event_id=cut.event_id)[0].ended_s > cut.began_s + 2.9
    assert archive.index.list_open_events() == []
    assert archive.index.get_event(going.event_id).event.ended_s == going.began_s
    archive.close()


def test_a_folder_whose_index_is_gone_is_refused_and_nothing_is_deleted(tmp_path, packets):
    archive = open_archive(tmp_path / "kept")
    event = make(1)
    archive.put_event(event)
    clip = keep_clip(archive, event, packets)
    archive.close()
    for path in archive.folder.glob("index.db*"):
        path.unlink()
    with pytest.raises(StorageError, match=r"their index index\.db is gone"):
        open_archive(archive.folder)
    assert clip.exists()


def test_two_nodes_do_not_share_a_folder(archive):
    with pytest.raises(StorageError, match="another process writes to it"):
        open_archive(archive.folder)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be created"):
        open_archive(tmp_path / "file" / "kept")


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_done_the_index_has_what_the_folder_has(tmp_path, packets, seed):
    rng = random.Random(seed)
    archive = open_archive(tmp_path / "kept", max_bytes=rng.randint(5_000, 60_000))
    for number in range(1, 60):
        event = make(number)
        archive.put_event(event)
        if rng.random() < 0.8:
            archive.put_picture(FileKind.SNAPSHOT, event, b"j" * rng.randint(1, 900), 100.0)
        if rng.random() < 0.6:
            keep_clip(archive, event, packets[: rng.choice([1, 5, 40])])
        if rng.random() < 0.3:
            archive.prune(rng.choice([100.0, 1000.0]))
    rows = archive.index.list_files()
    assert list_files(archive.folder) == sorted(file.path for file in rows)
    for file in rows:
        assert archive.locate(file).stat().st_size == file.size_bytes
        assert archive.index.get_event(file.event_id)
    archive.close()
