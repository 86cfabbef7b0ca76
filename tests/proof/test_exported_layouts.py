"""Files of a real exporter: adopted, they find what their maker finds with them, or are refused.

Makes an environment of its own with ultralytics (about 6 GB, once) and exports networks of random
weights; `EDGE_PROOF_EXPORTS` names a folder that `export_with_ultralytics.py` has filled before.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from deploy.adopt.adopt import Adoption
from deploy.adopt.trial import TrialPictures, adopt_tried
from deploy.graph.nms import Nms
from edge.errors import ModelError
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.types import Frame
from edge.vision import boxes
from edge.vision.image_file import read_picture

pytestmark = pytest.mark.proof
HERE = Path(__file__).parent
SIDE = 160
FOUND = [
    "v3-tiny", "v5nu", "v8n", "v8n-own-names", "v8n-wide", "v8n-dynamic", "v8n-half",
    "v8n-half-unsorted", "v9t", "v10n", "v10n-end2end", "11n", "12n-dynamic", "26n", "26n-end2end",
    "26n-end2end-own-names", "world", "rtdetr-dynamic",
]  # fmt: skip
REFUSED = {
    "v8n-batch4": "batches of 4 only: export it with batch=1",
    "v8n-nms": "export it without NMS",
    "v8n-nms-dynamic": "export it without NMS",
    "12n": "dynamic batch size",
    "rtdetr": "dynamic batch size",
    "pose": "a pose network",
    "obb": "a obb network",
    "seg": "a segment network",
    "cls": "a classify network",
}


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """The folder of exported files and their maker's rows."""
    if given := os.environ.get("EDGE_PROOF_EXPORTS"):
        return Path(given)
    folder = tmp_path_factory.mktemp("exports")
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / "bin" / "python")
    wanted = ["ultralytics>=8.4,<8.5", "onnx", "onnxruntime", "onnxslim"]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    script = str(HERE / "export_with_ultralytics.py")
    subprocess.run([python, script, str(folder)], check=True, env=environment, stdout=sys.stderr)
    return folder


def adopted(exports, case):
    family = "rtdetr" if case.startswith("rtdetr") else "yolo"
    size = (SIDE, SIDE) if "dynamic" in case else (0, 0)
    options = Adoption(family, case, input_wh=size, nms=Nms(0.05, 0.65, 100, 525))
    return adopt_tried((exports / f"{case}.onnx").read_bytes(), options, TrialPictures())


@pytest.mark.parametrize("case", FOUND)
def test_an_adopted_file_finds_what_its_maker_finds(exports, tmp_path, case):
    said = json.loads((exports / f"{case}.json").read_text())
    path = tmp_path / "m.onnx"
    path.write_bytes(adopted(exports, case))
    detector = load_model("detect", build(Options(threads=1)), path)
    assert list(detector.classes) == said["names"]
    for name, rows in said["rows"].items():
        frame = Frame("a", 0, 0, 0.0, 0.0, read_picture(exports / name))
        (found,) = detector.detect([frame])
        want = np.array(rows, np.float32).reshape(-1, 6)
        # the maker keeps rows of the border around the picture, clipped to nothing
        want = want[(want[:, 2:4] > want[:, :2]).all(axis=1)]
        assert len(want), "the maker finds nothing: the case proves nothing"
        share = count_matches(want, found) / len(want)
        print(f"{case} {name}: {len(want)} rows of the maker, {len(found)} of ours, {share:.2f}")
        assert share >= 0.95
        assert abs(len(found) - len(want)) <= 0.05 * len(want) + 1


def count_matches(want, found):
    """Rows of the maker that have one of ours: same class and score, nearly the same box."""
    same = boxes.iou(want[:, :4], found.xyxy) >= 0.95
    same |= np.abs(want[:, None, :4] - found.xyxy[None]).max(axis=2) <= 0.5
    same &= want[:, None, 5] == found.class_id[None]
    same &= np.abs(want[:, None, 4] - found.score[None]) <= 0.01
    return int(same.any(axis=1).sum())


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_adopted_is_refused_with_the_reason(exports, case):
    with pytest.raises(ModelError, match=REFUSED[case]) as caught:
        adopted(exports, case)
    print(f"{case}: {caught.value}")
