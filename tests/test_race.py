"""The race: its table and its arguments, and runs over a short course."""

import sys
from pathlib import Path

import av
import pytest

from edge.models.paths import resolve_model
from tests.race.__main__ import DETECTOR, line_up, read_arguments
from tests.race.contenders import make_node, make_rival
from tests.race.course import code_clip
from tests.race.run import Run, measure
from tests.race.table import write_table
from tests.support.rtsp_server import write_pattern

SIDE = (320, 240)


def run(cpu_s, age_s=0.1, peak_mb=100, frames=100, peopled=25):
    ages_s = tuple([age_s] * (frames - 2) + [2 * age_s] * 2)
    return Run(10.0, frames, peopled, cpu_s, int(peak_mb * 1e6), ages_s)


def rows(contenders, runs):
    return [[cell.strip() for cell in row.split("|")[1:-1]]
            for row in write_table(contenders, runs)]  # fmt: skip


def test_ratios_are_of_the_same_network_and_the_same_round():
    contenders = [
        make_node("ours", "small", "python", "a.onnx", gate=True),
        make_rival("theirs", "small", "python", "script.py", "a.onnx"),
        make_node("ours", "large", "python", "b.onnx", gate=False),
        make_rival("stream", "large", "python", "stream.py", "b.onnx"),
    ]
    runs = [
        [run(1.0), run(2.0), run(4.0)],
        [run(1.5, 0.2), run(2.0, 0.2), run(8.0, 0.2)],
        [run(3.0, peak_mb=200)] * 3,
        [run(6.0, peak_mb=800, frames=50, peopled=0)] * 3,
    ]
    head, rule, *table = rows(contenders, runs)
    assert len(head) == len(rule) == 7
    assert table == [
        ["ours", "small", "10.0", "0.25", "20.0", "100, 200", "100"],
        ["theirs", "small", "10.0", "0.25", "20.0 (1.50)", "200, 400 (2.00)", "100 (1.00)"],
        ["ours", "large", "10.0", "0.25", "30.0", "100, 200", "200"],
        ["stream", "large", "5.0", "0.00", "120.0 (4.00)", "100, 200 (1.00)", "800 (4.00)"],
    ]


def test_who_told_nothing_has_no_age():
    silent = Run(10.0, 0, 0, 1.0, 1, ())
    (*_, row) = rows([make_node("ours", "small", "python", "a", gate=True)], [[silent]])
    assert row[5] == "nan, nan"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--clip", "none.mp4"], "there is no file none.mp4"),
        (["--python", "none/bin/python"], "there is no file none/bin/python"),
        (["--weights", "none.pt"], "there is no file none.pt"),
        (["--rounds", "0"], "expected a whole number above 0, got '0'"),
        (["--seconds", "ten"], "expected a whole number above 0, got 'ten'"),
    ],
)
def test_what_cannot_be_raced_is_refused(arguments, problem, capsys):
    with pytest.raises(SystemExit):
        read_arguments(arguments)
    assert problem in capsys.readouterr().err


def test_files_are_found_from_any_folder(tmp_path, monkeypatch):
    """The export runs in one of its own."""
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    assert read_arguments(["--python", "python"]).python == tmp_path / "python"


def test_without_the_rivals_packages_edgewatch_runs_alone(tmp_path):
    contenders = line_up(read_arguments([]).python, None, tmp_path)
    assert [contender.name for contender in contenders] == ["Edgewatch", "Edgewatch without gate"]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A short clip, as the course plays it for six seconds."""
    folder = tmp_path_factory.mktemp("course")
    write_pattern(folder / "clip.mp4", SIDE, 10, 10)
    return code_clip(folder, folder / "clip.mp4", 6)


def test_a_clip_that_is_too_short_begins_again(film):
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (1280, 720, 10)
        assert sum(1 for _ in container.decode(stream)) == 60


def test_a_run_tells_what_each_picture_took(film):
    model = str(resolve_model(DETECTOR, Path()))
    node = make_node("ours", "small", sys.executable, model, gate=False)
    told = measure(node, film, 1, 3)
    assert told.frames == len(told.ages_s) >= 5
    assert told.peopled == 0
    assert min(told.ages_s) > 0
    assert told.cpu_s > 0
    assert told.peak_bytes > 10e6


def test_who_ends_early_is_told_with_its_last_words(film):
    rival = make_rival("theirs", "small", sys.executable, "script.py", "none.onnx")
    with pytest.raises(RuntimeError, match=r"(?s)theirs ended with status 1.*Traceback.*Error"):
        measure(rival, film, 1, 1)
