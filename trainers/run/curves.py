"""Curves: the log of a run as columns and as a PNG."""

from __future__ import annotations

import csv

from trainers.run.folder import RunFolder


def read_log(run: RunFolder) -> dict[str, list[float]]:
    """Read the columns of log.csv; empty before the first epoch."""
    path = run.path / "log.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else ())}


def draw_curves(run: RunFolder) -> None:
    """Draw curves.png: the parts of the loss, and the validation metrics."""
    from matplotlib.figure import Figure

    columns = read_log(run)
    epochs = [e + 1 for e in columns.pop("epoch", [])]
    if not epochs:
        return
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, values in columns.items():
        axis = right if name.startswith("val_") else left
        axis.plot(epochs, values, label=name.removeprefix("val_"))
    left.set_title("training loss")
    right.set_title("validation")
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        if axis.get_lines():
            axis.legend(fontsize="small")
    figure.savefig(run.path / "curves.png", dpi=110)
