"""Commands that train: `detector`, `classifier`, `faces`, `landmarks`, `liveness`, `embedder`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edge.cli.application import deprecated_options
from edge.cli.table import make_table
from edge.errors import ConfigError
from edge.types import Resampling
from trainers.commands import options as opt
from trainers.keras_import import load_keras
from trainers.networks.config import (
    BACKBONES,
    ENCODERS,
    ClassifierConfig,
    LandmarkConfig,
    LivenessConfig,
    NetworkConfig,
)
from trainers.run.tell import tell

if TYPE_CHECKING:
    from trainers.pseudo_labels import Teacher
    from trainers.run.folder import RunFolder

_ASSIGNMENTS = {"free": "dynamic", "anchor": "grid"}  # by head
FACE_BACKBONES = ("yunet", "slim")  # of `trainers.faces`, which loads Keras
RENAMED = deprecated_options(
    {"--hold": "--val-fraction", "--size": "--input-size", "--unlabelled": "--unlabeled"}
)
RENAMED_OF_EMBEDDER = deprecated_options(
    {
        "--hold": "--val-fraction",
        "--size": "--encoder",
        "--faces": "--detector",
        "--lessons": "--distillation-images",
        "--pictures": "--max-images",
        "--each": "--images-per-person",
    }
)


def _load_keras() -> None:
    tell("loading Keras", 1)
    load_keras()


def _verbosity() -> int:
    """A progress bar on a terminal, a line for each epoch in a file."""
    return 1 if sys.stdout.isatty() else 2


def _show_metrics(folder: RunFolder) -> None:
    console = Console()
    tested = folder.read("test.json") if (folder.path / "test.json").is_file() else {}
    columns = ("validation", "test") if tested else ("value",)
    title = f"{folder.path / 'best.keras'}{'' if tested else ', validation data'}"
    table = make_table("metric", *columns, title=title)
    for name, value in folder.read("metrics.json").items():
        known = [f"{tested[name]:.4g}" if name in tested else ""] if tested else []
        table.add_row(name, f"{value:.4g}", *known)
    console.print(table)
    if (folder.path / "features.json").is_file():
        from trainers.input.feature_cache import FeatureCacheReport

        console.print(str(FeatureCacheReport(**folder.read("features.json"))), highlight=False)


def detector(
    data: opt.Data,
    out: opt.Out,
    classes: opt.Classes = "",
    start: opt.Start = "",
    start_classes: Annotated[
        str, typer.Option(help="Classes of the outputs of --start; not needed for YOLOX.")
    ] = "",
    start_only: Annotated[
        str, typer.Option(help="Prefixes of the layers that take weights from --start.")
    ] = "",
    start_partial: opt.StartPartial = False,
    freeze: opt.Freeze = "none",
    backbone: opt.Backbone = "",
    head: Annotated[str, typer.Option(help="Head: free or anchor.")] = "free",
    assignment: Annotated[
        str, typer.Option(help="Label assignment: dynamic or grid; by --head unless given.")
    ] = "",
    teacher: Annotated[
        str, typer.Option(help="A contract model whose detections complete the labels.")
    ] = "",
    unlabeled: Annotated[
        list[Path] | None, typer.Option(help="Images and videos that --teacher labels; repeatable.")
    ] = None,
    teacher_score: opt.Score = 0.5,
    soft: opt.Soft = False,
    size: Annotated[
        int,
        typer.Option(
            "--input-size",
            help="Side of the network's input, a multiple of 32; 0: chosen by the object sizes.",
        ),
    ] = 0,
    epochs: opt.ChosenEpochs = None,
    batch: opt.Batch = 8,
    lr: opt.Rate = 0.0,
    val_fraction: opt.ValFraction = 0.2,
    test_fraction: opt.TestFraction = 0.0,
    seed: opt.Seed = 0,
    strength: opt.Strength = 1.0,
    patience: opt.Patience = 0,
    threads: opt.Threads = 0,
    settings: opt.SettingsFile = None,
    every: opt.Every = 5,
    mixed: opt.Mixed = False,
    devices: opt.Devices = 1,
    cache: opt.Cache = None,
    cache_features: opt.Views = 0,
    resume: opt.Resume = False,
) -> None:
    """Train an object detector."""
    opt.check_run(out, data, resume=resume)
    known_head = opt.check_choice("--head", head, ("free", "anchor"))
    assigned = opt.check_choice(
        "--assignment", assignment or _ASSIGNMENTS[known_head], ("dynamic", "grid")
    )
    if unlabeled and not teacher:
        raise ConfigError("--unlabeled needs a --teacher that labels the images")
    backbone = opt.check_choice("--backbone", backbone or ("nano" if start else "slim"), BACKBONES)
    network = NetworkConfig(
        ("object",), (size or 416,) * 2, backbone, norm="none" if start else "batch", head="free"
    )
    chosen = opt.build_settings(
        start, lr or (2e-4 if start else 2e-3), threads=threads, file=settings,
        epochs=epochs or 0, batch=batch,
        freeze=freeze, seed=seed, strength=strength, patience=patience,
        validate_every=every, mixed_precision=mixed, cache_features=cache_features,
    )  # fmt: skip
    started = opt.find_start(start)
    _load_keras()
    from trainers.detector import DetectorJob, train_detector
    from trainers.losses.detection import LossConfig
    from trainers.networks.backbone import published

    if published(backbone):
        network = replace(network, convention="published")
    job = DetectorJob(
        data=tuple(data), out=out, val_fraction=val_fraction, test_fraction=test_fraction,
        start=started,
        cache=cache, devices=devices, classes=opt.split_names(classes), network=network,
        start_classes=opt.split_names(start_classes), start_only=opt.split_names(start_only),
        start_partial=start_partial,
        head=known_head, loss=LossConfig(assigned),
        choose_size=not size, choose_epochs=epochs is None, unlabeled=tuple(unlabeled or ()),
        teacher=_load_teacher(teacher, classes, teacher_score, soft) if teacher else None,
        settings=chosen,
    )  # fmt: skip
    _show_metrics(train_detector(job, resume=resume, verbose=_verbosity()))


def _load_teacher(name: str, classes: str, score: float, soft: bool) -> Teacher:
    """A teacher for those of the classes that it detects."""
    from trainers.pseudo_labels import load_teacher

    teacher = load_teacher(opt.find_model(name), score=score, soft=soft)
    shared = [c for c in opt.split_names(classes) if c in teacher.classes]
    return teacher.only(shared) if shared else teacher


def classifier(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Folders with a folder for each class, tables (.csv) or data sets of boxes.",
            callback=opt.check_paths,
        ),
    ],
    out: opt.Out,
    classes: opt.Classes = "",
    independent: Annotated[
        bool, typer.Option(help="Any number of the labels may hold, instead of exactly one.")
    ] = False,
    start: opt.Start = "",
    start_partial: opt.StartPartial = False,
    freeze: opt.Freeze = "none",
    backbone: opt.Backbone = "",
    cut: Annotated[
        str, typer.Option(help="Layer behind which the backbone ends; empty: all of it.")
    ] = "",
    mirror: Annotated[
        bool, typer.Option(help="Mirror pictures; off where left and right are different classes.")
    ] = True,
    dropout: Annotated[float, typer.Option(help="Fraction of the features left out.")] = 0.2,
    margin: Annotated[
        float, typer.Option(help="Enlarge boxes by this fraction of their sides.")
    ] = 0.1,
    size: opt.InputSize = 96,
    epochs: opt.ChosenEpochs = None,
    batch: opt.Batch = 32,
    lr: opt.Rate = 0.0,
    val_fraction: opt.ValFraction = 0.2,
    test_fraction: opt.TestFraction = 0.0,
    seed: opt.Seed = 0,
    strength: opt.Strength = 1.0,
    patience: opt.Patience = 0,
    threads: opt.Threads = 0,
    settings: opt.SettingsFile = None,
    every: opt.Every = 1,
    mixed: opt.Mixed = False,
    resume: opt.Resume = False,
) -> None:
    """Train a classifier of pictures, or of the boxes of a data set."""
    opt.check_run(out, data, resume=resume)
    backbone = opt.check_choice("--backbone", backbone or ("nano" if start else "slim"), BACKBONES)
    config = ClassifierConfig(
        ("a", "b"), (size, size), independent, backbone,
        activation="silu" if backbone == "nano" else "relu", cut=cut, dropout=dropout,
        margin=margin, norm="none" if start else "batch",
    )  # fmt: skip
    chosen = opt.build_settings(
        start, lr, threads=threads, file=settings,
        epochs=epochs or 0, batch=batch, freeze=freeze, seed=seed,
        strength=strength, patience=patience, validate_every=every, mixed_precision=mixed,
    )  # fmt: skip
    started = opt.find_start(start)
    _load_keras()
    from trainers.classifier import ClassifierJob, train_classifier
    from trainers.networks.backbone import published

    if published(backbone):
        config = replace(config, convention="published")
    job = ClassifierJob(
        data=tuple(data), out=out, classes=opt.split_names(classes), config=config,
        start=started, start_partial=start_partial, mirror=mirror,
        val_fraction=val_fraction, test_fraction=test_fraction, choose_epochs=epochs is None,
        choose_rate=not lr, settings=chosen,
    )  # fmt: skip
    _show_metrics(train_classifier(job, resume=resume, verbose=_verbosity()))


def faces(
    data: opt.Data,
    out: opt.Out,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(help="Folders of images without faces, or data sets that label people."),
    ] = None,
    teacher: Annotated[
        str, typer.Option(help="A face detector or zoo:NAME that completes the labels.")
    ] = "",
    backbone: Annotated[str, typer.Option(help="Backbone: yunet or slim.")] = "yunet",
    start: opt.Start = "",
    start_partial: opt.StartPartial = False,
    freeze: opt.Freeze = "none",
    size: opt.InputSize = 256,
    epochs: opt.Epochs = 60,
    batch: opt.Batch = 32,
    lr: opt.Rate = 0.0,
    val_fraction: opt.ValFraction = 0.2,
    test_fraction: opt.TestFraction = 0.0,
    seed: opt.Seed = 0,
    patience: opt.Patience = 0,
    threads: opt.Threads = 0,
    settings: opt.SettingsFile = None,
    every: opt.Every = 5,
    mixed: opt.Mixed = False,
    devices: opt.Devices = 1,
    cache: opt.Cache = None,
    resume: opt.Resume = False,
) -> None:
    """Train a face detector with five landmarks per face."""
    opt.check_run(out, data, resume=resume)
    opt.check_choice("--backbone", backbone, FACE_BACKBONES)
    NetworkConfig(("face",), (size, size))  # refuses a size that cannot be
    chosen = opt.build_settings(
        start, lr, threads=threads, file=settings,
        epochs=epochs, batch=batch, freeze=freeze, seed=seed,
        patience=patience, validate_every=every, mixed_precision=mixed,
    )  # fmt: skip
    started = opt.find_start(start)
    _load_keras()
    from trainers.faces import NETWORKS, FaceJob, train_faces

    job = FaceJob(
        data=tuple(data), out=out, val_fraction=val_fraction, test_fraction=test_fraction,
        start=started,
        start_partial=start_partial,
        cache=cache, devices=devices, network=replace(NETWORKS[backbone], input_wh=(size, size)),
        negatives=tuple(negatives or ()),
        predict=opt.load_face_teacher(teacher) if teacher else None, settings=chosen,
    )  # fmt: skip
    _show_metrics(train_faces(job, resume=resume, verbose=_verbosity()))


def landmarks(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with labels.csv, landmarks68.csv and images/.", callback=opt.check_path
        ),
    ],
    out: opt.Out,
    width: Annotated[float, typer.Option(help="Width multiplier of the backbone.")] = 0.25,
    size: opt.InputSize = 96,
    epochs: opt.Epochs = 120,
    batch: opt.Batch = 32,
    lr: opt.Rate = 0.0,
    val_fraction: Annotated[
        float,
        typer.Option(
            "--val-fraction",
            help="Fraction of the people held out for evaluation.",
            callback=opt.check_fraction,
        ),
    ] = 0.2,
    seed: opt.Seed = 0,
    strength: opt.Strength = 1.0,
    patience: opt.Patience = 0,
    threads: opt.Threads = 0,
    settings: opt.SettingsFile = None,
    every: opt.Every = 5,
    mixed: opt.Mixed = False,
    resume: opt.Resume = False,
) -> None:
    """Train a network of 68 points on aligned faces."""
    opt.check_run(out, [data], resume=resume)
    config = LandmarkConfig((size, size), width)
    chosen = opt.build_settings(
        None, lr or 2e-3, threads=threads, file=settings,
        epochs=epochs, batch=batch, seed=seed, strength=strength, patience=patience,
        validate_every=every, mixed_precision=mixed,
    )  # fmt: skip
    _load_keras()
    from trainers.landmarks import LandmarkJob, train_landmarks

    job = LandmarkJob(data=data, out=out, val_fraction=val_fraction, config=config, settings=chosen)
    _show_metrics(train_landmarks(job, resume=resume, verbose=_verbosity()))


def liveness(
    data: opt.Data,
    out: opt.Out,
    people: Annotated[
        list[Path] | None,
        typer.Option(help="Images and videos of live people; zoo:faces-nano detects the faces."),
    ] = None,
    scenes: opt.Scenes = None,
    teacher: Annotated[
        str, typer.Option(help="A liveness model or zoo:NAME whose scores soften the live labels.")
    ] = "",
    trust: Annotated[float, typer.Option(help="Weight of the teacher's scores, 0 to 1.")] = 0.8,
    keep: Annotated[
        float, typer.Option(help="Fraction of the weights of --start mixed in at the end.")
    ] = 0.0,
    over_time: Annotated[
        str, typer.Option(help="Convolutions over time: none, conv1d or conv3d.")
    ] = "none",
    frames: Annotated[
        int, typer.Option(help="Frames per clip; more than 1 needs --over-time.")
    ] = 1,
    turn_heads: Annotated[
        bool,
        typer.Option(
            help="With --over-time: each clip is made of one picture, as a head that turns, not of "
            "those of its track.",
        ),
    ] = False,
    resampling: Annotated[
        str,
        typer.Option(help="How crops are resized, as --teacher takes them; see the contract."),
    ] = "bilinear",
    start: opt.Start = "",
    freeze: Annotated[
        str,
        typer.Option(help="Layers to freeze: none, or prefixes such as scale0_stem,scale0_stage0."),
    ] = "none",
    epochs: opt.Epochs = 10,
    batch: opt.Batch = 32,
    lr: opt.Rate = 0.0,
    val_fraction: opt.ValFraction = 0.2,
    seed: opt.Seed = 0,
    strength: Annotated[float, typer.Option(help="Strength of camera artifacts, 0 to 1.")] = 1.0,
    patience: opt.Patience = 0,
    threads: opt.Threads = 0,
    settings: opt.SettingsFile = None,
    every: opt.Every = 1,
    mixed: opt.Mixed = False,
    resume: opt.Resume = False,
) -> None:
    """Train a liveness network on live faces and simulated attacks."""
    opt.check_run(out, data, resume=resume)
    try:
        config = LivenessConfig.from_json(
            {"frames": frames, "over_time": over_time, "resampling": resampling}
        )
    except ValueError as error:
        raise ConfigError(f"--frames, --over-time, --resampling: {error}") from error
    chosen = opt.build_settings(
        start, lr, threads=threads, file=settings,
        epochs=epochs, batch=batch, freeze=freeze, seed=seed, strength=strength,
        patience=patience, validate_every=every, mixed_precision=mixed,
    )  # fmt: skip
    started = opt.find_start(start)
    _load_keras()
    from trainers.liveness import LivenessJob, train_liveness
    from trainers.spoofing.clips import load_clip_scorer

    job = LivenessJob(
        data=tuple(data), out=out, people=tuple(people or ()), scenes=tuple(scenes or ()),
        turn_heads=turn_heads,
        predict=opt.load_face_teacher("zoo:faces-nano") if people else None, config=config,
        val_fraction=val_fraction, trust=trust,
        teacher=load_clip_scorer(opt.find_model(teacher), config) if teacher else None,
        start=started, keep=keep, settings=chosen,
    )  # fmt: skip
    _show_metrics(train_liveness(job, resume=resume, verbose=_verbosity()))


def embedder(
    data: Annotated[
        Path,
        typer.Argument(
            help="Portraits: labels.csv with video, or DIR/NAME/*.", callback=opt.check_path
        ),
    ],
    out: opt.Out,
    loss: Annotated[
        str, typer.Option(help="Losses: triplet, binary, margin, teacher, or teacher+triplet:0.2.")
    ] = "triplet",
    more: Annotated[
        list[Path] | None, typer.Option(help="More portraits for training; none are held out.")
    ] = None,
    teacher: Annotated[str, typer.Option(help="An embedder or zoo:NAME to distill.")] = "",
    start: Annotated[str, typer.Option(help="A MobileFaceNet ONNX file to start from.")] = "",
    mining: Annotated[
        str, typer.Option(help="Triplet mining: semi-hard or batch-hard.")
    ] = "semi-hard",
    pair: Annotated[
        str, typer.Option(help="Pair features of the binary loss: absolute or chi-square.")
    ] = "absolute",
    finder: Annotated[
        str, typer.Option("--detector", help="Detects faces in portraits without landmarks.")
    ] = "zoo:faces-nano",
    size: Annotated[
        str, typer.Option("--encoder", help="Size of the encoder: pico, nano or full.")
    ] = "nano",
    distillation_images: Annotated[
        int, typer.Option(help="Faces that the teacher embeds.")
    ] = 20_000,
    max_images: Annotated[int, typer.Option(help="Images per epoch; 0: all of them.")] = 0,
    images_per_person: Annotated[int, typer.Option(help="Images of a person in a batch.")] = 4,
    fade: Annotated[
        float,
        typer.Option(help="Epochs in which the PReLU slopes of --start fade to 0; 0 keeps them."),
    ] = 4.5,
    epochs: opt.Epochs = 12,
    batch: opt.Batch = 64,
    lr: opt.Rate = 0.0,
    val_fraction: Annotated[
        float,
        typer.Option(
            "--val-fraction",
            help="Fraction of the people held out for evaluation.",
            callback=opt.check_fraction,
        ),
    ] = 0.2,
    seed: opt.Seed = 0,
    patience: opt.Patience = 0,
    threads: opt.Threads = 0,
    settings: opt.SettingsFile = None,
    every: opt.Every = 1,
    mixed: opt.Mixed = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that caches the embeddings.", callback=opt.check_cache),
    ] = None,
    resume: opt.Resume = False,
) -> None:
    """Train a face embedder."""
    opt.check_run(out, [data], resume=resume)
    encoder = ENCODERS[opt.check_choice("--encoder", size, ENCODERS)]
    chosen = opt.build_settings(
        start, lr, threads=threads, file=settings,
        epochs=epochs, batch=batch, seed=seed,
        patience=patience, validate_every=every, mixed_precision=mixed, clip_norm=5.0,
    )  # fmt: skip
    started = opt.find_start(start)
    _load_keras()
    from trainers.embedder import EmbedderJob, train_embedder
    from trainers.losses.embedding import MINERS, PAIRS, ObjectiveConfig, parse_parts

    taught = opt.load_contract_embedder(teacher) if teacher else None
    own: Resampling = "bilinear" if start else "halved_bilinear"
    network = replace(encoder, resampling=taught.resampling if taught else own)
    job = EmbedderJob(
        data=data, out=out, more=tuple(more or ()), val_fraction=val_fraction, network=network,
        objective=ObjectiveConfig(
            parse_parts(loss), mining=opt.check_choice("--mining", mining, MINERS),
            pair=opt.check_choice("--pair", pair, PAIRS),
        ),
        settings=chosen,
        images_per_person=images_per_person, fade=fade, start=started,
        teacher=taught,
        distillation_images=distillation_images, max_images=max_images, cache=cache,
        finder=opt.load_face_detector(finder) if finder else None,
    )  # fmt: skip
    _show_metrics(train_embedder(job, resume=resume, verbose=_verbosity()))
