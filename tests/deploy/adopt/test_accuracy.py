"""Adopted models on real pictures: as good as a plain reference, and good at all."""

import contextlib
import csv
import io
import json

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from pycocotools.coco import COCO as Coco
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from deploy.adopt.adopt import Adoption
from deploy.graph.nms import Nms
from edge.cli import app
from edge.vision import boxes
from trainers.data.coco import COCO

SCORE, IOU, ROWS, CANDIDATES = 0.01, 0.65, 100, 1000
POINTS = ("leye", "reye", "nose", "lmouth", "rmouth")


def coco_labels(folder):
    """YOLO text -> pycocotools' ground truth and the picture paths by id."""
    images, annotations, paths = [], [], {}
    for number, path in enumerate(sorted((folder / "images").iterdir()), start=1):
        height, width = cv2.imread(str(path)).shape[:2]
        paths[number] = path
        images.append({"id": number, "width": width, "height": height})
        for line in (folder / "labels" / f"{path.stem}.txt").read_text().splitlines():
            class_id, cx, cy, w, h = map(float, line.split())
            box = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": int(class_id),
                    "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
                }
            )  # fmt: skip
    truth = Coco()
    categories = [{"id": n, "name": name} for n, name in enumerate(COCO)]
    truth.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth, paths


def average_precision(truth, found):
    """AP of 0..100 at IoU .50:.95; ``found`` are pycocotools' result rows."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * evaluation.stats[0]


def result(image_id, class_id, score, xyxy):
    x1, y1, x2, y2 = map(float, xyxy)
    box = [x1, y1, x2 - x1, y2 - y1]
    return {"image_id": image_id, "category_id": class_id, "score": float(score), "bbox": box}


class Reference:
    """YOLOX-nano the plain way: letterbox, ONNX Runtime, decode, brute-force NMS."""

    def __init__(self, model):
        self.session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        cells = []
        for stride in (8, 16, 32):
            side = 416 // stride
            cells += [(x, y, stride) for y in range(side) for x in range(side)]
        self.cells = np.array(cells, np.float32)

    def find(self, bgr):
        height, width = bgr.shape[:2]
        scale = min(416 / height, 416 / width)
        canvas = np.full((416, 416, 3), 114, np.uint8)
        size = (int(width * scale), int(height * scale))
        canvas[: size[1], : size[0]] = cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR)
        batch = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        raw = self.session.run(None, {"images": batch})[0][0]
        stride = self.cells[:, 2:]
        center = (raw[:, :2] + self.cells[:, :2]) * stride
        half = np.exp(raw[:, 2:4]) * stride / 2
        xyxy = np.concatenate([center - half, center + half], axis=1)
        scores = raw[:, 5:] * raw[:, 4:5]
        score, label = scores.max(axis=1), scores.argmax(axis=1).astype(np.int32)
        best = np.argsort(-score, kind="stable")[:CANDIDATES]
        best = best[score[best] >= SCORE]
        kept = best[boxes.nms(xyxy[best], score[best], label[best], IOU)][:ROWS]
        limit = [width, height, width, height]
        return np.clip(xyxy[kept] / scale, 0, limit), score[kept], label[kept]


@pytest.mark.slow
def test_edge_detect_scores_what_a_plain_reference_scores(shared_data, adopt_file):
    folder = shared_data / "coco_dev"
    truth, paths = coco_labels(folder)
    model = adopt_file(
        "yolox_nano.onnx",
        Adoption("yolox", "yolox-nano-low", COCO, nms=Nms(SCORE, IOU, ROWS, CANDIDATES)),
    )
    arguments = ["detect", str(folder / "images"), "--json", "--detector", str(model)]
    output = CliRunner().invoke(app, [*arguments, "--faces", ""])
    assert output.exit_code == 0, output.output
    ids = {path.name: number for number, path in paths.items()}
    ours = [
        result(ids[line["path"].split("/")[-1]], COCO.index(o["label"]), o["score"], o["box"])
        for line in map(json.loads, output.stdout.splitlines())
        for o in line["objects"]
    ]
    reference = Reference(shared_data / "models" / "yolox_nano.onnx")
    plain = [
        result(number, int(label), score, xyxy)
        for number, path in paths.items()
        for xyxy, score, label in zip(*reference.find(cv2.imread(str(path))), strict=True)
    ]
    ap, reference_ap = average_precision(truth, ours), average_precision(truth, plain)
    print(f"AP of edge detect {ap:.2f}, of the reference {reference_ap:.2f}")
    assert abs(ap - reference_ap) <= 0.2
    assert ap > 25


@pytest.mark.slow
def test_yunet_finds_the_labelled_faces_and_their_points(shared_data, adopted_yunet, tmp_path):
    folder = shared_data / "ytf_dev"
    with (folder / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["x1"]][::8]
    listing = tmp_path / "frames"
    listing.mkdir()
    for number, row in enumerate(rows):
        (listing / f"{number:05}.jpg").symlink_to(folder / "images" / row["file"])
    arguments = ["detect", str(listing), "--json", "--detector", "", "--faces", str(adopted_yunet)]
    output = CliRunner().invoke(app, arguments)
    assert output.exit_code == 0, output.output
    found, errors = 0, []
    for row, line in zip(rows, map(json.loads, output.stdout.splitlines()), strict=True):
        truth = np.float32([[float(row[k]) for k in ("x1", "y1", "x2", "y2")]])
        faces = np.float32([face["box"] for face in line["faces"]]).reshape(-1, 4)
        overlap = boxes.iou(truth, faces)[0]
        if not len(overlap) or overlap.max() < 0.5:
            continue
        found += 1
        if row["leye_x"]:
            points = np.float32(line["faces"][overlap.argmax()]["landmarks"])
            want = np.float32(
                [[float(row[f"{point}_{axis}"]) for axis in "xy"] for point in POINTS]
            )
            eyes = np.linalg.norm(want[0] - want[1])
            errors.append(np.linalg.norm(points - want, axis=1).mean() / eyes)
    print(f"recall {found / len(rows):.4f} of {len(rows)}, point error {np.mean(errors):.4f}")
    assert found / len(rows) >= 0.99
    assert np.mean(errors) <= 0.13
