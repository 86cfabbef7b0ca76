"""`edge events`, and what happened in words."""

import contextlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.cli.event_words import tell
from edge.cli.watch import Board
from edge.client import Received
from edge.config import Storage
from edge.event import EventChange, KnownPerson, Severity
from edge.printable import format_bytes
from edge.recording.archive import Archive
from edge.recording.index import Index
from edge.recording.records import FileKind, StoredFile
from edge.wire.message_builder import MessageBuilder
from edge.wire.schema import decode, encode
from tests.edge.recording.test_index import make_event
from tests.edge.recording.test_mp4 import decode_times, read_source, write_mp4
from tests.support.videos import write_video

GOLDEN = Path(__file__).parents[2] / "golden"
CONFIG = """
[models]
detector = "zoo:detect-nano"
[[cameras]]
name = "door"
source = { kind = "synthetic" }
[storage]
folder = "kept"
"""
TWO_SINKS = """
[[sinks]]
kind = "jsonl"
path = "-"
[[sinks]]
kind = "zeromq"
bind = "ipc:///tmp/a"
[[sinks]]
kind = "zeromq"
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A configuration whose folder has three events, the clip of one, and a minute of video."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "edge.toml").write_text(CONFIG)
    (folder / "kept").mkdir()
    now_s = time.time()
    index = Index(folder / "kept/index.db")
    for number, changes in enumerate(
        [
            {"began_s": now_s - 90_000},
            {"camera": "yard", "labels": ("car",), "severity": Severity.ALERT},
            {"people": (KnownPerson("p1", "Ann"),), "triggers": ("entered:hall", "known"),
             "places": ("hall",)},
        ]
    ):  # fmt: skip
        began_s = changes.pop("began_s", now_s - 60 + number)
        event = make_event(number, event_id=f"1nj3k5vk4{number}", began_s=began_s, **changes)
        index.put_event(replace(event, ended_s=began_s + 12))
    packets, _ = read_source(
        write_video(folder / "a.mp4", 40, fps=10, options={"g": "10", "bf": "0"})
    )
    write_mp4(folder / "kept/clip.mp4", packets)
    index.put_file(StoredFile("clip.mp4", FileKind.CLIP, "door", "1nj3k5vk42", 1.0, 5.0, 9))
    (folder / "kept/picture.jpg").write_bytes(b"\xff\xd8 a picture")
    index.put_file(StoredFile("picture.jpg", FileKind.SNAPSHOT, "door", "1nj3k5vk42", 1.0))
    write_mp4(folder / "kept/video.mp4", packets)
    began_s = now_s - 100
    index.put_file(
        StoredFile("video.mp4", FileKind.CONTINUOUS, "door", "", began_s, began_s + 4, 9)
    )
    index.close()
    return folder / "edge.toml"


def run(*arguments, exit_code=0):
    done = CliRunner().invoke(app, ["events", *map(str, arguments)])
    assert done.exit_code == exit_code, done.output
    return done.output


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([], "210"),
        (["--camera", "yard"], "1"),
        (["--camera", "yard", "--camera", "door"], "210"),
        (["--label", "car"], "1"),
        (["--severity", "alert"], "1"),
        (["--place", "hall"], "2"),
        (["--since", "24h"], "21"),
        (["--since", "2001-01-01"], "210"),
        (["--limit", "1"], "2"),
    ],
)
def test_events_are_listed_as_asked_newest_first(kept, filters, ids):
    lines = run("list", kept, "--json", *filters).splitlines()
    assert [json.loads(line)["id"][-1] for line in lines] == list(ids)


def test_the_table_tells_what_happened(kept):
    text = " ".join(run("list", kept, "--label", "person", "--limit", "1").split())
    assert "1nj3k5vk42" in text
    assert {"Ann", "entered", "12"} <= set(text.split())
    assert run("list", kept, "--label", "ghost") == "no such event\n"


def test_an_event_is_shown_with_the_places_of_its_files(kept):
    text = run("show", kept, "1nj3k5vk42")
    assert f"{kept.parent}/kept/clip.mp4" in text
    assert json.loads(run("show", kept, "1nj3k5vk42", "--json"))["paths"]["clip"].endswith(".mp4")


def test_the_clip_of_an_event_is_copied(kept, tmp_path):
    said = run("export", kept, "1nj3k5vk42", tmp_path / "out.mp4")
    assert said == f"{tmp_path}/out.mp4: {format_bytes((tmp_path / 'out.mp4').stat().st_size)}\n"
    assert (tmp_path / "out.mp4").read_bytes() == (kept.parent / "kept/clip.mp4").read_bytes()


def test_the_picture_of_an_event_is_copied(kept, tmp_path):
    run("export", kept, "1nj3k5vk42", tmp_path / "out.jpg")
    assert (tmp_path / "out.jpg").read_bytes() == (kept.parent / "kept/picture.jpg").read_bytes()


def test_a_file_that_is_there_is_kept(kept, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_text("mine")
    assert "File exists" in run("export", kept, "1nj3k5vk42", out, exit_code=1)
    assert out.read_text() == "mine"


def test_the_video_of_a_time_is_put_together(kept, tmp_path):
    run("export", kept, "door", tmp_path / "out.mp4", "--from", "10m", "--to", "now")
    assert len(decode_times(tmp_path / "out.mp4")) == 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "{}", "nothing"], "there is no event 'nothing'"),
        (["export", "{}", "1nj3k5vk41", "x.mp4"], "no clip of event 1nj3k5vk41 is kept"),
        (["export", "{}", "1nj3k5vk41", "x.jpg"], "no picture of event 1nj3k5vk41 is kept"),
        (["export", "{}", "door", "x.mp4", "--from", "5s"], "nothing was kept of that camera"),
        (["list", "{}", "--since", "lately"], "is no time: write one such as"),
        (["export", "{}", "door", "x.mp4"], "door is a camera: give --from and --to as well"),
        (["export", "{}", "door", "x.mp4", "--from", "5m", "--to", "9m"], "must be later than"),
        (
            ["export", "{}", "door", "x.mp4", "--from", "2099-01-01", "--to", "2099-01-02"],
            "--from is in the future",
        ),
    ],
)
def test_what_is_not_there_is_told(kept, arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["events", *(a.format(kept) for a in arguments)])
    assert done.exit_code in (1, 78)
    assert says in " ".join(done.output.split())
    assert not (tmp_path / "x.mp4").exists()


@pytest.fixture
def own(kept, tmp_path):
    """The same for a test that changes it."""
    shutil.copytree(kept.parent, tmp_path / "node")
    return tmp_path / "node" / kept.name


def test_an_event_is_protected_and_no_longer(own):
    assert "1nj3k5vk42 is protected" in run("protect", own, "1nj3k5vk42")
    assert json.loads(run("show", own, "1nj3k5vk42", "--json"))["protected"] is True
    assert "protected" in run("list", own)
    says = run("delete", own, "1nj3k5vk42", exit_code=1)
    assert "is protected" in says
    assert "no longer protected" in run("protect", own, "1nj3k5vk42", "--release")
    assert "protected" not in run("list", own)


def test_an_event_is_deleted_with_its_files_unless_a_node_does_it(own):
    folder = own.parent / "kept"
    assert "deleted" in run("delete", own, "1nj3k5vk42")
    assert not (folder / "clip.mp4").exists()
    assert "no event" in run("show", own, "1nj3k5vk42", exit_code=78)
    with contextlib.closing(Archive(Storage(folder="kept"), folder)) as archive:
        assert "the node deletes their files" in run("delete", own, "1nj3k5vk41", "1nj3k5vk40")
        assert sorted(archive.index.list_doomed()) == ["1nj3k5vk40", "1nj3k5vk41"]
        assert run("list", own).strip() == "no such event"


def test_of_one_event_its_files_are_deleted(own):
    with contextlib.closing(Archive(Storage(folder="kept"), own.parent / "kept")):
        assert "the node deletes its files" in run("delete", own, "1nj3k5vk41")


def test_of_several_events_each_that_can_be_is_deleted_and_the_others_are_named(own):
    run("protect", own, "1nj3k5vk41")
    said = run("delete", own, "1nj3k5vk42", "nothing", "1nj3k5vk41", "1nj3k5vk40", exit_code=1)
    assert "1nj3k5vk42, 1nj3k5vk40: deleted" in said
    assert "there is no event 'nothing'" in said
    assert "event 1nj3k5vk41 is protected" in said
    assert [json.loads(line)["id"] for line in run("list", own, "--json").splitlines()] == [
        "1nj3k5vk41"
    ]


def test_video_that_is_being_written_ends_now(own, tmp_path):
    """The last second of it is not what was recorded later."""
    index = Index(own.parent / "kept/index.db")
    began_s = time.time() - 60
    index.put_file(StoredFile("video.mp4", FileKind.CONTINUOUS, "yard", "", began_s))
    index.close()
    out = tmp_path / "out.mp4"
    said = run("export", own, "yard", out, "--from", "5s", exit_code=78)
    assert "nothing of that time" in said
    assert not out.exists()
    run("export", own, "yard", out, "--from", "10m")
    assert len(decode_times(out)) == 40


@pytest.mark.parametrize(
    ("sinks", "endpoint"),
    [
        ("", "tcp://127.0.0.1:5555"),
        (TWO_SINKS, "ipc:///tmp/a"),
        ('[[sinks]]\nkind = "zeromq"\nbind = "tcp://0.0.0.0:5601"\ninsecure = true',
         "tcp://127.0.0.1:5601"),
    ],
)  # fmt: skip
def test_a_node_is_followed_at_its_first_zeromq_sink(tmp_path, monkeypatch, sinks, endpoint):
    asked = []

    def subscribe(endpoint, *_, **__):
        asked.append(endpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr("edge.cli.events.Subscriber", subscribe)
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG + sinks)
    run("follow", path)
    run("follow", "tcp://10.0.0.9:1234")
    assert asked == [endpoint, "tcp://10.0.0.9:1234"]


@pytest.mark.parametrize(
    ("sinks", "says"),
    [
        ('[[sinks]]\nkind = "jsonl"\npath = "-"', "has no sink of kind zeromq"),
        ('[[sinks]]\nkind = "zeromq"\nbind = "tcp://127.0.0.1:*"', "another port at each start"),
        (
            '[[sinks]]\nkind = "zeromq"\nkey_file = "node.key"\nclients_file = "clients.toml"',
            "give --server-key and --key-file",
        ),
    ],
)
def test_a_node_that_cannot_be_followed_by_its_configuration_says_why(tmp_path, sinks, says):
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG + sinks)
    assert says in run("follow", path, exit_code=78)
    assert "No such file" in run("follow", tmp_path / "gone.toml", exit_code=78)


def test_a_node_that_keeps_nothing_says_how_to(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG.partition("[storage]")[0])
    assert "add [storage]" in run("list", path, exit_code=78)
    path.write_text(CONFIG)
    assert "nothing is kept here yet" in run("list", path, exit_code=78)


def make_message(**changes):
    builder = MessageBuilder("n", "b", ("person",), "m", "0" * 64)
    event = make_event(1, **changes)
    message = builder.build_event(event, EventChange.BEGUN, snapshot=False, clip=False)
    return Received(message.topic, decode(message.topic, encode(message.body)), None)


def test_what_happened_is_told_in_words():
    alert = make_message(
        triggers=("began", "entered:hall"),
        severity=Severity.ALERT,
        people=(KnownPerson("p", "Ann"),),
    )
    assert tell(alert.body)[9:] == "door: Ann entered hall (alert) [e00001]"
    away = make_message(triggers=("offline",), labels=(), tracks=())
    assert tell(away.body)[9:] == "door: camera shows nothing [e00001]"
    gate = make_message(triggers=("state:gate=open",), labels=(), tracks=())
    assert tell(gate.body)[9:] == "door: camera gate: open [e00001]"
    vest = make_message(triggers=("began", "attribute:vest=no"))
    assert tell(vest.body)[9:] == "door: person vest: no [e00001]"


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        ("tracks_attribute", "door: person vest: no"),
        ("states", "door: gate: open, was closed"),
    ],
)
def test_what_classifiers_say_is_told_in_words(golden, words):
    body = decode(f"v1/{golden.partition('_')[0]}/door/", (GOLDEN / f"{golden}.json").read_bytes())
    assert tell(body)[9:] == words


def test_the_table_of_messages_tells_the_last_events_below():
    board = Board("tcp://x")
    for number in range(12):
        board.update(make_message(labels=(f"thing-{number}",)), 0.0)
    caption = str(board.table().caption)
    assert "thing-11" in caption
    assert "thing-4" in caption
    assert "thing-3" not in caption
