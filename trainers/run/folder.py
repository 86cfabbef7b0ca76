"""The folder of a run; loading its network, and beginning one, loads Keras.

It holds::

    config.json    the network, the loss, the settings, the data
    about.json     git revision, hash of the data, versions, start time
    log.csv        one line per epoch;  curves.png draws it;  tensorboard/ if that is installed
    best.keras     the averaged weights of the best epoch so far
    state/         the last finished epoch, to continue from after a kill
    metrics.json   metrics of best.keras on the validation data
    test.json      the same on the test part, if there is one
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge.atomic_file import replace_file, write_file
from edge.errors import ConfigError
from trainers.networks.config import Config
from trainers.run.settings import Settings

if TYPE_CHECKING:
    import keras

Json = dict[str, Any]


ConfigT = TypeVar("ConfigT", bound=Config)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run."""

    path: Path

    @property
    def best(self) -> Path:
        """The network to export."""
        return self.path / "best.keras"

    @property
    def state(self) -> Path:
        """Folder of the state that a resumed run continues from."""
        return self.path / "state"

    @classmethod
    def begin(cls, path: Path, config: Json, about: Json, *, resume: bool) -> RunFolder:
        """Create the folder of a new run with its config.json and about.json, or open one.

        Raises:
            ConfigError: There is no run to resume, it was trained on other data, or there is
                one where another is to begin.
        """
        cls.require_ready(path, resume=resume)
        run = cls(path)
        if not resume:
            path.mkdir(parents=True, exist_ok=True)
            run.write("config.json", config)
            run.write("about.json", {**environment(), **about})
        elif run.read("about.json")["data_sha256"] != about["data_sha256"]:
            raise ConfigError(
                "This run was trained on other data: restore the data, or begin a new run.",
                file=path,
            )
        return run

    @classmethod
    def require_ready(cls, path: Path, *, resume: bool) -> None:
        """Refuse a folder before anything is read or learned.

        A run that was stopped before its first epoch ended is in nobody's way.

        Raises:
            ConfigError: The run to resume is missing, or there is a run where another is to begin.
        """
        if resume:
            cls.open(path)
        elif (path / "config.json").exists() and (
            (path / "best.keras").exists() or cls(path).last_epoch()
        ):
            raise ConfigError(
                "This folder holds a run: continue it with --resume, or choose another folder.",
                file=path,
            )

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            ConfigError: It does not exist.
        """
        if not (path / "config.json").is_file():
            raise ConfigError(
                "This folder holds no run (no config.json): check the path.", file=path
            )
        return cls(path)

    def read(self, name: str) -> Json:
        """Read a JSON file of the folder.

        Raises:
            ConfigError: It is missing or broken.
        """
        try:
            values: Json = json.loads((self.path / name).read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"This file of a run cannot be read ({error}): begin a new run.",
                file=self.path / name,
            ) from error
        return values

    def write(self, name: str, values: Json) -> None:
        """Write a JSON file, whole or not at all."""
        write_file(self.path / name, json.dumps(values, indent=2) + "\n")

    def save(self, network: keras.Model) -> None:
        """Save the best network, whole or not at all."""
        with replace_file(self.best, suffix=".keras") as part:
            network.save(part)

    @property
    def kind(self) -> str:
        """The task that was trained: detect, faces, embed, liveness."""
        return str(self.read("config.json").get("task", ""))

    def load(self) -> keras.Model:
        """Load the best network.

        Raises:
            ConfigError: No epoch has finished yet.
            ModelError: The file is broken.
        """
        from trainers.weights.archive import read_network

        if not self.best.is_file():
            raise ConfigError(
                "This run has no best.keras yet: train at least one epoch.", file=self.path
            )
        return read_network(
            self.best, "delete it and continue with --resume and more epochs, or begin a new run"
        )

    def load_with_config(self, config: type[ConfigT]) -> tuple[keras.Model, ConfigT]:
        """Load the best network and the configuration it was built from, by class.

        Raises:
            ConfigError: No epoch has finished yet.
            ModelError: The file is broken.
        """
        return self.load(), config.from_json(self.read("config.json")["network"])

    def last_epoch(self) -> int:
        """Number of epochs that are finished and saved."""
        saved = [int(p.name.split("-")[1].split(".")[0]) for p in self.state.glob("epoch-*.npz")]
        return max(saved, default=0)


def environment() -> Json:
    """Git revision, versions and time, which are needed to reproduce a result."""
    import keras

    return {
        "git": git_revision(),
        "python": sys.version.split()[0],
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def git_revision() -> str:
    """The commit of this code, with ``+`` when files differ; empty outside git."""
    git = shutil.which("git")
    if git is None:
        return ""

    def ask(*words: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed words
            [git, *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    revision = ask("rev-parse", "HEAD")
    return f"{revision}{'+' if ask('status', '--porcelain', '.') else ''}"


def build_run_config(
    kind: str, network: Config, loss: Any, settings: Settings, **data: object  # noqa: ANN401
) -> Json:  # fmt: skip
    """The values of config.json; ``data`` are paths, split and other options."""
    values = {"task": kind, "network": network.to_json()}
    values |= {} if loss is None else {"loss": asdict(loss)}
    return values | {"settings": asdict(settings), "data": data}
