"""The folder of a run.

It holds::

    config.json    the network, the loss, the settings, the data
    about.json     git revision, hash of the data, versions, when
    log.csv        one line an epoch;  curves.png draws it;  tensorboard/ too, where it is installed
    best.keras     the averaged weights of the best epoch so far
    state/         the last finished epoch, to go on from after a kill
    metrics.json   figures of best.keras on the held-back part
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import keras

from edge.errors import ConfigError
from trainers.run.settings import Settings
from trainers.weights.archive import read_network

Json = dict[str, Any]


class NetworkConfig(Protocol):
    """The configuration a network was built from."""

    def to_json(self) -> Json:
        """The fields as plain JSON values."""
        ...

    @classmethod
    def from_json(cls, values: Json) -> Self:
        """Read what `to_json` returned."""
        ...


ConfigT = TypeVar("ConfigT", bound=NetworkConfig)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps everything.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def best(self) -> Path:
        """The network to export."""
        return self.path / "best.keras"

    @property
    def state(self) -> Path:
        """What a resumed run goes on from."""
        return self.path / "state"

    @classmethod
    def create(cls, path: Path, config: Json, about: Json) -> RunFolder:
        """A fresh folder.

        Raises:
            ConfigError: it holds a run already.
        """
        cls.require_fresh(path)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        run.write("config.json", config)
        run.write("about.json", {**environment(), **about})
        return run

    @classmethod
    def require_ready(cls, path: Path, *, resume: bool) -> None:
        """Say no before anything is read or learnt.

        Raises:
            ConfigError: there is no run to go on with, or one already where another is to begin.
        """
        if resume:
            cls.open(path)
        else:
            cls.require_fresh(path)

    @staticmethod
    def require_fresh(path: Path) -> None:
        """Say no to a folder that is in use.

        Raises:
            ConfigError: it holds a run already.
        """
        if (path / "config.json").exists():
            raise ConfigError(f"{path} holds a run: go on with --resume, or name another folder")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            ConfigError: there is none.
        """
        if not (path / "config.json").is_file():
            raise ConfigError(f"{path} holds no run (no config.json): check the path")
        return cls(path)

    def read(self, name: str) -> Json:
        """A JSON file of the folder.

        Raises:
            ConfigError: missing or broken.
        """
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise ConfigError(f"{self.path / name} cannot be read: {error}") from error

    def require_data(self, sha256: str) -> RunFolder:
        """Itself, to go on with.

        Raises:
            ConfigError: it was trained on other data than those of this hash.
        """
        if self.read("about.json")["data_sha256"] != sha256:
            raise ConfigError(
                f"{self.path} was trained on other data: restore it, or begin a new run"
            )
        return self

    def write(self, name: str, values: Json) -> None:
        """A JSON file, whole or not at all."""
        part = self.path / f"{name}.part"
        with removing(part):
            part.write_text(json.dumps(values, indent=2) + "\n")
            part.replace(self.path / name)

    def save(self, network: keras.Model) -> None:
        """The best network, whole or not at all."""
        part = self.path / "part.keras"
        with removing(part):
            network.save(part)
            part.replace(self.best)

    @property
    def kind(self) -> str:
        """What was trained: detect, faces, embed .."""
        return str(self.read("config.json").get("task", ""))

    def load(self) -> keras.Model:
        """The best network.

        Raises:
            ConfigError: no epoch has finished yet.
            ModelError: its file is broken.
        """
        if not self.best.is_file():
            raise ConfigError(f"{self.path} has no best.keras yet: train at least one epoch")
        return read_network(
            self.best, "delete it and go on with --resume and more epochs, or begin a new run"
        )

    def load_with_config(self, config: type[ConfigT]) -> tuple[keras.Model, ConfigT]:
        """The best network and the configuration it was built from.

        Args:
            config: class of the configuration, by the kind of the run.

        Raises:
            ConfigError: no epoch has finished yet.
            ModelError: the file is broken.
        """
        return self.load(), config.from_json(self.read("config.json")["network"])

    def last_epoch(self) -> int:
        """How many epochs are finished and saved."""
        saved = [int(p.name.split("-")[1].split(".")[0]) for p in self._states()]
        return max(saved, default=0)

    def _states(self) -> list[Path]:
        return sorted(self.state.glob("epoch-*.npz"))


def environment() -> Json:
    """Git revision, versions and the time: what a result cannot be repeated without."""
    return {
        "git": git_revision(),
        "python": sys.version.split()[0],
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def git_revision() -> str:
    """The commit this code is at, ``+`` behind it when files differ; empty outside git."""
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


@contextlib.contextmanager
def removing(part: Path) -> Iterator[None]:
    """A half-written file does not stay behind."""
    try:
        yield
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def config_of(
    kind: str,
    network: NetworkConfig,
    loss: Any,  # noqa: ANN401
    settings: Settings,
    **data: object,
) -> Json:
    """What config.json holds."""
    return {
        "task": kind, "network": network.to_json(), "loss": asdict(loss),
        "settings": asdict(settings), "data": data,
    }  # fmt: skip
