"""Export a detector of Ultralytics to ONNX: `export.py WEIGHTS WIDTH HEIGHT TARGET`.

Without a file of weights (`random`), yolov8n with random ones: it costs the same and finds nothing.
"""

import os
import shutil
import sys

os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}

from ultralytics import YOLO

weights, width, height, target = sys.argv[1:]
network = YOLO("yolov8n.yaml" if weights == "random" else weights)
shutil.move(network.export(format="onnx", imgsz=(int(height), int(width))), target)
