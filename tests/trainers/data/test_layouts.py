"""Data sets as public tools write them: read whole, with their split, and nothing in silence."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError
from trainers.data.boxes_inside import require_inside
from trainers.data.check import check_path
from trainers.data.dataset import Dataset, Problem
from trainers.data.near_duplicates import split_dataset
from trainers.data.read import read_dataset, read_negatives

ROW = "0 0.4375 0.5 0.375 0.5\n"
BOX = [40, 30, 100, 90]
YAML = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\n"
XML = (
    "<annotation><filename>{name}.jpg</filename><object><name>fire</name><bndbox><xmin>40</xmin>"
    "<ymin>30</ymin><xmax>100</xmax><ymax>90</ymax></bndbox></object></annotation>"
)


def draw(path: Path) -> Path:
    """A picture of 160x120 like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(str(path).encode())
    noise = np.random.default_rng(seed).integers(60, 200, (12, 16, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(noise, (160, 120)))
    return path


def write(path: Path, content: str | bytes = ROW) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def roboflow(root: Path) -> None:
    for part, n in (("train", 3), ("valid", 2), ("test", 1)):
        for i in range(n):
            draw(root / part / "images" / f"{part}{i}_jpg.rf.0a1b.jpg")
            write(root / part / "labels" / f"{part}{i}_jpg.rf.0a1b.txt")
    write(root / "data.yaml", YAML + "names: ['fire', 'smoke']\n\nroboflow:\n  license: MIT\n")


def ultralytics(root: Path) -> None:
    for part, n in (("train", 3), ("val", 2), ("test", 1)):
        for i in range(n):
            draw(root / "images" / part / f"a{i}.jpg")
            write(root / "labels" / part / f"a{i}.txt")
    write(
        root / "data.yaml",
        "# a comment\npath: ../datasets/ultra  # elsewhere\ntrain: images/train\nval:\n"
        "  - images/val\ntest: images/test\nnames:\n  0: fire\n  1: 'smoke'\n",
    )


def roboflow_coco(root: Path) -> None:
    for part, n in (("train", 3), ("valid", 2), ("test", 1)):
        names = [f"{part}{i}.jpg" for i in range(n)]
        for name in names:
            draw(root / part / name)
        document = coco([(name, 1) for name in names])
        document["categories"] = [
            {"id": 0, "name": "fire-smoke", "supercategory": "none"},
            {"id": 1, "name": "fire", "supercategory": "fire-smoke"},
            {"id": 2, "name": "smoke", "supercategory": "fire-smoke"},
        ]
        write(root / part / "_annotations.coco.json", json.dumps(document))


def coco_original(root: Path) -> None:
    for part, n in (("train2017", 3), ("val2017", 2), ("test2017", 1)):
        names = [f"{part}{i}.jpg" for i in range(n)]
        for name in names:
            draw(root / part / name)
        document = coco([(name, 0) for name in names], ("fire", "smoke"))
        write(root / "annotations" / f"instances_{part}.json", json.dumps(document))
        write(root / "annotations" / f"captions_{part}.json", "{}")


def roboflow_voc(root: Path) -> None:
    for part, n in (("train", 3), ("valid", 2), ("test", 1)):
        for i in range(n):
            draw(root / part / f"{part}{i}.jpg")
            write(root / part / f"{part}{i}.xml", XML.format(name=f"{part}{i}"))


@pytest.mark.parametrize(
    "layout", [roboflow, ultralytics, roboflow_coco, coco_original, roboflow_voc]
)
def test_a_split_that_a_data_set_brings_along_is_kept(tmp_path: Path, layout):
    layout(tmp_path)
    dataset, report = check_path(tmp_path)
    assert report.ok, str(report)
    assert dataset.classes in (("fire", "smoke"), ("fire",))
    assert Counter(e.part for e in dataset.examples) == {"train": 3, "val": 2, "test": 1}
    assert all(np.allclose(e.xyxy, [BOX], atol=0.1) for e in dataset.examples)
    for seed in range(3):
        training, validation = split_dataset(dataset, 0.2, seed)
        assert {e.part for e in training.examples} == {"train"}
        assert {e.part for e in validation.examples} == {"val"}
        assert (len(training), len(validation)) == (3, 2)


def cvat_yolo(root: Path) -> None:
    for i in range(3):
        draw(root / "obj_train_data" / f"f{i}.jpg")
        write(root / "obj_train_data" / f"f{i}.txt")
    write(root / "obj.names", "fire\nsmoke\n")
    write(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    write(root / "train.txt", "data/obj_train_data/f0.jpg\n")


def label_studio(root: Path) -> None:
    for i in range(3):
        draw(root / "images" / f"f{i}.jpg")
        write(root / "labels" / f"f{i}.txt")
    write(root / "classes.txt", "fire\nsmoke\n")
    write(root / "notes.json", '{"categories": [{"id": 0, "name": "fire"}]}')


def label_img(root: Path) -> None:
    for i in range(3):
        draw(root / f"f{i}.jpg")
        write(root / f"f{i}.txt")
    write(root / "classes.txt", "fire\nsmoke\n")


def label_img_voc(root: Path) -> None:
    for i in range(3):
        draw(root / f"f{i}.jpg")
        write(root / f"f{i}.xml", XML.format(name=f"f{i}"))


def lists_of_another_machine(root: Path) -> None:
    for i in range(3):
        draw(root / "images" / f"f{i}.jpg")
        write(root / "labels" / f"f{i}.txt")
    write(root / "train.txt", "".join(f"/home/other/ds/images/f{i}.jpg\n" for i in range(2)))
    write(root / "val.txt", "C:\\ds\\images\\f2.jpg\n")
    write(root / "own.yml", "train: train.txt\nval: val.txt\nnames: {0: fire, 1: smoke}\n")


@pytest.mark.parametrize(
    "layout", [cvat_yolo, label_studio, label_img, label_img_voc, lists_of_another_machine]
)
def test_folders_of_public_tools_are_read(tmp_path: Path, layout):
    layout(tmp_path)
    if layout is lists_of_another_machine:
        tmp_path = tmp_path / "own.yml"
    dataset, report = check_path(tmp_path)
    assert report.ok, str(report)
    assert len(dataset) == 3
    assert all(np.allclose(e.xyxy, [BOX], atol=0.1) for e in dataset.examples)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: train\nval: val\nnames: !!python/object/apply:os.system ['id']\n", ":3: .*!!py"),
        ("train: /etc\nval: /etc\nnames: [fire]\n", "does not lie in"),
        ("train: ../../../etc\nval: val\nnames: [fire]\n", "does not lie in"),
        ("names: [" + "x, " * 1_000_000 + "]\n", "larger than 1 MiB"),
        ("names: [" + "x, " * 100_000 + "]\n", "100000 classes, at most 10000"),
        ("train: a\nnames: &a [fire, *a]\n", "expected a name or a path"),
        ("train: a\nnc: 3\nnames: [fire]\n", "nc is 3, but names has 1"),
        ("train: a\nnames:\n  0: fire\n  2: smoke\n", "map 0, 1, 2"),
        ("[" * 5000, "expected 'key: value'"),
        ("names: [fire]\n", "names no pictures"),
        (b"\xff\xfe\x00\xd8", "not UTF-8 text"),
    ],
)
def test_a_hostile_data_yaml_is_one_clear_error(tmp_path: Path, text, message):
    write(tmp_path / "data.yaml", text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_dataset(tmp_path)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_a_training_picture_that_is_held_back_too_is_told(tmp_path: Path):
    ultralytics(tmp_path)
    copy = (tmp_path / "images" / "val" / "a0.jpg").read_bytes()
    write(tmp_path / "images" / "train" / "a0.jpg", copy)
    training, _ = split_dataset(read_dataset(tmp_path), 0.2)
    assert len(training) == 3
    assert "1 training picture(s) show nearly the same" in notes_of(training)


# --- rows ----------------------------------------------------------------------------------------


def yolo(root: Path, rows: list[str | bytes], classes: str | bytes = "fire\nsmoke\n") -> Path:
    for n, row in enumerate(rows):
        draw(root / "images" / f"p{n}.jpg")
        write(root / "labels" / f"p{n}.txt", row)
    write(root / "classes.txt", classes)
    return root


def corners(k: int) -> str:
    angle = 2 * np.pi * np.arange(k) / k
    points = np.stack([0.4375 + 0.1875 * np.cos(angle), 0.5 + 0.25 * np.sin(angle)], 1)
    return "0 " + " ".join(f"{v:.6f}" for v in points.ravel()) + "\n"


def notes_of(dataset: Dataset) -> str:
    return "\n".join(map(str, dataset.notes))


def test_polygons_and_oriented_boxes_become_their_bounding_boxes_and_are_counted(tmp_path: Path):
    rows = [corners(k) for k in (3, 4, 7, 8, 9)]
    rows.append("0 0.25 0.25 0.625 0.25 0.625 0.75 0.25 0.75\n")
    dataset = read_dataset(yolo(tmp_path, rows))
    assert "6 polygon(s) or oriented box(es)" in notes_of(dataset)
    for example in dataset.examples:
        assert np.abs(example.xyxy - BOX).max() < 17, example.name  # a triangle is narrower
        assert np.isnan(example.landmarks).all()
    np.testing.assert_allclose(dataset.examples[3].xyxy, [BOX], atol=0.1)


def test_a_face_with_five_points_in_its_box_stays_a_face(tmp_path: Path):
    face = "0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.4 0.5 0.5 0.42 0.6 0.58 0.6\n"
    dataset = read_dataset(yolo(tmp_path, [face, corners(7)]))
    first, second = dataset.examples
    assert np.isfinite(first.landmarks).all()
    assert np.isnan(second.landmarks).all()
    assert "1 polygon(s)" in notes_of(dataset)


@pytest.mark.parametrize(
    "row",
    [
        b"\xef\xbb\xbf" + ROW.replace("\n", "\r\n").encode(),
        ROW.encode("utf-16"),
        ROW.replace(" ", ",").encode(),
    ],
    ids=["utf-8 with a mark", "utf-16", "commas"],
)
def test_labels_that_windows_wrote_are_read(tmp_path: Path, row):
    dataset = read_dataset(yolo(tmp_path, [row], b"\xef\xbb\xbffire\r\nsmoke\r\n"))
    assert dataset.classes == ("fire", "smoke")
    np.testing.assert_allclose(dataset.examples[0].xyxy, [BOX], atol=0.1)


@pytest.mark.parametrize("names", ["fire\nfire\n", "", "fi\x1b[2Jre\n"])
def test_class_names_are_checked(tmp_path: Path, names):
    with pytest.raises(ConfigError, match=r"classes\.txt: (expected different|class 0 must)"):
        read_dataset(yolo(tmp_path, [ROW], names))


# --- COCO ----------------------------------------------------------------------------------------


def coco(images: list[tuple[str, int]], classes: tuple[str, ...] = ("fire",)) -> dict:
    return {
        "images": [
            {"id": n, "file_name": name, "width": 160, "height": 120}
            for n, (name, _) in enumerate(images)
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": c, "bbox": [40, 30, 60, 60], "iscrowd": 0}
            for n, (_, c) in enumerate(images)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(classes)],
    }


def read_document(root: Path, document: dict, **changes) -> Dataset:
    for name in ("w.jpg", "x.jpg", "y.jpg"):
        draw(root / "images" / name)
    write(root / "a.json", json.dumps(document | changes).encode("utf-8-sig"))
    return read_dataset(root)


def test_pictures_are_found_by_the_paths_of_other_machines(tmp_path: Path):
    names = ["C:\\Users\\me\\images\\w.jpg", "/home/other/ds/images/x.jpg", "images/y.jpg"]
    dataset = read_document(tmp_path, coco([(name, 0) for name in names]))
    assert [e.path.name for e in dataset.examples] == ["w.jpg", "x.jpg", "y.jpg"]
    assert all(e.path.is_file() for e in dataset.examples)


def test_categories_of_one_name_are_one_class_and_told(tmp_path: Path):
    document = coco([("w.jpg", 0), ("x.jpg", 1), ("y.jpg", 1)], ("fire", "fire"))
    dataset = read_document(tmp_path, document)
    assert dataset.classes == ("fire",)
    assert sum(len(e) for e in dataset.examples) == 3
    assert "several categories are called 'fire'" in notes_of(dataset)


def test_ids_as_text_missing_sizes_and_polygons_are_read(tmp_path: Path):
    document = coco([("w.jpg", 0), ("x.jpg", 0), ("y.jpg", 0)])
    document["images"][0] |= {"id": "0", "width": "160"}
    document["annotations"][0] |= {"category_id": "0", "bbox": ["40", 30, 60, 60]}
    del document["images"][1]["width"]
    document["annotations"][2] |= {"bbox": [], "segmentation": [[40, 30, 100, 30, 100, 90]]}
    dataset = read_document(tmp_path, document)
    assert [e.xyxy.tolist() for e in dataset.examples] == [[BOX]] * 3
    assert [e.size_wh for e in dataset.examples] == [(160, 120)] * 3
    assert "1 polygon(s)" in notes_of(dataset)


def test_pictures_that_no_label_names_are_told(tmp_path: Path):
    dataset = read_document(tmp_path, coco([("w.jpg", 0)]))
    assert "2 picture(s) are not in this file: x.jpg, y.jpg" in notes_of(dataset)


# --- nothing in silence --------------------------------------------------------------------------


def test_every_file_that_is_not_read_is_counted_with_the_reason(tmp_path: Path):
    yolo(tmp_path, [ROW])
    for suffix in (".tif", ".jfif", ".avif", ".HEIC"):
        path = draw(tmp_path / "images" / "q.png").rename(tmp_path / "images" / f"q{suffix}")
        write(tmp_path / "labels" / f"{path.stem}.txt")
    write(tmp_path / "labels" / "z.txt")
    write(tmp_path / "images" / "._p0.jpg", b"\0mac")
    write(tmp_path / "images" / "Thumbs.db", b"x")
    dataset, report = check_path(tmp_path)
    assert [e.path.name for e in dataset.examples] == ["p0.jpg", "q.avif", "q.jfif", "q.tif"]
    text = str(report)
    assert not report.ok
    assert "1 .heic file(s) were passed over, not read here: convert it to JPEG" in text
    assert "1 label(s) have no picture that can be read: z.txt" in text


@pytest.mark.parametrize("shape", [(120, 160), (120, 160, 3)])
def test_a_picture_of_16_bits_that_is_read_nearly_black_is_told(tmp_path: Path, shape):
    yolo(tmp_path, [ROW])
    deep = np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / "images" / "p0.png"), deep)
    (tmp_path / "images" / "p0.jpg").unlink()
    _, report = check_path(tmp_path)
    assert "This picture of 16 bits uses 12 of them and is read nearly black" in str(report)


def test_labels_that_are_nearly_all_outside_are_refused(tmp_path: Path):
    dataset = read_dataset(yolo(tmp_path, ["0 70 60 60 60\n", "0 43.75 50 37.5 50\n"]))
    with pytest.raises(ConfigError, match=r"2 of 2 labels lie outside.*pixels or percent"):
        require_inside(dataset)


def test_labels_that_are_lost_are_told(tmp_path: Path):
    dataset = read_dataset(yolo(tmp_path, [ROW, ROW, "0 1.2 0.5 0.1 0.1\n"]))
    (note,) = require_inside(dataset)
    assert "1 of 3 labels lie outside" in note.what


def test_notes_are_no_fault(tmp_path: Path):
    problems: list[Problem] = []
    yolo(tmp_path, [ROW, ROW])
    (tmp_path / "images" / "p1.jpg").write_bytes((tmp_path / "images" / "p0.jpg").read_bytes())
    assert not problems
    _, report = check_path(tmp_path)
    assert report.ok
    assert {"smoke" in str(n) or "shows the same" in str(n) for n in report.notes} == {True}


def test_the_image_sets_of_pascal_voc_are_its_split(tmp_path: Path):
    for i in range(3):
        draw(tmp_path / "JPEGImages" / f"f{i}.jpg")
        write(tmp_path / "Annotations" / f"f{i}.xml", XML.format(name=f"f{i}"))
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "f0\nf1\n")
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "f2\n")
    assert [e.part for e in read_dataset(tmp_path).examples] == ["train", "train", "val"]


def test_keypoints_of_five_are_a_face_and_others_are_left_out_and_told(tmp_path: Path):
    five = " ".join(f"{x} {y} 2" for x, y in ((0.4, 0.4), (0.5, 0.4), (0.45, 0.5), (0.4, 0.6)))
    ultralytics(tmp_path)
    write(tmp_path / "data.yaml", (tmp_path / "data.yaml").read_text() + "kpt_shape: [5, 3]\n")
    write(tmp_path / "labels" / "train" / "a0.txt", f"{ROW.strip()} {five} 0 0 0\n")
    write(tmp_path / "labels" / "train" / "a1.txt", ROW.strip() + " 0.4 0.4 2" * 17 + "\n")
    dataset = read_dataset(tmp_path)
    first, second = (e for e in dataset.examples if e.name in ("train/a0", "train/a1"))
    assert np.isfinite(first.landmarks).all(2).tolist() == [[True] * 4 + [False]]
    np.testing.assert_allclose(second.xyxy, [BOX], atol=0.1)
    assert "the keypoints of 1 object(s) were left out" in notes_of(dataset)


def whats(dataset: Dataset) -> list[str]:
    return [note.what for note in dataset.notes]


def test_negatives_of_a_folder_say_what_was_passed_over(tmp_path):
    draw(tmp_path / "a.jpg")
    write(tmp_path / "b.heic", b"x")
    read = read_negatives([tmp_path])
    assert len(read) == 1
    assert whats(read) == ["1 .heic file(s) were passed over, not read here: convert it to JPEG"]


@pytest.mark.parametrize("label", ["person", "face"])
def test_negatives_of_a_data_set_are_its_pictures_without_people(tmp_path, label):
    for name in ("empty", "shown"):
        draw(tmp_path / "images" / f"{name}.jpg")
    write(tmp_path / "labels" / "shown.txt")
    write(tmp_path / "labels" / "empty.txt", "")
    write(tmp_path / "classes.txt", f"{label}\n")
    read = read_negatives([tmp_path])
    assert [example.path.stem for example in read.examples] == ["empty"]
    assert "1 picture(s) with a person or face are left out" in whats(read)
    write(tmp_path / "labels" / "empty.txt")
    with pytest.raises(ConfigError, match="no picture without a person; 2 picture"):
        read_negatives([tmp_path])  # never all of them as pictures without a face


def test_negatives_whose_labels_cannot_be_read_are_told(tmp_path):
    draw(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.txt", "0 nonsense\n")
    write(tmp_path / "classes.txt", "person\n")
    read = read_negatives([tmp_path])
    assert len(read) == 1
    assert "labels cannot be read" in whats(read)[-1]
    assert "all 1 pictures count as faceless" in whats(read)[-1]


def test_negatives_without_a_picture_are_refused_with_what_lies_there(tmp_path):
    write(tmp_path / "a.heic", b"x")
    with pytest.raises(ConfigError, match=r"no picture.*; 1 \.heic file\(s\) were passed over"):
        read_negatives([tmp_path])
