"""Messages as supervision.Detections: pip install edgewatch supervision, then run this file.

https://supervision.roboflow.com draws, counts and stores them.
"""

from __future__ import annotations

import sys

import numpy as np
import supervision as sv

from edge.client import Received, Subscriber
from edge.wire.schema import DetectionsMessage


def to_detections(message: DetectionsMessage) -> sv.Detections:
    """The tracked objects of a message; class names are in ``data["class_name"]``."""
    objects = message.objects
    names = sorted({thing.label for thing in objects})
    return sv.Detections(
        xyxy=np.array([thing.box for thing in objects], np.float32).reshape(-1, 4),
        confidence=np.array([thing.score for thing in objects], np.float32),
        class_id=np.array([names.index(thing.label) for thing in objects], int),
        tracker_id=np.array([thing.track for thing in objects], np.int64),
        data={"class_name": np.array([thing.label for thing in objects], dtype=str)},
    )


if __name__ == "__main__":
    endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"
    with Subscriber(endpoint, topics=["v1/detections/"]) as subscriber:
        for item in subscriber:
            if isinstance(item, Received) and isinstance(item.body, DetectionsMessage):
                print(item.body.camera, to_detections(item.body), flush=True)
