"""The table: medians of the rounds, and ratios within them."""

from collections.abc import Iterator, Sequence

import numpy as np

from edge.diagnostics.benchmark import median_ratio
from tests.race.contenders import Contender
from tests.race.run import Run

HEAD = (
    "| contender | network | frames/s | with somebody | CPU ms a frame | p50, p99 age ms "
    "| peak MB |"
)
RULE = "|---|---|---|---|---|---|---|"


def write_table(contenders: Sequence[Contender], runs: Sequence[Sequence[Run]]) -> Iterator[str]:
    """Lines of Markdown, a row for each contender.

    Ratios, in brackets, are to the first contender with the same network; rounds of both are
    compared pair by pair.

    Args:
        contenders: Those who ran.
        runs: The rounds of each.
    """
    yield HEAD
    yield RULE
    firsts: dict[str, Sequence[Run]] = {}
    for contender, rounds in zip(contenders, runs, strict=True):
        yield _write_row(contender, rounds, firsts.setdefault(contender.network, rounds))


def _write_row(contender: Contender, runs: Sequence[Run], others: Sequence[Run]) -> str:
    def tell(values: Sequence[float], compared: Sequence[float], digits: int) -> str:
        text = f"{np.median(values):.{digits}f}"
        return text if runs is others else f"{text} ({median_ratio(values, compared):.2f})"

    cells = [
        contender.name,
        contender.network,
        f"{np.median([run.frames / run.seconds for run in runs]):.1f}",
        f"{np.median([run.peopled / max(run.frames, 1) for run in runs]):.2f}",
        tell([run.cpu_ms for run in runs], [run.cpu_ms for run in others], 1),
        f"{np.median([run.age_ms(50) for run in runs]):.0f}, "
        + tell([run.age_ms(99) for run in runs], [run.age_ms(99) for run in others], 0),
        tell([run.peak_bytes / 1e6 for run in runs], [run.peak_bytes / 1e6 for run in others], 0),
    ]
    return f"| {' | '.join(cells)} |"
