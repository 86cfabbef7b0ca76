"""Training an embedder, whole: from drawn people to a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from edge.errors import ConfigError
from tests.trainers.data.test_portraits import POINTS, write_table
from tests.trainers.networks.test_mobilefacenet import TINY as ENCODER
from trainers import embedder
from trainers.embedder import EmbedderJob, read_parts, train_embedder
from trainers.input.distillation import DistillationSet
from trainers.losses.embedding import ObjectiveConfig
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:Even though the:UserWarning")  # see eagerly
TINY = replace(ENCODER, depths=(0, 0, 0))  # every layer costs a second of compiling
NAMES = [f"person {n}" for n in range(24)]


class Teacher:
    """Says where in the face it is bright."""

    name, sha256 = "teacher", "1" * 64

    def embed(self, crops: np.ndarray) -> np.ndarray:
        means = [cv2.resize(crop, (2, 2), interpolation=cv2.INTER_AREA)[..., 0] for crop in crops]
        rows = np.stack(means).reshape(len(crops), 4).repeat(2, 1).astype(np.float32)
        rows = rows - rows.mean(1, keepdims=True) + 0.1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    rows = [
        (f"{name}_{video}.png", name, video, POINTS + shift)
        for name in NAMES
        for video, shift in enumerate((0, 1))
    ]
    return write_table(tmp_path_factory.mktemp("people"), rows)


def job_of(people: Path, out: Path, **options: object) -> EmbedderJob:
    settings = Settings(epochs=1, batch=8, seed=1)
    base = EmbedderJob(
        data=people, out=out, network=TINY, settings=settings, images_per_person=2, max_images=16
    )
    return replace(base, **options)


@pytest.fixture(scope="module")
def finished(people, tmp_path_factory, eager_steps) -> RunFolder:
    job = job_of(
        people, tmp_path_factory.mktemp("runs") / "r",
        objective=ObjectiveConfig((("teacher", 1.0), ("triplet", 0.5), ("binary", 0.1),
                                   ("margin", 0.1))),
        teacher=Teacher(), distillation_images=60,
    )  # fmt: skip
    with eager_steps():
        return train_embedder(job)


def test_a_run_is_trained_with_all_losses_and_knows_its_threshold(finished):
    metrics = finished.read("metrics.json")
    assert 0 <= metrics["auc"] <= 1
    assert -1 <= metrics["threshold"] <= 1
    assert finished.kind == "embed"
    header = (finished.path / "log.csv").read_text().splitlines()[0].split(",")
    assert {"teacher", "triplet", "binary", "margin", "val_auc"} <= set(header)
    rows = finished.load()(np.zeros((1, 112, 112, 3), np.float32))
    assert rows.shape == (1, 8)


def test_a_run_goes_on_where_it_stopped(finished, people):
    again = job_of(
        people, finished.path, settings=Settings(epochs=2, batch=8, seed=1),
        objective=ObjectiveConfig((("teacher", 1.0), ("triplet", 0.5), ("binary", 0.1),
                                   ("margin", 0.1))),
        teacher=Teacher(), distillation_images=60,
    )  # fmt: skip
    train_embedder(again, resume=True)
    assert finished.last_epoch() == 2
    lines = (finished.path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1"]


def test_a_folder_in_use_is_refused_before_anything_is_read(finished, tmp_path):
    with pytest.raises(ConfigError, match="continue it with --resume"):
        train_embedder(job_of(tmp_path / "nothing", finished.path))


def test_nobody_who_is_held_back_is_shown_or_chooses(people, tmp_path):
    parts = read_parts(job_of(people, tmp_path / "r"))
    everybody = set(NAMES)
    shown = set(parts.portraits.names)
    train_people = {parts.portraits.names[p] for p in parts.train_people}
    val_portraits = set(parts.val_portraits.names)
    assert everybody - shown  # held back
    assert val_portraits <= shown
    assert not val_portraits & train_people
    assert train_people | val_portraits == shown


def faces(count: int) -> DistillationSet:
    zeros = np.zeros((count, 112, 112, 3), np.uint8)
    return DistillationSet(zeros, np.arange(count) % 5, np.zeros((count, 8), np.float32))


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ((("triplet", 1.0),), 8),  # names alone fill the batch
        ((("teacher", 1.0),), 0),  # no names are needed
        ((("teacher", 1.0), ("margin", 0.1)), 4),  # half of each
    ],
)
def test_a_batch_holds_names_where_a_loss_wants_them(people, tmp_path, parts, named):
    job = job_of(people, tmp_path, objective=ObjectiveConfig(parts), teacher=Teacher())
    plan = embedder.build_batch_plan(job, faces(40))
    assert plan.people * plan.images_per_person == named
    assert plan.batch == 8


def test_losses_that_lack_something_are_refused(people, tmp_path):
    with pytest.raises(ConfigError, match="--teacher"):
        job_of(people, tmp_path, objective=ObjectiveConfig((("teacher", 1.0),)))
    with pytest.raises(ConfigError, match="--batch must be at least 4"):
        job_of(people, tmp_path, settings=Settings(batch=3))


def test_a_network_whose_slopes_have_not_faded_is_not_the_best(monkeypatch):
    network = embedder.build(replace(TINY, norm="none", fading=True))
    rows = np.float32([[1, 0], [1, 0], [0, 1], [0, 1]])
    monkeypatch.setattr(embedder, "embed", lambda *_: rows)
    crowd = type("Crowd", (), {"person": np.int64([0, 0, 1, 1]), "video": np.arange(4)})()
    early = embedder.compute_metrics(network, crowd)
    embedder.set_remaining_slope(network, 0.0)
    late = embedder.compute_metrics(network, crowd)
    assert early["auc"] == late["auc"] == 1.0
    assert early["score"] == pytest.approx(0.0)
    assert late["score"] == 1.0


def test_fading_reaches_zero_and_a_resumed_run_stands_where_it_was():
    network = embedder.build(replace(TINY, norm="none", fading=True))

    class Fit:
        def __init__(self) -> None:
            self.network = network

    fade = embedder.FadeSlopes(steps=20, epoch_steps=10)
    fade.set_model(Fit())
    fade.on_epoch_begin(1)
    assert embedder.get_remaining_slope(network) == pytest.approx(0.5)
    for batch in range(10):
        fade.on_train_batch_end(batch)
    assert embedder.get_remaining_slope(network) == 0
    keras.backend.clear_session()
