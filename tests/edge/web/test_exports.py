"""The video of a camera, put together of files some of which are not what they should be."""

import io
import os

import av
import pytest

from edge.recording.records import FileKind, StoredFile
from edge.service.node_view import Exporter
from tests.edge.recording.test_mp4 import read_source, write_mp4
from tests.support.videos import write_video
from tests.support.web_node import make_archive, make_node, serving

NAMES = ("first", "middle", "last")


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    video = write_video(tmp_path_factory.mktemp("v") / "a.mp4", 40, options={"g": "10", "bf": "0"})
    return read_source(video)[0]


@pytest.fixture
def archive(tmp_path, packets):
    """Three files of a camera, one after the other, each of 40 pictures."""
    folder = tmp_path / "storage"
    (folder / "video").mkdir(parents=True)
    archive = make_archive(folder)
    for row, name in enumerate(NAMES):
        path = f"video/{name}.mp4"
        write_mp4(folder / path, packets)
        began_s = 1000.0 + 10 * row
        file = StoredFile(path, FileKind.CONTINUOUS, "door", "", began_s, began_s + 4, 1)
        archive.index.put_file(file)
    yield archive
    archive.index.close()


def count_pictures(content):
    with av.open(io.BytesIO(content)) as container:
        return sum(bool(packet.size) for packet in container.demux(video=0))


def damage(path, how):
    outside = path.parents[2] / "outside.mp4"
    content = path.read_bytes()
    path.unlink()
    if how == "junk":
        path.write_bytes(os.urandom(5000))
    elif how == "empty":
        path.touch()
    elif how == "header":
        path.write_bytes(content[: content.index(b"moof") - 4])
    elif how == "link":
        outside.write_bytes(content)
        path.symlink_to(outside)
    elif how == "text":
        outside.write_text("some text")
        path.symlink_to(outside)
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    else:
        assert how == "missing"


@pytest.mark.parametrize(
    "how", ["missing", "junk", "empty", "header", "link", "text", "fifo", "folder"]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_none_is_left_out_and_the_others_are_sent(archive, name, how, caplog):
    damage(archive.folder / f"video/{name}.mp4", how)
    with serving(make_node(archive=archive, export=Exporter(archive).export)) as served:
        answer = served.ask("/api/v1/cameras/door/clip.mp4?from=990&to=1100")
    assert answer.status == 200
    assert count_pictures(answer.body) == 80
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (0 if how == "header" else 1)  # that one is whole, and holds nothing
    assert all(f"video/{name}.mp4 is left out of a video" in text for text in told)


def test_the_log_is_not_filled_by_who_asks_again(archive, caplog):
    damage(archive.folder / "video/middle.mp4", "junk")
    exporter = Exporter(archive)
    for _ in range(5):
        exporter.export("door", 990, 1100, lambda _: None)
    assert len(caplog.records) == 1


def test_a_file_that_retention_deletes_while_others_are_sent_is_left_out(archive):
    exporter, pieces = Exporter(archive), []

    def write(piece):
        pieces.append(piece)
        (archive.folder / "video/last.mp4").unlink(missing_ok=True)

    exporter.export("door", 990, 1100, write)
    assert count_pictures(b"".join(pieces)) == 80


def test_where_no_file_can_be_read_there_is_no_video(archive):
    for name in NAMES:
        damage(archive.folder / f"video/{name}.mp4", "text")
    with serving(make_node(archive=archive, export=Exporter(archive).export)) as served:
        answer = served.ask("/api/v1/cameras/door/clip.mp4?from=990&to=1100")
        assert answer.status == 404
        assert b"some text" not in answer.body
