"""Charts over time, as SVG that stands in a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 860, 210, 64, 24, 14
COLORS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")
MOST_POINTS = 1500


@dataclass(frozen=True)
class Line:
    """What was measured.

    Attributes:
        name: Of the legend.
        points: Hours, and values.
        is_dashed: Whether it was drawn through, not measured.
    """

    name: str
    points: Sequence[tuple[float, float]]
    is_dashed: bool = False


def draw_chart(title: str, lines: Sequence[Line], hours: float, *, from_zero: bool = True) -> str:
    """Lines over the hours of a run, with their scale and a legend."""
    values = [value for line in lines for _, value in line.points]
    low, high, step = _choose_scale(values, from_zero=from_zero)

    def place(at_h: float, value: float) -> tuple[float, float]:
        x = LEFT + at_h / hours * (WIDTH - LEFT - 12)
        return x, HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    name = escape(title)
    parts = [
        f"<figure><figcaption>{name}</figcaption>",
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">',
        *_draw_grid(place, low, high, step, hours),
        *_draw_lines(place, lines),
        "</svg><p>",
    ]
    for line, color in zip(lines, COLORS, strict=False):
        parts.append(f'<span style="color:{color}">&#9632;</span> {escape(line.name)} &emsp;')
    return "".join([*parts, "</p></figure>"])


def draw_marks(rows: dict[str, Sequence[tuple[float, str]]], hours: float) -> str:
    """A row of marks for each name: hours, and what to say there."""
    height = 22 * len(rows) + BOTTOM
    parts = [f'<figure><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="acts">']
    for number, (name, marks) in enumerate(rows.items()):
        y = 22 * number + 4
        parts.append(f'<text x="{LEFT - 6}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        for at_h, words in marks:
            x = LEFT + at_h / hours * (WIDTH - LEFT - 12)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="2" height="14" '
                f'fill="{COLORS[number % len(COLORS)]}"><title>{escape(words)}</title></rect>'
            )
    return "".join([*parts, "</svg></figure>"])


def _draw_grid(place, low: float, high: float, step: float, hours: float) -> Iterator[str]:
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        (x1, y), (x2, _) = place(0, value), place(hours, value)
        yield f'<path class="grid" d="M{x1:.1f} {y:.1f}H{x2:.1f}"/>'
        yield f'<text x="{x1 - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    for number in range(5):
        x, y = place(hours * number / 4, low)
        yield f'<text x="{x:.1f}" y="{y + 17:.1f}" text-anchor="{_anchor(number)}">'
        yield f"{60 * hours * number / 4:.3g} min</text>"


def _anchor(number: int) -> str:
    return {0: "start", 4: "end"}.get(number, "middle")


def _draw_lines(place, lines: Sequence[Line]) -> Iterator[str]:
    for line, color in zip(lines, COLORS, strict=False):
        every = -(-len(line.points) // MOST_POINTS) or 1
        points = " ".join("{:.1f},{:.1f}".format(*place(*each)) for each in line.points[::every])
        dashes = ' stroke-dasharray="6 4"' if line.is_dashed else ""
        yield f'<polyline points="{points}" fill="none" stroke="{color}"{dashes}/>'


def _choose_scale(values: Sequence[float], *, from_zero: bool) -> tuple[float, float, float]:
    """Lowest and highest mark of an axis, and what lies between two: about four, 1, 2 or 5."""
    low = 0.0 if from_zero else min(values, default=0.0)
    high = max(values, default=0.0)
    span = max(high - low, 1e-3 * max(abs(high), 1e-3))
    power = 10.0 ** math.floor(math.log10(span))
    step = next(step for step in (power / 5, power / 2, power, 2 * power) if span <= 5 * step)
    low = step * math.floor(low / step)
    return low, low + step * max(1, math.ceil((high - low) / step)), step
