"""Commands that look into trained networks: `summary` and `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edge.cli.table import make_table
from edge.output_path import check_output_file
from edge.printable import format_bytes
from trainers.commands.evaluate import Which, choose_part
from trainers.commands.options import OnlyVal, WithoutTest, check_path
from trainers.keras_import import load_keras
from trainers.run.folder import RunFolder

if TYPE_CHECKING:
    import keras

    from trainers.data.dataset import Dataset
    from trainers.explanation.structure import LayerRow

Run = Annotated[Path, typer.Argument(help="Run folder.", callback=check_path)]


def summary(
    run: Run,
    rounds: Annotated[
        int, typer.Option(min=0, help="Rounds in which the layers are timed; 0: not.")
    ] = 30,
) -> None:
    """Show the layers of a trained network: shapes, weights, multiply-adds, receptive field, time.

    The time is that of Keras on this machine, for one image; an exported model is faster: see
    edge-deploy bench.
    """
    folder = RunFolder.open(run)
    load_keras()
    from trainers.explanation.structure import describe_layers, measure_groups

    network = folder.load()
    rows = list(describe_layers(network))
    table = make_table("layer", "kind", "output", "weights", "multiply-adds", "receptive field")
    for row in rows:
        table.add_row(*_format_row(row))
    table.add_section()
    weights, macs = sum(row.weights for row in rows), sum(row.macs for row in rows)
    table.add_row("all", "", "", f"{weights:,}", f"{macs:,}", "")
    Console().print(table)
    if rounds:
        _show_times(network, measure_groups(network, rounds))


def _format_row(row: LayerRow) -> tuple[str, ...]:
    read = "x".join(f"{axis.size:g}" for axis in row.field) or "-"
    numbers = (f"{n:,}" if n else "" for n in (row.weights, row.macs))
    return row.name, row.kind, "x".join(map(str, row.shape)), *numbers, read


def _show_times(network: keras.Model, groups: list[tuple[str, int, float]]) -> None:
    *parts, (_, _, whole_s) = groups
    table = make_table("layers", "multiply-adds", "ms", "share")
    total_s = sum(seconds for _, _, seconds in parts)
    for name, macs, seconds in parts:
        table.add_row(name, f"{macs:,}", f"{seconds * 1e3:.2f}", f"{seconds / total_s:.0%}")
    table.add_section()
    table.add_row("sum", "", f"{total_s * 1e3:.2f}", "")
    table.add_row(f"{network.name} in one", "", f"{whole_s * 1e3:.2f}", "")
    Console().print(table)


def explain(
    run: Run,
    data: Annotated[
        Path,
        typer.Option(help="Labeled data, of the kinds that training takes.", callback=check_path),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="HTML file; explain.html in RUN unless given."),
    ] = None,
    val_fraction: OnlyVal = 0.0,
    test_fraction: WithoutTest = 0.0,
    part: Annotated[
        str, typer.Option(help="Explain only this part of the data's own split: val or test.")
    ] = "",
    score: Annotated[
        float, typer.Option(min=0, max=1, help="Score from which an object counts as detected.")
    ] = 0.5,
    most: Annotated[
        int, typer.Option("--max-images", min=1, help="Images at most, spread over the data.")
    ] = 300,
) -> None:
    """Write a report of what a detector, face detector or classifier looks at.

    One HTML file: the filters of the first layer, the patches that drive units most, and maps of
    the evidence in the worst misses and false alarms. It holds parts of the images of --data.
    """
    which = Which(val_fraction, test_fraction, part)
    folder = RunFolder.open(run)
    path = out or run / "explain.html"
    check_output_file(path, "--out", data, folder.best, makes_folders=True)
    load_keras()
    from trainers.evaluation.figures import save_text
    from trainers.explanation.explain import explain_run, require_kind

    require_kind(folder)
    dataset = choose_part(_read(data, folder.kind), which)
    save_text(path, explain_run(folder, _thin_out(dataset, most), data, score))
    typer.echo(f"{path}: {format_bytes(path.stat().st_size)}")


def _read(data: Path, kind: str) -> Dataset:
    from trainers.data.class_data import read_class_data
    from trainers.data.read import read_dataset
    from trainers.run.tell import tell_notes

    dataset = read_class_data(data) if kind == "classify" else read_dataset(data)
    tell_notes(dataset.notes)
    return dataset


def _thin_out(dataset: Dataset, most: int) -> Dataset:
    """That many pictures at most, evenly spread."""
    from dataclasses import replace

    step = max(1, -(-len(dataset) // most))
    return replace(dataset, examples=dataset.examples[::step])
