"""Draw what more and more cameras cost, as SVG: `python docs/plot_growth.py TARGET NAME=FILE ...`.

Files are what `edge bench --growth --json` prints; their names stand in the legend.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 360, 240, 46  # of a panel
COLORS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")
STYLE = "font-family: system-ui, sans-serif; font-size: 12px; fill: #57606a"


@dataclass(frozen=True)
class Growth:
    """What was measured of one scene, a value for each number of cameras."""

    name: str
    cameras: tuple[int, ...]
    cores: tuple[float, ...]
    peak_mb: tuple[float, ...]


def read_growth(name: str, lines: Sequence[str]) -> Growth:
    """The rows of a run; figures that are no rows are left out."""
    rows = [row for row in map(json.loads, lines) if "cameras" in row]
    return Growth(
        name,
        tuple(row["cameras"] for row in rows),
        tuple(row["fps"] * row["cpu_ms"] / 1e3 for row in rows),
        tuple(row["peak_mb"] for row in rows),
    )


def draw(growths: Sequence[Growth]) -> str:
    """Two panels, CPU and memory over the number of cameras, and a legend."""
    panels = (
        *_draw_panel("cores in use", growths, [growth.cores for growth in growths], 0),
        *_draw_panel("peak memory, MB", growths, [growth.peak_mb for growth in growths], WIDTH),
        *_draw_legend(growths),
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT + 30}" '
        f'width="{2 * WIDTH}" height="{HEIGHT + 30}" style="{STYLE}">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *panels, "</svg>\n"])


def _draw_panel(
    title: str, growths: Sequence[Growth], values: Sequence[Sequence[float]], left: int
) -> Iterator[str]:
    most = max(max(growth.cameras) for growth in growths)
    step = _choose_step(max(map(max, values)))
    top = step * -(-max(map(max, values)) // step)

    def place(cameras: float, value: float) -> tuple[float, float]:
        x = left + MARGIN + cameras / most * (WIDTH - MARGIN - 20)
        return x, HEIGHT - 24 - value / top * (HEIGHT - 56)

    yield f'<text x="{left + MARGIN}" y="18">{title}</text>'
    for n in range(round(top / step) + 1):
        (x1, y), (x2, _) = place(0, n * step), place(most, 0)
        yield f'<path d="M{x1:.1f} {y:.1f}H{x2:.1f}" stroke="#d0d7de"/>'
        yield f'<text x="{x1 - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{n * step:g}</text>'
    for cameras in sorted({count for growth in growths for count in growth.cameras if count >= 8}):
        x, y = place(cameras, 0)
        label, anchor = (f"{cameras} cameras", "end") if cameras == most else (cameras, "middle")
        yield f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="{anchor}">{label}</text>'
    for growth, column, color in zip(growths, values, COLORS, strict=False):
        points = [place(*point) for point in zip(growth.cameras, column, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>'
        for x, y in points:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>'


def _draw_legend(growths: Sequence[Growth]) -> Iterator[str]:
    for n, (growth, color) in enumerate(zip(growths, COLORS, strict=False)):
        x = MARGIN + n * 150
        yield f'<rect x="{x}" y="{HEIGHT + 8}" width="12" height="12" fill="{color}"/>'
        yield f'<text x="{x + 18}" y="{HEIGHT + 18}">{growth.name}</text>'


def _choose_step(top: float) -> float:
    """Between two lines: about four of them, 1, 2 or 5 times a power of ten apart."""
    power = 10.0 ** math.floor(math.log10(top))
    return next(step for step in (power / 5, power / 2, power, 2 * power) if top <= 5 * step)


def main(target: str, *named: str) -> None:
    """Draw the runs that are named into a file."""
    growths = []
    for argument in named:
        name, _, file = argument.partition("=")
        growths.append(read_growth(name, Path(file).read_text().splitlines()))
    Path(target).write_text(draw(growths))


if __name__ == "__main__":
    main(*sys.argv[1:])
