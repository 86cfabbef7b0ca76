"""Configurations on the command line: what is wrong is told all at once."""

from __future__ import annotations

from pathlib import Path

from edge import config_file
from edge.config import Config
from edge.errors import collect_errors
from edge.service.model_set import ModelSet


def load_configuration(path: Path) -> tuple[Config, ModelSet]:
    """Load a configuration and its models.

    Raises:
        ConfigError: Something is wrong with the file, the models or the labels it names; all
            mistakes that can be seen are told, each with file, line, key and remedy.
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
            if models:
                config_file.check_labels(tree, models.detector.classes, path, text)
    assert settings is not None  # noqa: S101 - or an error was raised
    assert models is not None  # noqa: S101
    return settings, models
