"""The classifier: a backbone, the mean over its last map, dropout, one layer.

Its output are logits ``(B, K)``. Probabilities are ``softmax(logits / temperature)``, or, of
independent labels, ``sigmoid(logits / temperature)``.
"""

from __future__ import annotations

import keras
from keras import layers

from edge.errors import ConfigError
from trainers.networks.backbone import LayerFactory, backbone, published
from trainers.networks.config import ClassifierConfig


def build(config: ClassifierConfig) -> keras.Model:
    """The network: float ``(B, h, w, 3)`` RGB 0..255 -> logits ``(B, K)``.

    Raises:
        ConfigError: No layer has the name at which the backbone is to end.
    """
    kit = LayerFactory(config.activation, config.norm, depthwise=True)
    width, height = config.input_wh
    images = keras.Input((height, width, 3), name="images")
    own = published(config.backbone) if config.convention == "published" else None
    features = backbone(config.backbone)(images, kit, config.width or None, own)[-1]
    if config.cut:
        features = _end_early(keras.Model(images, features), config.cut)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(features)
    x = layers.Dropout(config.dropout, name="head_dropout")(x)
    x = layers.Conv2D(len(config.classes), 1, name="head_classes")(x)
    logits = layers.Reshape((len(config.classes),), name="logits", dtype="float32")(x)
    return keras.Model(images, logits, name="edge_classifier")


def _end_early(whole: keras.Model, name: str) -> keras.KerasTensor:
    """What a layer of the backbone gives; the layers behind it are left out."""
    names = [layer.name for layer in whole.layers]
    if name not in names:
        maps = [n for n in names if n.endswith(("_act", "_add", "_out", "_concat", "_pool"))]
        raise ConfigError(
            f"no layer of the backbone is called {name!r}: --cut takes one such as {maps[-1]} or "
            f"{maps[len(maps) // 2]}"
        )
    return whole.get_layer(name).output
