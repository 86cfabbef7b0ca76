"""The models that ship: small, of the contract, with a card, and they find what they are for."""

import threading

import numpy as np
import pytest

from edge import plugins
from edge.models.detector import load_detector
from edge.models.faces import load_faces
from edge.models.files import model_path, zoo_folder, zoo_names
from edge.sources.synthetic import Options
from edge.sources.synthetic import build as synthetic
from edge.types import Frame
from edge.vision import boxes

LIMIT_BYTES = {"detect-nano": 4_000_000, "faces-nano": 2_000_000}
CARD_SECTIONS = ("Data", "Licence", "Not for", "Measured", "Made by")


@pytest.fixture(scope="module")
def frame():
    """The demo's first picture: a real photograph of one person."""
    with synthetic(Options(noise=0)).connect(threading.Event()) as captures:
        capture = next(captures)
    return Frame("demo", 1, 0, capture.captured_s, capture.monotonic_s, capture.picture)


@pytest.fixture(scope="module")
def runtime():
    return plugins.create("runtimes", {"kind": "onnx", "lanes": 1})


@pytest.mark.parametrize("name", LIMIT_BYTES)
def test_a_shipped_model_is_small_and_has_a_card(name):
    path = model_path(f"zoo:{name}", zoo_folder())
    assert path.stat().st_size <= LIMIT_BYTES[name]
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    for section in CARD_SECTIONS:
        assert f"## {section}" in card, f"{name}.md has no section {section}"


def test_every_shipped_model_is_known_to_these_tests():
    assert set(zoo_names()) == set(LIMIT_BYTES)


def test_the_detector_finds_the_person_of_the_demo(runtime, frame):
    detector = load_detector(runtime, model_path("zoo:detect-nano", zoo_folder()))
    assert detector.classes == ("person", "bicycle", "car", "motorcycle", "bus", "truck")
    found = detector.detect([frame])[0]
    assert found.score.max() > 0.5
    assert detector.classes[found.class_id[found.score.argmax()]] == "person"


def test_the_face_finder_finds_the_face_inside_the_person(runtime, frame):
    faces = load_faces(runtime, model_path("zoo:faces-nano", zoo_folder())).find([frame])[0]
    people = load_detector(runtime, model_path("zoo:detect-nano", zoo_folder())).detect([frame])[0]
    assert len(faces) == 1
    assert boxes.containment(faces.xyxy, people.xyxy[:1])[0, 0] > 0.8
    left_eye, right_eye, nose, left_mouth, right_mouth = faces.landmarks[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert np.linalg.norm(left_mouth - right_mouth) > 5
