"""dlib files: the residual network for faces that dlib saves as ``.dat`` becomes ONNX.

dlib (dlib/dnn, version 19.4 and later) writes the layers one after the other, input first, behind a
header that repeats only how they are nested. An integer is a byte with its length in bytes and,
in the highest bit, its sign, then its bytes, least first; a float is two integers, mantissa and
binary exponent; a tensor is its version, four sizes and float32 values.

Supported is what `dnn_face_recognition_ex` builds: convolutions with an affine layer each, blocks
of two with a shortcut, which averages where the block halves the picture, and a last product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.adopt.families import NORMALIZATIONS
from deploy.graph.model_proto import OPSET
from deploy.graph.session import open_session
from edge.engines.synthetic_images import draw_portraits
from edge.errors import ModelError
from edge.types import F32
from edge.vision.face_crops import FACE_PX

INPUT: Final = b"\x01\x15input_rgb_image_sized"
INPUT_NAME: Final = "data"
SIDE: Final = 150

# Where an aligned face of ArcFace, 112 x 112, lies in the picture that dlib cuts out (get_face_chip
# with padding 0.25): p -> CHIP_SCALE p + shift, in pixels. Fitted to the medians of our five
# points in such pictures of 405 faces of 70 people (ytf_dev); dlib aligns by other points, the
# corners of the eyes and the base of the nose. The picture's lowest 16 rows lie outside ours.
CHIP_SCALE: Final = 1.4987
CHIP_SHIFT_XY: Final = (-9.70, -32.59)

# dlib compares by distance: faces nearer than 0.6 are one person's. Here the cosine decides, so
# the values become a point of a sphere, on which it decides alike: what `RADIUS` leaves after the
# mean of drawn faces is subtracted is one more value. 0.6 then is about a cosine of 0.75.
RADIUS: Final = 0.85
THRESHOLD: Final = 0.75
MAX_DIMENSION: Final = 4096
MAX_NODES: Final = 1000  # the network has about 150
PORTRAITS: Final = 12


def is_dlib(model: bytes) -> bool:
    """Whether a file is a network of dlib that takes RGB pictures of one size."""
    return INPUT in model[:4096]


def convert_dlib(model: bytes) -> bytes:
    """A dlib file's bytes -> the same network as ONNX, for (1, 3, 150, 150) float pictures.

    Its input ``data`` is what dlib computes of a picture: ``(rgb - mean) / 256``. The network is
    dlib's to float32's precision; see `take_aligned_faces` for what else a contract model needs.

    Raises:
        ModelError: It is not such a file, or has layers that are not supported.
    """
    if not is_dlib(model):
        raise ModelError(
            "this is not a dlib network for RGB pictures of one size: adopt "
            "dlib_face_recognition_resnet_model_v1.dat"
        )
    reader = _Reader(model, model.index(INPUT) + len(INPUT))
    try:
        mean = tuple(round(reader.read_float(), 3) for _ in range(3))
        if mean != NORMALIZATIONS["dlib"].mean:
            raise ModelError(f"the dlib network subtracts {mean}: it is another one, not supported")
        width_height = reader.read_int(), reader.read_int()
        return _Network(reader, width_height).build()
    except (IndexError, ValueError) as error:
        raise ModelError(
            f"the dlib file ends early or is damaged at byte {reader.at}: download it again"
        ) from error


def take_aligned_faces(model: bytes) -> bytes:
    """Let a network of `convert_dlib` take (1, 3, 112, 112): faces aligned as for ArcFace.

    They are scaled and shifted to where dlib has them, bilinearly, by a product for the rows and
    one for the columns; what lies outside repeats the edge. The output has one more value, so that
    the cosine decides as dlib's distance does, see `RADIUS`.
    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    rows, columns = _resample(CHIP_SHIFT_XY[1]), _resample(CHIP_SHIFT_XY[0]).T
    for name, weights in (("dlib/rows", rows), ("dlib/columns", columns)):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weights), name))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(
        [
            helper.make_node("MatMul", ["dlib/rows", "faces112"], ["dlib/high"]),
            helper.make_node("MatMul", ["dlib/high", "dlib/columns"], [INPUT_NAME]),
            *nodes,
        ]
    )
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info("faces112", TensorProto.FLOAT, [1, 3, FACE_PX, FACE_PX])
    )
    _project(graph, _compute_mean(proto))
    return bytes(proto.SerializeToString())


def _compute_mean(proto: onnx.ModelProto) -> F32:
    """``(D,)`` mean of what the network gives of drawn faces."""
    session = open_session(proto.SerializeToString())
    normalization = NORMALIZATIONS["dlib"]
    faces = draw_portraits(PORTRAITS).astype(np.float32)
    values = (faces - np.array(normalization.mean)) * np.array(normalization.scale)
    planes = values.transpose(0, 3, 1, 2).astype(np.float32)
    rows = [session.run(None, {"faces112": one[None].copy()})[0][0] for one in planes]
    mean: F32 = np.mean(rows, axis=0, dtype=np.float32)
    return mean


def _project(graph: onnx.GraphProto, mean: F32) -> None:
    """Append: ``v -> (v - mean, sqrt(RADIUS^2 - |v - mean|^2))``."""
    for name, value in (("dlib/mean", mean), ("dlib/radius", RADIUS**2), ("dlib/zero", 0)):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    steps = [
        ("Sub", [graph.output[0].name, "dlib/mean"], "dlib/centered"),
        ("ReduceSumSquare", ["dlib/centered"], "dlib/square"),
        ("Sub", ["dlib/radius", "dlib/square"], "dlib/left"),
        ("Max", ["dlib/left", "dlib/zero"], "dlib/positive"),
        ("Sqrt", ["dlib/positive"], "dlib/last"),
        ("Concat", ["dlib/centered", "dlib/last"], "dlib/projected"),
    ]
    for kind, inputs, output in steps:
        node = helper.make_node(kind, inputs, [output])
        if kind == "ReduceSumSquare":
            node.attribute.append(helper.make_attribute("axes", [1]))
        if kind == "Concat":
            node.attribute.append(helper.make_attribute("axis", 1))
        graph.node.append(node)
    graph.output[0].CopyFrom(
        helper.make_tensor_value_info("dlib/projected", TensorProto.FLOAT, [1, len(mean) + 1])
    )


def _resample(shift: float) -> F32:
    """``(150, 112)``: the values of a line of dlib's picture, from those of an aligned face."""
    at = np.clip((np.arange(SIDE) - shift) / CHIP_SCALE, 0, FACE_PX - 1)
    low = np.minimum(at.astype(int), FACE_PX - 2)
    weights = np.zeros((SIDE, FACE_PX), np.float32)
    weights[np.arange(SIDE), low] = 1 - (at - low)
    weights[np.arange(SIDE), low + 1] = at - low
    return weights


class _Reader:
    """Reads dlib's serialization.

    Attributes:
        at: The next byte.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def read_int(self) -> int:
        size = self._data[self.at]
        start, self.at = self.at + 1, self.at + 1 + (size & 0x0F)
        if size & 0x70 or not 1 <= size & 0x0F <= 8 or self.at > len(self._data):
            raise ValueError("not an integer")
        value = int.from_bytes(self._data[start : self.at], "little")
        return -value if size & 0x80 else value

    def read_ints(self, count: int) -> list[int]:
        return [self.read_int() for _ in range(count)]

    def read_float(self) -> float:
        mantissa, exponent = self.read_int(), self.read_int()
        if abs(exponent) > 1024:
            raise ValueError("not a float")
        return float(np.ldexp(float(mantissa), exponent))

    def read_name(self) -> str:
        size = self.read_int()
        if not 1 <= size <= 64:
            raise ValueError("not a name")
        start, self.at = self.at, self.at + size
        return self._data[start : self.at].decode("ascii")

    def read_tensor(self) -> F32:
        version, *shape = self.read_ints(5)
        count = int(np.prod(shape))
        start, self.at = self.at, self.at + 4 * count
        if version != 2 or min(shape) < 0 or self.at > len(self._data):
            raise ValueError("not a tensor")
        return np.frombuffer(self._data, "<f4", count, start).reshape(shape).astype(np.float32)

    def finish_layer(self) -> None:
        """Pass three flags and three tensors: the state of training, empty."""
        flags = self._data[self.at : self.at + 3]
        self.at += 3
        if len(flags) != 3 or flags.strip(b"01"):
            raise ValueError("not the end of a layer")
        for _ in range(3):
            self.read_tensor()


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of the graph.

    Attributes:
        side: Its height and width; pictures are square from the input on.
    """

    name: str
    channels: int
    side: int


class _Network:
    """Builds the graph while it reads the layers."""

    def __init__(self, reader: _Reader, width_height: tuple[int, int]) -> None:
        width, height = width_height
        if (width, height) != (SIDE, SIDE):
            raise ModelError(
                f"the dlib network takes {width}x{height}: only {SIDE}x{SIDE} is supported"
            )
        self._reader = reader
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._input_side = width
        self._kept = self._last = _Value(INPUT_NAME, 3, width)
        self._begins_block = True

    def build(self) -> bytes:
        while (kind := self._reader.read_name()) != "fc_2":
            if len(self._nodes) > MAX_NODES:
                raise ModelError(
                    f"the dlib network has more than {MAX_NODES} layers: not supported"
                )
            self._read_layer(kind)
            self._reader.finish_layer()
        self._reader.read_ints(2)
        weights = self._reader.read_tensor()[..., 0, 0]  # (C, D)
        if not 1 <= weights.shape[1] <= MAX_DIMENSION or not self._weights:
            raise ModelError(
                f"{weights.shape[1]} values for a face, after {len(self._weights) // 2} "
                "convolutions: this dlib network is not supported"
            )
        if weights.shape[0] != self._last.channels or self._last.side != 1:
            raise ModelError(
                f"the last layer takes {weights.shape[0]} values, the layers before give "
                f"{self._last.channels}: this network is not supported"
            )
        flat = self._add("Flatten", self._last.name)
        output = self._add("MatMul", flat, self._add_weights(weights))
        side, dimension = self._input_side, weights.shape[1]
        graph = helper.make_graph(
            self._nodes, "dlib",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [1, 3, side, side])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, dimension])],
            self._weights,
        )  # fmt: skip
        opset = [helper.make_opsetid("", OPSET)]
        proto = helper.make_model(graph, opset_imports=opset, ir_version=10)
        return bytes(proto.SerializeToString())

    def _read_layer(self, kind: str) -> None:
        match kind:
            case "con_4":
                self._read_convolution()
            case "relu_":
                value = self._last
                self._last = _Value(self._add("Relu", value.name), value.channels, value.side)
            case "max_pool_2":
                self._last, self._begins_block = self._pool("MaxPool", self._last), True
            case "avg_pool_2":
                self._read_average()
            case "add_prev_":
                self._last = self._add_padded(self._last, self._kept)
            case _:
                raise ModelError(f"the dlib layer {kind!r} is not supported: use another network")

    def _read_convolution(self) -> None:
        """A convolution and the affine layer after it, as one convolution."""
        source, reader = self._last, self._reader
        if self._begins_block:
            self._kept, self._begins_block = source, False
        params = reader.read_tensor().ravel()
        count, *sizes = reader.read_ints(7)
        kernel, stride, padding = sizes[:2], sizes[2:4], sizes[4:]
        _, *shape = reader.read_ints(5)
        reader.read_ints(5)  # of the biases
        for _ in range(4):  # multipliers of training
            reader.read_float()
        reader.finish_layer()
        if source.name == INPUT_NAME:
            reader.read_int()  # how many samples the input makes of a picture
        if reader.read_name() != "affine_":
            raise ModelError("a dlib convolution without an affine layer is not supported")
        gamma, beta = np.split(reader.read_tensor().ravel(), 2)
        *_, mode = reader.read_ints(11)
        if shape != [count, source.channels, *kernel] or len(gamma) != count or mode:
            raise ValueError("the sizes of a convolution contradict each other")
        weights = params[: np.prod(shape)].reshape(shape) * gamma[:, None, None, None]
        biases = params[np.prod(shape) :] * gamma + beta
        side = _count_steps(source.side, kernel, stride, padding)
        name = self._add(
            "Conv", source.name, self._add_weights(weights), self._add_weights(biases),
            kernel_shape=kernel, strides=stride, pads=padding * 2,
        )  # fmt: skip
        self._last = _Value(name, count, side)

    def _pool(self, kind: str, source: _Value) -> _Value:
        sizes = self._reader.read_ints(6)
        kernel, stride, padding = sizes[:2], sizes[2:4], sizes[4:]
        if kernel == [0, 0]:
            return _Value(self._add(f"Global{kind}", source.name), source.channels, 1)
        side = _count_steps(source.side, kernel, stride, padding)
        more = {"kernel_shape": kernel, "strides": stride, "pads": padding * 2}
        return _Value(self._add(kind, source.name, **more), source.channels, side)

    def _read_average(self) -> None:
        """The mean of the shortcut within a block, of the result after the last one."""
        if self._begins_block:
            self._last = self._pool("AveragePool", self._last)
        else:
            self._kept = self._pool("AveragePool", self._kept)

    def _add_padded(self, one: _Value, other: _Value) -> _Value:
        """The sum; what one of them lacks, at the end of each axis, counts as zero."""
        channels, side = max(one.channels, other.channels), max(one.side, other.side)
        terms = []
        for value in (one, other):
            missing = [0, channels - value.channels, side - value.side, side - value.side]
            if not any(missing):
                terms.append(value.name)
                continue
            pads = self._add_weights(np.array([0, 0, 0, 0, *missing], np.int64))
            terms.append(self._add("Pad", value.name, pads))
        self._begins_block = True
        return _Value(self._add("Add", *terms), channels, side)

    def _add(self, kind: str, *inputs: str, **attributes: int | list[int]) -> str:
        name = f"dlib/{len(self._nodes)}"
        node = helper.make_node(kind, inputs, [name])
        node.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
        self._nodes.append(node)
        return name

    def _add_weights(self, values: np.ndarray) -> str:
        name = f"dlib/weights/{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _count_steps(side: int, kernel: list[int], stride: list[int], padding: list[int]) -> int:
    """Positions of a window, the same along both axes."""
    window, step, outside = (sizes[0] for sizes in (kernel, stride, padding))
    if len({*kernel}) + len({*stride}) + len({*padding}) != 3:
        raise ModelError("windows and strides of the dlib network must be square")
    if not (0 <= outside < window <= side + 2 * outside and 1 <= step <= SIDE):
        raise ModelError(
            f"a window of {window} pixels, moved by {step}, with {outside} around a picture of "
            f"{side}: this dlib network is not supported"
        )
    return (side + 2 * outside - window) // step + 1
