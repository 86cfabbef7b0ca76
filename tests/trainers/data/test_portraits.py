"""Portraits: two layouts, the daemon's alignment, and people who stay on their side."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError
from edge.types import Faces, RgbPicture
from edge.vision.face_crops import FACE_POINTS, align_face
from tests.support.drawn_data import shared
from trainers.data.portraits import Portraits, read_portraits

COLUMNS = [f"{p}_{a}" for p in ("leye", "reye", "nose", "lmouth", "rmouth") for a in "xy"]


def drawing(seed: int) -> np.ndarray:
    """A picture of 160 x 140 with structure everywhere."""
    noise = np.random.default_rng(seed).integers(0, 255, (14, 16, 3), np.uint8)
    return cv2.resize(noise, (160, 140), interpolation=cv2.INTER_CUBIC)


def write_table(folder, rows):
    """labels.csv and its pictures: (file, person, video, points or None)."""
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "identity", "video", *COLUMNS])
        for number, (name, person, video, points) in enumerate(rows):
            known = [""] * 10 if points is None else np.ravel(points).tolist()
            table.writerow([name, person, video, *known])
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), drawing(number)[..., ::-1])
    return folder


POINTS = FACE_POINTS * 0.8 + 20


class Finder:
    """Finds one face where it is told."""

    name, sha256 = "finder", "0" * 64

    def __init__(self, only_framed: bool = False) -> None:
        self.only_framed = only_framed

    def find(self, frames):
        width, _ = frames[0].size_wh
        if self.only_framed and width == 160:
            return [Faces.empty()]
        offset = np.float32([(width - 160) / 2, (width - 160) / 2 * 140 / 160])
        points = (POINTS + offset)[None].astype(np.float32)
        box = np.float32([[*points[0].min(0), *points[0].max(0)]])
        one = np.ones(1, np.float32)
        return [Faces(box, one, points, np.full(1, -1, np.int32), one)]


def test_faces_are_aligned_exactly_as_the_daemon_does(tmp_path):
    write_table(tmp_path, [("a.png", "Ann", 0, POINTS), ("b.png", "Bob", 0, POINTS)])
    read = read_portraits(tmp_path)
    expected = align_face(RgbPicture(drawing(1)), POINTS.astype(np.float32))
    np.testing.assert_array_equal(read.crops[1], expected)


def test_a_video_is_one_persons_own(tmp_path):
    rows = [("a.png", "Ann", 0, POINTS), ("b.png", "Ann", 0, POINTS), ("c.png", "Ann", 1, POINTS),
            ("d.png", "Bob", 0, POINTS)]  # fmt: skip
    read = read_portraits(write_table(tmp_path, rows))
    assert read.names == ("Ann", "Bob")
    assert read.person.tolist() == [0, 0, 0, 1]
    assert read.video[0] == read.video[1]
    assert len(set(read.video.tolist())) == 3  # Bob's video 0 is not Ann's


def test_faces_without_points_are_found_or_left_out(tmp_path):
    write_table(tmp_path, [("a.png", "Ann", 0, None), ("b.png", "Bob", 0, POINTS)])
    assert len(read_portraits(tmp_path)) == 1
    for finder in (Finder(), Finder(only_framed=True)):  # the second sees it with a border only
        found = read_portraits(tmp_path, finder)
        expected = align_face(RgbPicture(drawing(0)), POINTS.astype(np.float32))
        assert np.abs(found.crops[0].astype(int) - expected).mean() < 2


def test_a_folder_a_person_is_read_and_each_picture_is_a_video(tmp_path):
    for person in ("Ann", "Bob"):
        for number in range(2):
            path = tmp_path / person / f"{number}.pgm"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), drawing(number)[..., 0])
    read = read_portraits(tmp_path, Finder())
    assert read.person.tolist() == [0, 0, 1, 1]
    assert read.video.tolist() == [0, 1, 2, 3]


def test_what_is_passed_over_is_counted_and_told(tmp_path):
    for name in ("Ann/1.png", "Ann/video/2.png", "loose.png", ".git/3.png", "@eaDir/4.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), drawing(0))
    (tmp_path / "Ann" / "5.HEIC").write_bytes(b"x")
    (tmp_path / "Ann" / "6.xyz").write_bytes(b"x")
    read = read_portraits(tmp_path, Finder())
    assert (read.names, len(read)) == (("Ann",), 1)
    assert [note.what for note in read.notes] == [
        "1 .heic file(s) were passed over, not read here: convert it to JPEG",
        "1 .xyz file(s) were passed over, not read here: convert it if it is a picture",
        "2 picture(s) were passed over, not at DIR/NAME/*.jpg: Ann/video/2.png, loose.png",
    ]


def test_pictures_without_a_face_are_counted_and_named(tmp_path):
    write_table(tmp_path, [("a.png", "Ann", 0, None), ("b.png", "Bob", 0, POINTS)])
    (note,) = read_portraits(tmp_path).notes
    assert note.what.startswith("1 of 2 picture(s) have no five points and are left out")
    assert note.what.endswith("(--detector): a.png")

    class Blind(Finder):
        def find(self, frames):
            return [Faces.empty()]

    (note,) = read_portraits(tmp_path, Blind()).notes
    assert note.what == "1 of 2 picture(s) show no face that is found: a.png"
    both = read_portraits(tmp_path) + read_portraits(tmp_path, Blind())
    assert len(both.select_people([0]).notes) == 2


def test_data_without_a_face_say_what_is_needed(tmp_path):
    with pytest.raises(ConfigError, match=r"labels\.csv with five points"):
        read_portraits(tmp_path)
    (tmp_path / "labels.csv").write_text("file,identity\n")
    with pytest.raises(ConfigError, match="leye_x"):
        read_portraits(tmp_path)


def crowd(*names: str) -> Portraits:
    count = len(names)
    return Portraits(
        np.zeros((count, 112, 112, 3), np.uint8), np.arange(count), np.arange(count),
        np.ones(count, np.float32), names,
    )  # fmt: skip


def test_a_person_stays_on_the_same_side_whoever_else_is_there():
    names = tuple(f"person {n}" for n in range(200))
    rest, held = crowd(*names).split(0.2)
    assert 20 < len(held) < 60
    assert not set(rest.names) & set(held.names)
    fewer_rest, fewer_held = crowd(*names[:100]).split(0.2)
    assert set(fewer_held.names) < set(held.names)
    assert set(fewer_rest.names) < set(rest.names)


def test_a_split_that_leaves_nobody_is_refused():
    with pytest.raises(ConfigError, match="--val-fraction"):
        crowd("Ann", "Bob").split(1e-9)


def test_united_data_share_people_by_name_and_no_videos():
    both = crowd("Ann", "Bob") + crowd("Bob", "Cid")
    assert both.names == ("Ann", "Bob", "Cid")
    assert both.person.tolist() == [0, 1, 1, 2]
    assert len(set(both.video.tolist())) == 4


def test_people_of_the_shared_data_are_parted_as_the_card_says():
    table = (shared("ytf_dev") / "labels.csv").read_text().splitlines()[1:]
    names = sorted({line.split(",")[1] for line in table})
    _, held = crowd(*names).split()
    assert (len(names), len(held)) == (250, 54)
