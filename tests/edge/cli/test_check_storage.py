"""What `edge check` says of the storage folder and of main streams."""

import json
import shutil
import subprocess
import sys

import pytest

from edge.printable import format_bytes
from edge.recording.index import Index
from edge.recording.records import FileKind, StoredFile
from tests.edge.recording.test_index import make_event
from tests.support.rtsp_server import rtsp_server
from tests.support.videos import write_talkie, write_video

CONFIG = """
[models]
detector = "zoo:detect-nano"
[[cameras]]
name = "door"
source = {{ kind = "synthetic" }}
{camera}
{storage}
[[sinks]]
kind = "jsonl"
path = "-"
[http]
port = 0
"""
STORAGE = '[storage]\nfolder = "kept"\nmin_free_bytes = 0'
EVENTS = '[[cameras.events]]\nwhen = ["began"]'


SOURCE = 'source = {{ kind = "synthetic" }}'


def check(folder, camera="", storage=STORAGE, config=CONFIG):
    path = folder / "edge.toml"
    path.write_text(config.format(camera=camera, storage=storage))
    done = subprocess.run(
        [sys.executable, "-m", "edge", "check", str(path), "--json"],
        capture_output=True, text=True, check=False, cwd=folder, timeout=120,
    )  # fmt: skip
    return {found["part"]: found for found in map(json.loads, done.stdout.splitlines())}


def test_the_storage_folder_is_told_with_its_limit(tmp_path):
    found = check(tmp_path, EVENTS)["storage"]
    assert found["ok"]
    assert f"{tmp_path}/kept: 50 GB at most, " in found["detail"]
    assert not (tmp_path / "kept").exists()
    found = check(tmp_path, EVENTS, STORAGE + '\nmax_bytes = "1MB"')["storage"]
    assert "warning" not in found["detail"]


@pytest.mark.parametrize(
    ("camera", "storage", "ok", "says"),
    [
        ("", STORAGE, True, "no camera has [[cameras.events]]"),
        (EVENTS, STORAGE.replace("kept", "edge.toml/kept"), False, "is no folder that can be"),
        (EVENTS, STORAGE + "\nmax_bytes = 1", True, "1 B at most"),
        (EVENTS, STORAGE.replace("= 0", '= "900000TB"'), False, "less than min_free_bytes"),
        ("[cameras.record]\ncontinuous = true", "", False, "door cannot record: add [storage]"),
    ],
)
def test_what_is_asked_of_storage_in_vain_is_told(camera, storage, ok, says, tmp_path):
    found = check(tmp_path, camera, storage)["storage"]
    assert found["ok"] is ok
    assert says in found["detail"]


def test_a_storage_folder_that_is_a_link_to_nowhere_is_told(tmp_path):
    (tmp_path / "kept").symlink_to(tmp_path / "unplugged")
    found = check(tmp_path, EVENTS)["storage"]
    assert not found["ok"]
    assert "kept is no folder that can be written" in found["detail"]


@pytest.mark.parametrize(
    ("folder", "says"),
    [("x" * 300, "File name too long"), ("loop/kept", "Too many levels of symbolic links")],
)
def test_a_storage_folder_that_cannot_be_is_told(folder, says, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    found = check(tmp_path, EVENTS, STORAGE.replace("kept", folder))["storage"]
    assert not found["ok"]
    assert says in found["detail"]


@pytest.mark.parametrize(
    ("camera", "says"),
    [
        ('when = ["spoof", "began"]', "spoof never comes: add [recognition]"),
        ('when = ["crossed"]', "crossed never comes: the camera has no lines"),
        ('when = ["entered", "left"]', "left never comes: the camera has no zones"),
        ('when = ["attribute"]', "attribute never comes: add [[attributes]]"),
        ('when = ["state"]', "state never comes: the camera has no states"),
        (
            'when = ["began", "offline"]\nlabels = ["car"]',
            "warning: began never comes: its labels are none of the camera's, person",
        ),
    ],
)
def test_triggers_that_never_come_are_told(camera, says, tmp_path):
    camera = f'labels = ["person"]\n[[cameras.events]]\n{camera}'
    found = check(tmp_path, camera)["cameras.door.events"]
    assert found["ok"]
    assert says in found["detail"]


def test_who_dwells_in_a_zone_without_a_time_is_never_told(tmp_path):
    zone = 'zones = [{ name = "hall", polygon = [[0, 0], [1, 0], [1, 1]] }]\n'
    rule = '[[cameras.events]]\nwhen = ["dwelled:hall"]'
    found = check(tmp_path, zone + rule)["cameras.door.events"]
    assert "set dwell_s of hall" in found["detail"]
    assert "cameras.door.events" not in check(
        tmp_path, zone.replace(" }]", ", dwell_s = 3 }]") + rule
    )


def test_a_main_stream_that_does_not_answer_is_told(tmp_path):
    main = 'main = { kind = "rtsp", url = "rtsp://127.0.0.1:9/main" }'
    found = check(tmp_path, main)["cameras.door.main"]
    assert not found["ok"]
    assert "Connection refused" in found["detail"]


def test_a_main_stream_is_told_with_its_codec(tmp_path):
    with rtsp_server(write_video(tmp_path / "a.h264", 50, options={"g": "10"})) as server:
        main = f'main = {{ kind = "rtsp", url = "{server.url}" }}'
        found = check(tmp_path, main)["cameras.door.main"]
    assert found["ok"]
    assert "h264, first key frame in" in found["detail"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (900, "900 B"), (1500, "1.5 kB"), (5e10, "50 GB"), (1.5e12, "1.5 TB")],
)
def test_sizes_are_written_in_powers_of_a_thousand(size, text):
    assert format_bytes(size) == text


def test_protected_events_that_leave_little_room_are_warned_of(tmp_path):
    (tmp_path / "kept").mkdir()
    index = Index(tmp_path / "kept/index.db")
    index.put_event(make_event(1))
    index.put_file(StoredFile("a.mp4", FileKind.CLIP, "door", "e00001", 1.0, 2.0, 6_000_000))
    index.protect("e00001")
    index.close()
    storage = STORAGE + '\nmax_bytes = "10MB"'
    found = check(tmp_path, EVENTS, storage)["storage"]
    assert found["ok"]
    assert "protected events take 60% of storage.max_bytes" in found["detail"]
    storage = STORAGE + '\nmax_bytes = "100MB"'
    assert "warning" not in check(tmp_path, EVENTS, storage)["storage"]["detail"]


def test_a_limit_beyond_what_the_disk_holds_is_warned_of(tmp_path):
    """What is stored already counts as room: it is there to be replaced."""
    beyond = "max_bytes is more than the disk can hold"
    free = shutil.disk_usage(tmp_path).free
    assert (
        beyond
        not in check(tmp_path, EVENTS, f"{STORAGE}\nmax_bytes = {free // 2}")["storage"]["detail"]
    )
    storage = f"{STORAGE}\nmax_bytes = {10 * free}"
    found = check(tmp_path, EVENTS, storage)["storage"]
    assert found["ok"]
    assert f"warning: {beyond}" in found["detail"]
    (tmp_path / "kept").mkdir()
    index = Index(tmp_path / "kept/index.db")
    index.put_event(make_event(1))
    index.put_file(StoredFile("a.mp4", FileKind.CLIP, "door", "e00001", 1.0, 2.0, 12 * free))
    index.close()
    assert beyond not in check(tmp_path, EVENTS, storage)["storage"]["detail"]


def test_a_damaged_index_is_told(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/index.db").write_bytes(b"no index of events at all" * 100)
    found = check(tmp_path, EVENTS)["storage"]
    assert not found["ok"]
    assert "index of events is damaged" in found["detail"]


@pytest.mark.parametrize("is_main", [True, False])
def test_a_camera_without_the_sound_that_is_to_be_recorded_is_warned_of(tmp_path, is_main):
    talkie = write_talkie(tmp_path / "a.mp4")
    for sound, says in (
        (False, "warning: recorded without sound: the camera sends none"),
        (True, ""),
    ):
        with rtsp_server(talkie, sound=sound) as server:
            table = f'{{ kind = "rtsp", url = "{server.url}" }}'
            camera = f"{'main' if is_main else 'source'} = {table}\nrecord.audio = true"
            config = CONFIG if is_main else CONFIG.replace(SOURCE, "")
            found = check(tmp_path, camera, config=config)
        detail = found["cameras.door.main" if is_main else "cameras.door"]["detail"]
        assert says in detail
        assert ("without sound" in detail) is bool(says)
