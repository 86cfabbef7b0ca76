"""Files that commit ee90ae7 wrote are read and mean the same; see golden/ee90ae7/README.md."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.engines.cache import BuildOptions, EngineCache, EngineKey, EngineTarget
from edge.manifest import Manifest
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.recognition.threshold import Calibration
from edge.runtimes import onnx as onnx_runtime
from edge.wire.schema import decode, encode_line
from tests.support.gallery import EMBEDDER, Clock

HERE = Path(__file__).parent / "golden" / "ee90ae7"


@pytest.fixture
def gallery(tmp_path):
    for name in ("gallery.db", "gallery.key"):
        shutil.copy(HERE / name, tmp_path)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "gallery.key").chmod(0o600)
    key = load_key(str(tmp_path / "gallery.key"))
    with Gallery(tmp_path / "gallery.db", key, EMBEDDER, clock=Clock()) as opened:
        yield opened


@pytest.fixture
def expected():
    return json.loads((HERE / "gallery.json").read_text())


def test_a_gallerys_people_are_the_same(gallery, expected):
    people = gallery.people()
    assert [person.name for person in people] == expected["people"] == ["Ann", "Bob"]
    assert [person.id for person in people] == expected["ids"]
    assert (people[0].details.templates, people[0].details.lookalikes) == (2, 1)
    assert people[1].details.until == "2099-12-31"
    assert [str(person.state) for person in people] == ["active", "active"]
    assert gallery.generation == expected["generation"]


def test_the_templates_are_as_near_as_they_were(gallery, expected):
    index, faces = gallery.index(), np.load(HERE / "embeddings.npy")  # (M, D)
    nearest = np.maximum.reduceat(faces @ index.templates.T, index.starts, axis=1)  # (M, P)
    vetoed = faces @ index.negatives.T >= nearest[:, index.negative_of]
    assert vetoed.any(axis=1).tolist() == expected["vetoed"]
    nearest[:, index.negative_of] = np.where(vetoed, -1, nearest[:, index.negative_of])
    similarity, second = np.sort(nearest, axis=1)[:, :-3:-1].T
    alone = similarity == -1
    assert np.where(alone, -1, nearest.argmax(axis=1)).tolist() == expected["person_row"]
    np.testing.assert_allclose(similarity, expected["similarity"], atol=1e-6)
    np.testing.assert_allclose(second, expected["second"], atol=1e-6)


def test_the_calibration_is_the_same(gallery, expected):
    assert gallery.calibration() == expected["calibration"]
    calibration = Calibration.from_values(gallery.calibration())
    assert (calibration.fpir, calibration.tail.comparisons) == (0.01, 5000)
    assert calibration.values() == expected["calibration"]


def test_the_audit_log_verifies_and_tells_the_same(gallery, expected):
    assert gallery.audit.verify() == expected["entries"]
    assert [entry.action for entry in gallery.audit.entries()] == expected["actions"]
    assert gallery.attempts.lock_s() == 0, "one attempt failed since the last that passed"


def test_the_gallery_goes_on_being_changed(gallery, expected):
    gallery.enroll("Dora", np.load(HERE / "embeddings.npy")[6:7], consent=True)
    gallery.forget("Bob")
    assert [person.name for person in gallery.people()] == ["Ann", "Dora"]
    assert gallery.audit.verify() == expected["entries"] + 2 + 1  # and the seal that it lacked


def test_an_engine_is_accepted_from_the_cache(tmp_path):
    cache = EngineCache(shutil.copytree(HERE / "cache", tmp_path / "cache"))
    (cache.root / "engine.key").chmod(0o600)
    target = EngineTarget("tensorrt_rtx", "1.7.1", "RTX A2000", ("sm86",))
    model = (HERE / "summing.onnx").read_bytes()
    (entry,) = cache.find(EngineKey.for_model(model, target, BuildOptions()))
    assert cache.load(entry) == bytes(range(256)) * 4 + b"\n\n"
    assert (entry.name, entry.built_s, entry.took_s) == ("gate", 1.8e9, 2.5)


def test_every_line_of_a_file_of_messages_decodes_whole():
    lines = (HERE / "messages.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    for line in lines:
        written = json.loads(line)
        topic = written.pop("topic")
        body = decode(topic, json.dumps(written).encode())
        assert json.loads(encode_line(topic, body)) == json.loads(line), "no field is lost"


def test_an_exported_model_opens_and_finds_the_same():
    model = (HERE / "model.onnx").read_bytes()
    session = onnx_runtime.build(onnx_runtime.Options()).load(model, "model.onnx")
    manifest = Manifest.from_metadata(session.metadata, "model.onnx", "detect")
    assert (manifest.name, manifest.classes, manifest.input_wh) == ("tiny", ("face",), (32, 32))
    assert manifest.trained_on == "drawn pictures"
    with np.load(HERE / "model.npz") as written:
        outputs = session.infer(written["image"])
        assert set(outputs) == set(written.files) - {"image"}
        for name, rows in outputs.items():
            np.testing.assert_allclose(rows, written[name], rtol=1e-3, atol=1e-3)
