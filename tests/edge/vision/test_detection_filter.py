"""Filters: which detections of a camera count."""

import numpy as np
import pytest

from edge.config import Camera
from edge.errors import ConfigError
from edge.types import Detections
from edge.vision.detection_filter import DetectionFilter

CLASSES = ("person", "car", "dog")
SIZE_WH = (200, 100)

# Four objects: box, score, class.
FOUND = Detections(
    np.array([[0, 0, 10, 50], [50, 0, 60, 20], [100, 40, 120, 100], [190, 90, 200, 100]], "f4"),
    np.array([0.9, 0.5, 0.3, 0.7], "f4"),
    np.array([0, 1, 1, 2], "i4"),
)
LEFT_HALF = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))


def camera(**options):
    return Camera(name="door", source={"kind": "synthetic"}, **options)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"labels": ("car",)}, [1, 2]),
        ({"labels": ("dog", "person")}, [0, 3]),
        ({"min_score": {"car": 0.4}}, [0, 1, 3]),
        ({"min_score": {"car": 0.5, "person": 0.95}}, [1, 3]),  # equal is enough
        ({"labels": ("car",), "min_score": {"dog": 0.1}}, [1, 2]),  # never brings a label back
        ({"min_height": {"car": 0.2}}, [0, 1, 2, 3]),
        ({"min_height": {"car": 0.3, "dog": 0.2}}, [0, 2]),
        ({"masks": (LEFT_HALF,)}, [2, 3]),  # the foot point decides
        ({"masks": (((0.5, 0.9), (1, 0.9), (1, 1), (0.5, 1)),)}, [0, 1]),  # to the lower edge
        ({"masks": (LEFT_HALF, ((0.9, 0), (1, 0), (1, 1), (0.9, 1)))}, [2]),
        ({"labels": ("car",), "masks": (LEFT_HALF,), "min_score": {"car": 0.4}}, []),
    ],
)
def test_keeps_what_the_camera_wants(options, kept):
    result = DetectionFilter(camera(**options), CLASSES).keep(FOUND, SIZE_WH)
    np.testing.assert_array_equal(result.xyxy, FOUND.xyxy[kept])
    np.testing.assert_array_equal(result.class_id, FOUND.class_id[kept])


def test_what_is_kept_whole_is_not_copied():
    assert DetectionFilter(camera(), CLASSES).keep(FOUND, SIZE_WH) is FOUND
    assert DetectionFilter(camera(labels=CLASSES), CLASSES).keep(FOUND, SIZE_WH) is FOUND


def test_nothing_found_stays_nothing():
    none = Detections.empty()
    assert len(DetectionFilter(camera(masks=(LEFT_HALF,)), CLASSES).keep(none, SIZE_WH)) == 0


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"labels": ("person", "cat")}, "labels"),
        ({"min_score": {"cat": 0.5}}, "min_score"),
        ({"min_height": {"cat": 0.5}}, "min_height"),
    ],
)
def test_an_unknown_label_names_camera_key_and_the_known_labels(options, key):
    with pytest.raises(ConfigError) as caught:
        DetectionFilter(camera(**options), CLASSES)
    for part in ("'door'", key, "'cat'", "person, car, dog"):
        assert part in str(caught.value)
