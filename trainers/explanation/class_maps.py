"""Class maps: where in a picture the evidence for an answer lies.

CAM (Zhou et al. 2016, "Learning Deep Features for Discriminative Localization") reads the weights
behind a global mean; Grad-CAM (Selvaraju et al. 2017) takes the mean gradient in their place, and
so explains any layer of any network. Where CAM applies both are the same up to scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import keras
import numpy as np
from keras import ops

from edge.types import F32, Letterbox
from edge.vision import boxes
from trainers.explanation.gradients import Score, compute_gradient
from trainers.networks.backbone import Tensor
from trainers.networks.config import ClassifierConfig, NetworkConfig
from trainers.networks.yolo import cells, decode

_POOL, _HEAD = "head_pool", "head_classes"  # of our classifiers


def compute_grad_cam(network: keras.Model, name: str, images: F32, score: Score) -> F32:
    """Grad-CAM of a layer: float images ``(B, H, W, 3)`` -> ``(B, h, w)``, signed.

    The original drops what is negative, evidence against; `overlay` does so when it is shown.

    Raises:
        ConfigError: No layer before the output has that name.
    """
    maps, gradient = compute_gradient(network, name, images, score)
    weights = gradient.mean((1, 2), keepdims=True)  # (B, 1, 1, C)
    return np.asarray((weights * maps).sum(-1), np.float32)


def compute_cam(network: keras.Model, config: ClassifierConfig, images: F32, class_id: int) -> F32:
    """CAM of one of our classifiers: float images ``(B, H, W, 3)`` -> ``(B, h, w)``, signed.

    Of exclusive classes the mean of all weights is subtracted, as what raises every logit alike
    changes no probability.
    """
    features = keras.Model(network.input, network.get_layer(_POOL).input)
    kernel = ops.convert_to_numpy(network.get_layer(_HEAD).kernel)[0, 0]  # (C, K)
    weights = kernel[:, class_id] - (0 if config.independent else kernel.mean(1))
    maps = ops.convert_to_numpy(features(ops.convert_to_tensor(images), training=False))
    return np.asarray(maps @ weights, np.float32)


def name_last_map(network: keras.Model) -> str:
    """The layer whose map a classifier averages."""
    pool = network.get_layer(_POOL)
    return str(pool.input._keras_history.operation.name)  # noqa: SLF001


def score_class(config: ClassifierConfig, class_id: int) -> Score:
    """What Grad-CAM explains of a classifier: the logarithm of the odds of a class."""

    def score(logits: Tensor) -> Tensor:
        if config.independent or len(config.classes) == 1:
            return logits[:, class_id]
        others = [n for n in range(len(config.classes)) if n != class_id]
        return logits[:, class_id] - ops.logsumexp(ops.take(logits, others, axis=1), axis=1)

    return score


@dataclass(frozen=True, slots=True)
class DetectorRow:
    """The raw row of a detector that came nearest to a box.

    Attributes:
        row: Its index.
        class_id: The class that is asked about.
        layer: The layer with what the head reads, at the stride of the row.
        score: What the row says, in [0, 1].
    """

    row: int
    class_id: int
    layer: str
    score: float


def find_row(raw: F32, config: NetworkConfig, xyxy: F32, class_id: int) -> DetectorRow:
    """The row that comes nearest to a box ``(4,)``, network pixels: IoU times score is highest.

    Args:
        raw: ``(1, A, R)``, the output for one image.
        config: Of the network.
        xyxy: The box.
        class_id: Its class.
    """
    decoded = decode(ops.convert_to_tensor(raw), config)
    score = ops.convert_to_numpy(decoded.score)[0, :, class_id]
    overlap = boxes.iou(xyxy[None], ops.convert_to_numpy(decoded.xyxy)[0])[0]
    row = int(np.argmax(overlap * score))
    stride = cells(config.input_wh, config.num_anchors)[1][row, 0]
    level = {8: 0, 16: 1, 32: 2}[int(stride)]
    suffix = "share_act" if config.backbone == "yunet" else "stem_act"
    return DetectorRow(row, class_id, f"head_{level}_{suffix}", float(score[row]))


def score_row(config: NetworkConfig, at: DetectorRow) -> Score:
    """What Grad-CAM explains of a detector: the logits of object and class of one row, summed."""

    def score(raw: Tensor) -> Tensor:
        decoded = decode(raw, config)
        return decoded.object_logit[:, at.row] + decoded.class_logit[:, at.row, at.class_id]

    return score


def enlarge_map(cam: F32, input_wh: tuple[int, int]) -> F32:
    """``(h, w)`` -> ``(H, W)`` in the pixels of the network's input."""
    return np.asarray(cv2.resize(cam, input_wh, interpolation=cv2.INTER_CUBIC), np.float32)


def crop_to_picture(cam: F32, placed: Letterbox) -> F32:
    """The part of a map of the network's input that shows the picture, without its padding."""
    whole = np.array([[0, 0, *placed.source_wh]], np.float32)
    x1, y1, x2, y2 = np.round(placed.to_network(whole)[0]).astype(int).tolist()
    return cam[y1:y2, x1:x2]
