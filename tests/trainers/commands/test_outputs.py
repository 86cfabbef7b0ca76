"""What a command cannot write to is told before its work, and its settings as by training."""

import pytest
from typer.testing import CliRunner

from tests.support.drawn_data import face, write_example
from trainers.commands.app import app
from trainers.data import image_file


@pytest.fixture
def here(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    write_example(tmp_path / "data" / "images", "a", face(0))
    (tmp_path / "data" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data" / "classes.txt").write_text("face\n")
    (tmp_path / "file").touch()
    return tmp_path


def run(here, line):
    return CliRunner().invoke(app, line.format(here=here, data=here / "data").split())


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("label {data} --teacher zoo:faces-nano --out", "--out"),
        ("crops {data} --of person --out", "--out"),
        ("check {data} --sheet", "--sheet"),
        ("augment {data} --sheet", "--sheet"),
        ("evaluate zoo:faces-nano --faces --data {data} --draw", "--draw"),
        ("attacks zoo:liveness-nano --data {data} --sheet", "--sheet"),
        ("verification zoo:embed-nano --data {data} --draw", "--draw"),
    ],
)
def test_outputs_are_checked_before_a_picture_is_read(here, line, option, monkeypatch):
    monkeypatch.setattr(image_file, "read", lambda *_: pytest.fail("the work began"))
    monkeypatch.setattr(image_file, "size_wh", lambda *_: pytest.fail("the work began"))
    done = run(here, line + " {here}/file/x")
    assert done.exit_code == 78, done.output
    assert f"{option} cannot be written" in done.stderr
    if option == "--sheet":
        assert "this is a folder: name a file in it" in run(here, line + " {data}").stderr
    else:
        assert "is the input itself" in run(here, line + " {data}").stderr
        assert "this is a file: name a folder" in run(here, line + " {here}/file").stderr


@pytest.mark.parametrize(
    ("options", "text", "says"),
    [
        ("--strength -1", "", "strength must be in [0, 1], got -1.0"),
        ("--strength nan", "", "strength must be in [0, 1], got nan"),
        ("--seed -1", "", "seed must not be negative, got -1"),
        ("", "weight_decay = nan", "weight_decay must be a number from 0, got nan"),
        ("", "clip_norm = inf", "clip_norm must be positive, got inf"),
        ("", "[augment.night]\nchance = nan", "augment.night.chance must be a number from 0"),
        ("", "[augment.night]\ndarkest = inf", "augment.night.darkest must be a number from 0"),
        ("", "[augment.mosaic]\nchance = 2", "augment.mosaic.chance must be at most 1"),
    ],
)
def test_a_sheet_is_refused_what_training_is_refused(here, options, text, says):
    (here / "s.toml").write_text(text)
    for command in ("augment {data} --sheet {here}/s.png", "detector {data} --out {here}/run"):
        done = run(here, f"{command} --settings {{here}}/s.toml {options}")
        assert done.exit_code == 78, done.output
        assert says in done.stderr
    assert not (here / "s.png").exists()
    assert not (here / "run").exists()
