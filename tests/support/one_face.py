"""A node that sees one face in everything, which is whoever is enrolled from its camera's noise."""

import numpy as np

from tests.support.models import NOTHING, color_embedder, constant_liveness, constant_model
from tests.support.videos import write_noise

FACE = np.array([[20, 16, 76, 84, 0.9, 0]], np.float32)
POINTS = np.array([[[34, 38], [62, 38], [48, 54], [37, 70], [59, 70]]], np.float32)
CONFIGURATION = """
models = {{ detector = "detector.onnx", faces = "faces.onnx" }}
[recognition]
gallery = "gallery.db"
key_file = "key"
embedder = "embedder.onnx"
liveness = "live.onnx"
require_motion = false
[[cameras]]
name = "door"
source = {{ kind = "video_file", path = "{folder}/clip.mp4", loop = true }}
[[sinks]]
kind = "zeromq"
bind = "ipc://{folder}/bus"
[http]
port = 0
"""


def write_node(folder, name):
    """Write its models, its camera's film and its configuration, without gallery and key."""
    faces = constant_model("faces", {"detections": FACE, "landmarks": POINTS}, ("face",), (96, 96))
    models = {
        "detector": constant_model("detect", {"detections": NOTHING}, ("person",)),
        "faces": faces,
        "embedder": color_embedder(),
        "live": constant_liveness(0.99),
    }
    for model, content in models.items():
        (folder / f"{model}.onnx").write_bytes(content)
    write_noise(folder / "clip.mp4", frames=20, size_wh=(96, 96))
    (folder / name).write_text(CONFIGURATION.format(folder=folder))
