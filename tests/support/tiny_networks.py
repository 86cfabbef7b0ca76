"""Tiny networks of ours that were never trained, and pictures in which they see something."""

import functools
import re

import keras
import numpy as np
import onnxruntime as ort
from keras import layers

from edge.runtimes.onnx import session_settings
from trainers.networks.config import NetworkConfig
from trainers.networks.minifasnet import index_layers
from trainers.networks.yolo import build

LAST = r"^head_\d_(\w+_pred|(cls|box|obj|points)_dconv)$"  # layers that predict
NANO = NetworkConfig(("a", "b"), (96, 64), width=0.125, head_channels=16)


@functools.cache
def untrained(config, seed=1):
    """A network whose every weight matters: normalisation and last layers are not at rest."""
    keras.utils.set_random_seed(seed)
    network = build(config)
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        elif layer.get_weights():
            kernel, *bias = layer.get_weights()
            inputs = kernel[..., 0].size // (kernel.shape[2] if "dconv" in layer.name else 1)
            kernel = rng.normal(0, 1.6 / np.sqrt(inputs), kernel.shape)
            layer.set_weights([kernel, *(rng.normal(0, 0.3, b.shape) for b in bias)])
    spread = float(np.std(network(pictures(config).astype(np.float32), training=False)))
    for layer in network.layers:
        if (
            re.search(LAST, layer.name) and layer.get_weights()
        ):  # so that scores lie between 0 and 1, boxes in view
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel / spread, bias])
    return network


def pictures(config, count=3, seed=0):
    """Coarse noise: untrained networks see something in it."""
    width, height = config.input_wh
    coarse = np.random.default_rng(seed).integers(0, 255, (count, height // 8, width // 8, 3))
    return coarse.repeat(8, 1).repeat(8, 2).astype(np.uint8)


def lively(network: keras.Model) -> keras.Model:
    """With weights that let differences through, for a fresh network says the same of all."""
    rng = np.random.default_rng(3)
    for layer in index_layers(network).values():
        if isinstance(layer, layers.PReLU):
            layer.alpha.assign(rng.uniform(-0.4, 0.6, layer.alpha.shape))
        elif hasattr(layer, "kernel"):
            shape = tuple(layer.kernel.shape)
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
            grown = 1e6 if layer.name.endswith("_features") else 1  # by pictures up to 255 so far
            layer.kernel.assign(rng.normal(0, np.sqrt(2 / fan_in), shape) / grown)
    return network


def run(model, batch):
    session = ort.InferenceSession(
        model, session_settings(threads=0), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    found = session.run(None, {session.get_inputs()[0].name: batch})
    return dict(zip(names, found, strict=True))
