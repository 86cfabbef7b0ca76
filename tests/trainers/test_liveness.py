"""The liveness trainer, whole: a run of seconds, resumed, exported, measured."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.export.detector import export_run
from deploy.graph.manifest import Provenance
from deploy.graph.nms import NmsOverrides
from edge.errors import ConfigError
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.types import Faces, RgbPicture
from tests.support.tiny_networks import lively
from tests.trainers.spoofing.test_clips import write_faces
from trainers.commands.app import app
from trainers.data.read import read_face_dataset
from trainers.liveness import (
    METRIC,
    LivenessJob,
    freeze,
    match_bpcer,
    mix_weights,
    read_people,
    shift_live,
    train_liveness,
    wrap_network,
)
from trainers.networks.config import LivenessConfig
from trainers.networks.minifasnet import build as build_network
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings
from trainers.spoofing.clips import (
    LiveFaces,
    PadSet,
    build_pad_set,
    load_clip_scorer,
    read_scenes,
)
from trainers.spoofing.clips import Scenes as NoScenes

TINY = LivenessConfig((2.7,), frames=2, over_time="conv3d", branches=("plain",))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("liveness")
    data = write_faces(folder / "faces", people=8)
    return LivenessJob(
        data=(data,), out=folder / "run", config=TINY, val_fraction=0.4,
        settings=Settings(epochs=1, batch=4, learning_rate=1e-3, threads=1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(job):
    return train_liveness(job)


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    made, task = export_run(run, NmsOverrides(), Provenance("tiny", trained_on=""))
    assert task == "liveness"
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(made)
    return path


def test_nobody_is_on_both_sides_of_the_split(job):
    rest, held = read_people(job)
    assert not {e.group for e in rest.examples} & {e.group for e in held.examples}
    assert len(rest) + len(held) == 24


def test_a_run_leaves_a_network_figures_and_what_it_was_made_of(run):
    figures = run.read("metrics.json")
    assert 0 <= figures[METRIC] <= 1
    assert {"bpcer", "acer", "apcer print", "acer of tracks"} <= set(figures)
    told = run.read("config.json")["data"]
    assert "cut-out photo" in told["held_out_kinds"]
    network, config = run.load_with_config(LivenessConfig)
    assert config == TINY
    assert network.output_shape == (None,)


def test_a_finished_run_resumes_and_other_data_are_refused(job, run, tmp_path):
    before = run.read("metrics.json")
    assert train_liveness(job, resume=True).read("metrics.json") == before
    other = write_faces(tmp_path / "others", people=8, frames=2)
    changed = LivenessJob(
        data=(other,), out=job.out, config=TINY, val_fraction=0.4, settings=job.settings
    )
    with pytest.raises(ConfigError, match="trained on other data"):
        train_liveness(changed, resume=True)


def test_the_exported_model_says_what_the_trained_network_says(run, model):
    network, config = run.load_with_config(LivenessConfig)
    people = LiveFaces(faces_of_run(run))
    fixed = build_pad_set(people, config, ("print",), NoScenes(), each=3, frames=1)
    live = load_model("liveness", build(Options(workers=1)), model)
    said = np.asarray(network(fixed.clips.astype(np.float32)))
    assert live.live(fixed.clips) == pytest.approx(said, abs=1e-5)
    assert live.manifest.clip_frames == 2
    assert "faces" in live.manifest.trained_on


def faces_of_run(run: RunFolder):
    return read_face_dataset(Path(run.read("config.json")["data"]["paths"][0]))


def test_what_a_run_started_from_is_mixed_in_at_its_end_once(job, run, tmp_path):
    start = run.best
    settings = replace(job.settings, epochs=0)
    kept = replace(job, out=tmp_path / "kept", start=start, keep=0.75, settings=settings)
    again = train_liveness(kept)
    assert again.read("metrics.json")["kept"] == 0.75
    before = again.best.read_bytes()
    train_liveness(kept, resume=True)
    assert again.best.read_bytes() == before
    with pytest.raises(ConfigError, match=r"must be in \[0, 1\)"):
        train_liveness(replace(kept, keep=1.5))


def test_a_mixed_network_refuses_no_more_of_the_living_than_the_one_it_started_from():
    config = LivenessConfig((2.7,), branches=("plain",))
    start, network = lively(build_network(config)), build_network(config)
    clips = np.random.default_rng(1).integers(0, 256, (12, 1, 80, 80, 3), np.uint8)
    validation = PadSet(clips, ("live",) * 8 + ("print",) * 4, ("live/0",) * 8 + ("print/0",) * 4)
    middle = float(np.median(wrap_network(start)(clips[:8])))
    shift_live(start, float(np.log((1 - middle) / middle)))  # half of the living are refused
    network.set_weights(start.get_weights())
    shift_live(network, -0.7)  # and now all
    assert match_bpcer(network, start, validation) == pytest.approx(0.7, abs=0.02)
    refused = [np.mean(wrap_network(n)(clips[:8]) < 0.5 - 1e-6) for n in (start, network)]
    assert refused[1] <= refused[0] == 0.5


def test_keeping_weights_of_nothing_is_refused(job):
    with pytest.raises(ConfigError, match="name a network there, or leave --keep out"):
        replace(job, keep=0.5)


def test_a_folder_in_use_is_refused_before_anything_is_read(job, run, tmp_path):
    with pytest.raises(ConfigError, match="continue it with --resume"):
        train_liveness(replace(job, data=(tmp_path / "nothing",)))
    with pytest.raises(ConfigError, match="holds no run"):
        train_liveness(replace(job, data=(tmp_path / "nothing",), out=tmp_path), resume=True)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"scenes": (Path("no such folder"),)}, "check --scenes"),
        ({"settings": Settings(freeze="scale7")}, "--freeze"),
        ({"start": Path("no such.keras")}, "does not exist"),
    ],
)
def test_wrong_options_are_refused_before_there_is_a_run(job, tmp_path, wrong, what):
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=what):
        train_liveness(replace(job, out=out, **wrong))
    assert not out.exists()


def somebody(picture: RgbPicture) -> Faces:
    """A face finder that finds one in every picture."""
    return Faces(
        np.float32([[40, 35, 100, 95]]), np.float32([0.9]), np.zeros((1, 5, 2), np.float32),
        np.int32([-1]), np.zeros(1, np.float32),
    )  # fmt: skip


def picture_of_noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (130, 150, 3)).astype(np.uint8)
    cv2.imwrite(str(path), noise)


def test_nobody_of_the_test_is_among_the_people_learnt_from(job, tmp_path):
    held = read_people(job)[1].examples[0]
    picture_of_noise(tmp_path / "people" / "stranger.png", 1)
    (tmp_path / "people" / "again.png").write_bytes(held.path.read_bytes())
    people = replace(job, out=tmp_path / "run", people=(tmp_path / "people",), predict=somebody)
    rest, tested = read_people(people)
    assert [e.name for e in rest.examples[len(read_people(job)[0]) :]] == ["stranger"]
    assert held.name in [e.name for e in tested.examples]


def test_people_whom_an_earlier_attempt_found_are_no_part_of_a_new_run(job, tmp_path):
    for seed, name in enumerate(("old", "new")):
        picture_of_noise(tmp_path / name / f"{name}.png", seed)
        people = replace(job, out=tmp_path / "run", people=(tmp_path / name,), predict=somebody)
        assert read_people(people)[0].examples[-1].name == name
    assert read_people(people, resume=True)[0].sha256() == read_people(people)[0].sha256()


def test_people_without_a_face_finder_are_refused(job, tmp_path):
    with pytest.raises(ConfigError, match="needs a face detector"):
        replace(job, people=(tmp_path,))


def test_a_mix_lies_between_its_two_networks():
    one, other = build_network(TINY), build_network(TINY)
    a, b = one.get_weights(), other.get_weights()
    mix_weights(one, other, 0.25)
    for mixed, x, y in zip(one.get_weights(), a, b, strict=True):
        assert mixed == pytest.approx(0.75 * x + 0.25 * y, abs=1e-6)


def test_a_model_teaches_who_sees_the_same_crops(model):
    clips = np.zeros((2, 2, 80, 80, 3), np.uint8)
    assert load_clip_scorer(model, TINY)(clips).shape == (2,)
    with pytest.raises(ConfigError, match="choose a model with the same crops"):
        load_clip_scorer(model, LivenessConfig())
    with pytest.raises(ConfigError, match=r"halved_bilinear, .* of .*, bilinear"):
        load_clip_scorer(model, replace(TINY, resampling="bilinear"))


def test_attacks_are_measured_and_drawn_from_the_command_line(job, model, tmp_path):
    sheet = tmp_path / "sheet.png"
    result = CliRunner().invoke(
        app,
        ["attacks", str(model), str(model), "--data", str(job.data[0]), "--each", "2",
         "--sheet", str(sheet)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for word in ("BPCER", "APCER", "ACER", "newspaper", "never trained", "at a BPCER of"):
        assert word in result.output
    assert sheet.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--frames", "4"], "do not go with over_time"),
        (["--over-time", "lstm"], "over_time must be"),
    ],
)
def test_options_that_do_not_fit_are_refused(job, tmp_path, options, what):
    run = ["liveness", str(job.data[0]), "--out", str(tmp_path / "x"), *options]
    result = CliRunner().invoke(app, run)
    assert result.exit_code != 0
    assert what in " ".join(f"{result.output} {result.exception}".split())


def test_data_without_boxes_of_faces_are_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "classes.txt").write_text("dog\n")
    with pytest.raises(ConfigError, match="needs boxes of class face"):
        read_face_dataset(tmp_path)


def test_a_folder_without_pictures_is_no_scene(tmp_path):
    with pytest.raises(ConfigError, match="holds no picture"):
        read_scenes((tmp_path,))


def test_freezing_fixes_what_is_named_and_refuses_what_is_not_there():
    network = build_network(TINY)
    freeze(network, "over_time_conv0,over_time_conv1")
    fixed = [layer.name for layer in network.get_layer("over_time").layers if not layer.trainable]
    assert fixed == ["over_time_conv0", "over_time_conv1"]
    freeze(network, "none")
    assert all(layer.trainable for layer in network.get_layer("over_time").layers)
    with pytest.raises(ConfigError, match="no layer's name begins"):
        freeze(network, "scale7")
