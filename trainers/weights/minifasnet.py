"""Initial weights from MiniFASNet: its ONNX file in the layout of our network.

The file takes BGR images, which is folded into the weights.
"""

from __future__ import annotations

from pathlib import Path

import keras

from edge.errors import ConfigError
from trainers.networks.config import LivenessConfig
from trainers.networks.minifasnet import convolutions, index_layers
from trainers.weights import onnx as onnxweights
from trainers.weights.archive import read_network
from trainers.weights.onnx import Convolution


def start_from(network: keras.Model, config: LivenessConfig, path: Path) -> int:
    """Load what fits from our ``.keras`` file or an adopted MiniFASNet; return how many layers.

    Raises:
        ConfigError: The file is of another kind, or nothing fits.
        ModelError: It cannot be read.
    """
    if not path.is_file():
        raise ConfigError("This file does not exist: check --start.", file=path)
    if path.suffix == ".keras":
        count = _from_keras(network, path)
    elif path.suffix == ".onnx":
        count = _from_onnx(network, config, path)
    else:
        raise ConfigError("Expected a .keras or .onnx file for --start.", file=path)
    if not count:
        raise ConfigError("No weight fits this network: choose its scales and branches.", file=path)
    return count


def _from_keras(network: keras.Model, path: Path) -> int:
    given = index_layers(read_network(path, "start from another file"))
    count = 0
    for name, layer in index_layers(network).items():
        weights = given[name].get_weights() if name in given else []
        if weights and [w.shape for w in weights] == [w.shape for w in layer.get_weights()]:
            layer.set_weights(weights)
            count += 1
    return count


def _from_onnx(network: keras.Model, config: LivenessConfig, path: Path) -> int:
    found = list(onnxweights.convolutions(onnxweights.read_graph(path)))
    names = [
        [*convolutions(f"scale{row}", kind)] for row, kind in enumerate(config.branches)
    ]  # the networks follow each other in the file
    if len(found) != sum(map(len, names)):
        raise ConfigError(
            f"This file holds {len(found)} convolutions, the network {sum(map(len, names))}: start "
            "from the adopted pair (edge-deploy adopt FILE --family minifasnet --second FILE).",
            file=path,
        )
    by_name = index_layers(network)
    count = 0
    for name, source in zip((n for part in names for n in part), found, strict=True):
        count += name in by_name and _put(by_name, name, source)
    return count


def _put(by_name: dict[str, keras.layers.Layer], name: str, source: Convolution) -> bool:
    layer, kernel = by_name[name], source.kernel
    if name.endswith("_stem"):
        kernel = kernel[:, :, ::-1]  # it was trained on BGR
    if tuple(layer.kernel.shape) != kernel.shape:
        return False
    layer.kernel.assign(kernel)
    layer.bias.assign(source.bias)
    if f"{name}_act" in by_name:
        by_name[f"{name}_act"].alpha.assign(source.slope.reshape(1, 1, -1))
    return True
