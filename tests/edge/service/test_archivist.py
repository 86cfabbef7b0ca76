"""The archivist: events with pictures and clips, whatever the disk does."""

import contextlib
import shutil
import subprocess
import threading
import time
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from edge.config import Camera, Storage
from edge.event import BestView, Event, EventChange, KnownPerson, Severity
from edge.events.camera_events import EventUpdate
from edge.recording.archive import Archive
from edge.recording.index import Index
from edge.recording.records import EventFilter, FileKind
from edge.recording.ring import PacketRing
from edge.service.archivist import Archivist, RecordedCamera
from edge.service.workers import Worker
from edge.types import Faces, Frame, FrameResult, RgbPicture, Tracks
from tests.edge.recording import test_sound
from tests.edge.recording.test_mp4 import decode_times, read_source
from tests.support.small_disk import filled, small_disk
from tests.support.videos import write_talkie, write_video

CLASSES = ("person", "car")
BEGUN, UPDATED, ENDED = EventChange
GENEROUS_S = 20


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    video = write_video(
        tmp_path_factory.mktemp("v") / "a.mp4", 200, fps=20, options={"g": "20", "bf": "0"}
    )
    return read_source(video)[0]


class Keeper:
    """An archivist in its thread, and what it has told."""

    def __init__(self, folder, storage=True, **camera):
        self.told, self.problems = [], []
        settings = Storage(folder="kept", min_free_bytes=0) if storage else None
        self.archivist = Archivist(settings, folder, self._tell, self.problems.append)
        self.ring = PacketRing(5.0)
        self.archivist.cameras = {
            "door": RecordedCamera(Camera(name="door", source={}, **camera), self.ring)
        }
        self.folder = folder / "kept"
        self.worker = Worker("storage", self.archivist.run, lambda _: None)

    def _tell(self, event, change, *, snapshot, clip):
        self.told.append((event.event_id, change, snapshot, clip))
        self.people = event.people

    def put(self, *updates):
        self.archivist.put([EventUpdate(*update, classes=CLASSES) for update in updates])

    def wait(self, condition):
        deadline_s = time.monotonic() + GENEROUS_S
        while not condition():
            assert time.monotonic() < deadline_s, (self.told, self.problems)
            time.sleep(0.02)

    def wait_told(self, count):
        self.wait(lambda: len(self.told) >= count)

    @contextlib.contextmanager
    def running(self):
        self.worker.start()
        try:
            yield self
        finally:
            self.worker.stop.set()
            assert self.worker.join(GENEROUS_S)
            assert self.worker.error is None


def make(began_s, ended_s=None, event_id="1nj3k5vk4d", **changes):
    best = BestView(7, "person", 0.9, (40, 20, 80, 100), (160, 120), began_s + 0.5)
    event = Event(
        event_id, "door", Severity.DETECTION, ("began",), ("person",), (), (), (7,), began_s,
        ended_s, best,
    )  # fmt: skip
    return replace(event, **changes)


def make_result(at_s, rgb=(10, 200, 30), size_wh=(160, 120), faces=()):
    picture = RgbPicture(np.full((size_wh[1], size_wh[0], 3), rgb, np.uint8))
    tracks = Tracks(
        np.array([[40, 20, 80, 100]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32),
        np.array([7]), np.ones(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.bool_),
    )  # fmt: skip
    frame = Frame("door", 1, 0, at_s, at_s, picture)
    return FrameResult(frame, tracks, ((),), Faces.empty(), ())


def play(ring, packets, shift_s):
    """Put packets into a ring as if they came now; the Unix times of their pictures."""
    times = []
    for packet in packets:
        at_s = packet.captured_s + shift_s
        ring.put(replace(packet, captured_s=at_s, monotonic_s=packet.monotonic_s + shift_s))
        times.append(at_s)
    return times


def test_a_clip_begins_at_the_key_frame_before_pre_s_and_ends_post_s_after(tmp_path, packets):
    keeper = Keeper(tmp_path, record={"pre_s": 2, "post_s": 1.5})
    shift_s = time.time() - 5 - packets[0].captured_s
    with keeper.running():
        keeper.wait(lambda: keeper.problems == [""])
        times = play(keeper.ring, packets[:100], shift_s)
        began_s = times[-1] - 0.02
        keeper.put((BEGUN, make(began_s), make_result(began_s)))
        keeper.wait_told(1)
        times += play(keeper.ring, packets[100:], shift_s)
        ended_s = began_s + 1.0
        keeper.put((ENDED, make(began_s, ended_s)))
        keeper.wait_told(2)
    assert keeper.told == [("1nj3k5vk4d", BEGUN, True, True), ("1nj3k5vk4d", ENDED, True, True)]
    [path] = keeper.folder.glob("events/*/*.mp4")
    index = Index(keeper.folder / "index.db")
    [clip] = index.list_files(FileKind.CLIP)
    assert began_s - 2 - 1.05 <= clip.began_s <= began_s - 2
    shown = [clip.began_s + at_s for at_s in decode_times(path)]
    expected = [at_s for at_s in times if clip.began_s - 0.001 <= at_s < ended_s + 1.5]
    assert shown == pytest.approx(expected, abs=0.002)
    assert index.find_events(EventFilter())[0].files == {
        FileKind.CLIP, FileKind.SNAPSHOT, FileKind.THUMBNAIL
    }  # fmt: skip
    index.close()


@pytest.mark.parametrize("sound", [True, False])
def test_sound_is_in_clip_and_continuous_video_where_the_source_hands_it_on(tmp_path, sound):
    talkie = write_talkie(tmp_path / "a.mp4", seconds=9)
    packets, _ = test_sound.read_source(talkie, sound=sound)
    keeper = Keeper(tmp_path, record={"pre_s": 2, "post_s": 1.5, "continuous": True})
    shift_s = time.time() - 5 - packets[0].captured_s
    middle = next(n for n, p in enumerate(packets) if p.captured_s - packets[0].captured_s > 5)
    with keeper.running():
        keeper.wait(lambda: keeper.problems == [""])
        began_s = play(keeper.ring, packets[:middle], shift_s)[-1] - 0.02
        keeper.put((BEGUN, make(began_s), make_result(began_s)))
        keeper.wait_told(1)
        play(keeper.ring, packets[middle:], shift_s)
        keeper.put((ENDED, make(began_s, began_s + 1.0)))
        keeper.wait_told(2)
    [clip] = keeper.folder.glob("events/*/*.mp4")
    [video] = keeper.folder.glob("video/*/*/*/*.mp4")
    index = Index(keeper.folder / "index.db")
    entries = {entry.path: entry for entry in index.list_files()}
    index.close()
    for path in (clip, video):
        assert len(decode_times(path)) > 30
        if not sound:
            assert test_sound.read_sound(path) is None
            continue
        began_s = entries[path.relative_to(keeper.folder).as_posix()].began_s
        heard = {p.data: p.captured_s + shift_s for p in test_sound.split(packets)[1]}
        written = test_sound.read_sound(path)
        assert len(written) > 40
        assert [began_s + at_s for at_s, _ in written] == pytest.approx(
            [heard[data] for _, data in written], abs=0.03
        )


def test_events_that_somebody_deletes_go_and_protected_ones_are_measured(tmp_path, packets):
    keeper = Keeper(tmp_path, record={"pre_s": 2, "post_s": 0.5})
    shift_s = time.time() - 8 - packets[0].captured_s
    with keeper.running():
        keeper.wait(lambda: keeper.problems == [""])
        times = play(keeper.ring, packets, shift_s)
        for row, event_id in enumerate(("1nj3k5vk4d", "1nj3k5vk4e")):
            began_s = times[120] + row
            event = make(began_s, event_id=event_id)
            keeper.put((BEGUN, event, make_result(began_s)))
            keeper.put((ENDED, replace(event, ended_s=began_s + 0.5)))
        keeper.wait_told(4)
        index = Index(keeper.folder / "index.db")
        index.protect("1nj3k5vk4d")
        assert index.doom("1nj3k5vk4e")
        keeper.wait(lambda: not index.list_doomed())
        files = index.list_files()
        index.close()
        keeper.wait(lambda: keeper.archivist.protected_bytes > 0)
        size_bytes = keeper.archivist.protected_bytes
        assert keeper.archivist.protected_share == size_bytes / 50e9
    assert {file.event_id for file in files} == {"1nj3k5vk4d"}
    assert size_bytes == sum(file.size_bytes for file in files)
    assert not list(keeper.folder.glob("events/*/1nj3k5vk4e*"))
    assert len(list(keeper.folder.glob("events/*/1nj3k5vk4d*"))) == 3


def test_an_event_that_is_deleted_while_its_clip_is_written_is_not_told_as_ended(tmp_path, packets):
    keeper = Keeper(tmp_path, record={"pre_s": 2, "post_s": 2})
    with keeper.running():
        keeper.wait(lambda: keeper.problems == [""])
        began_s = play(keeper.ring, packets, time.time() - packets[-1].captured_s)[-1]
        event = make(began_s)
        keeper.put((BEGUN, event, make_result(began_s)))
        keeper.put((ENDED, replace(event, ended_s=began_s + 0.5)))
        index = Index(keeper.folder / "index.db")
        keeper.wait(lambda: index.doom(event.event_id))
        assert [file.ended_s for file in index.list_files(FileKind.CLIP)] == [None]
        keeper.wait(lambda: not index.list_doomed())
        index.close()
    assert [change for _, change, _, _ in keeper.told] == [EventChange.BEGUN]
    assert not list(keeper.folder.glob("events/*/*"))


def test_a_clip_whose_camera_gives_nothing_more_ends_with_what_there_is(tmp_path, packets):
    keeper = Keeper(tmp_path, record={"pre_s": 2, "post_s": 0})
    shift_s = time.time() - 5 - packets[0].captured_s
    with keeper.running():
        times = play(keeper.ring, packets[:100], shift_s)
        keeper.put((BEGUN, make(times[-1])), (ENDED, make(times[-1], times[-1] + 0.2)))
        keeper.wait_told(2)
    assert keeper.told[-1] == ("1nj3k5vk4d", ENDED, False, True)


def test_a_picture_is_replaced_by_a_better_one(tmp_path):
    keeper = Keeper(tmp_path)
    began_s = time.time()
    with keeper.running():
        keeper.put((BEGUN, make(began_s), make_result(began_s, (250, 0, 0))))
        keeper.wait_told(1)
        keeper.put((UPDATED, make(began_s), make_result(began_s + 1, (0, 250, 0))))
        keeper.put((ENDED, make(began_s, began_s + 2)))
        keeper.wait_told(3)
    assert [told[2:] for told in keeper.told] == [(True, True), (True, True), (True, False)]
    for name in ("1nj3k5vk4d.jpg", "1nj3k5vk4d.thumb.jpg"):
        [path] = keeper.folder.glob(f"events/*/{name}")
        blue, green, red = cv2.imread(str(path)).reshape(-1, 3).mean(axis=0)
        assert green > 200
        assert max(blue, red) < 50


@pytest.mark.parametrize("hide", [["face"], ["person"]])
def test_what_is_hidden_is_hidden_in_pictures_and_no_clip_is_kept(tmp_path, packets, hide):
    keeper = Keeper(tmp_path, hide=hide)
    shift_s = time.time() - 5 - packets[0].captured_s
    play(keeper.ring, packets[:100], shift_s)
    began_s = time.time()
    result = make_result(began_s)
    noise = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    result = replace(result, frame=replace(result.frame, picture=RgbPicture(noise)))
    with keeper.running():
        keeper.put((BEGUN, make(began_s), result), (ENDED, make(began_s, began_s + 1)))
        keeper.wait_told(2)
    assert not list(keeper.folder.glob("events/*/*.mp4"))
    [path] = keeper.folder.glob("events/*/1nj3k5vk4d.jpg")
    shown = cv2.imread(str(path)).astype(float)
    head = shown[22:44, 44:76]
    assert head.std() < 0.3 * shown[:, 100:].std()


def test_pictures_come_from_the_main_stream_at_the_time_of_the_detection(tmp_path, packets):
    keeper = Keeper(tmp_path)
    main = PacketRing(5.0)
    keeper.archivist.cameras = {"door": replace(keeper.archivist.cameras["door"], main=main)}
    shift_s = time.time() - 5 - packets[0].captured_s
    times = play(main, packets[:90], shift_s)
    wanted = 67  # the grey below grows brighter by 8 a frame
    result = make_result(times[wanted] + 0.02, size_wh=(80, 60))
    with keeper.running():
        keeper.put((BEGUN, make(times[80]), result), (ENDED, make(times[80], times[80] + 0.1)))
        keeper.wait_told(2)
    [path] = keeper.folder.glob("events/*/1nj3k5vk4d.jpg")
    shown = cv2.imread(str(path))
    assert shown.shape == (120, 160, 3)
    assert shown[80:110].mean() == pytest.approx(8 * wanted % 256, abs=5)


def test_without_storage_events_are_told_at_once(tmp_path):
    keeper = Keeper(tmp_path, storage=False)
    keeper.put((BEGUN, make(1.0)), (ENDED, make(1.0, 2.0)))
    assert [told[1:] for told in keeper.told] == [(BEGUN, False, False), (ENDED, False, False)]


def test_where_nothing_can_be_kept_events_are_told_and_why_is_said(tmp_path):
    keeper = Keeper(tmp_path)
    (tmp_path / "kept").write_text("a file where the folder should be")
    with keeper.running():
        keeper.put((BEGUN, make(1.0)), (ENDED, make(1.0, 2.0)))
        keeper.wait_told(2)
    assert "cannot be" in keeper.problems[0]


def test_a_disk_that_hangs_holds_up_no_event(tmp_path, monkeypatch):
    keeper = Keeper(tmp_path)
    released, entered = threading.Event(), threading.Event()

    def hang(_, event):
        entered.set()
        released.wait(GENEROUS_S)
        return event

    with keeper.running():
        keeper.wait(lambda: keeper.problems == [""])
        monkeypatch.setattr("edge.recording.archive.Archive.put_event", hang)
        keeper.put((BEGUN, make(1.0)))
        assert entered.wait(GENEROUS_S)
        time.sleep(3.1)
        keeper.put((BEGUN, make(2.0, event_id="1nj3k5vk4e")))
        assert ("1nj3k5vk4e", BEGUN, False, False) in keeper.told
        released.set()


def test_a_full_disk_costs_the_clip_and_not_the_event(tmp_path, packets, monkeypatch):
    keeper = Keeper(tmp_path, record={"pre_s": 2, "post_s": 0})
    shift_s = time.time() - 5 - packets[0].captured_s
    times = play(keeper.ring, packets[:100], shift_s)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge.recording.mp4.Mp4Writer.write", refuse)
    with keeper.running():
        keeper.put((BEGUN, make(times[-1]), make_result(times[-1])))
        keeper.put((ENDED, make(times[-1], times[-1] + 0.1)))
        keeper.wait_told(2)
        assert keeper.told[-1][2:] == (True, False)
    assert not list(keeper.folder.glob("events/*/*.mp4"))


def test_continuous_video_begins_another_file_at_a_key_frame(tmp_path, packets, monkeypatch):
    monkeypatch.setattr("edge.recording.clip.SEGMENT_S", 3.0)
    keeper = Keeper(tmp_path, record={"continuous": True})
    with keeper.running():
        keeper.wait(lambda: keeper.problems == [""])
        time.sleep(0.6)
        times = play(keeper.ring, packets, 0.0)
        keeper.wait(lambda: len(list(keeper.folder.glob("video/door/*/*/*.mp4"))) >= 3)
        time.sleep(0.6)
    index = Index(keeper.folder / "index.db")
    files = index.list_files(FileKind.CONTINUOUS)
    lengths = [file.ended_s - file.began_s for file in files]
    assert all(3.0 <= length <= 4.05 for length in lengths[:-1])
    assert sum(lengths) == pytest.approx(10.0, abs=0.01)
    shown = [f.began_s + at_s for f in files for at_s in decode_times(keeper.folder / f.path)]
    assert shown == pytest.approx(times, abs=0.002)
    index.close()


def test_a_forgotten_person_is_removed_from_events_that_are_kept(tmp_path):
    keeper = Keeper(tmp_path)
    known = make(1.0, 2.0, people=(KnownPerson("p1", "Ann Unmistakable"),))
    with keeper.running():
        keeper.put((BEGUN, replace(known, ended_s=None)), (ENDED, known))
        keeper.wait_told(2)
        keeper.archivist.retain_people(frozenset({"p2"}))
        reader = Index(keeper.folder / "index.db")
        keeper.wait(lambda: reader.get_event("1nj3k5vk4d").event.people[0].name == "")
        reader.close()
    assert not any(b"Unmistakable" in f.read_bytes() for f in keeper.folder.glob("index.db*"))


def test_what_waits_when_somebody_is_forgotten_names_nobody_in_the_end(tmp_path):
    keeper = Keeper(tmp_path)
    known = make(1.0, 2.0, people=(KnownPerson("p1", "Ann Unmistakable"),))
    keeper.put((BEGUN, replace(known, ended_s=None)), (ENDED, known))
    keeper.archivist.retain_people(frozenset({"p2"}))
    with keeper.running():
        keeper.wait_told(2)
        reader = Index(keeper.folder / "index.db")
        keeper.wait(lambda: reader.get_event("1nj3k5vk4d").event.people[0].name == "")
        reader.close()


def test_a_denied_name_is_neither_kept_nor_told_again(tmp_path):
    keeper = Keeper(tmp_path)
    known = make(1.0, 2.0, people=(KnownPerson("p1", "Ann"),))
    with keeper.running():
        keeper.put((BEGUN, replace(known, ended_s=None)))
        keeper.wait_told(1)
        other = Index(keeper.folder / "index.db")
        other.deny_person("1nj3k5vk4d", "p1")
        keeper.put((ENDED, known))
        keeper.wait_told(2)
        assert other.get_event("1nj3k5vk4d").event.people == ()
        other.close()
    assert keeper.people == ()


def feed(keeper, packets, ring=None):
    """One group of pictures that comes now, 0.4 seconds."""
    now_s, ring = time.monotonic(), ring or keeper.ring
    for row, packet in enumerate(packets[:8]):
        at_s = now_s + row / 20
        ring.put(replace(packet, captured_s=time.time() + row / 20, monotonic_s=at_s))


def test_video_goes_on_when_a_camera_has_another_stream(tmp_path, packets):
    keeper = Keeper(tmp_path, record={"continuous": True})
    with keeper.running():
        feed(keeper, packets)
        keeper.wait(lambda: len(list(keeper.folder.glob("video/door/*/*/*.mp4"))) == 1)
        other = PacketRing(5.0)
        known = keeper.archivist.cameras["door"]
        keeper.archivist.cameras = {"door": replace(known, source=other)}
        feed(keeper, packets, other)
        keeper.wait(lambda: len(list(keeper.folder.glob("video/door/*/*/*.mp4"))) == 2)
    index = Index(keeper.folder / "index.db")
    assert [f.ended_s - f.began_s for f in index.list_files(FileKind.CONTINUOUS)] == pytest.approx(
        [0.4, 0.4], abs=0.01
    )
    index.close()


def test_a_clip_lasts_as_long_whoever_sets_the_clock_back(tmp_path, packets):
    keeper = Keeper(tmp_path, record={"pre_s": 1, "post_s": 1})
    shift_s = time.time() - 5 - packets[0].captured_s
    times = play(keeper.ring, packets[:100], shift_s)
    began_s = times[-1]
    with keeper.running():
        keeper.put((BEGUN, make(began_s)))
        keeper.wait_told(1)
        keeper.put((ENDED, make(began_s, began_s + 1)))
        for packet in packets[100:]:
            at_s = packet.captured_s + shift_s
            keeper.ring.put(
                replace(packet, captured_s=at_s - 3600, monotonic_s=packet.monotonic_s + shift_s)
            )
        keeper.wait_told(2)
    index = Index(keeper.folder / "index.db")
    [clip] = index.list_files(FileKind.CLIP)
    assert clip.ended_s == pytest.approx(began_s + 2, abs=0.06)
    index.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("edge.service.archivist.RETRY_S", 0.5)
    monkeypatch.setattr("edge.service.archivist.PRUNE_S", 0.3)


def test_a_folder_that_vanishes_is_told_and_made_anew(tmp_path, packets, impatient):
    keeper = Keeper(tmp_path, record={"continuous": True})
    with keeper.running():
        feed(keeper, packets)
        keeper.wait(lambda: list(keeper.folder.glob("video/door/*/*/*.mp4")))
        shutil.rmtree(keeper.folder)
        keeper.wait(lambda: "moved away" in keeper.problems[-1] or len(keeper.problems) > 2)
        keeper.wait(lambda: keeper.problems[-1] == "")
        feed(keeper, packets)
        keeper.wait(lambda: list(keeper.folder.glob("video/door/*/*/*.mp4")))
        keeper.put((BEGUN, make(1.0)), (ENDED, make(1.0, 2.0)))
        keeper.wait_told(2)
    index = Index(keeper.folder / "index.db")
    assert len(index.list_files(FileKind.CONTINUOUS)) == 1
    assert len(index.find_events(EventFilter())) == 1
    index.close()


def test_with_a_damaged_index_events_are_told_and_what_to_do(tmp_path):
    keeper = Keeper(tmp_path)
    keeper.folder.mkdir()
    index = Index(keeper.folder / "index.db")
    for number in range(300):
        index.put_event(make(1.0 + number, event_id=f"{number:010d}"))
    index.close()
    damage(keeper.folder / "index.db")
    with keeper.running():
        keeper.put((BEGUN, make(1.0)), (ENDED, make(1.0, 2.0)))
        keeper.wait_told(2)
    [problem] = set(keeper.problems)
    assert "the index of events is damaged" in problem
    assert "move the whole folder away" in problem


def damage(path):
    """Overwrite all pages but the first ones, as a broken disk may."""
    data = bytearray(path.read_bytes())
    data[12288:-4096] = bytes([0xA5]) * (len(data) - 16384)
    path.write_bytes(data)


def test_an_index_that_is_damaged_while_in_use_costs_no_event(tmp_path, impatient):
    keeper = Keeper(tmp_path)
    with keeper.running():
        for number in range(300):
            keeper.put((ENDED, make(1.0, 2.0, event_id=f"{number:010d}")))
        keeper.wait_told(300)
        Index(keeper.folder / "index.db").forget_person("nobody")  # writes all of it
        damage(keeper.folder / "index.db")
        keeper.wait(lambda: "damaged" in keeper.problems[-1])
        keeper.put((BEGUN, make(1.0)), (ENDED, make(1.0, 2.0)))
        keeper.wait_told(302)


def test_recording_goes_on_by_itself_when_a_full_disk_has_room(
    tmp_path, packets, impatient, caplog
):
    caplog.set_level("INFO")
    with small_disk(tmp_path / "kept", 2_000_000):
        keeper = Keeper(tmp_path, record={"continuous": True})
        with keeper.running():
            keeper.wait(lambda: keeper.problems == [""])
            with filled(keeper.folder):
                feed(keeper, packets)
                keeper.put((BEGUN, make(1.0)), (ENDED, make(1.0, 2.0)))
                keeper.wait_told(2)
                keeper.wait(lambda: keeper.problems[-1])
            keeper.wait(lambda: keeper.problems[-1] == "")
            feed(keeper, packets)
            keeper.wait(lambda: list(keeper.folder.glob("video/door/*/*/*.mp4")))
        index = Index(keeper.folder / "index.db")
        assert index.list_files(FileKind.CONTINUOUS)
        index.close()
    said = [r.getMessage() for r in caplog.records if "storage: " in r.getMessage()]
    assert len(said) == 2, said
    assert "it can be written again" in said[1]


def test_what_waits_for_a_disk_that_hangs_is_told_once_and_kept_later(tmp_path, monkeypatch):
    monkeypatch.setattr("edge.service.archivist.STUCK_S", 0.5)
    keeper, released = Keeper(tmp_path), threading.Event()
    entered, put_event = threading.Event(), Archive.put_event

    def hang(archive, event):
        entered.set()
        released.wait(GENEROUS_S)
        return put_event(archive, event)

    with keeper.running():
        keeper.wait(lambda: keeper.problems == [""])
        monkeypatch.setattr("edge.recording.archive.Archive.put_event", hang)
        keeper.put((BEGUN, make(1.0)))
        assert entered.wait(GENEROUS_S)
        time.sleep(0.6)
        keeper.put((ENDED, make(1.0, 2.0)))
        assert keeper.told == [("1nj3k5vk4d", ENDED, False, False)]
        released.set()
        keeper.wait_told(2)
    assert [told[1] for told in keeper.told] == [ENDED, BEGUN]
    index = Index(keeper.folder / "index.db")
    assert index.get_event("1nj3k5vk4d").event.ended_s == 2.0
    index.close()


def test_clips_are_made_of_the_source_while_the_main_stream_gives_nothing(packets):
    source, main = PacketRing(5.0), PacketRing(5.0)
    camera = RecordedCamera(Camera(name="door", source={}), source, main)
    assert camera.ring is source
    main.put(packets[0])
    assert camera.ring is main
    main.clear()
    assert camera.ring is source


def test_a_picture_of_the_main_stream_is_not_replaced_by_one_with_fewer_pixels(tmp_path, packets):
    keeper = Keeper(tmp_path)
    main = PacketRing(5.0)
    keeper.archivist.cameras = {"door": replace(keeper.archivist.cameras["door"], main=main)}
    times = play(main, packets[:90], time.time() - 5 - packets[0].captured_s)
    small = {"size_wh": (80, 60)}
    with keeper.running():
        keeper.put((BEGUN, make(times[80]), make_result(times[67], **small)))
        keeper.wait_told(1)
        main.clear()
        keeper.put((ENDED, make(times[80], times[80] + 0.1), make_result(times[70], **small)))
        keeper.wait_told(2)
    [path] = keeper.folder.glob("events/*/1nj3k5vk4d.jpg")
    assert cv2.imread(str(path)).shape == (120, 160, 3)


def test_an_event_that_a_crash_cut_off_is_told_as_ended_at_the_start(tmp_path):
    keeper = Keeper(tmp_path)
    with keeper.running():
        keeper.put((BEGUN, make(1000.0), make_result(1000.0)))
        keeper.wait_told(1)
    again = Keeper(tmp_path)
    with again.running():
        again.wait_told(1)
    assert again.told == [("1nj3k5vk4d", ENDED, True, False)]


def test_a_clip_ends_after_its_longest_time_though_the_event_goes_on(tmp_path, packets):
    keeper = Keeper(tmp_path, record={"pre_s": 1, "max_clip_s": 10})
    shift_s = time.time() - 5 - packets[0].captured_s
    times = play(keeper.ring, packets[:60], shift_s)
    with keeper.running():
        keeper.put((BEGUN, make(times[-1])))
        keeper.wait_told(1)
        play(keeper.ring, packets[60:], shift_s)
        play(keeper.ring, packets, shift_s + 10)
        index = Index(keeper.folder / "index.db")
        keeper.wait(lambda: index.list_files(FileKind.CLIP)[0].ended_s)
        [clip] = index.list_files(FileKind.CLIP)
        assert clip.ended_s == pytest.approx(times[-1] + 10, abs=0.06)
        assert index.get_event("1nj3k5vk4d").event.ended_s is None
        index.close()


def test_a_stream_whose_pictures_change_their_size_ends_the_clip_and_begins_another_file(
    tmp_path, packets
):
    video = write_video(tmp_path / "b.mp4", 40, fps=20, size_wh=(320, 240), options={"bf": "0"})
    larger = read_source(video)[0]
    keeper = Keeper(tmp_path, record={"pre_s": 1, "post_s": 20, "continuous": True})
    now_s = time.time()
    times = play(keeper.ring, packets[:60], now_s - packets[60].captured_s)
    with keeper.running():
        keeper.put((BEGUN, make(times[-1])), (ENDED, make(times[-1], times[-1] + 1)))
        keeper.wait(lambda: len(list(keeper.folder.glob("video/door/*/*/*.mp4"))) == 1)
        play(keeper.ring, larger, now_s - larger[0].captured_s)
        keeper.wait_told(2)
        keeper.wait(lambda: len(list(keeper.folder.glob("video/door/*/*/*.mp4"))) == 2)
    assert keeper.told[-1] == ("1nj3k5vk4d", ENDED, False, True)
    index = Index(keeper.folder / "index.db")
    [clip] = index.list_files(FileKind.CLIP)
    assert clip.ended_s == pytest.approx(now_s, abs=0.06)
    heights = []
    for file in [clip, *index.list_files(FileKind.CONTINUOUS)]:
        with av.open(str(keeper.folder / file.path)) as container:
            shown = [frame.height for frame in container.decode(video=0)]
        assert len(shown) > 1
        heights.append(set(shown))
    assert heights == [{120}, {120}, {240}]
    index.close()


def test_two_hundred_events_at_once_are_told_and_kept(tmp_path):
    keeper = Keeper(tmp_path)
    began_s = time.time()
    with keeper.running():
        for number in range(200):
            event_id, at_s = f"{number:010d}", began_s + number / 1000
            keeper.put(
                (BEGUN, make(at_s, event_id=event_id), make_result(at_s)),
                (ENDED, make(at_s, at_s + 1, event_id=event_id)),
            )
        keeper.wait_told(400)
    assert all(snapshot for _, _, snapshot, _ in keeper.told)
    assert len(list(keeper.folder.glob("events/*/*.jpg"))) == 400
    index = Index(keeper.folder / "index.db")
    assert len(index.find_events(EventFilter(), limit=1000)) == 200
    index.close()


def test_a_disk_that_is_read_only_is_told_and_used_when_it_is_not(tmp_path, impatient):
    with small_disk(tmp_path / "kept", 2_000_000) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        keeper = Keeper(tmp_path)
        with keeper.running():
            keeper.put((BEGUN, make(1.0)), (ENDED, make(1.0, 2.0)))
            keeper.wait_told(2)
            assert "Read-only file system" in keeper.problems[-1]
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            keeper.wait(lambda: keeper.problems[-1] == "")
            keeper.put((BEGUN, make(5.0, event_id="1nj3k5vk4e"), make_result(5.0)))
            keeper.wait_told(3)
    assert keeper.told[-1] == ("1nj3k5vk4e", BEGUN, True, True)


def test_the_clip_of_a_camera_that_is_removed_is_completed(tmp_path, packets):
    keeper = Keeper(tmp_path, record={"pre_s": 1, "post_s": 5, "continuous": True})
    times = play(keeper.ring, packets[:60], time.time() - packets[60].captured_s)
    with keeper.running():
        keeper.put((BEGUN, make(times[-1])))
        keeper.wait_told(1)
        index = Index(keeper.folder / "index.db")
        keeper.wait(lambda: index.list_files(FileKind.CONTINUOUS))
        keeper.archivist.cameras = {}
        keeper.put((ENDED, make(times[-1], times[-1] + 0.1)))
        keeper.wait_told(2)
    assert keeper.told[-1] == ("1nj3k5vk4d", ENDED, False, True)
    assert all(file.ended_s and file.size_bytes for file in index.list_files())
    assert {file.kind for file in index.list_files()} == {FileKind.CLIP, FileKind.CONTINUOUS}
    index.close()
