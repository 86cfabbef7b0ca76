"""The command `bench`: training throughput."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edge.cli.application import deprecated_options
from trainers.commands.options import Batch, InputSize, check_choice, check_path
from trainers.keras_import import load_keras
from trainers.networks.config import BACKBONES, NetworkConfig
from trainers.run.settings import Settings

RENAMED = deprecated_options({"--size": "--input-size"})


def bench(
    data: Annotated[Path, typer.Argument(help="A data set for a detector.", callback=check_path)],
    backbone: Annotated[
        str, typer.Option(help="Backbone: nano, slim, squeezenet, vgg16 ..")
    ] = "nano",
    size: InputSize = 416,
    batch: Batch = 8,
    steps: Annotated[int, typer.Option(min=1, help="Steps per measurement.")] = 20,
) -> None:
    """Measure which fraction of the bare training step's throughput the whole loop reaches."""
    check_choice("--backbone", backbone, BACKBONES)
    config, settings = NetworkConfig(("object",), (size, size), backbone), Settings(batch=batch)
    load_keras()
    from trainers.augment.presets import detector_augments
    from trainers.data.read import read_dataset
    from trainers.detector import to_keras_batch
    from trainers.evaluation.throughput import measure_throughput
    from trainers.input.pipeline import build_batches
    from trainers.losses.detection import LossConfig
    from trainers.losses.detection_task import YoloTask
    from trainers.networks.yolo import build
    from trainers.run.train import compile_task

    dataset = read_dataset(data).require_examples()
    config = replace(config, classes=dataset.classes)
    task = YoloTask(build(config), config, LossConfig())
    compile_task(task, settings, steps)
    source = build_batches(dataset, config.input_wh, batch, detector_augments(), seed=0)
    throughput = measure_throughput(
        source, lambda ready: task.train_on_batch(*to_keras_batch(ready)), steps
    )
    typer.echo(str(throughput))
