"""The command line of the trainers: `edge-train`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge.cli.application import application
from edge.errors import ConfigError
from trainers.keras_import import load_keras

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.models.embedder import ContractEmbedder
    from edge.models.faces import ContractFaceFinder
    from edge.runtimes.onnx import OnnxRuntime
    from trainers.data.dataset import Dataset
    from trainers.evaluation.embedder import Examined
    from trainers.metrics.box_fusion import Detect
    from trainers.metrics.verification import Figure
    from trainers.pseudo_labels import Ask, Teacher
    from trainers.run.folder import RunFolder
    from trainers.run.settings import Settings

app = application("Trains networks on your own pictures.")

Data = Annotated[
    list[Path], typer.Argument(help="Data sets: COCO JSON, Pascal VOC, YOLO text, labels.csv.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run folder.")]
Start = Annotated[
    str, typer.Option(help="Start from a .keras, .h5 or .onnx file or zoo:NAME where it fits.")
]
Freeze = Annotated[str, typer.Option(help="none, backbone, all, or prefixes of layer names.")]
Epochs = Annotated[int, typer.Option(help="Passes over the training part.")]
Batch = Annotated[int, typer.Option(help="Pictures a step.")]
Rate = Annotated[
    float,
    typer.Option(
        "--lr", help="Peak learning rate; 0 takes the usual one, a tenth of it with --start."
    ),
]
Size = Annotated[int, typer.Option(help="Side of the network's input, a multiple of 32.")]
Hold = Annotated[float, typer.Option(help="Share of the groups held back for validation.")]
Seed = Annotated[int, typer.Option(help="Of weights, order and augmentation; not of the split.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Patience = Annotated[int, typer.Option(help="Epochs without progress before stopping; 0: never.")]
Every = Annotated[int, typer.Option(help="Epochs between looks at the held-back part.")]
Mixed = Annotated[bool, typer.Option("--mixed", help="Mixed precision; for GPUs.")]
Devices = Annotated[int, typer.Option(help="Devices to train on.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of prepared pictures and features.")]
Views = Annotated[
    int,
    typer.Option(
        "--cache-features",
        help="With --freeze: keep features of N augmented views of each picture; 0: fresh "
        "augmentation each epoch, nothing kept.",
    ),
]
Score = Annotated[float, typer.Option(help="Below it a teacher's finding is no label.")]
Soft = Annotated[bool, typer.Option("--soft", help="Its score is the label's weight.")]


def _settings(start: object, lr: float, **values: Any) -> Settings:  # noqa: ANN401 - its fields
    from trainers.run.settings import Settings

    return Settings(learning_rate=lr or (2e-4 if start else 1e-3), **values)


def _show(folder: RunFolder, console: Console) -> None:
    table = Table("figure", "value", title=f"{folder.path / 'best.keras'}, held-back part")
    for name, value in folder.read("metrics.json").items():
        table.add_row(name, f"{value:.4g}")
    console.print(table)
    if (folder.path / "features.json").is_file():
        from trainers.input.feature_cache import Spared

        console.print(str(Spared(**folder.read("features.json"))), highlight=False)


@app.command()
def detector(
    data: Data,
    out: Out,
    classes: Annotated[str, typer.Option(help="Comma-separated; all of the data if empty.")] = "",
    start: Start = "",
    start_classes: Annotated[
        str, typer.Option(help="What the class outputs of --start mean; YOLOX is known.")
    ] = "",
    start_only: Annotated[
        str, typer.Option(help="Prefixes of the layers that take weights from --start.")
    ] = "",
    freeze: Freeze = "none",
    backbone: Annotated[
        str, typer.Option(help="nano, slim, squeezenet, vgg16 ..; nano with --start, else slim.")
    ] = "",
    head: Annotated[str, typer.Option(help="free or anchor.")] = "free",
    assignment: Annotated[str, typer.Option(help="dynamic or grid.")] = "",
    teacher: Annotated[
        str, typer.Option(help="A contract model that labels what nobody has labelled.")
    ] = "",
    unlabelled: Annotated[
        list[Path] | None, typer.Option(help="Pictures and videos for --teacher; repeatable.")
    ] = None,
    teacher_score: Score = 0.5,
    soft: Soft = False,
    size: Annotated[
        int, typer.Option(help="Side of the input, a multiple of 32; 0: as the objects need it.")
    ] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the training part; as the data need unless given."),
    ] = None,
    batch: Batch = 8,
    lr: Rate = 0.0,
    hold: Hold = 0.2,
    seed: Seed = 0,
    strength: Annotated[float, typer.Option(help="Of the augmentation, 0 to 1.")] = 1.0,
    patience: Patience = 0,
    every: Every = 5,
    mixed: Mixed = False,
    devices: Devices = 1,
    cache: Cache = None,
    cache_features: Views = 0,
    resume: Resume = False,
) -> None:
    """Train a detector."""
    load_keras()
    from trainers.detector import Job, train_detector
    from trainers.losses.detection import LossConfig
    from trainers.networks.config import NetworkConfig

    if head not in ("free", "anchor"):
        raise ConfigError(f"--head must be free or anchor, got {head!r}")
    usual = {"free": "dynamic", "anchor": "grid"}[head]
    network = NetworkConfig(
        ("object",), (size or 416,) * 2, backbone or ("nano" if start else "slim"),
        norm="none" if start else "batch", head="free",
    )  # fmt: skip
    job = Job(
        data=tuple(data), out=out, hold=hold, start=_file(start), cache=cache, devices=devices,
        classes=_names(classes), start_classes=_names(start_classes),
        start_only=_names(start_only),
        network=network, head=head, loss=LossConfig(assignment=assignment or usual),  # type: ignore[arg-type]
        choose_size=not size, choose_epochs=epochs is None, unlabelled=tuple(unlabelled or ()),
        teacher=_hired(teacher, classes, teacher_score, soft) if teacher else None,
        settings=_settings(
            start, lr or (2e-4 if start else 2e-3), epochs=epochs or 0, batch=batch,
            freeze=freeze, seed=seed, strength=strength, patience=patience,
            validate_every=every, mixed_precision=mixed, cache_features=cache_features,
        ),
    )  # fmt: skip
    if unlabelled and not teacher:
        raise ConfigError("--unlabelled needs a --teacher that labels them")
    _show(train_detector(job, resume=resume, verbose=1), Console())


def _hired(name: str, classes: str, score: float, soft: bool) -> Teacher:
    """A teacher for those of the classes that it knows."""
    from trainers.pseudo_labels import hired

    teacher = hired(_model(name), score=score, soft=soft)
    known = [c for c in _names(classes) if c in teacher.classes]
    return teacher.only(known) if known else teacher


def _model(name: str) -> Path:
    from edge.models.paths import model_path

    return model_path(name, Path.cwd())


def _file(name: str) -> Path | None:
    return _model(name) if name else None


def _runtime() -> OnnxRuntime:
    from edge.runtimes.onnx import Options, build

    return build(Options())


def _face_finder(name: str) -> ContractFaceFinder:
    from edge.models.faces import load_faces

    return load_faces(_runtime(), _model(name))


def _face_ask(name: str) -> Ask:
    from trainers.pseudo_labels import of_faces

    return of_faces(_face_finder(name))


def _embedder(name: str) -> ContractEmbedder:
    from edge.models.embedder import load_embedder

    return load_embedder(_runtime(), _model(name))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@app.command()
def faces(
    data: Data,
    out: Out,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(help="Folders without faces, or data sets that label people."),
    ] = None,
    teacher: Annotated[
        str, typer.Option(help="A face finder or zoo:NAME that labels unlabelled faces.")
    ] = "",
    backbone: Annotated[str, typer.Option(help="yunet or slim.")] = "yunet",
    start: Start = "",
    freeze: Freeze = "none",
    size: Size = 256,
    epochs: Epochs = 60,
    batch: Batch = 32,
    lr: Rate = 0.0,
    hold: Hold = 0.2,
    seed: Seed = 0,
    patience: Patience = 0,
    every: Every = 5,
    mixed: Mixed = False,
    devices: Devices = 1,
    cache: Cache = None,
    resume: Resume = False,
) -> None:
    """Train a face finder with five points a face."""
    load_keras()
    from trainers.detector import Job
    from trainers.faces import NETWORKS, FacesJob, train_faces

    if backbone not in NETWORKS:
        raise ConfigError(f"--backbone must be one of {', '.join(NETWORKS)}, got {backbone!r}")

    job = Job(
        data=tuple(data), out=out, hold=hold, start=_file(start), cache=cache, devices=devices,
        network=replace(NETWORKS[backbone], input_wh=(size, size)),
        settings=_settings(
            start, lr, epochs=epochs, batch=batch, freeze=freeze, seed=seed,
            patience=patience, validate_every=every, mixed_precision=mixed,
        ),
    )  # fmt: skip
    whole = FacesJob(job, tuple(negatives or ()), ask=_face_ask(teacher) if teacher else None)
    _show(train_faces(whole, resume=resume, verbose=1), Console())


@app.command()
def liveness(
    data: Data,
    out: Out,
    people: Annotated[
        list[Path] | None,
        typer.Option(help="Pictures and videos of living people; zoo:faces-nano finds the faces."),
    ] = None,
    scenes: Annotated[
        list[Path] | None, typer.Option(help="Folders of pictures to hold attacks before.")
    ] = None,
    teacher: Annotated[
        str, typer.Option(help="A liveness network or zoo:NAME, asked about the living.")
    ] = "",
    trust: Annotated[float, typer.Option(help="Share of the teacher's opinion, 0 to 1.")] = 0.8,
    keep: Annotated[
        float, typer.Option(help="Share of the weights of --start mixed in at the end.")
    ] = 0.0,
    over_time: Annotated[str, typer.Option(help="none, conv1d or conv3d.")] = "none",
    frames: Annotated[int, typer.Option(help="Pictures of a clip; more than 1 over time.")] = 1,
    start: Start = "",
    freeze: Annotated[
        str, typer.Option(help="none, or prefixes of layer names: scale0_stem,scale0_stage0.")
    ] = "none",
    epochs: Epochs = 10,
    batch: Batch = 32,
    lr: Rate = 0.0,
    hold: Hold = 0.2,
    seed: Seed = 0,
    strength: Annotated[float, typer.Option(help="Of the camera's faults, 0 to 1.")] = 1.0,
    patience: Patience = 0,
    every: Every = 1,
    mixed: Mixed = False,
    resume: Resume = False,
) -> None:
    """Train a network that tells living faces from simulated attacks."""
    load_keras()
    from trainers.liveness import LivenessJob, train_liveness
    from trainers.networks.config import LivenessConfig
    from trainers.spoofing.clips import asking

    try:
        config = LivenessConfig(frames=frames, over_time=over_time)  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(f"--frames, --over-time: {error}") from error
    job = LivenessJob(
        data=tuple(data), out=out, people=tuple(people or ()), scenes=tuple(scenes or ()),
        find=_face_ask("zoo:faces-nano") if people else None, config=config, hold=hold,
        teacher=asking(_model(teacher), config) if teacher else None, trust=trust,
        start=_file(start), keep=keep,
        settings=_settings(
            start, lr, epochs=epochs, batch=batch, freeze=freeze, seed=seed, strength=strength,
            patience=patience, validate_every=every, mixed_precision=mixed,
        ),
    )  # fmt: skip
    _show(train_liveness(job, resume=resume, verbose=1), Console())


@app.command()
def attacks(
    model: Annotated[list[str], typer.Argument(help="Liveness models or zoo:NAME.")],
    data: Annotated[Path, typer.Option(help="A data set whose boxes are living faces.")],
    held: Annotated[
        float, typer.Option(help="Only the people that a trainer with this --hold keeps back.")
    ] = 0.0,
    scenes: Annotated[
        list[Path] | None, typer.Option(help="Folders of pictures to hold attacks before.")
    ] = None,
    score: Annotated[float, typer.Option(help="From there on a face is alive.")] = 0.5,
    each: Annotated[int, typer.Option(help="Tracks of each kind.")] = 100,
    sheet: Annotated[Path | None, typer.Option(help="Draw the attacks into this PNG.")] = None,
) -> None:
    """Measure liveness models under simulated attacks, those nobody trains on among them."""
    load_keras()
    from trainers.evaluation.liveness import draw, rehearse

    found = rehearse(model, data, held, tuple(scenes or ()), score=score, each=each)
    for name, rows in found.items():
        table = Table("figure", "a clip", "n", "a track", "n", title=f"{name}, simulated attacks")
        for figure, clip, track in rows:
            table.add_row(figure, str(clip), str(clip.n), str(track), str(track.n))
        Console().print(table)
    if sheet:
        draw(data, tuple(scenes or ()), sheet)
        typer.echo(sheet)


@app.command()
def embedder(
    data: Annotated[Path, typer.Argument(help="Portraits: labels.csv with video, or DIR/NAME/*.")],
    out: Out,
    loss: Annotated[
        str, typer.Option(help="triplet, binary, margin, teacher; several: teacher+triplet:0.2")
    ] = "triplet",
    more: Annotated[
        list[Path] | None, typer.Option(help="Portraits beside them; nobody is held back.")
    ] = None,
    teacher: Annotated[str, typer.Option(help="An embedder or zoo:NAME to match.")] = "",
    start: Annotated[str, typer.Option(help="A MobileFaceNet's ONNX to start from.")] = "",
    mining: Annotated[
        str, typer.Option(help="Of triplets: semi-hard or batch-hard.")
    ] = "semi-hard",
    pair: Annotated[str, typer.Option(help="Of binary: absolute or chi-square.")] = "absolute",
    faces: Annotated[str, typer.Option(help="Finds faces without points.")] = "zoo:faces-nano",
    size: Annotated[str, typer.Option(help="pico, nano or full: of the encoder.")] = "nano",
    lessons: Annotated[int, typer.Option(help="Faces that the teacher is asked about.")] = 20_000,
    pictures: Annotated[int, typer.Option(help="Of an epoch; 0: every lesson.")] = 0,
    each: Annotated[int, typer.Option(help="Pictures of a person in a batch.")] = 4,
    fade: Annotated[float, typer.Option(help="Epochs in which --start's PReLU fade.")] = 4.5,
    epochs: Epochs = 12,
    batch: Batch = 64,
    lr: Rate = 0.0,
    hold: Annotated[float, typer.Option(help="Share of the people held back, never seen.")] = 0.2,
    seed: Seed = 0,
    patience: Patience = 0,
    every: Every = 1,
    mixed: Mixed = False,
    cache: Annotated[Path | None, typer.Option(help="Keeps the teacher's answers.")] = None,
    resume: Resume = False,
) -> None:
    """Train an embedder: faces of one person alike, of two people not."""
    load_keras()
    from trainers.embedder import Job, train_embedder
    from trainers.losses.embedding import MINERS, PAIRS, ObjectiveConfig, parse_parts
    from trainers.networks.config import ENCODERS

    for option, value, known in (
        ("--size", size, ENCODERS), ("--mining", mining, MINERS), ("--pair", pair, PAIRS),
    ):  # fmt: skip
        if value not in known:
            raise ConfigError(f"{option} must be one of {', '.join(known)}, got {value!r}")
    job = Job(
        data=data, out=out, more=tuple(more or ()), hold=hold, network=ENCODERS[size],
        objective=ObjectiveConfig(parse_parts(loss), mining=mining, pair=pair),  # type: ignore[arg-type]
        settings=_settings(
            start, lr, epochs=epochs, batch=batch, seed=seed,
            patience=patience, validate_every=every, mixed_precision=mixed, clip_norm=5.0,
        ),
        each=each, fade=fade, start=_file(start), teacher=_embedder(teacher) if teacher else None,
        lessons=lessons, pictures=pictures, cache=cache,
        finder=_face_finder(faces) if faces else None,
    )  # fmt: skip
    _show(train_embedder(job, resume=resume, verbose=1), Console())


@app.command()
def label(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, videos, folders of them.")],
    teacher: Annotated[str, typer.Option(help="A contract model, zoo:NAME or catalog:NAME.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Data set to write, a new folder.")],
    classes: Annotated[str, typer.Option(help="Comma-separated; all it knows if empty.")] = "",
    score: Score = 0.5,
    soft: Soft = False,
    every: Annotated[int, typer.Option(help="Of a video each so-manieth frame.", min=1)] = 10,
    form: Annotated[str, typer.Option("--format", help="yolo or coco.")] = "yolo",
) -> None:
    """Let a model label pictures and videos: a data set to correct or to train on."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    load_keras()
    from trainers.pseudo_labels import hired, label_folder

    if form not in ("yolo", "coco"):
        raise ConfigError(f"--format must be yolo or coco, got {form!r}")
    tutor = hired(_model(teacher), _names(classes), score, soft=soft)
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} pictures"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        dataset = label_folder(paths, out, tutor, every, lambda: bar.advance(task), form)  # type: ignore[arg-type]
    objects = sum(len(example) for example in dataset.examples)
    typer.echo(f"{out}: {len(dataset)} pictures, {objects} objects of {', '.join(dataset.classes)}")


@app.command()
def evaluate(
    model: Annotated[list[str], typer.Argument(help="A contract model or zoo:NAME; several vote.")],
    data: Annotated[Path, typer.Option(help="A labelled data set.")],
    held: Annotated[
        float, typer.Option(help="Only the part that a trainer with this --hold keeps back.")
    ] = 0.0,
    faces: Annotated[bool, typer.Option("--faces", help="The model finds faces.")] = False,
    negatives: Annotated[Path | None, typer.Option(help="As in training, for faces.")] = None,
    score: Annotated[float, typer.Option(help="At which recall and precision are told.")] = 0.5,
    flip: Annotated[bool, typer.Option("--flip", help="Look at the mirror image too.")] = False,
    crops: Annotated[int, typer.Option(help="Look at N x N parts too.")] = 1,
    shrink_to: Annotated[
        float, typer.Option(help="With --faces: recall of faces shrunk to so many pixels.")
    ] = 0.0,
    draw: Annotated[Path | None, typer.Option(help="Folder for curves and worst pictures.")] = None,
) -> None:
    """Measure contract models on labelled pictures."""
    load_keras()
    from trainers.evaluation import detector as examination

    if shrink_to and not faces:
        raise ConfigError("--shrink-to is for face finders: add --faces")
    if faces:
        dataset, ask = _held_faces(data, negatives, held), _face_ask(model[0])
        examined = (
            examination.examine_small_faces(dataset, ask, shrink_to, _input_wh(model[0]), score)
            if shrink_to
            else examination.examine_faces(dataset, ask, score)
        )
    else:
        dataset, detects = _detection_data(data, held, model)
        looks = examination.views(detects, flip=flip, crops=crops)
        examined = examination.examine_detector(dataset, looks, score)
    table = Table("figure", "value", "95 %", "n", title=", ".join(model))
    for name, figure in examined.figures.items():
        value, low, high = (f"{x:.4f}" for x in (figure.value, figure.low, figure.high))
        table.add_row(name, value, f"{low} to {high}", str(figure.n))
    Console().print(table)
    ms = examined.seconds * 1e3
    typer.echo(f"{ms:.1f} ms a picture with reading it, {examined.passes} passes of the network")
    for path in examination.draw(dataset, examined, draw, score) if draw and not shrink_to else ():
        typer.echo(path)


def _held_faces(data: Path, negatives: Path | None, held: float) -> Dataset:
    from trainers.data.near_duplicates import split_dataset
    from trainers.data.read import read_dataset
    from trainers.faces import read_negatives

    dataset = read_dataset(data)
    empty = read_negatives([negatives] if negatives else [])
    if held:
        dataset = split_dataset(dataset, held)[1]
        empty = empty.split(0.5)[1] if len(empty) else empty
    return replace(dataset, examples=dataset.examples + empty.examples)


def _detection_data(data: Path, held: float, models: list[str]) -> tuple[Dataset, list[Detect]]:
    from edge.models.detector import load_detector
    from trainers.data.near_duplicates import split_dataset
    from trainers.data.read import read_dataset
    from trainers.pseudo_labels import of_detector, renumbered

    dataset = read_dataset(data)
    loaded = [load_detector(_runtime(), _model(name)) for name in models]
    known = [name for name in dataset.classes if any(name in model.classes for model in loaded)]
    if not known:
        raise ConfigError(f"{', '.join(models)} and {data} have no class in common")
    dataset = dataset.select(known)
    part = split_dataset(dataset, held)[1] if held else dataset
    return part, [renumbered(of_detector(m), m.classes, part.classes) for m in loaded]


def _input_wh(name: str) -> tuple[int, int]:
    from trainers.pseudo_labels import manifest_of

    return manifest_of(_model(name)).input_wh


@app.command()
def verification(
    model: Annotated[list[str], typer.Argument(help="Embedders of the contract or zoo:NAME.")],
    data: Annotated[Path, typer.Option(help="Portraits with videos, as for training.")],
    held: Annotated[
        float, typer.Option(help="Only the people that a trainer with this --hold keeps back.")
    ] = 0.0,
    faces: Annotated[str, typer.Option(help="Finds faces without points; none: no such.")] = "",
    draw: Annotated[Path | None, typer.Option(help="Folder for roc.png and discard.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure embedders on people: pairs across videos, searches, time; side by side."""
    import json

    load_keras()
    from trainers.data.portraits import read_portraits
    from trainers.evaluation import embedder as recognition

    portraits = read_portraits(data, _face_finder(faces) if faces else None)
    portraits = portraits.split(held)[1] if held else portraits
    embedders = [_embedder(name) for name in model]
    examined = [recognition.examine(embedder, portraits) for embedder in embedders]
    times = recognition.paired_times(embedders, portraits.crops[:1])
    if as_json:
        answer = {
            one.name: {name: asdict(figure) for name, figure in one.figures.items()}
            | {"ms": seconds * 1e3, "ratio": ratio, "discard": one.discard}
            for one, (seconds, ratio) in zip(examined, times, strict=True)
        }
        typer.echo(json.dumps(answer))
    else:
        _show_recognition(examined, times, f"{len(portraits.names)} people, {len(portraits)} faces")
    for path in recognition.draw(examined, draw) if draw else ():
        typer.echo(path, err=as_json)


def _show_recognition(
    examined: Sequence[Examined], times: Sequence[tuple[float, float]], title: str
) -> None:
    table = Table("figure", *(one.name for one in examined), "n", title=title)
    for name, first in examined[0].figures.items():
        found = [one.figures.get(name) for one in examined]
        table.add_row(
            name, *(_interval(figure) if figure else "" for figure in found), str(first.n)
        )
    for one in examined[1:]:  # thresholds differ from model to model
        for name in one.figures.keys() - examined[0].figures.keys():
            cells = [_interval(o.figures[name]) if o is one else "" for o in examined]
            table.add_row(name, *cells, str(one.figures[name].n))
    table.add_row("ms a face, one thread", *(f"{s * 1e3:.2f}" for s, _ in times), "")
    table.add_row("time, ratio to the first", *(f"{ratio:.3f}" for _, ratio in times), "")
    for share in range(len(examined[0].discard)):
        cells = [f"{one.discard[share][1]:.3f}" for one in examined]
        table.add_row(f"refused, {examined[0].discard[share][0]:.0%} discarded", *cells, "")
    Console().print(table)


def _interval(figure: Figure) -> str:
    if figure.low != figure.low:  # not a number: no interval
        return f"{figure.value:.4f}"
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


@app.command()
def bench(
    data: Annotated[Path, typer.Argument(help="A data set for a detector.")],
    backbone: Annotated[str, typer.Option(help="nano, slim, squeezenet, vgg16 ..")] = "nano",
    size: Size = 416,
    batch: Batch = 8,
    steps: Annotated[int, typer.Option(help="Of each kind.")] = 20,
) -> None:
    """How much of the bare training step's speed the whole loop keeps."""
    load_keras()
    from trainers.augment.presets import detector_augments
    from trainers.data.read import read_dataset
    from trainers.detector import to_fit
    from trainers.evaluation.throughput import measure
    from trainers.input.pipeline import recipe
    from trainers.losses.detection import LossConfig
    from trainers.losses.detection_task import YoloTask
    from trainers.networks.config import NetworkConfig
    from trainers.networks.yolo import build
    from trainers.run.settings import Settings
    from trainers.run.train import compile_task

    dataset = read_dataset(data).require_examples()
    config = NetworkConfig(dataset.classes, (size, size), backbone)
    task = YoloTask(build(config), config, LossConfig())
    compile_task(task, Settings(), steps)
    made = recipe(dataset, config.input_wh, batch, detector_augments(), seed=0)
    typer.echo(str(measure(made, lambda ready: task.train_on_batch(*to_fit(ready)), steps)))


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="A data set.")],
    sheet: Annotated[Path | None, typer.Option(help="Draw a contact sheet into this PNG.")] = None,
) -> None:
    """List broken files, boxes outside their picture and classes without examples."""
    from trainers.data.check import check_path
    from trainers.evaluation.figures import contact_sheet

    dataset, report = check_path(data)
    Console().print(str(report), markup=False, highlight=False)
    if sheet:
        contact_sheet(dataset, sheet)
    if not report.ok:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the `edge-train` command."""
    app()
