"""Samples of classes from folders, tables and boxes, and what cannot be learned."""

import csv

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError
from tests.support.drawn_data import shared
from trainers.data.class_data import (
    encode,
    list_crops,
    read_class_data,
    require_classes,
    take_classes,
)


def write(path, size_wh=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (size_wh[1], size_wh[0], 3))
    assert cv2.imwrite(str(path), pixels.astype(np.uint8))


@pytest.fixture
def folders(tmp_path):
    for name in ("open/1.png", "open/2.png", "closed/night/1.png", "closed/night/2.png"):
        write(tmp_path / "gate" / name)
    return tmp_path / "gate"


def test_each_folder_is_a_class_and_folders_within_are_groups(folders):
    found = require_classes(read_class_data(folders))
    assert found.classes == ("closed", "open")
    assert [len(crop.class_ids) for crop in list_crops(found)] == [1] * 4
    assert [e.group for e in found.examples] == [
        "closed/night", "closed/night", "open/1.png", "open/2.png"
    ]  # fmt: skip
    assert list_crops(found)[0].xyxy.tolist() == [0, 0, 40, 30]


def test_each_box_is_a_sample():
    found = read_class_data(shared("coco_dev")).select(("person", "car"))
    assert len(list_crops(found.where(lambda e: len(e) > 0))) == 403


def test_a_table_names_parts_groups_and_several_labels(tmp_path):
    write(tmp_path / "a.png")
    write(tmp_path / "b.png")
    (tmp_path / "t.csv").write_text(
        "file,class,x1,y1,x2,y2,group\n"
        "a.png,vest; helmet,1,2,11,12,ann\na.png,vest,20,2,30,12,ann\nb.png,,,,,,bob\n"
    )
    found = read_class_data(tmp_path / "t.csv")
    assert found.classes == ("helmet", "vest")
    crops = list_crops(found)
    assert [crop.class_ids for crop in crops] == [(0, 1), (1,), ()]
    assert crops[2].xyxy.tolist() == [0, 0, 40, 30]
    assert [e.group for e in found.examples] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,kind\n", "no column class"),
        ("file,class\ngone.png,a\n", "no picture 'gone.png'"),
        ("file,class,x1,y1,x2,y2\na.png,a,5,5,1,9\n", "the box 5, 5, 1, 9 is none"),
        ("file,class,x1,y1,x2,y2\na.png,a,5,5,nan,9\n", "is none of this picture of 40x30"),
        ("file,class,x1,y1,x2,y2\na.png,a,5,5,,9\n", "is none of this picture"),
        ("file,class,x1,y1,x2,y2\na.png,a,50,5,60,9\n", "is none of this picture"),
        ("file,class,x1,y1,x2,y2\na.png,a,1,1,5,9\na.png,,6,6,9,9\n", "without a class"),
        ("file,class,part\na.png,a,some\n", "the part is some: expected train, val or test"),
    ],
)
def test_a_mistake_in_a_table_is_said_with_its_line(tmp_path, text, expected):
    write(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        read_class_data(tmp_path / "t.csv")
    assert caught.value.line == 1 + (text.count("\n") > 1) * (text.count("\n") - 1)


def test_a_table_that_is_none_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_class_data(tmp_path / "t.csv")


def test_what_cannot_be_learned_is_said_with_the_remedy(folders, tmp_path):
    (folders / "ajar").mkdir()
    with pytest.raises(ConfigError, match="no picture: add some or remove it"):
        read_class_data(folders)
    write(folders / "ajar" / "1.png")
    with pytest.raises(ConfigError, match=r"ajar: fewer than 2 samples .* leave the class out"):
        require_classes(read_class_data(folders))
    write(folders / "ajar" / "2.png")
    write(folders / "Open" / "1.png")
    write(folders / "Open" / "2.png")
    with pytest.raises(ConfigError, match=r"differ only by case \(Open, open\)"):
        require_classes(read_class_data(folders))
    write(folders / "loose.png")
    with pytest.raises(ConfigError, match=r"1 picture\(s\) lie beside .* \(loose.png\)"):
        read_class_data(folders)
    write(tmp_path / "one" / "only" / "1.png")
    with pytest.raises(ConfigError, match="There is 1 class"):
        require_classes(read_class_data(tmp_path / "one"))
    with pytest.raises(ConfigError, match="expected a folder with pictures for each class"):
        read_class_data(folders / "open")


def test_ten_thousand_classes_are_refused(folders, tmp_path):
    for n in range(10_000):
        (tmp_path / "people" / str(n)).mkdir(parents=True)
    with pytest.raises(ConfigError, match="There are 10000 classes, 1000 may be"):
        read_class_data(tmp_path / "people")
    many = read_class_data(folders)
    wide = type(many)(tuple(f"c{n}" for n in range(10_000)), many.examples)
    with pytest.raises(
        ConfigError, match=r"10000 classes, 1000 may be: is each folder, or each value in "
    ):
        require_classes(wide)


def test_folders_of_classes_beside_labels_of_boxes_are_refused(folders):
    (folders / "images").mkdir()
    (folders / "labels").mkdir()
    (folders / "classes.txt").write_text("gate\n")
    write(folders / "images" / "a.png")
    (folders / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(ConfigError, match=r"does not label \(closed, open\): .* name both"):
        read_class_data(folders)
    (folders / "open").rename(folders.parent / "open")  # one folder may be anything
    assert read_class_data(folders).classes == ("gate",)


def test_boxes_and_folders_that_lie_apart_are_united_by_name(folders, tmp_path):
    write(tmp_path / "b" / "images" / "a.png")
    (tmp_path / "b" / "labels").mkdir()
    (tmp_path / "b" / "classes.txt").write_text("open\najar\n")
    (tmp_path / "b" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.2 0.2 0.2 0.2\n")
    whole = read_class_data(folders) + read_class_data(tmp_path / "b")
    assert whole.classes == ("closed", "open", "ajar")
    assert encode(list_crops(whole), 3).sum(0).tolist() == [2, 3, 1]


def test_a_table_may_bring_its_own_split(tmp_path):
    write(tmp_path / "a.png")
    for name in "bcd":
        write(tmp_path / f"{name}.png", (44, 30))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("file", "class", "part"), ("a.png", "x", "train"), ("b.png", "y", "val"),
             ("c.png", "y", "test"), ("d.png", "x", "train")]
        )  # fmt: skip
    training, validation = read_class_data(tmp_path / "t.csv").split(0.5)
    assert [e.name for e in training.examples] == ["a.png", "d.png"]
    assert [e.name for e in validation.examples] == ["b.png"]


def test_a_model_is_judged_on_the_classes_that_it_knows(folders):
    dataset = read_class_data(folders)
    judged = take_classes(dataset, ("open", "broken"), independent=False)
    assert judged.classes == ("open", "broken")
    assert encode(list_crops(judged), 2).tolist() == [[1, 0], [1, 0]]
    several = take_classes(dataset, ("open", "broken"), independent=True)
    assert encode(list_crops(several), 2).sum() == 2
    assert len(list_crops(several)) == 4
    with pytest.raises(ConfigError, match="knows ajar, the data closed, open: they have no class"):
        take_classes(dataset, ("ajar",), independent=False)
