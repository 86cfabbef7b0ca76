"""A line for each stage of a run, so that a terminal is never silent for minutes."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from trainers.data.dataset import Problem


def tell(line: str, verbose: int) -> None:
    """Print a line on standard error, unless ``verbose`` is 0."""
    if verbose:
        Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False)


def tell_notes(notes: Iterable[Problem], verbose: int = 1) -> None:
    """Print what was passed over or read in another way than written."""
    for note in notes:
        tell(f"note: {note}", verbose)
