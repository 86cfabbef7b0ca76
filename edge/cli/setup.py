"""`edge setup`: a first configuration, from questions on a terminal or from options."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from edge import config_file
from edge.cli.camera_choice import (
    Candidate,
    ask_name,
    check_name,
    choose_camera,
    find_devices,
)
from edge.cli.camera_trial import describe_scene
from edge.cli.check import check_outputs
from edge.cli.dialogue import ask_choice, find_fault, is_terminal, say
from edge.cli.first_configuration import (
    FACES,
    WIDE_DETECTOR,
    FirstConfiguration,
    choose_detector,
    refuse_existing,
)
from edge.cli.unit_start import CONFIGURATIONS, UnitStart
from edge.compat import tomllib
from edge.config import Config
from edge.errors import ConfigError, EdgeError, SourceError, collect_errors
from edge.interrupt import INTERRUPTED
from edge.redaction import HIDDEN, show_address
from edge.service.model_set import ModelSet

FILE = "gate.toml"


def setup(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            envvar="EDGE_CONFIG",
            help="Configuration to write; left out, /etc/edge/gate.toml where that can be "
            "written, else gate.toml.",
        ),
    ] = None,
    camera: Annotated[
        str,
        typer.Option(
            metavar="CAMERA",
            help="rtsp:// or http:// address, /dev/video device, a file, or synthetic for a "
            "photograph; asked for if left out.",
        ),
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the camera; asked for if left out.")] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing: take what would be proposed.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Keep a camera that delivers nothing now.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    service: Annotated[
        bool | None,
        typer.Option(
            "--service/--no-service",
            help="Start the unit of FILE, now and at every boot; asked if left out, not done "
            "with --yes.",
        ),
    ] = None,
) -> None:
    """Write a commented configuration for one camera, which is tried first.

    A password goes into a file of its own. Without a terminal give --camera and --yes.
    """
    asks = not yes
    unit = UnitStart(Path(os.path.abspath(file or _choose_file())))  # noqa: PTH100 - links stay
    if name:
        check_name(name)
    _check_before(unit, asks=asks, force=force, service=service)
    with _say_what_is_left():
        chosen = choose_camera(camera, find_devices(Path("/dev")), asks=asks, offline=offline)
        if chosen.trial:
            say(chosen.trial.describe())
        configuration, text = _compose(unit, chosen, name, asks=asks)
        unit.make_folder()
        configuration.write(text, force=force)
    files = [path for path in (configuration.file, configuration.password_file) if path]
    _report(configuration, is_shared=unit.share(files))
    _warn(unit, configuration, text)
    _offer_service(unit, files, asks=asks, service=service)


def _choose_file() -> Path:
    """Where the unit reads it, if that may be written or can be made."""
    served = Path("/", CONFIGURATIONS, FILE)
    is_service = os.access(served.parent, os.W_OK) or not UnitStart(served).find_obstacle()
    return served if is_service else Path(FILE)


def _check_before(unit: UnitStart, *, asks: bool, force: bool, service: bool | None) -> None:
    """Tell before any question what would stand in the way after them.

    Raises:
        ConfigError: There is no terminal, the file exists, or cannot be written or started.
    """
    file = unit.file
    if asks and not is_terminal():
        raise ConfigError(
            "this is no terminal to ask questions on: give --yes, and --camera CAMERA"
        )
    if fault := find_fault(str(file)):
        raise ConfigError(f"the path of the configuration cannot be used: {fault}")
    if not force:
        refuse_existing(file)
    elif file.exists() and not file.is_file():
        raise ConfigError("this is no regular file: choose another path", file=file)
    is_made_later = unit.is_in_place and not file.parent.exists()
    try:
        with tempfile.TemporaryFile(dir=file.parents[is_made_later]):
            pass
    except OSError as error:
        problem = f"{file.parent} cannot be written to ({error.strerror}): choose another path"
        raise ConfigError(problem, file=file) from error
    if service and (obstacle := unit.find_obstacle()):
        raise ConfigError(f"--service: {obstacle}")


@contextlib.contextmanager
def _say_what_is_left() -> Iterator[None]:
    """Say that nothing was written when a question is not answered, or the camera fails."""
    try:
        yield
    except typer.Abort:
        typer.echo("\nnothing was written", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except SourceError as error:
        raise EdgeError(
            f"{error}. Nothing was written; --offline keeps a camera that delivers nothing now"
        ) from error


def _compose(
    unit: UnitStart, chosen: Candidate, name: str, *, asks: bool
) -> tuple[FirstConfiguration, str]:
    """Look at the camera's picture, name the camera and describe both in a configuration."""
    trial = chosen.trial
    detector = choose_detector(trial.picture.size_wh) if trial else WIDE_DETECTOR
    models = ModelSet.load(_describe_models(detector), Path())
    if trial:
        seen = describe_scene(trial.picture, models)
        known = ", ".join(models.detector.classes[:8])
        say(f"in its last picture: {seen or f'none of {known}'}")
    configuration = FirstConfiguration(
        unit.file,
        name or (ask_name(chosen) if asks else chosen.suggest_name()),
        chosen.table,
        chosen.password,
        trial.fps if trial else 0.0,
        unit.state,
        detector,
    )
    text = configuration.to_toml(models.detector.classes)
    config_file.parse(tomllib.loads(text), unit.file, text)  # before it is written
    return configuration, text


def _describe_models(detector: str) -> Config:
    """A configuration of the models that the file will name."""
    camera = {"name": "none", "source": {"kind": "synthetic"}}
    models = {"detector": detector, "faces": FACES}
    return Config.model_validate({"models": models, "cameras": [camera]})


def _report(configuration: FirstConfiguration, *, is_shared: bool) -> None:
    readers = "root and the service" if is_shared else "you alone"
    say(f"wrote {configuration.file}, which {readers} can read")
    if path := configuration.password_file:
        say(f"wrote the password to {path}; the configuration only names that file")
    if HIDDEN in show_address(str(configuration.source.get("url", ""))):
        say("its address is in there as it was given: if it holds a secret, keep the file private")


def _warn(unit: UnitStart, configuration: FirstConfiguration, text: str) -> None:
    """Tell what will stand in the way of the node, and does not change by itself."""
    path = Path(configuration.source.get("path", ""))
    if unit.hides(path):
        say(f"warning: the service does not see {path}: move it, to /srv for instance")
    settings = config_file.parse(tomllib.loads(text), unit.file, text)
    with contextlib.suppress(ConfigError), collect_errors() as errors:  # they are findings, too
        for finding in check_outputs(settings, errors):
            if not finding.ok:
                say(f"warning: {finding.part}: {finding.detail}")


def _offer_service(unit: UnitStart, files: list[Path], *, asks: bool, service: bool | None) -> None:
    """Start the unit, or say how that and the node are started."""
    obstacle = unit.find_obstacle()
    if service is None and asks and not obstacle:
        question = f"Start {unit.unit} now and at every boot"
        try:
            service = ask_choice(question, ("yes", "no")) == "yes"
        except typer.Abort:
            typer.echo(f"\n{unit.file} is written; no unit was started", err=True)
            raise typer.Exit(INTERRUPTED) from None
    if service and not obstacle:
        for line in unit.start(files):
            say(line)
        say(f"{unit.unit} runs. Its messages: edge watch. Its log: journalctl -u {unit.unit}")
        return
    say(f"next: edge check {unit.file}")
    say(f"      edge run {unit.file}, and in another terminal: edge watch")
    if service is None:
        why = f" ({obstacle})" if obstacle else ""
        say(f"as a service{why}, as root:")
        for command in unit.list_commands(*files[1:]):
            say(f"      {command}")
