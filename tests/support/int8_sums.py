"""Largest error of INT8 sums, in our runtime and in a plain session: ``python -m`` prints both."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edge.runtimes.onnx import Options, build

ROWS, INPUTS, OUTPUTS = 4, 32, 8
STEP = 5000.0  # of the output: the largest sum, 32 x 255 x 127, is below 255 steps


def product(weights):
    """A model that multiplies ``(N, 32)`` uint8 by int8 weights ``(32, 8)``."""
    constants = {
        "one": np.float32(1), "zero": np.uint8(0), "weights": weights, "signed_zero": np.int8(0),
        "step": np.float32(STEP),
    }  # fmt: skip
    inputs = ["x", "one", "zero", "weights", "one", "signed_zero", "step", "zero"]
    nodes = [
        helper.make_node("QLinearMatMul", inputs, ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", "step", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", OUTPUTS])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return proto.SerializeToString()


def main():
    rng = np.random.default_rng(0)
    weights = rng.integers(64, 128, (INPUTS, OUTPUTS)).astype(np.int8)  # all need eight bits
    batch = rng.integers(200, 256, (ROWS, INPUTS)).astype(np.uint8)
    model = product(weights)
    exact = np.rint(batch.astype(np.int64) @ weights.astype(np.int64) / STEP) * STEP
    ours = build(Options()).load(model, "product.onnx").infer(batch)["y"]
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (plain,) = session.run(None, {"x": batch})
    print(*(np.abs(values - exact).max() for values in (ours, plain)))


if __name__ == "__main__":
    main()
