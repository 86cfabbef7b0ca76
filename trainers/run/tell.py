"""A line for each stage of a run, so that a terminal is never silent for minutes."""

from __future__ import annotations

from rich.console import Console


def tell(line: str, verbose: int) -> None:
    """Print a line on standard error, unless ``verbose`` is 0."""
    if verbose:
        Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False)
