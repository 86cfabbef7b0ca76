"""Living takes and batches: the same every time, half alive, of the pictures that were chosen."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError, ModelError, WorkerError
from trainers.data.read import read_dataset
from trainers.networks.config import LivenessConfig
from trainers.spoofing.attacks import KINDS, Clip
from trainers.spoofing.clips import (
    ClipBatches,
    LiveFaces,
    Scenes,
    build_pad_set,
    cut_close,
    cut_crops,
    cut_surroundings,
    parse_track_name,
    read_scenes,
)

CONFIG = LivenessConfig((2.7,), branches=("plain",))
CLIP = LivenessConfig((2.7,), frames=3, over_time="conv3d", branches=("plain",))
POINTS = [f"{p}_{a}" for p in ("leye", "reye", "nose", "lmouth", "rmouth") for a in "xy"]


def write_faces(folder: Path, people: int = 4, frames: int = 3, face_px: int = 60) -> Path:
    """A labels.csv of people who are each a color, in front of blobs of their own."""
    box = ["x1", "y1", "x2", "y2"]
    (folder / "images").mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "identity", "video", "width", "height", *box, *POINTS])
        for person in range(people):
            rng = np.random.default_rng(person)
            blobs = cv2.resize(rng.integers(0, 255, (6, 7, 3), np.uint8), (150, 130))
            for frame in range(frames):
                x, y = 40 + 3 * frame, 35
                image = blobs.copy()
                image[y : y + face_px, x : x + face_px] = (30 * person, 220 - 30 * person, frame)
                name = f"person{person}_v0_{frame}.png"
                cv2.imwrite(str(folder / "images" / name), image[..., ::-1])
                at = [x, y, x + face_px, y + face_px]
                rows.writerow([name, f"person{person}", 0, 150, 130, *at, *[""] * 10])
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return LiveFaces(read_dataset(write_faces(tmp_path_factory.mktemp("faces") / "set")))


def recipe_of(people: LiveFaces, config: LivenessConfig = CONFIG, **rest: object) -> ClipBatches:
    return ClipBatches(people, config, 4, tuple(KINDS), **rest)  # type: ignore[arg-type]


def test_the_number_at_the_end_of_a_name_is_no_part_of_its_track(people):
    names = {parse_track_name(e) for e in people.dataset.examples}
    assert names == {f"person{n}_v0" for n in range(4)}
    assert sorted(map(len, people.tracks())) == [3] * 4


@pytest.mark.parametrize(("frames", "shown"), [(1, [1]), (3, [1, 2, 1]), (5, [1, 2, 1, 0, 1])])
def test_a_short_track_is_walked_to_and_fro(people, frames, shown):
    clip = people.clip(1, frames, np.random.default_rng(0))
    assert [int(i[50, 60, 2]) for i in clip.images] == shown


def test_small_faces_are_no_examples(tmp_path):
    with pytest.raises(ConfigError, match="boxes of faces"):
        LiveFaces(read_dataset(write_faces(tmp_path / "small", face_px=20)))


@pytest.mark.parametrize("config", [CONFIG, CLIP])
def test_half_of_a_batch_lives_and_each_picture_is_there_twice(people, config):
    recipe = recipe_of(people, config)
    plan = list(recipe.plan(0))
    assert len(plan) == recipe.steps == 6  # twelve pictures, two a batch
    batch = recipe.make(*plan[0])
    assert batch["clips"].shape == (4, config.crops, 80, 80, 3)
    assert batch["live"].tolist() == [1, 0, 1, 0]


def test_a_batch_depends_on_seed_epoch_and_step_alone(people):
    task = next(recipe_of(people).plan(2))
    one, same = (recipe_of(people).make(*task)["clips"] for _ in range(2))
    other = recipe_of(people, seed=1).make(*task)["clips"]
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_teachers_opinion_counts_for_the_living_only(people):
    recipe = recipe_of(
        people, teacher=lambda clips: np.full(len(clips), 0.4, np.float32), trust=0.5
    )
    said = recipe.make(*next(recipe.plan(0)))["live"]
    assert said.tolist() == pytest.approx([0.7, 0, 0.7, 0])


def test_a_scene_is_a_picture_or_a_wall():
    picture = np.full((20, 30, 3), 7, np.uint8)
    rng = np.random.default_rng(0)
    assert (Scenes((picture,), walls=0)(rng) == 7).all()
    assert Scenes((picture,), walls=1)(rng).shape == Scenes()(rng).shape == (300, 420, 3)


def test_what_lies_among_scenes_and_is_not_read_is_told(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "b.heic").write_bytes(b"x")
    (note,) = read_scenes([tmp_path]).notes
    assert note.what == "1 .heic file(s) were passed over, not read here: convert it to JPEG"


def test_an_exam_is_fixed_and_a_kinds_attacks_do_not_depend_on_the_others(people):
    both = build_pad_set(people, CONFIG, ("print", "phone"), Scenes(), each=2, frames=2)
    one = build_pad_set(people, CONFIG, ("phone",), Scenes(), each=2, frames=2)
    assert both.kind == ("live",) * 4 + ("print",) * 4 + ("phone",) * 4
    assert len(set(both.track)) == 6
    assert np.array_equal(both.clips[8:], one.clips[4:])


def test_crops_come_oldest_first_each_at_every_scale(people):
    config = LivenessConfig((1.0, 2.0), frames=2, over_time="conv3d")
    clip = people.clip(0, 2, np.random.default_rng(0))
    crops = cut_crops(clip, config)
    assert crops.shape == (4, 80, 80, 3)
    assert [int(c[40, 40, 2]) for c in crops] == [0, 0, 1, 1]
    assert (crops[0][5, 5, :2] == crops[0][40, 40, :2]).all()  # the face alone
    assert not (crops[1][2, 2, :2] == crops[1][40, 40, :2]).all()  # what surrounds it too


@pytest.mark.parametrize("config", [CONFIG, LivenessConfig()])
@pytest.mark.parametrize("size_wh", [(640, 360), (120, 400), (90, 80)])
def test_what_is_cut_away_was_not_seen(config, size_wh):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    for seed in range(40):
        side = rng.uniform(30, 75, 2)
        corner = rng.uniform(-side / 4, np.array(size_wh) - side / 2)  # half outside, some of them
        clip = Clip((image,), np.float32([[*corner, *(corner + side)]]))
        cut = cut_surroundings(clip, config)
        ours, theirs = (
            cut_crops(x, config, np.random.default_rng(seed)) for x in (cut, clip)
        )  # a little off, both alike
        assert np.array_equal(ours, theirs)
    assert cut.images[0].size <= image.size


def test_little_is_left_of_a_large_picture_with_a_small_face():
    large = Clip((np.zeros((720, 1280, 3), np.uint8),), np.float32([[600, 300, 640, 350]]))
    assert cut_surroundings(large, CONFIG).images[0].shape[:2] == pytest.approx((203, 162), abs=2)


def test_pictures_stay_in_memory_as_long_as_there_is_room(people):
    one = people.clip(0, 1, np.random.default_rng(0)).images[0]
    small = LiveFaces(people.dataset, ram_bytes=2 * one.nbytes + 1)
    for _ in range(2):
        for row in range(len(people)):
            (mine,), (theirs,) = (
                p.clip(row, 1, np.random.default_rng(0)).images for p in (small, people)
            )
            assert np.array_equal(mine, theirs)
    first, again, last, last_again = (
        small.clip(row, 1, np.random.default_rng(0)).images[0] for row in (0, 0, 5, 5)
    )
    assert first is again
    assert last is not last_again


def test_a_worker_that_fails_names_the_picture(people):
    def empty(rng: np.random.Generator) -> np.ndarray:
        raise MemoryError("no room for a scene")

    recipe = recipe_of(people, scenes=empty)
    with pytest.raises(WorkerError, match=r"person\d_v0_\d.png: MemoryError: no room for a scene"):
        [recipe.make(*task) for task in recipe.plan(0)]


def test_a_broken_picture_is_named(people, tmp_path):
    folder = write_faces(tmp_path / "broken", people=1)
    broken = LiveFaces(read_dataset(folder))
    (folder / "images" / "person0_v0_0.png").write_bytes(b"no picture")
    with pytest.raises((ConfigError, ModelError), match="person0_v0_0"):
        broken.clip(0, 1, np.random.default_rng(0))


@pytest.mark.parametrize("wide", [1.1, 2.2])
def test_a_close_face_fills_the_picture_and_its_box_follows(wide):
    image = np.zeros((200, 300, 3), np.uint8)
    image[60:110, 200:240] = 255
    moved = np.roll(image, 4, axis=1)
    boxes = np.float32([[200, 60, 240, 110], [204, 60, 244, 110]])
    close = cut_close(Clip((image, moved), boxes), wide)
    assert close.images[0].shape[:2] == pytest.approx((50 * wide, 50 * wide), abs=1)
    for seen, box in zip(close.images, close.xyxy.astype(int), strict=True):
        x1, y1, x2, y2 = box
        assert (seen[y1:y2, max(x1, 0) : x2] == 255).all()


def test_a_close_face_at_the_edge_keeps_what_there_is():
    image = np.zeros((80, 100, 3), np.uint8)
    clip = Clip((image, image[:, :60]), np.float32([[-20, 40, 30, 95], [-20, 40, 30, 95]]))
    close = cut_close(clip, 1.5)
    assert {seen.shape for seen in close.images} == {close.images[0].shape}
    assert min(close.images[0].shape[:2]) >= 2
