"""Predictions of a trained network: pictures -> ``Detections`` or ``Faces``, in numpy.

For validation during training; the daemon runs the exported graph, which does the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from edge.types import F32, Detections, Faces, Letterbox, RgbPicture
from edge.vision import boxes
from edge.vision.preprocess import letterbox
from trainers.data.dataset import Example
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import decode

BATCH = 8  # pictures per inference
_CANDIDATES = 400  # rows per picture that enter suppression


def load_pictures(examples: Sequence[Example], batch: int = BATCH) -> Iterator[list[RgbPicture]]:
    """Load pictures in batches: all at once take much memory, single ones are slow."""
    for start in range(0, len(examples), batch):
        yield [RgbPicture(example.load().image) for example in examples[start : start + batch]]


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """Detects objects, and faces where the network (of ``yolo.build``) has landmarks.

    Attributes:
        score: Rows with a lower score are dropped; low for average precision.
        iou: IoU threshold of suppression.
        max_detections: Detections kept per picture.
    """

    network: keras.Model
    config: NetworkConfig
    score: float = 0.01
    iou: float = 0.65
    max_detections: int = 100

    def __call__(self, picture: RgbPicture) -> Detections:
        """Objects in one picture, source pixels, by falling score."""
        return self.detect([picture])[0]

    def detect(self, pictures: Sequence[RgbPicture], batch: int = BATCH) -> list[Detections]:
        """Objects in each picture, source pixels, by falling score."""
        return [found for found, _ in self._find(pictures, batch)]

    def faces(self, pictures: Sequence[RgbPicture], batch: int = BATCH) -> list[Faces]:
        """Faces in each picture, source pixels, by falling score."""
        return [
            Faces(
                found.xyxy, found.score, points, np.full(len(found), -1, np.int32),
                np.zeros(len(found), np.float32),
            )
            for found, points in self._find(pictures, batch)
        ]  # fmt: skip

    def _find(self, pictures: Sequence[RgbPicture], batch: int) -> list[tuple[Detections, F32]]:
        width, height = self.config.input_wh
        result = []
        for start in range(0, len(pictures), batch):
            part = pictures[start : start + batch]
            images = np.empty((batch, height, width, 3), np.uint8)  # always full: one graph
            placed = [letterbox(p, images[i]) for i, p in enumerate(part)]
            raw = self.network.predict_on_batch(images.astype(np.float32))
            rows = decode(keras.ops.convert_to_tensor(raw), self.config)
            columns = (rows.xyxy, rows.score, rows.points)
            xyxy, score, points = map(keras.ops.convert_to_numpy, columns)
            for i, place in enumerate(placed):
                result.append(self._read(xyxy[i], score[i], points[i], place))
        return result

    def _read(
        self, xyxy: F32, score: F32, points: F32, placed: Letterbox
    ) -> tuple[Detections, F32]:
        """One picture's rows: threshold, suppression, source pixels."""
        row, column = np.nonzero(score > self.score)
        best = np.argsort(-score[row, column], kind="stable")[:_CANDIDATES]
        row, class_id = row[best], np.asarray(column[best], np.int32)
        keep = boxes.nms(xyxy[row], score[row, class_id], class_id, self.iou)
        row, class_id = row[keep[: self.max_detections]], class_id[keep[: self.max_detections]]
        confidence = score[row, class_id].astype(np.float32)
        detections = Detections(placed.to_source(xyxy[row]), confidence, class_id)
        return detections, placed.points_to_source(points[row])
