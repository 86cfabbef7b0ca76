"""What `edge-train evaluate` prints."""

from __future__ import annotations

import math

from trainers.commands.evaluate import _format, _format_cells
from trainers.metrics.interval import Interval


def test_a_figure_that_could_not_be_computed_is_a_dash():
    assert _format_cells(Interval(math.nan, math.nan, math.nan, 0)) == ("-", "-")
    assert _format(Interval(0.5, math.nan, math.nan, 3)) == "0.5000"
    assert _format(Interval(0.5, 0.25, 0.75, 3)) == "0.5000 (0.2500 to 0.7500)"
