"""What decoding and NMS cost on one thread: `python -m tests.benchmarks.nms`.

Outputs of a YOLOX at 416x416 (3549 boxes, 80 classes) are drawn at random: a few crowded objects
among background, so that some thirty boxes pass the threshold, as on pictures; and a crowd, where
all 256 candidates are taken. Figures are milliseconds a picture, median and best of the runs.
"""

import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from deploy.adopt.families import FAMILIES, ForeignOutputs
from deploy.graph.graph_builder import Graph
from deploy.graph.nms import Nms, append_nms

ANCHORS, CLASSES, SIDE = 3549, 80, 416
RUNS = 200


def session(sweeps: int) -> ort.InferenceSession:
    """Decoding and NMS alone."""
    proto = onnx.GraphProto(name="rows")
    graph = Graph(proto)
    value = onnx.helper.make_tensor_value_info
    shape = [1, ANCHORS, 5 + CLASSES]
    proto.input.append(value("raw", TensorProto.FLOAT, ["N", *shape[1:]]))
    raw = FAMILIES["yolox"].head(
        graph, ForeignOutputs({"raw": np.zeros((1, *shape), np.float32)}, (SIDE, SIDE))
    )
    options = Nms(sweeps=sweeps)
    found, _ = append_nms(graph, options, raw)
    proto.output.append(value(found, TensorProto.FLOAT, ["N", options.max_rows, 6]))
    model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )


def scene(rng: np.random.Generator, seen: int) -> np.ndarray:
    """``(1, A, 85)``: ``seen`` boxes stand out."""
    raw = rng.uniform(0, 0.05, (1, ANCHORS, 5 + CLASSES)).astype(np.float32)
    rows = rng.choice(ANCHORS, seen, replace=False)
    raw[0, rows, 2:4] = rng.uniform(0, 2, (seen, 2))
    raw[0, rows, 4] = rng.uniform(0.4, 1, seen)
    raw[0, rows, 5 + rng.integers(0, 3, seen)] = rng.uniform(0.4, 1, seen)
    return raw


def main() -> None:
    """Print a line for each scene and each way to sweep."""
    rng = np.random.default_rng(1)
    for sweeps, way in ((0, "loop"), (8, "8 sweeps")):
        run = session(sweeps)
        for name, seen in (("picture", 30), ("crowd", 600)):
            scenes = [scene(rng, seen) for _ in range(8)]
            spent = []
            for turn in range(RUNS):
                start = time.perf_counter()
                run.run(None, {"raw": scenes[turn % len(scenes)]})
                spent.append(1e3 * (time.perf_counter() - start))
            print(f"{way:>8} {name:>8}: {np.median(spent):.2f} ms, best {min(spent):.2f} ms")


if __name__ == "__main__":
    main()
