"""Commands that evaluate models: `evaluate`, `attacks`, `verification`. None needs Keras."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edge.cli.application import deprecated_options
from edge.cli.table import make_table
from edge.errors import ConfigError
from edge.output_path import check_output_file, check_output_folder
from edge.printable import format_count
from trainers.commands.options import (
    OnlyVal,
    Scenes,
    WithoutTest,
    build_runtime,
    check_choice,
    check_score,
    find_model,
    load_contract_embedder,
    load_face_detector,
    load_face_teacher,
    split_names,
)

if TYPE_CHECKING:
    from trainers.augment.conditions import Condition
    from trainers.data.dataset import Dataset
    from trainers.evaluation.conditions import ConditionRow, Measure
    from trainers.evaluation.embedder import EmbedderResult
    from trainers.metrics.box_fusion import Detect
    from trainers.metrics.interval import Interval

RENAMED = deprecated_options({"--held": "--val-fraction"})
RENAMED_OF_ATTACKS = deprecated_options({"--held": "--val-fraction", "--each": "--max-tracks"})
RENAMED_OF_VERIFICATION = deprecated_options({"--held": "--val-fraction", "--faces": "--detector"})


def evaluate(
    model: Annotated[
        list[str],
        typer.Argument(
            help="A contract model or zoo:NAME; several are one ensemble, not compared."
        ),
    ],
    data: Annotated[Path, typer.Option(help="A labeled data set.")],
    val_fraction: OnlyVal = 0.0,
    test_fraction: WithoutTest = 0.0,
    part: Annotated[
        str,
        typer.Option(help="Evaluate only this part of the data's or that split: val or test."),
    ] = "",
    faces: Annotated[bool, typer.Option("--faces", help="The model detects faces.")] = False,
    negatives: Annotated[
        Path | None, typer.Option(help="With --faces: a folder of images without faces.")
    ] = None,
    score: Annotated[
        float,
        typer.Option(help="Score threshold of recall and precision.", callback=check_score),
    ] = 0.5,
    flip: Annotated[bool, typer.Option("--flip", help="Evaluate the mirror image too.")] = False,
    crops: Annotated[int, typer.Option(min=1, help="Evaluate N x N overlapping crops too.")] = 1,
    ten_crop: Annotated[
        bool,
        typer.Option(
            "--ten-crop",
            help="Classifiers: judge the mean of five moved crops too, and of their mirror images.",
        ),
    ] = False,
    shrink_to: Annotated[
        float,
        typer.Option(help="With --faces: measure the recall of faces shrunk to this size, pixels."),
    ] = 0.0,
    under: Annotated[
        str,
        typer.Option(
            help="Judge the images under these conditions too: some of night, infrared, blur, "
            "jpeg, rain."
        ),
    ] = "",
    strengths: Annotated[
        str, typer.Option(help="With --under: how strong, comma-separated, up to 1.")
    ] = "0.25,0.5,1",
    draw: Annotated[
        Path | None, typer.Option(help="Folder for curves and the worst images.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluate a detector, face detector, classifier or model of 68 points on labeled images.

    Several detectors are evaluated as one ensemble, whose boxes are fused. To compare models, run
    the command for each of them.
    """
    from edge.models.contract import read_task_manifest
    from trainers.evaluation import conditions as weather
    from trainers.evaluation import detector as evaluation

    check_output_folder(draw, "--draw", data)
    which = Which(val_fraction, test_fraction, part)
    conditions = _parse_conditions(under, strengths)
    _check_face_options(model, under, shrink_to, faces=faces)
    task = read_task_manifest(find_model(model[0])).task
    if task == "landmarks":
        others = (faces, flip, crops > 1, ten_crop, model[1:], part, test_fraction, draw, under)
        _show_answer(_evaluate_landmarks(model[0], data, val_fraction, others), as_json=as_json)
        return
    if task == "classify":
        if faces or flip or crops > 1 or len(model) > 1:
            raise ConfigError(
                "a classifier takes --ten-crop, and none of --faces, --flip, --crops and further "
                "models"
            )
        answer = _evaluate_classifier(model[0], data, which, draw, conditions, ten_crop=ten_crop)
        _show_answer(answer, as_json=as_json)
        return
    if ten_crop:
        raise ConfigError("--ten-crop is for classifiers: detectors take --crops")
    if faces:
        dataset = _read_faces(data, negatives, which)
        ask = load_face_teacher(model[0])
        if shrink_to:
            wh = read_task_manifest(find_model(model[0])).input_wh
            result = evaluation.evaluate_small_faces(dataset, ask, shrink_to, wh, score)
        else:
            result = evaluation.evaluate_faces(dataset, ask, score)
        measure = weather.measure_faces(dataset, ask, result, score) if conditions else None
    else:
        dataset, detects = _read_detection_data(data, which, model)
        detect = evaluation.build_detect(detects, flip=flip, crops=crops)
        result = evaluation.evaluate_detector(dataset, detect, score)
        measure = weather.measure_detector(dataset, detect, result) if conditions else None
    answer = _Answer(
        ", ".join(model), "image", result.figures, result.seconds, result.passes,
        _judge_under(measure, dataset, conditions, draw),
        tuple(evaluation.draw(dataset, result, draw, score)) if draw and not shrink_to else (),
    )  # fmt: skip
    _show_answer(answer, as_json=as_json)


def _check_face_options(model: Sequence[str], under: str, shrink_to: float, *, faces: bool) -> None:
    if faces and len(model) > 1:
        raise ConfigError("--faces takes one model: run the command for each")
    if not 0 <= shrink_to < math.inf:
        raise ConfigError(f"--shrink-to must be a number of pixels, got {shrink_to:g}")
    if shrink_to and not faces:
        raise ConfigError("--shrink-to is for face detectors: add --faces")
    if shrink_to and under:
        raise ConfigError("--shrink-to and --under are two measurements: run one after the other")


def _parse_conditions(under: str, strengths: str) -> list[Condition]:
    """The conditions of --under at each of --strengths; none without --under.

    Raises:
        ConfigError: One is unknown, or a strength is no number or out of range.
    """
    if not under:
        return []
    from trainers.augment.conditions import list_conditions

    try:
        numbers = [float(text) for text in split_names(strengths)]
    except ValueError as error:
        raise ConfigError(f"--strengths must be numbers, got {strengths!r}") from error
    return list_conditions(split_names(under), numbers)


@dataclass(frozen=True, slots=True)
class _Under:
    """The figure that is followed, its rows, and the sheet of what was shown, if one was drawn."""

    measure: Measure
    rows: Sequence[ConditionRow]
    sheet: Path | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an evaluation has to tell.

    Attributes:
        unit: What is judged one after the other, an image or a sample.
        seconds: For one of them.
        files: That were drawn.
    """

    model: str
    unit: str
    figures: Mapping[str, Interval]
    seconds: float
    passes: int
    under: _Under | None
    files: Sequence[Path]


def _judge_under(
    measure: Measure | None, dataset: Dataset, conditions: Sequence[Condition], folder: Path | None
) -> _Under | None:
    """Judge the conditions, with a bar for as long as that takes."""
    if measure is None:
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from trainers.evaluation.conditions import draw_conditions, evaluate_under

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("conditions"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(conditions))
        rows = evaluate_under(measure, conditions, lambda: bar.advance(task))
    sheet = folder / "under.png" if folder else None
    if sheet:
        draw_conditions(dataset, conditions, sheet)
    return _Under(measure, rows, sheet)


def _show_answer(answer: _Answer, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_to_json(answer)))
    else:
        _show_figures(answer.figures, answer.model)
        if answer.under:
            _show_under(answer.under, answer.model)
        passes = format_count(answer.passes, "inference")
        ms = answer.seconds * 1e3
        typer.echo(f"{ms:.1f} ms per {answer.unit} including reading it, {passes} each")
    sheet = answer.under.sheet if answer.under else None
    for path in (*answer.files, *([sheet] if sheet else [])):
        typer.echo(path, err=as_json)


def _to_json(answer: _Answer) -> dict[str, object]:
    """The answer as JSON; null for what could not be computed."""
    values: dict[str, object] = {
        "model": answer.model,
        "figures": {name: _to_json_figure(figure) for name, figure in answer.figures.items()},
        "ms": answer.seconds * 1e3,
        "inferences": answer.passes,
    }
    if answer.under:
        values["under"] = [
            {
                "condition": row.condition.name, "strength": row.condition.strength,
                answer.under.measure.name: _to_json_figure(row.figure),
                "change": _to_json_figure(row.change),
            }
            for row in answer.under.rows
        ]  # fmt: skip
    return values


def _to_json_figure(figure: Interval) -> dict[str, float | None]:
    return {key: None if math.isnan(x) else x for key, x in asdict(figure).items()}


def _show_under(under: _Under, title: str) -> None:
    name = under.measure.name
    table = make_table("condition", "strength", f"{name} (95 %)", "change (95 %)", title=title)
    table.add_row("clean", "", _format_short(under.measure.clean), "")
    for row in under.rows:
        strength = f"{row.condition.strength:g}"
        table.add_row(
            row.condition.name, strength, _format_short(row.figure), _format_short(row.change, "+")
        )
    Console().print(table)


def _format_short(figure: Interval, sign: str = "") -> str:
    """Three decimals, which fit beside others into 80 columns."""
    if math.isnan(figure.low):
        return f"{figure.value:{sign}.3f}"
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"


def _evaluate_classifier(
    name: str, data: Path, which: Which, folder: Path | None, conditions: Sequence[Condition],
    *, ten_crop: bool,
) -> _Answer:  # fmt: skip
    from edge.models.contract import load_model
    from trainers.data.class_data import read_class_data
    from trainers.evaluation import classifier as evaluation
    from trainers.evaluation.conditions import measure_classifier
    from trainers.run.tell import tell_notes

    dataset = read_class_data(data)
    tell_notes(dataset.notes)
    model = load_model("classify", build_runtime(), find_model(name))
    dataset = choose_part(dataset, which)
    result = evaluation.evaluate_classifier(dataset, model, ten_crop=ten_crop)
    measure = measure_classifier(dataset, model, result) if conditions else None
    return _Answer(
        name, "sample", result.figures, result.seconds, result.passes,
        _judge_under(measure, dataset, conditions, folder),
        tuple(evaluation.draw(dataset, model, result, folder)) if folder else (),
    )  # fmt: skip


def _evaluate_landmarks(
    name: str, data: Path, val_fraction: float, others: Sequence[object]
) -> _Answer:
    if any(others):
        raise ConfigError(
            "a model of 68 points takes --val-fraction, and no other option or further model"
        )
    from edge.models.contract import load_model
    from trainers.data.face_points import read_face_points
    from trainers.evaluation.landmarks import compute_mean_shape, evaluate_landmarks

    model = load_model("landmarks", build_runtime(), find_model(name))
    faces = read_face_points(data)
    shown, judged = faces.split(val_fraction, 0) if val_fraction else (faces, faces)
    finder = load_face_detector("zoo:faces-nano")
    result = evaluate_landmarks(model, judged, finder, compute_mean_shape(shown))
    return _Answer(name, "face", result.figures, result.seconds, 1, None, ())


@dataclass(frozen=True, slots=True)
class Which:
    """Which pictures of a data set are looked at: all unless something is said.

    Attributes:
        val_fraction: Those that training with this fraction holds out.
        test_fraction: Without those that training with this fraction keeps for its test.
        part: ``val`` or ``test``, of the data's own split; or ``test`` of ``test_fraction``.
    """

    val_fraction: float = 0.0
    test_fraction: float = 0.0
    part: str = ""

    def __post_init__(self) -> None:
        if self.part:
            check_choice("--part", self.part, ("val", "test"))
        if self.part and self.val_fraction and not self.test_fraction:
            raise ConfigError("--part is the data's own split, --val-fraction is another: give one")
        if self.test_fraction and not self.val_fraction:
            raise ConfigError("--test-fraction goes with the --val-fraction of the training")


def choose_part(dataset: Dataset, which: Which) -> Dataset:
    """The pictures that are looked at.

    Raises:
        ConfigError: The data have no such part, or one side of the split would be empty.
    """
    from trainers.data.parts import split_parts

    if which.val_fraction:
        parts = split_parts(dataset, which.val_fraction, which.test_fraction)
        return parts.test if which.part == "test" and parts.test else parts.validation
    if not which.part:
        return dataset
    chosen = dataset.where(lambda example: example.part == which.part)
    if not len(chosen):
        raise ConfigError(
            f"--part {which.part}: the data have no such part: leave it out, or give the fractions "
            "of the training"
        )
    return chosen


def _show_figures(figures: Mapping[str, Interval], title: str) -> None:
    table = make_table("metric", "value", "95 %", "n", title=title)
    for name, figure in figures.items():
        table.add_row(name, *_format_cells(figure), str(figure.n))
    Console().print(table)


def _format_cells(figure: Interval) -> tuple[str, str]:
    """Value and interval; "-" for what could not be computed."""
    value, low, high = (
        "-" if math.isnan(x) else f"{x:.4f}" for x in (figure.value, figure.low, figure.high)
    )
    return value, "-" if low == high == "-" else f"{low} to {high}"


def _read_faces(data: Path, negatives: Path | None, which: Which) -> Dataset:
    from trainers.data.read import read_dataset, read_negatives
    from trainers.run.tell import tell_notes

    dataset = read_dataset(data)
    empty = read_negatives([negatives] if negatives else [])
    tell_notes(dataset.notes + empty.notes)
    dataset = choose_part(dataset, which)
    if which.val_fraction:
        empty = empty.split(0.5)[1] if len(empty) else empty
    return replace(dataset, examples=dataset.examples + empty.examples)


def _read_detection_data(
    data: Path, which: Which, models: list[str]
) -> tuple[Dataset, list[Detect]]:
    from edge.models.contract import load_model
    from trainers.data.read import read_dataset
    from trainers.pseudo_labels import remap_classes, wrap_detector
    from trainers.run.tell import tell_notes

    dataset = read_dataset(data)
    tell_notes(dataset.notes)
    loaded = [load_model("detect", build_runtime(), find_model(name)) for name in models]
    shared = [name for name in dataset.classes if any(name in model.classes for model in loaded)]
    if not shared:
        raise ConfigError(f"{', '.join(models)} and {data} have no class in common")
    dataset = dataset.select(shared)
    chosen = choose_part(dataset, which)
    return chosen, [remap_classes(wrap_detector(m), m.classes, chosen.classes) for m in loaded]


def attacks(
    model: Annotated[list[str], typer.Argument(help="Liveness models or zoo:NAME.")],
    data: Annotated[Path, typer.Option(help="A data set whose boxes are live faces.")],
    val_fraction: OnlyVal = 0.0,
    scenes: Scenes = None,
    people: Annotated[
        list[Path] | None,
        typer.Option(help="Images and videos of live people; zoo:faces-nano detects the faces."),
    ] = None,
    score: Annotated[
        float, typer.Option(help="Score from which a face counts as live.", callback=check_score)
    ] = 0.5,
    each: Annotated[
        int, typer.Option("--max-tracks", min=1, help="Tracks per kind of attack at most.")
    ] = 100,
    sheet: Annotated[Path | None, typer.Option(help="Draw the attacks into this PNG.")] = None,
) -> None:
    """Evaluate liveness models on simulated attacks, including kinds held out from training.

    Models after the first are compared with it at its BPCER too.
    """
    from trainers.evaluation.liveness import PadQuestion, draw, evaluate_pad

    check_output_file(sheet, "--sheet", data, makes_folders=True)
    predict = load_face_teacher("zoo:faces-nano") if people else None
    question = PadQuestion(
        data, val_fraction, tuple(scenes or ()), tuple(people or ()), predict, score, each, 1
    )
    for name, rows in evaluate_pad(model, question).items():
        table = make_table(
            "metric", "clips", "n", "tracks", "n", title=f"{name}, simulated attacks"
        )
        for figure, clip, track in rows:
            cells = (str(track), str(track.n)) if track else ("", "")
            table.add_row(figure, str(clip), str(clip.n), *cells)
        Console().print(table)
    if sheet:
        draw(data, tuple(scenes or ()), sheet)
        typer.echo(sheet)


def verification(
    model: Annotated[list[str], typer.Argument(help="Contract embedders or zoo:NAME.")],
    data: Annotated[Path, typer.Option(help="Portraits with videos, as for training.")],
    val_fraction: OnlyVal = 0.0,
    finder: Annotated[
        str,
        typer.Option(
            "--detector", help="Detects faces in portraits without landmarks; else left out."
        ),
    ] = "",
    draw: Annotated[Path | None, typer.Option(help="Folder for roc.png and discard.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare embedders on pairs across videos, open-set searches and time."""
    from trainers.data.portraits import read_portraits
    from trainers.evaluation import embedder as evaluation
    from trainers.run.tell import tell_notes

    check_output_folder(draw, "--draw", data)
    embedders = [load_contract_embedder(name) for name in model]
    detector = load_face_detector(finder) if finder else None
    aligned = {  # each model is shown the same faces, aligned as its manifest says
        kind: read_portraits(data, detector, kind)
        for kind in dict.fromkeys(embedder.resampling for embedder in embedders)
    }
    tell_notes(next(iter(aligned.values())).notes)
    if val_fraction:
        aligned = {kind: read.split(val_fraction)[1] for kind, read in aligned.items()}
    results = [evaluation.evaluate_embedder(one, aligned[one.resampling]) for one in embedders]
    portraits = aligned[embedders[0].resampling]
    times = evaluation.measure_times(embedders, portraits.crops[:1])
    if as_json:
        answer = {
            one.name: {name: asdict(figure) for name, figure in one.figures.items()}
            | {"ms": seconds * 1e3, "ratio": ratio, "discard": one.discard}
            for one, (seconds, ratio) in zip(results, times, strict=True)
        }
        typer.echo(json.dumps(answer))
    else:
        people = format_count(len(portraits.names), "person", "people")
        title = f"{people}, {format_count(len(portraits), 'face')}"
        _show_verification(results, times, title)
    for path in evaluation.draw(results, draw) if draw else ():
        typer.echo(path, err=as_json)


def _show_verification(
    results: Sequence[EmbedderResult], times: Sequence[tuple[float, float]], title: str
) -> None:
    table = make_table("metric", *(one.name for one in results), "n", title=title)
    for name, first in results[0].figures.items():
        cells = [_format(one.figures[name]) if name in one.figures else "" for one in results]
        table.add_row(name, *cells, str(first.n))
    for one in results[1:]:  # thresholds differ from model to model
        for name in one.figures.keys() - results[0].figures.keys():
            cells = [_format(o.figures[name]) if o is one else "" for o in results]
            table.add_row(name, *cells, str(one.figures[name].n))
    table.add_row("ms per face, one thread", *(f"{s * 1e3:.2f}" for s, _ in times), "")
    table.add_row("time, ratio to the first", *(f"{ratio:.3f}" for _, ratio in times), "")
    for share in range(len(results[0].discard)):
        cells = [f"{one.discard[share][1]:.3f}" for one in results]
        table.add_row(f"false rejects, {results[0].discard[share][0]:.0%} discarded", *cells, "")
    Console().print(table)


def _format(figure: Interval) -> str:
    value, interval = _format_cells(figure)
    return value if interval == "-" else f"{value} ({interval})"
