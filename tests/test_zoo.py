"""The models that ship: small, of the contract, with a card, and they find what they are for."""

import threading

import numpy as np
import pytest

from deploy.adopt.minifasnet import adopt_minifasnet
from edge import plugins
from edge.config import Recognition
from edge.models.contract import load_model
from edge.models.paths import get_zoo_folder, list_zoo, resolve_model
from edge.sources.synthetic import Options
from edge.sources.synthetic import build as synthetic
from edge.types import Frame, RgbPicture
from edge.vision import boxes
from edge.vision.image_file import read_picture
from edge.vision.resize import to_rgb
from tests.support.class_tables import list_faces, name_head, write_table
from trainers.data.class_data import read_class_data
from trainers.data.points68 import measure_turns
from trainers.data.read import read_dataset
from trainers.evaluation.classifier import evaluate_classifier
from trainers.metrics.pad import compute_pad_metrics
from trainers.spoofing.clips import LiveFaces, Scenes, build_pad_set, read_clip_config

LIMIT_BYTES = {
    "detect-nano": 4_000_000, "faces-nano": 2_000_000, "liveness-nano": 4_000_000,
    "embed-nano": 4_100_000, "detect-nano-wide": 4_000_000, "facing-nano": 400_000,
}  # fmt: skip
UNSEEN = (  # people of ytf_dev that the trainers hold back
    "Adrian_Nastase", "Albert_Brooks", "Alejandro_Toledo", "Alfredo_di_Stefano", "Barbara_Walters",
    "Barry_Alvarez", "Benedita_da_Silva", "Bill_Bradley", "Carlos_Queiroz", "Carrie-Anne_Moss",
)  # fmt: skip
CARD_SECTIONS = ("Data", "License", "Not for", "Measured", "Made by")


@pytest.fixture(scope="module")
def frame():
    """The demo's first picture: a real photograph of one person."""
    with synthetic(Options(noise=0)).connect(threading.Event()) as captures:
        capture = next(captures)
    return Frame("demo", 1, 0, capture.captured_s, capture.monotonic_s, capture.picture)


@pytest.fixture(scope="module")
def runtime():
    return plugins.create("runtimes", {"kind": "onnx", "workers": 1})


@pytest.mark.parametrize("name", LIMIT_BYTES)
def test_a_shipped_model_is_small_and_has_a_card(name):
    path = resolve_model(f"zoo:{name}", get_zoo_folder())
    assert path.stat().st_size <= LIMIT_BYTES[name]
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    for section in CARD_SECTIONS:
        assert f"## {section}" in card, f"{name}.md has no section {section}"


def test_every_shipped_model_is_known_to_these_tests():
    assert set(list_zoo()) == set(LIMIT_BYTES)


def test_the_detector_finds_the_person_of_the_demo(runtime, frame):
    detector = load_model("detect", runtime, resolve_model("zoo:detect-nano", get_zoo_folder()))
    assert detector.classes == ("person", "bicycle", "car", "motorcycle", "bus", "truck")
    found = detector.detect([frame])[0]
    assert found.score.max() > 0.5
    assert detector.classes[found.class_id[found.score.argmax()]] == "person"


def test_the_wide_detector_finds_the_same_in_a_wide_picture(runtime, frame):
    picture = RgbPicture(np.ascontiguousarray(to_rgb(frame.picture)[:360, :640]))
    wide = [Frame("demo", 1, 0, 0.0, 0.0, picture)]
    folder = get_zoo_folder()
    usual, other = (
        load_model("detect", runtime, resolve_model(f"zoo:{name}", folder)).detect(wide)[0]
        for name in ("detect-nano", "detect-nano-wide")
    )
    sure = usual[usual.score > 0.5]
    assert len(sure)
    assert boxes.iou(sure.xyxy, other.xyxy).max(axis=1).min() > 0.9


def test_the_face_finder_finds_the_face_inside_the_person(runtime, frame):
    folder = get_zoo_folder()
    finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", folder))
    faces = finder.find([frame])[0]
    detector = load_model("detect", runtime, resolve_model("zoo:detect-nano", folder))
    people = detector.detect([frame])[0]
    assert len(faces) == 1
    assert boxes.containment(faces.xyxy, people.xyxy[:1])[0, 0] > 0.8
    left_eye, right_eye, nose, left_mouth, right_mouth = faces.landmarks[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert np.linalg.norm(left_mouth - right_mouth) > 5


# --- liveness -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def liveness(runtime):
    return load_model("liveness", runtime, resolve_model("zoo:liveness-nano", get_zoo_folder()))


def test_the_liveness_model_keeps_the_contract(liveness):
    size = (2, liveness.manifest.crops, *liveness.manifest.input_wh[::-1], 3)
    said = liveness.live(np.random.default_rng(0).integers(0, 256, size, np.uint8))
    assert said.shape == (2,)
    assert np.isfinite(said).all()
    assert "simulated" in liveness.manifest.trained_on


def test_it_is_what_recognition_uses_unless_another_or_none_is_named():
    given = {"gallery": "g", "key_file": "k", "embedder": "e"}
    assert Recognition.model_validate(given).liveness.path == "zoo:liveness-nano"
    assert Recognition.model_validate(given | {"liveness": "a.onnx"}).liveness.path == "a.onnx"
    assert Recognition.model_validate(given | {"liveness": False}).liveness is None


@pytest.mark.parametrize(("file", "alive"), [("image_T1.jpg", True), ("image_F1.jpg", False)])
def test_a_living_face_and_a_real_screen_are_judged_right(
    runtime, liveness, shared_data, file, alive
):
    finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", get_zoo_folder()))
    picture = read_picture(shared_data / "liveness" / file)
    found = finder.find([Frame("photo", 1, 0, 0.0, 0.0, picture)])[0]
    (said,) = liveness.live(liveness.crops(picture, found.xyxy[0])[None])
    assert (said >= 0.5) == alive


def test_it_refuses_no_more_of_the_living_than_the_pair_and_lets_no_more_pass(
    runtime, liveness, shared_data, tmp_path
):
    """On people it was never trained on, with the same crops; see the card for all figures."""
    pair = tmp_path / "pair.onnx"
    files = [shared_data / "models" / f"minifasnet_live_{row}.onnx" for row in (1, 2)]
    pair.write_bytes(adopt_minifasnet([file.read_bytes() for file in files], "pair"))
    dataset = read_dataset(shared_data / "ytf_dev")
    people = LiveFaces(dataset.where(lambda example: example.group in UNSEEN))
    config = read_clip_config(pair)
    manifest = liveness.manifest
    assert (manifest.crop_scales, manifest.resampling) == (config.scales, config.resampling)
    kinds = ("print", "phone", "newspaper", "soft screen", "still on a screen")
    fixed = build_pad_set(people, config, kinds, Scenes(), each=12, frames=2)
    ours, theirs = (
        compute_pad_metrics(model.live(fixed.clips), fixed.kind)
        for model in (liveness, load_model("liveness", runtime, pair))
    )
    assert ours.bpcer.value <= theirs.bpcer.value <= 0.2
    for kind in kinds:
        assert ours.apcer[kind].value <= theirs.apcer[kind].value, kind


# --- embedder -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedder(runtime):
    return load_model("embed", runtime, resolve_model("zoo:embed-nano", get_zoo_folder()))


def test_the_embedder_describes_faces_by_unit_vectors(embedder):
    crops = np.random.default_rng(0).integers(0, 255, (3, 112, 112, 3), np.uint8)
    rows = embedder.embed(crops)
    assert rows.shape == (3, 128)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[:1], embedder.embed(crops[:1]), atol=1e-5)
    assert 0.1 < embedder.threshold < 0.6


def test_the_embedder_tells_people_apart_whom_it_never_saw(embedder, shared_data):
    """Every pair across videos of the people that no trainer is shown; the card has the figures."""
    from trainers.data.portraits import read_portraits
    from trainers.metrics.verification import across_videos, auc, tar_at

    _, held = read_portraits(shared_data / "ytf_dev").split()
    pairs = across_videos(embedder.embed(held.crops), held.person, held.video)
    assert len(held.names) == 54
    assert auc(pairs.genuine, pairs.impostor) >= 0.975
    assert tar_at(pairs.genuine, pairs.impostor, 1e-2) >= 0.89
    assert tar_at(pairs.genuine, pairs.impostor, 1e-3) >= 0.81
    assert np.mean(pairs.impostor >= embedder.threshold) < 5e-3


# --- direction of heads -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def facing(runtime):
    return load_model("classify", runtime, resolve_model("zoo:facing-nano", get_zoo_folder()))


def test_the_direction_of_the_demos_head_is_a_probability_each(runtime, facing, frame):
    finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", get_zoo_folder()))
    [box] = finder.find([frame])[0].xyxy
    [said] = facing.classify(facing.cut(frame.picture, box)[None])
    assert facing.classes == ("ahead", "left", "right")
    assert said.sum() == pytest.approx(1, abs=1e-3)


def test_a_mirrored_head_looks_to_the_other_side(runtime, facing, shared_data):
    finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", get_zoo_folder()))
    picture = read_picture(shared_data / "gallery_video" / "obama2.jpg")
    mirrored = RgbPicture(np.ascontiguousarray(to_rgb(picture)[:, ::-1]))
    said = []
    for one in (picture, mirrored):
        faces = finder.find([Frame("photo", 1, 0, 0.0, 0.0, one)])[0]
        box = faces.xyxy[faces.score.argmax()]
        said.append(facing.classify(facing.cut(one, box)[None])[0])
    assert said[0][1] - said[0][2] == pytest.approx(said[1][2] - said[1][1], abs=0.3)


def test_heads_of_people_it_never_saw_are_told_apart(facing, shared_data, tmp_path):
    """The people whom no trainer is shown, labeled by landmarks; the card has the figures."""
    rows = list(list_faces(shared_data, measure_turns, name_head, ("test",)))
    write_table(tmp_path / "heads.csv", rows)
    result = evaluate_classifier(read_class_data(tmp_path / "heads.csv"), facing)
    assert len({row[6] for row in rows}) >= 50
    for name in facing.classes:
        assert result.figures[f"AUROC {name}"].value >= 0.95, name
    assert result.figures["calibration error"].value <= 0.03
