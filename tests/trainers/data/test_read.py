"""Readers: the same labels from every format; bad input named with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ConfigError
from tests.support.drawn_data import drawn_dataset, face, shared, write_example
from trainers.data.coco import read_coco, to_coco
from trainers.data.dataset import Dataset, Example, Problem
from trainers.data.face_csv import read_face_csv
from trainers.data.read import read_dataset
from trainers.data.voc import read_voc
from trainers.data.yolo import format_rows, read_yolo


def same_labels(a: Dataset, b: Dataset) -> None:
    assert a.classes == b.classes
    assert [e.name for e in a.examples] == [e.name for e in b.examples]
    for x, y in zip(a.examples, b.examples, strict=True):
        assert x.size_wh == y.size_wh
        np.testing.assert_allclose(x.xyxy, y.xyxy, atol=1e-3)
        np.testing.assert_array_equal(x.class_id, y.class_id)
        np.testing.assert_allclose(x.landmarks, y.landmarks, atol=1e-3)
        np.testing.assert_allclose(x.weight, y.weight, atol=1e-4)


def write_yolo(folder: Path, dataset: Dataset) -> None:
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(dataset.classes))
    for e in dataset.examples:
        (folder / "labels" / f"{e.name}.txt").write_text(format_rows(e))


def test_yolo_and_coco_give_back_what_was_written(tmp_path: Path):
    dataset = drawn_dataset(tmp_path / "images", 4)
    write_yolo(tmp_path, dataset)
    same_labels(read_dataset(tmp_path), dataset)
    document = tmp_path / "all.json"
    document.write_text(json.dumps(to_coco(dataset, tmp_path / "images")))
    same_labels(read_dataset(document), dataset)


def test_soft_labels_and_unknown_points_survive_the_text():
    points = np.full((2, 5, 2), np.nan, np.float32)
    points[0, 2] = [50, 60]
    example = Example(
        Path("a.jpg"), (100, 100), np.float32([[10, 10, 90, 90], [0, 0, 20, 20]]),
        np.int32([0, 1]), points, np.float32([0.25, 1]), "a", "a", Path("a.txt"),
    )  # fmt: skip
    first, second = format_rows(example).splitlines()
    assert first.split()[-1] == "0.2500"
    assert first.split()[5:9] == ["nan"] * 4
    assert len(second.split()) == 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2", "got 4 fields"),
        ("7 0.5 0.5 0.2 0.2", "class 7 does not exist: classes.txt names 0 to 0"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 does not exist"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 does not exist"),
        ("a 0.5 0.5 0.2 0.2", "expected numbers"),
        ("0 0.5 0.5 0 0.2", "must be positive"),
        ("0 nan 0.5 0.2 0.2", "must be positive and finite"),
        ("0 0.5 0.5 0.2 0.2 1.5", "weight must be in"),
    ],
)
def test_a_wrong_yolo_line_is_named_with_file_and_line(tmp_path: Path, line, message):
    write_yolo(tmp_path, drawn_dataset(tmp_path / "images", 1))
    label_file = tmp_path / "labels" / "p000.txt"
    label_file.write_text(f"0 0.5 0.5 0.2 0.2\n\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        read_yolo(tmp_path)
    assert str(caught.value).startswith(f"{label_file}:3: ")
    assert message in str(caught.value)


def test_problems_are_collected_and_the_rest_is_read(tmp_path: Path):
    write_yolo(tmp_path, drawn_dataset(tmp_path / "images", 3))
    (tmp_path / "labels" / "p000.txt").write_text("0 0.5 0.5 0.2 0.2\n9 0.5 0.5 0.2 0.2\n")
    (tmp_path / "labels" / "p001.txt").unlink()
    (tmp_path / "images" / "p002.png").write_bytes(b"no picture")
    problems: list[Problem] = []
    dataset = read_yolo(tmp_path, problems.append)
    assert [p.file.name for p in problems] == ["p000.txt", "p001.txt", "p002.png"]
    assert [(e.name, len(e)) for e in dataset.examples] == [("p000", 1), ("p001", 0)]


VOC = """<annotation>
<filename>p000.png</filename>
<object>
  <name>{name}</name>
  <bndbox><xmin>{x1}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>
</object>
</annotation>
"""


def voc_folder(folder: Path, text: str) -> Path:
    write_example(folder / "images", "p000", face(0))
    (folder / "annotations").mkdir()
    (folder / "annotations" / "p000.xml").write_text(text)
    return folder


def test_voc_boxes_are_read_in_pixels(tmp_path: Path):
    (example,) = read_dataset(voc_folder(tmp_path, VOC.format(name="cat", x1=1))).examples
    assert example.xyxy.tolist() == [[1, 2, 30, 40]]
    assert example.size_wh == (160, 120)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (VOC.format(name="dog", x1=1), 3, "class 'dog' does not exist: the classes are cat"),
        (VOC.format(name="", x1=1), 3, "lacks <name>"),
        (VOC.format(name="cat", x1="one"), 3, "four numbers"),
        (VOC.format(name="cat", x1=99), 3, "xmin < xmax"),
        (VOC.format(name="cat", x1=1).replace("</object>", ""), 7, "broken XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', 0, "DOCTYPE"),
    ],
)
def test_a_wrong_annotation_is_named_with_file_and_line(tmp_path: Path, text, line, message):
    folder = voc_folder(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_voc(folder, classes=["cat"])
    where = f"{folder / 'annotations' / 'p000.xml'}" + (f":{line}: " if line else ": ")
    assert str(caught.value).startswith(where)
    assert message in str(caught.value)


def test_an_annotation_without_its_picture_is_a_problem(tmp_path: Path):
    folder = voc_folder(tmp_path, VOC.format(name="cat", x1=1))
    (folder / "images" / "p000.png").unlink()
    with pytest.raises(ConfigError, match="missing or broken"):
        read_voc(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 5}, "category_id 5 does not exist"),
        ({"image_id": 5}, "image_id 5 does not exist"),
        ({"bbox": [1, 2, 3]}, "annotations[0] (id 1)"),
        ({"bbox": [1, 2, 0, 3]}, "positive w and h"),
        ({"bbox": None}, "annotations[0] (id 1)"),
        ({"score": 2}, "score must be in"),
    ],
)
def test_a_wrong_coco_annotation_is_named(tmp_path: Path, change, message):
    document = to_coco(drawn_dataset(tmp_path / "images", 1))
    document["annotations"][0] |= change
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: annotations[0] (id 1): ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n\n oops", r"x\.json:3: not JSON"),
        ("[]", "not COCO"),
        ('{"images": []}', "must be a list"),
    ],
)
def test_a_file_that_is_not_coco_is_refused(tmp_path: Path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_coco(tmp_path / "x.json")


def test_crowds_are_left_out(tmp_path: Path):
    document = to_coco(drawn_dataset(tmp_path / "images", 1))
    document["annotations"][0]["iscrowd"] = 1
    (tmp_path / "x.json").write_text(json.dumps(document))
    assert len(read_coco(tmp_path / "x.json").examples[0]) == 0


HEAD = (
    "file,identity,width,height,x1,y1,x2,y2,leye_x,leye_y,reye_x,reye_y,nose_x,nose_y,"
    "lmouth_x,lmouth_y,rmouth_x,rmouth_y\n"
)


def test_faces_are_grouped_by_identity_and_rows_without_a_box_are_left_out(tmp_path: Path):
    path = tmp_path / "labels.csv"
    path.write_text(
        HEAD + "Ann/v0_1.jpg,Ann,100,90,1,2,30,40,5,6,,,7,8,9,10,11,12\n"
        "Bob/v0_1.jpg,Bob,100,90,,,,,,,,,,,,,,\n"
    )
    (example,) = read_dataset(tmp_path).examples
    assert (example.group, example.name, example.size_wh) == ("Ann", "Ann/v0_1", (100, 90))
    assert np.isnan(example.landmarks[0]).any(1).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,identity\n", "labels.csv:1: lacks column"),
        (HEAD + "a.jpg,Ann,100,90,30,2,1,40,,,,,,,,,,\n", "labels.csv:2: a box must have x1 < x2"),
        (HEAD + "a.jpg,Ann,100,90,a,2,1,40,,,,,,,,,,\n", "labels.csv:2: could not convert"),
        (HEAD + "a.jpg,,100,90,1,2,9,40,,,,,,,,,,\n", "labels.csv:2: identity is empty"),
        (HEAD + "a.jpg,Ann,100,90,1\n", "labels.csv:2: "),
    ],
)
def test_a_wrong_row_of_faces_is_named_with_file_and_line(tmp_path: Path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_face_csv(tmp_path / "labels.csv")


def test_a_folder_of_no_known_format_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="is not a data set: expected COCO"):
        read_dataset(tmp_path)


def test_a_picture_lying_on_its_side_is_labelled_upright(tmp_path: Path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save(tmp_path / "images/a.jpg", exif=exif)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "classes.txt").write_text("a\n")
    (example,) = read_yolo(tmp_path).examples
    assert example.size_wh == (40, 80)
    assert example.load().size_wh == (40, 80)


@pytest.mark.parametrize(
    ("name", "pictures", "objects", "classes"),
    [("coco_dev", 178, 1394, 80), ("raccoon", 160, 173, 1), ("ytf_dev", 3059, 3059, 1)],
)
def test_shared_data_is_read_whole(name, pictures, objects, classes):
    dataset = read_dataset(shared(name))
    assert (len(dataset), sum(map(len, dataset.examples))) == (pictures, objects)
    assert len(dataset.classes) == classes
    sample = dataset.examples[-1].load()
    assert (sample.xyxy >= -1).all()
    assert (sample.xyxy <= np.array([*sample.size_wh, *sample.size_wh]) + 1).all()
