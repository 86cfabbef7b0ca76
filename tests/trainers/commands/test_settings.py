"""What a run's settings file may say, and how many threads prepare batches."""

import re
from pathlib import Path

import pytest

from edge.errors import ConfigError
from trainers.augment.presets import change, name_detector_augments
from trainers.commands import options
from trainers.liveness import LivenessJob
from trainers.run.settings import Settings


def test_a_file_says_what_no_option_does(tmp_path):
    (tmp_path / "s.toml").write_text("weight_decay = 1e-3\nema = 0\nwarmup_epochs = 2\n")
    settings = options.build_settings("", 0, file=tmp_path / "s.toml", epochs=3, clip_norm=5.0)
    assert (settings.weight_decay, settings.ema, settings.warmup_epochs) == (1e-3, 0, 2)
    assert (settings.clip_norm, settings.epochs) == (5.0, 3)


def test_a_file_changes_augmentations_and_the_activation(tmp_path):
    (tmp_path / "s.toml").write_text(
        'momentum = 0.8\nactivation = "relu"\n[augment.night]\nchance = 0.5\ndarkest = 0.1\n'
    )
    settings = options.build_settings("", 0, file=tmp_path / "s.toml")
    assert (settings.momentum, settings.activation) == (0.8, "relu")
    assert settings.augment == {"night": {"chance": 0.5, "darkest": 0.1}}


def test_the_documented_file_is_taken(tmp_path):
    page = Path(__file__).parents[3] / "docs" / "tutorials" / "first-model.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "s.toml").write_text(example)
    settings = options.build_settings("", 0, file=tmp_path / "s.toml")
    changed = change(name_detector_augments(), settings.augment)
    assert (settings.weight_decay, changed["mirror"].chance) == (1e-3, 0)
    assert (changed["night"].chance, changed["night"].change.darkest) == (0.4, 0.1)


def test_an_activation_is_not_changed_under_weights_that_were_trained_with_another():
    settings = Settings(activation="relu")
    settings.require_new(transferred=False)
    with pytest.raises(ConfigError, match="that of the weights it starts from"):
        settings.require_new(transferred=True)


@pytest.mark.parametrize("values", [{"activation": "relu"}, {"augment": {"night": {"chance": 1}}}])
def test_a_trainer_without_that_choice_says_so(values):
    with pytest.raises(
        ConfigError, match=f"a liveness network has {next(iter(values))} of its own"
    ):
        LivenessJob(data=(), out=Path("run"), settings=Settings(**values))


def test_threads_follow_from_the_cores_unless_given(monkeypatch):
    monkeypatch.setattr(options.os, "sched_getaffinity", lambda _: set(range(64)))
    assert options.build_settings("", 0).threads == 16
    assert options.build_settings("", 0, threads=3).threads == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs = 3", "'epochs' is none of weight_decay, .* options have the others"),
        ("ema = true", "ema must be a number, got True"),
        ("weight_decay = 'much'", "weight_decay must be a number"),
        ("weight_decay = -1", "weight_decay must be a number from 0"),
        ("warmup_epochs = nan", "warmup_epochs must be a number from 0, got nan"),
        ("weight_decay = inf", "weight_decay must be a number from 0, got inf"),
        ("clip_norm = inf", "clip_norm must be positive"),
        ("ema = 1", "ema must be in"),
        ("momentum = 1", "momentum must be in"),
        ("activation = 'tanh'", "activation must be relu or silu, got 'tanh'"),
        ("activation = 3", "activation must be text, got 3"),
        ("augment = 3", r"a table for each augmentation: \[augment.night\]"),
        ("[augment]\nnight = 0.5", r"a table for each augmentation"),
        ("ema =", "s.toml"),
    ],
)
def test_a_mistake_in_it_is_said(tmp_path, text, expected):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        options.build_settings("", 0, file=tmp_path / "s.toml")
    assert "s.toml" in str(caught.value) or "must" in expected
