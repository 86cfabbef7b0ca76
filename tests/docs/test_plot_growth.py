"""The plot of what more and more cameras cost: every row is a point, at its place."""

import json
import re
import runpy
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

PLOT = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "plot_growth.py"))
FIGURE = {"name": "memory_per_camera_mb", "value": 12.0, "goal": "goal <= 30"}


def write_run(path, factor):
    rows = [
        {"cameras": n, "fps": 5.0 * n, "cpu_ms": 4.0 * factor, "peak_mb": 100.0 + 12 * n * factor}
        for n in (1, 8, 64)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, FIGURE]))


def test_every_row_is_a_point_and_lines_rise_with_their_values(tmp_path):
    write_run(tmp_path / "quiet.jsonl", 1)
    write_run(tmp_path / "busy.jsonl", 2)
    named = [f"{name}={tmp_path}/{name}.jsonl" for name in ("quiet", "busy")]
    PLOT["main"](str(tmp_path / "growth.svg"), *named)
    svg = ET.parse(tmp_path / "growth.svg").getroot()
    lines = [line.get("points") for line in svg.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == 4  # two runs in two panels
    points = [[tuple(map(float, point.split(","))) for point in line.split()] for line in lines]
    assert [len(line) for line in points] == [3] * 4
    for line in points:
        assert [x for x, _ in line] == sorted(x for x, _ in line)
        assert [-y for _, y in line] == sorted(-y for _, y in line)
    quiet, busy = points[0], points[1]
    assert busy[2][1] < quiet[2][1]  # higher up
    texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"cores in use", "peak memory, MB", "64 cameras", "quiet", "busy"} <= set(texts)


@pytest.mark.parametrize("top", [0.03, 0.9, 1.0, 1.9, 7, 101, 998, 4096])
def test_a_scale_has_two_to_five_lines_and_ends_above_the_highest_value(tmp_path, top):
    row = {"cameras": 64, "fps": 1000, "cpu_ms": top, "peak_mb": top}
    (tmp_path / "run").write_text(json.dumps(row))
    PLOT["main"](str(tmp_path / "growth.svg"), f"run={tmp_path}/run")
    panel = (tmp_path / "growth.svg").read_text().split("peak memory")[0]
    scale = [float(value) for value in re.findall(r'text-anchor="end">([\d.]+)<', panel)]
    assert 3 <= len(scale) <= 6
    assert scale[-1] >= top > scale[-2]
