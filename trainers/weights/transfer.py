"""Transfer learning: weights from a .keras, .h5 or ONNX file, frozen parts, a new head.

A weight goes where its layer's name says, a class's weights where the class's name says. What
does not fit stays as it was, and the ``TransferReport`` tells which and why. Files of others, of
which names do not begin with ``backbone_``, have weights for BGR; see `backbone.Published`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from edge.errors import ConfigError, ModelError, translate_unexpected
from edge.types import F32
from trainers.data.coco import COCO
from trainers.networks import yunet
from trainers.networks.config import NetworkConfig
from trainers.weights.archive import read_network
from trainers.weights.onnx import read_graph, read_initializers, to_keras_layout

_LAST = re.compile(r"^head_\d_(\w+_pred|(cls|obj|box|points)_[dp]conv)$")
PUBLISHED_EPSILON = 1.001e-5  # of the normalization in keras.applications' ResNets
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
FREEZES = ("none", "backbone", "all")  # all: everything but the last 1x1 of each branch


@dataclass(frozen=True, slots=True)
class TransferReport:
    """Result of a transfer.

    Attributes:
        loaded: Names of the layers that took weights.
        left: Reasons of the layers that did not, by name.
    """

    loaded: tuple[str, ...]
    left: dict[str, str]

    @property
    def expected(self) -> tuple[str, ...]:
        """The layers that should have taken weights: the parts of which the file has any."""
        parts = {name.split("_")[0] for name in self.loaded}
        return tuple(n for n in (*self.loaded, *self.left) if n.split("_")[0] in parts)

    def describe(self, path: Path) -> str:
        """What came over, in a line."""
        others = len(self.loaded) + len(self.left) - len(self.expected)
        anew = f"; the {others} layers of other parts start anew" if others else ""
        return f"{len(self.loaded)} of {len(self.expected)} layers start from {path}{anew}"

    def require_half(self, path: Path) -> TransferReport:
        """Return itself if half of the layers that should have did take weights.

        Raises:
            ConfigError: Fewer did.
        """
        self.require_any(path)
        if 2 * len(self.loaded) < len(self.expected):
            name, why = next((n, self.left[n]) for n in self.expected if n in self.left)
            raise ConfigError(
                f"Only {self.describe(path)}, which is less than half ({name}: {why}): choose the "
                "backbone and width that the file was made with, or say --start-partial.",
                file=path,
            )
        return self

    def require_any(self, path: Path) -> TransferReport:
        """Return itself if a layer took weights.

        Raises:
            ConfigError: None did.
        """
        if not self.loaded:
            why = next(iter(self.left.items()), ("no layer", "the file holds no weights"))
            raise ConfigError(
                f"No weight fits this network ({why[0]}: {why[1]}): choose the backbone and width "
                "that the file was made with.",
                file=path,
            )
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A convolution in Keras layout, with normalization folded in.

    Attributes:
        kernel: ``(kh, kw, in, out)``; depthwise ``(kh, kw, in, 1)``.
        bias: ``(out,)``.
    """

    kernel: F32
    bias: F32


def start_from(
    model: keras.Model, config: NetworkConfig, path: Path, classes: Sequence[str] = (),
    only: Sequence[str] = (), *, partial: bool = False,
) -> TransferReport:  # fmt: skip
    """Load what fits from a file: .keras or .h5 by layer name, .onnx also in the order of YOLOX.

    The outputs of the file have ``classes``, which may be omitted for an 80-class YOLOX file. Only
    layers whose name has a prefix of ``only`` take weights; all unless given. With ``partial`` or
    ``only``, less than half of them may fit.

    Raises:
        ConfigError: The file is unreadable or of another kind, or too little fits.
    """
    readers = {".onnx": read_onnx, ".keras": read_keras, ".h5": read_h5}
    if path.suffix not in readers:
        raise ConfigError("Expected a .keras, .h5 or .onnx file for --start.", file=path)
    if not path.is_file():
        raise ConfigError("This file does not exist: check --start.", file=path)
    found = readers[path.suffix](path)
    if not classes and _class_outputs(found) == len(COCO):
        classes = COCO
    if only:
        found = {name: w for name, w in found.items() if name.startswith(tuple(only))}
    report = assign_weights(model, config, found, classes)
    return report.require_any(path) if partial or only else report.require_half(path)


def _class_outputs(found: dict[str, Weights]) -> int:
    return next((w.kernel.shape[-1] for name, w in found.items() if name.endswith("cls_pred")), 0)


# --- reading files ----------------------------------------------------------------------------


def read_onnx(path: Path) -> dict[str, Weights]:
    """Convolutions of an ONNX file by layer name.

    A file that we exported has our names; a YOLOX or YuNet file is recognized by the number of its
    convolutions, and its BGR input is reversed.
    """
    graph = read_graph(path)
    value = read_initializers(graph)
    nodes = [n for n in graph.node if n.op_type == "Conv" and n.input[1] in value]
    found: list[tuple[str, Weights]] = []
    for node in nodes:
        kernel = value[node.input[1]]
        given = value.get(node.input[2]) if len(node.input) > 2 else None
        bias = np.zeros(len(kernel), np.float32) if given is None else given
        names = "/".join([node.name, *node.input[1:]])  # export renames one or the other
        found.append((names, Weights(to_keras_layout(kernel, node), bias)))
    order = list(yolox_layers())
    if len(found) == len(order) and found[0][1].kernel.shape[:3] == (3, 3, 12):
        named = dict(zip(order, (w for _, w in found), strict=True))
        named[order[0]] = _convert_focus_stem(named[order[0]])
        return named
    if len(found) == len(yunet.CONVOLUTIONS) and not _is_ours(found[0][0]):
        named = dict(zip(yunet.CONVOLUTIONS, (w for _, w in found), strict=True))
        stem = named[yunet.CONVOLUTIONS[0]]
        return {**named, yunet.CONVOLUTIONS[0]: Weights(stem.kernel[:, :, ::-1], stem.bias)}
    return {_layer_name(text): weights for text, weights in found}


def _is_ours(text: str) -> bool:
    return _layer_name(text) != text


def _layer_name(text: str) -> str:
    """``model/head_0_stem_1/convolution`` -> ``head_0_stem``; export appends the ``_1``."""
    parts = [p for p in re.split(r"[/;:]", text) if p.startswith(("backbone_", "neck_", "head_"))]
    return re.sub(r"_(bn|act)$", "", re.sub(r"_1$", "", parts[0])) if parts else text


def yolox_layers(repeats: tuple[int, ...] = (1, 3, 3, 1), depth: int = 2) -> Iterator[str]:
    """Our layer names in the order in which YOLOX runs its convolutions."""

    def csp(name: str, count: int) -> Iterator[str]:
        yield from (f"{name}_conv1", f"{name}_conv2")
        for i in range(count):
            yield f"{name}_m{i}_conv1"
            yield from split(f"{name}_m{i}_conv2")
        yield f"{name}_conv3"

    def split(name: str) -> Iterator[str]:
        yield from (f"{name}_dconv", f"{name}_pconv")

    yield "backbone_stem"
    for stage, count in zip((2, 3, 4, 5), repeats, strict=True):
        yield from split(f"backbone_dark{stage}_down")
        if stage == 5:
            yield from ("backbone_dark5_spp_conv1", "backbone_dark5_spp_conv2")
        yield from csp(f"backbone_dark{stage}_csp", count)
    yield "neck_lateral"
    yield from csp("neck_p4", 1)
    yield "neck_reduce"
    yield from csp("neck_p3", 1)
    for down, join in (("neck_down2", "neck_n3"), ("neck_down1", "neck_n4")):
        yield from split(down)
        yield from csp(join, 1)
    for level in range(3):
        yield f"head_{level}_stem"
        for kind, last in (("cls", ("cls_pred",)), ("reg", ("reg_pred", "obj_pred"))):
            for i in range(depth):
                yield from split(f"head_{level}_{kind}{i}")
            yield from (f"head_{level}_{name}" for name in last)


def _convert_focus_stem(focus: Weights) -> Weights:
    """YOLOX's stem (four slices of BGR, 3x3) as one 6x6 convolution of stride 2 over RGB."""
    kernel = np.zeros((6, 6, 3, focus.kernel.shape[-1]), np.float32)
    for n, (down, right) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        slice_bgr = focus.kernel[:, :, 3 * n : 3 * n + 3]
        kernel[down::2, right::2] = slice_bgr[:, :, ::-1]
    return Weights(kernel, focus.bias)


def read_keras(path: Path) -> dict[str, Weights]:
    """Convolutions of a .keras file by layer name, its normalization folded in."""
    return dict(read_convolutions(read_network(path, "start from another file")))


def read_convolutions(model: keras.Model) -> Iterator[tuple[str, Weights]]:
    """All convolutions of a model, with the normalization behind them folded in."""
    by_name = {layer.name: layer for layer in model.layers}
    for layer in _convolutions(model):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        out = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else -1
        count = kernel.shape[out]
        bias = keras.ops.convert_to_numpy(layer.bias) if layer.use_bias else np.zeros(count)
        weights = Weights(kernel.astype(np.float32), bias.astype(np.float32))
        if norm := next((by_name[n] for n in _list_norms(layer.name) if n in by_name), None):
            values = [keras.ops.convert_to_numpy(value) for value in norm.weights]
            weights = _fold(weights, values, norm.epsilon, depthwise=out == 2)
        yield layer.name.replace("/", "_"), weights


def _list_norms(name: str) -> list[str]:
    """What the normalization behind a convolution may be called: ours, and keras.applications'."""
    return [f"{name}_bn", *([re.sub("_conv$", "_bn", name)] if name.endswith("_conv") else [])]


def _fold(weights: Weights, norm: Sequence[F32], epsilon: float, *, depthwise: bool) -> Weights:
    """A convolution with its normalization (gamma, beta, mean, variance) folded in."""
    gamma, beta, mean, variance = norm
    scale = gamma / np.sqrt(variance + epsilon)
    kernel = weights.kernel * (scale[:, None] if depthwise else scale)
    bias = (weights.bias - mean) * scale + beta
    return Weights(kernel.astype(np.float32), bias.astype(np.float32))


def _convolutions(model: keras.Model) -> list[keras.layers.Layer]:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv3D)
    return [layer for layer in model.layers if isinstance(layer, kinds)]


def read_h5(path: Path) -> dict[str, Weights]:
    """Convolutions of a legacy .h5 file, as keras.applications publishes, by layer name.

    The normalization behind them is folded in. A ``/`` in a name (SqueezeNet's) becomes ``_``.
    """
    with (
        translate_unexpected(
            lambda error: ModelError(f"This HDF5 file cannot be read: {error}", file=path)
        ),
        h5py.File(path, "r") as file,
    ):
        root = file.get("model_weights", file)
        if "layers" in root or "_layer_checkpoint_dependencies" in root:
            raise ConfigError(
                "This is a .weights.h5 file, which has no layer names: start from .keras.",
                file=path,
            )
        found = _read_layers(root)
    result = {}
    for name, parts in found.items():
        kernel = next((parts[k] for k in ("kernel", "depthwise_kernel", "w") if k in parts), None)
        if kernel is None or kernel.ndim != 4:
            continue
        depthwise = "depthwise_kernel" in parts
        bias = next((parts[k] for k in ("bias", "b") if k in parts), None)
        count = kernel.shape[2] if depthwise else kernel.shape[-1]
        weights = Weights(kernel, np.zeros(count, np.float32) if bias is None else bias)
        if norm := next((found[n] for n in _list_norms(name) if n in found), None):
            if any(part not in norm or norm[part].shape != (count,) for part in _NORM):
                raise ModelError(f"The normalization behind {name} is not whole.", file=path)
            values = [norm[part] for part in _NORM]
            weights = _fold(weights, values, PUBLISHED_EPSILON, depthwise=depthwise)
        result[name.replace("/", "_")] = weights
    return result


def _read_layers(root: h5py.Group) -> dict[str, dict[str, F32]]:
    """The weights of each layer by their kind, such as ``kernel``; ``w`` and ``b`` by Keras 1."""
    names = [str(n, "utf-8") if isinstance(n, bytes) else str(n) for n in _list_names(root)]
    found: dict[str, dict[str, F32]] = {}
    for name in names or list(root):
        parts: dict[str, F32] = {}

        def visit(path: str, item: object, parts: dict[str, F32] = parts) -> None:
            if isinstance(item, h5py.Dataset):
                kind = re.sub(r"(_1)?(:0)?$", "", path.rpartition("/")[2]).lower()
                parts[re.sub(r".*_(w|b)$", r"\1", kind)] = np.asarray(item, np.float32)

        if isinstance(layer := root.get(name), h5py.Group):
            layer.visititems(visit)
            found[name] = parts
    return found


def _list_names(root: h5py.Group) -> list[object]:
    """The layers as Keras lists them, in parts where they are too many for one attribute."""
    keys = [key for key in root.attrs if re.fullmatch(r"layer_names\d*", key)]
    return [name for key in keys for name in root.attrs[key]]


# --- putting weights in -----------------------------------------------------------------------


def assign_weights(
    model: keras.Model, config: NetworkConfig, found: dict[str, Weights], classes: Sequence[str]
) -> TransferReport:
    """Assign weights by the name of the layer; shared classes are carried over."""
    by_name = {layer.name: layer for layer in model.layers}
    loaded, left = [], {}
    for layer in _convolutions(model):
        source = found.get(layer.name) or _convert(found.get(layer.name.removeprefix("backbone_")))
        if source is None:
            left[layer.name] = "not in the file"
            continue
        if layer.name.endswith("_cls_pred"):
            carried = _carry_classes(layer, source, config, classes)
            if carried is None:
                left[layer.name] = "other classes: starts anew"
                continue
            source = carried
        shape = tuple(layer.kernel.shape)
        if shape != source.kernel.shape:
            left[layer.name] = f"expected a kernel {shape}, the file has {source.kernel.shape}"
            continue
        assign_layer(layer, by_name.get(f"{layer.name}_bn"), source.kernel, source.bias)
        loaded.append(layer.name)
    return TransferReport(tuple(loaded), left)


def _convert(others: Weights | None) -> Weights | None:
    """Weights of others for RGB: their first convolution reads BGR."""
    if others is None or others.kernel.shape[2] != 3:
        return others
    return Weights(others.kernel[:, :, ::-1], others.bias)


def assign_layer(
    layer: keras.layers.Layer, norm: keras.layers.Layer | None, kernel: F32, bias: F32
) -> None:
    """Assign the weights of a convolution; a normalization behind it only adds the bias."""
    layer.kernel.assign(kernel)
    if layer.use_bias:
        layer.bias.assign(bias)
    if norm is not None:
        count = len(bias)
        unit = np.full(count, np.sqrt(1 + norm.epsilon), np.float32)
        norm.set_weights([unit, bias, np.zeros(count), np.ones(count)])


def _carry_classes(
    layer: keras.layers.Layer, source: Weights, config: NetworkConfig, classes: Sequence[str]
) -> Weights | None:
    """The new class outputs: shared classes from the file, the others unchanged."""
    count, num_anchors = len(config.classes), config.num_anchors
    if source.kernel.shape[-1] != len(classes) * num_anchors:
        same = not classes and source.kernel.shape == tuple(layer.kernel.shape)
        return source if same else None
    known = [name for name in config.classes if name in classes]
    if not known or source.kernel.shape[2] != layer.kernel.shape[2]:
        return None
    kernel = keras.ops.convert_to_numpy(layer.kernel).copy()
    bias = keras.ops.convert_to_numpy(layer.bias).copy()
    for anchor in range(num_anchors):
        for name in known:
            to = anchor * count + config.classes.index(name)
            of = anchor * len(classes) + list(classes).index(name)
            kernel[..., to], bias[to] = source.kernel[..., of], source.bias[of]
    return Weights(kernel, bias)


# --- freezing ---------------------------------------------------------------------------------


def freeze(model: keras.Model, regime: str) -> int:
    """Freeze a part of the network; frozen normalization uses its stored statistics.

    The regime is ``none``, ``backbone``, ``all`` (everything but the last 1x1 of each branch), or
    comma-separated prefixes of layer names. Returns the number of weights that stay trainable.

    Raises:
        ConfigError: No layer's name starts with a prefix.
    """
    prefixes = {"none": [], "backbone": ["backbone_"], "all": ["backbone_", "neck_", "head_"]}
    chosen = prefixes.get(regime, [p.strip() for p in regime.split(",") if p.strip()])
    for prefix in chosen:
        if not any(layer.name.startswith(prefix) for layer in model.layers):
            raise ConfigError(
                f"--freeze: no layer's name begins with {prefix!r}: use {', '.join(FREEZES)} or "
                f"a prefix such as {model.layers[1].name.rsplit('_', 1)[0]}"
            )
    for layer in model.layers:
        frozen = layer.name.startswith(tuple(chosen)) if chosen else False
        last = regime == "all" and _LAST.search(layer.name) is not None
        layer.trainable = not frozen or last
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)
