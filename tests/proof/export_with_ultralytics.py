"""Networks of random weights, exported by ultralytics, and what ultralytics itself finds with them.

    python -m venv VENV && VENV/bin/pip install ultralytics onnx onnxruntime onnxslim
    VENV/bin/python tests/proof/export_with_ultralytics.py FOLDER [CASE...]

Run by an interpreter of its own, not by this project's: see `test_exported_layouts.py`. Writes
CASE.onnx, CASE.json with the maker's rows for each picture, and the pictures.
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}

import cv2
import numpy as np
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.nn.modules.block import BNContrastiveHead

SIDE, CONF, IOU = 160, 0.05, 0.65
TINY = {"nc": 2, "names": {0: "fire", 1: "smoke"}}
# case -> (architecture, options of export)
CASES = {
    "v3-tiny": ("yolov3-tiny.yaml", {}),
    "v5nu": ("yolov5n.yaml", {}),
    "v8n": ("yolov8n.yaml", {}),
    "v8n-own-names": ("yolov8n.yaml", {"own": True}),
    "v8n-wide": ("yolov8n.yaml", {"imgsz": (96, 160)}),
    "v8n-dynamic": ("yolov8n.yaml", {"dynamic": True}),
    "v8n-batch4": ("yolov8n.yaml", {"batch": 4}),
    "v8n-half": ("yolov8n.yaml", {"half": True}),
    "v8n-half-unsorted": ("yolov8n.yaml", {"half": True, "simplify": False}),
    "v8n-nms": ("yolov8n.yaml", {"nms": True, "conf": 0.05, "iou": 0.65}),
    "v8n-nms-dynamic": ("yolov8n.yaml", {"nms": True, "dynamic": True, "conf": 0.05, "iou": 0.65}),
    "v9t": ("yolov9t.yaml", {}),
    "v10n": ("yolov10n.yaml", {}),
    "v10n-end2end": ("yolov10n.yaml", {"end2end": True}),
    "11n": ("yolo11n.yaml", {}),
    "12n": ("yolo12n.yaml", {}),
    "12n-dynamic": ("yolo12n.yaml", {"dynamic": True}),
    "26n": ("yolo26n.yaml", {}),
    "26n-end2end": ("yolo26n.yaml", {"end2end": True}),
    "26n-end2end-own-names": ("yolo26n.yaml", {"end2end": True, "own": True}),
    "world": ("yolov8s-worldv2.yaml", {}),
    "rtdetr": ("rtdetr-l.yaml", {}),
    "rtdetr-dynamic": ("rtdetr-l.yaml", {"dynamic": True}),
    "pose": ("yolov8n-pose.yaml", {}),
    "obb": ("yolov8n-obb.yaml", {}),
    "seg": ("yolov8n-seg.yaml", {}),
    "cls": ("yolov8n-cls.yaml", {}),
}
SILENT = ("pose", "obb", "seg", "cls", "v8n-batch4")  # whose answers are of no use here


def main() -> None:
    """Export the cases named, or all."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    pictures = write_pictures(folder)
    for case in sys.argv[2:] or CASES:
        if not (folder / f"{case}.json").exists():
            export(case, folder, pictures)
            print(case, flush=True)


def write_pictures(folder: Path) -> dict[str, np.ndarray]:
    """Smooth noise: as large as the input, and wider than it is high."""
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 255, (12, 12, 3), np.uint8)
    shapes = {"square.png": (SIDE, SIDE), "wide.png": (SIDE, 96)}
    pictures = {name: cv2.resize(coarse, shape) for name, shape in shapes.items()}
    for name, bgr in pictures.items():
        cv2.imwrite(str(folder / name), bgr)
    return pictures


def export(case: str, folder: Path, pictures: dict[str, np.ndarray]) -> None:
    """Write a case's ONNX file and its maker's answers."""
    architecture, options = CASES[case]
    options = dict(options)
    kind = RTDETR if architecture.startswith("rtdetr") else YOLO
    source: str | Path = architecture
    if options.pop("own", False):
        source = folder / architecture.replace("yolo", "own-yolo")  # not to hide the maker's own
        source.write_text(_with_two_classes(architecture))
    torch.manual_seed(3)
    model = kind(str(source))
    if isinstance(source, Path):
        model.model.names = TINY["names"]
    shake(model.model)
    os.chdir(folder)
    made = model.export(format="onnx", opset=17, **({"imgsz": SIDE, "simplify": True} | options))
    shutil.move(made, folder / f"{case}.onnx")
    rows = None
    if case not in SILENT:
        size = options.get("imgsz", SIDE)
        file = str(folder / f"{case}.onnx")
        runner = YOLO(file, task="detect") if kind is YOLO else RTDETR(file)
        rows = {
            name: runner.predict(bgr, conf=CONF, iou=IOU, imgsz=size, max_det=100, verbose=False,
                                 rect=False)[0].boxes.data.cpu().numpy().tolist()
            for name, bgr in pictures.items()
        }  # fmt: skip
    names = [model.names[number] for number in sorted(model.names)]
    (folder / f"{case}.json").write_text(json.dumps({"rows": rows, "names": names}))


def _with_two_classes(architecture: str) -> str:
    import ultralytics

    root = Path(ultralytics.__file__).parent / "cfg" / "models"
    text = next(
        root.rglob(architecture.replace("yolov8n", "yolov8").replace("26n", "26"))
    ).read_text()
    return text.replace("nc: 80", "nc: 2")


def shake(network: torch.nn.Module) -> None:
    """Statistics and class biases as after some training, so that something is found."""
    generator = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(
                torch.randn(module.running_mean.shape, generator=generator) / 10
            )
            module.running_var.copy_(
                torch.rand(module.running_var.shape, generator=generator) + 0.1
            )
        for name in ("cv3", "one2one_cv3"):
            branches = getattr(module, name, None)
            for branch in branches if isinstance(branches, torch.nn.ModuleList) else ():
                last = branch[-1] if isinstance(branch, torch.nn.Sequential) else None
                if isinstance(last, torch.nn.Conv2d) and last.bias is not None:
                    last.bias.data.fill_(-2)
                    last.weight.data.mul_(4)
        for head in getattr(module, "dec_score_head", ()):  # RT-DETR's, a query's classes
            head.bias.data.fill_(-2)
        if isinstance(module, BNContrastiveHead):  # of YOLO-World: similarity to a class's words
            module.bias.data.fill_(-2)
            module.logit_scale.data.fill_(-2)
    network.eval()


if __name__ == "__main__":
    main()
