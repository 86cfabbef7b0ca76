"""Where restyled pictures go: groups and labels stay, and mistakes are told before hours pass."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ConfigError
from edge.types import RgbPicture
from tests.support.drawn_data import face, write_example
from tests.trainers.data.test_layouts import (
    cvat_yolo,
    draw,
    label_img_voc,
    label_studio,
    roboflow,
    roboflow_coco,
    roboflow_voc,
    ultralytics,
    write,
)
from trainers.data.check import check_path
from trainers.data.class_data import read_class_data
from trainers.data.dataset import Dataset
from trainers.data.read import read_dataset
from trainers.restyle.folder import (
    find_styles,
    finish,
    make_plan,
    read_day,
    require_free,
    write_picture,
)


def restyle_nothing(dataset: Dataset, out: Path, styles: tuple[Path, ...] = ()) -> Dataset:
    """Write the pictures as they are, and read what was written."""
    plan = make_plan(dataset, styles, out)
    for index, example in enumerate(plan.examples):
        write_picture(plan, index, RgbPicture(example.load().image))
    finish(plan)
    assert check_path(out)[1].ok
    return read_dataset(out)


def by_group(dataset: Dataset) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for example in dataset.examples:
        key = example.group, str(np.round(example.xyxy, 2).tolist() + example.class_id.tolist())
        counts[key] = counts.get(key, 0) + 1
    return counts


def videos(root: Path) -> None:
    for video in ("day/gate", "day/yard"):
        for n in range(2):
            draw(root / "images" / video / f"{n}.jpg")
            write(root / "labels" / video / f"{n}.txt", f"{n} 0.4375 0.5 0.375 0.5\n")
    write(root / "classes.txt", "it's: a 'fire' # really\nsmoke\n")


def coco_groups(root: Path) -> None:
    images = []
    for n, (name, group) in enumerate((("a/1.jpg", "g"), ("b/1.jpg", "g"), ("c.jpg", None))):
        draw(root / "images" / name)
        images.append({"id": n, "file_name": name, "width": 160, "height": 120, "group": group})
    boxes = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [40, 30, 60, 60]},
             {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0.25, 3.5, 20, 10]}]  # fmt: skip
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "fire"}]}
    write(root / "instances.json", json.dumps(document))


LAYOUTS = [
    cvat_yolo, label_img_voc, label_studio, roboflow, roboflow_coco, roboflow_voc, ultralytics,
    videos, coco_groups,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_groups_and_labels_of_every_layout_stay(layout, tmp_path):
    layout(tmp_path / "data")
    day = read_day(tmp_path / "data")
    night = restyle_nothing(day, tmp_path / "night")
    assert night.classes == day.classes
    assert by_group(night) == by_group(day)
    assert {e.part for e in night.examples} == {"train"}
    assert not {e.part for e in day.examples} & {"val", "test"}


def test_landmarks_weights_and_pictures_without_objects_stay(tmp_path):
    one = write_example(tmp_path / "day", "a", face(1), "a")
    one = replace(one, weight=np.float32([0.25]))
    two = write_example(tmp_path / "day", "b", face(2)[:0], "b")
    night = restyle_nothing(Dataset(("face",), (one, two)), tmp_path / "night")
    with_face, empty = night.examples
    np.testing.assert_allclose(with_face.xyxy, one.xyxy, atol=1e-3)
    np.testing.assert_allclose(with_face.landmarks, one.landmarks, atol=1e-3)
    assert with_face.weight.tolist() == [0.25]
    assert len(empty) == 0
    assert (tmp_path / "night" / "labels" / "b.txt").read_text() == ""


def test_class_folders_become_whole_pictures_of_the_same_groups(tmp_path):
    for name in ("on/gate/1", "on/gate/2", "on/3", "off/4"):
        draw(tmp_path / "day" / f"{name}.jpg")
    day = read_day(tmp_path / "day")
    restyle_nothing(day, tmp_path / "night")
    night = read_class_data(tmp_path / "night")
    assert sorted(e.group for e in night.examples) == sorted(e.group for e in day.examples)
    assert night.classes == ("off", "on")
    assert all(np.allclose(e.xyxy, [[0, 0, 160, 120]], atol=1e-3) for e in night.examples)


def test_a_table_of_classes_is_read(tmp_path):
    for name in ("a", "b"):
        draw(tmp_path / "day" / f"{name}.jpg")
    write(tmp_path / "day" / "gates.csv", "file,class,group\na.jpg,open,g\nb.jpg,shut,g\n")
    day = read_day(tmp_path / "day" / "gates.csv")
    assert day.classes == ("open", "shut")
    assert {e.group for e in restyle_nothing(day, tmp_path / "night").examples} == {"g"}


def test_what_training_holds_out_is_left_out(tmp_path):
    videos(tmp_path / "data")
    every = read_dataset(tmp_path / "data")
    training = read_day(tmp_path / "data", 0.5)
    assert 0 < len(training) < len(every)
    night = restyle_nothing(training, tmp_path / "night")
    both = every + night
    learned, held = both.split(0.5)
    assert all("night" not in str(e.path) for e in held.examples)
    assert len(learned) == 2 * len(training)


def test_an_interrupted_run_leaves_no_data_set(tmp_path):
    videos(tmp_path / "data")
    plan = make_plan(read_day(tmp_path / "data"), (), tmp_path / "night")
    write_picture(plan, 0, RgbPicture(plan.examples[0].load().image))
    with pytest.raises(ConfigError, match="is not a data set"):
        read_dataset(tmp_path / "night")


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("style", "This exists already: choose a new folder"),
        ("data/night", "--out lies inside the data"),
        ("data/x/../night", "--out lies inside the data"),
        ("link/night", "--out lies inside the data"),
        ("style/night", "--out lies inside the pictures of the style"),
    ],
)
def test_an_output_in_the_way_is_refused(out, words, tmp_path):
    for name in ("data", "style"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(ConfigError, match=words):
        require_free(tmp_path / "data", tmp_path / "style", tmp_path / out)
    require_free(tmp_path / "data", tmp_path / "style", tmp_path / "night")


def test_an_output_beside_the_table_of_the_data_is_among_them(tmp_path):
    write(tmp_path / "data" / "labels.csv", "")
    with pytest.raises(ConfigError, match="--out lies inside the data"):
        require_free(tmp_path / "data" / "labels.csv", tmp_path / "s", tmp_path / "data" / "n")


def test_a_style_without_pictures_is_refused(tmp_path):
    write(tmp_path / "style" / "a.heic", b"x")
    with pytest.raises(ConfigError, match=r"holds no picture: put some there; 1 \.heic file"):
        find_styles(tmp_path / "style")
    with pytest.raises(ConfigError, match="must be a folder of pictures"):
        find_styles(draw(tmp_path / "a.jpg"))
    draw(tmp_path / "style" / "deep" / "b.jpg")
    assert len(find_styles(tmp_path / "style")) == 1


def test_every_picture_that_cannot_be_read_is_named_at_once(tmp_path):
    videos(tmp_path / "data")
    day = read_day(tmp_path / "data")
    broken = draw(tmp_path / "style" / "b.jpg")
    broken.write_bytes(b"no picture")
    day.examples[1].path.write_bytes(b"neither")
    with pytest.raises(ConfigError) as caught:
        make_plan(day, (broken,), tmp_path / "night")
    told = str(caught.value)
    assert str(day.examples[1].path) in told
    assert str(broken) in told
    with pytest.raises(ConfigError, match="6 pictures cannot be read, among them"):
        make_plan(day, (broken,) * 5, tmp_path / "night")
    assert not (tmp_path / "night").exists()


@pytest.mark.parametrize("group", ["../x", "/x", "a/../b", "images", "x\0", ".git", "", "a\\b"])
def test_a_group_that_is_no_folder_is_refused(group, tmp_path):
    example = replace(write_example(tmp_path, "a", face(1)), group=group)
    with pytest.raises(ConfigError, match="cannot be the name of a folder: rename it"):
        make_plan(Dataset(("face",), (example,)), (), tmp_path / "night")


def test_two_pictures_in_one_place_are_refused(tmp_path):
    first = write_example(tmp_path, "a", face(1), "g")
    with pytest.raises(ConfigError, match="would be written to the same file, images/g/a"):
        make_plan(Dataset(("face",), (first, replace(first))), (), tmp_path / "night")
