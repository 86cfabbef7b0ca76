"""What a run's settings file may say, and how many threads prepare batches."""

import pytest

from edge.errors import ConfigError
from trainers.commands import options


def test_a_file_says_what_no_option_does(tmp_path):
    (tmp_path / "s.toml").write_text("weight_decay = 1e-3\nema = 0\nwarmup_epochs = 2\n")
    settings = options.build_settings("", 0, file=tmp_path / "s.toml", epochs=3, clip_norm=5.0)
    assert (settings.weight_decay, settings.ema, settings.warmup_epochs) == (1e-3, 0, 2)
    assert (settings.clip_norm, settings.epochs) == (5.0, 3)


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
        ("weight_decay = -1", "weight_decay must not be negative"),
        ("warmup_epochs = nan", "warmup_epochs must not be negative, got nan"),
        ("clip_norm = inf", "clip_norm must be positive"),
        ("ema = 1", "ema must be in"),
        ("ema =", "s.toml"),
    ],
)
def test_a_mistake_in_it_is_said(tmp_path, text, expected):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        options.build_settings("", 0, file=tmp_path / "s.toml")
    assert "s.toml" in str(caught.value) or "must" in expected
