"""Configurations on the command line: what is wrong is reported all at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge import config_file
from edge.config import Config
from edge.errors import EdgeError, collect_errors
from edge.service.model_set import ModelSet


def load_configuration(path: Path) -> tuple[Config, ModelSet]:
    """Load a configuration and its models.

    Raises:
        ConfigError: Something is wrong with the file, the models or the labels it names; all
            mistakes that can be seen are reported, each with file, line, key and remedy.
    """
    tree, text = config_file.read(path)
    with collect_errors() as errors, config_file.locate_in(path):
        settings = models = None
        with errors.catch():
            settings = config_file.parse(tree, path, text)
        with errors.catch(), config_file.locate_in(path):
            if named := settings or config_file.parse_models(tree):
                models = ModelSet.load(named, path.parent)
        with errors.catch():
            if classes := models.detector.classes if models else _load_classes(tree, path):
                config_file.check_labels(tree, classes, path, text)
    assert settings is not None  # noqa: S101 - or an error was raised
    assert models is not None  # noqa: S101
    return settings, models


def _load_classes(tree: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """What the detector detects, if it can be loaded."""
    with suppress(EdgeError, KeyError, TypeError):
        detector_alone = {"models": {"detector": tree["models"]["detector"]}}
        if named := config_file.parse_models(detector_alone):
            return ModelSet.load(named, path.parent).detector.classes
    return ()
