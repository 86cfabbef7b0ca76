"""The engine cache: what was built stays, until anything that matters changes.

An engine is code that runs on the GPU and in this process. So an entry carries an HMAC under a key
that only this box has, and is refused when the two do not match. One entry is one file::

    EDGE-ENGINE-1
    HMAC-SHA256 of all that follows, in hex
    {"key": {...}, "name": "detect-nano", "built_s": 1767225600.0, "took_s": 12.5}
    the engine as TensorRT serialized it

It is written aside, synced and renamed, so that it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Self

from edge.errors import ConfigError, EngineError
from edge.onnxfile import precision_of

BUILDER = "builder=1"  # another number where `deploy.engine.builder` builds otherwise
_MAGIC = b"EDGE-ENGINE-1"
_SUFFIX = ".engine"
_HEADER_BYTES = 65536


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How engines are built.

    Attributes:
        opt_batch: batch size that kernels are chosen for.
        max_batch: largest batch.
        workspace_mib: memory that a layer may take for itself.
        sweeps: into which the loop of NMS is unrolled; 0 keeps the loop and forgoes CUDA graphs.
    """

    opt_batch: int = 8
    max_batch: int = 16
    workspace_mib: int = 1024
    sweeps: int = 16

    def smaller(self) -> BuildOptions:
        """For a GPU whose memory is short; itself when there is nothing smaller."""
        max_batch = max(self.max_batch // 4, 1)
        return replace(self, max_batch=max_batch, opt_batch=min(self.opt_batch, max_batch))


DEFAULT = BuildOptions()


@dataclass(frozen=True, slots=True)
class EngineTarget:
    """What an engine runs on and with.

    Attributes:
        library: ``tensorrt`` or ``tensorrt_rtx``.
        version: of the library.
        gpu: name of the card; empty for an engine that was built ahead for any.
        capabilities: compute capabilities of the cards, as ``sm86``.
    """

    library: str
    version: str
    gpu: str
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that makes an engine another one.

    Attributes:
        model: sha256 of the ONNX file.
        library: see ``Target``.
        version: see ``Target``.
        gpu: see ``Target``.
        capabilities: see ``Target``.
        precision: fp32, fp16 or int8.
        batch: smallest, optimal and largest.
        flags: whatever else was asked of the builder.
    """

    model: str
    library: str
    version: str
    gpu: str
    capabilities: tuple[str, ...]
    precision: str
    batch: tuple[int, int, int]
    flags: tuple[str, ...]

    @classmethod
    def for_model(cls, model: bytes, target: EngineTarget, options: BuildOptions) -> Self:
        """For the bytes of an ONNX file.

        Raises:
            EngineError: the bytes are no ONNX file.
        """
        try:
            precision = precision_of(model)
        except ValueError as error:
            raise EngineError("this is not an ONNX file: export it again") from error
        return cls(
            hashlib.sha256(model).hexdigest(),
            **asdict(target),
            precision=precision,
            batch=(1, options.opt_batch, options.max_batch),
            flags=(BUILDER, f"sweeps={options.sweeps}", f"workspace={options.workspace_mib}MiB"),
        )

    @classmethod
    def from_json(cls, table: Mapping[str, object]) -> Self:
        """From what ``asdict`` gave, after JSON made lists of its tuples."""
        found = {f.name: table[f.name] for f in fields(cls)}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})  # type: ignore[arg-type]

    @property
    def id(self) -> str:
        """32 hex digits."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def fits(self, wanted: EngineKey) -> bool:
        """Whether an engine of this key may stand in for one of another."""
        ahead = not self.gpu and set(wanted.capabilities) <= set(self.capabilities)
        same = replace(self, gpu=wanted.gpu, capabilities=wanted.capabilities)
        return self == wanted or (ahead and same == wanted)

    def __str__(self) -> str:
        where = self.gpu or "any card"
        return (
            f"{self.library} {self.version}, {where} ({'+'.join(self.capabilities)}), "
            f"{self.precision}, batch {self.batch[0]} to {self.batch[2]}"
        )


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """A file of the cache.

    Attributes:
        path: its file.
        key: what it was built for.
        name: of the model.
        built_s: Unix time.
        took_s: to build it, seconds.
        size_bytes: of the file.
    """

    path: Path
    key: EngineKey
    name: str
    built_s: float
    took_s: float
    size_bytes: int


class EngineCache:
    """A folder of engines and the key that proves that they are this box's own.

    Args:
        root: folder; made when something is stored.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "engines"
        self._key_file = root / "engine.key"

    def store(
        self, key: EngineKey, name: str, engine: bytes, built_s: float, took_s: float
    ) -> EngineEntry:
        """Keep an engine; one of the same key is replaced.

        Raises:
            ConfigError: the folder cannot be written, or its key is not private.
        """
        header = {"key": asdict(key), "name": name, "built_s": built_s, "took_s": took_s}
        text = json.dumps(header, separators=(",", ":")).encode()
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:64]
        path = self.folder / f"{safe}-{key.id}{_SUFFIX}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            signature = self._sign(text, engine)
            _write(path, b"\n".join((_MAGIC, signature, text, engine)))
        except OSError as error:
            raise ConfigError(
                f"{self.folder} cannot be written ({error.strerror}): make room, or choose another "
                "place with --cache or runtime.cache"
            ) from error
        return EngineEntry(path, key, name, built_s, took_s, path.stat().st_size)

    def find(self, wanted: EngineKey) -> list[EngineEntry]:
        """Engines for a key, unproven: this very card's before those built ahead, newest first."""
        fitting = [entry for entry in self.entries() if entry.key.fits(wanted)]
        return sorted(fitting, key=lambda e: (e.key == wanted, e.built_s), reverse=True)

    def load(self, entry: EngineEntry) -> bytes:
        """The engine of an entry.

        Raises:
            EngineError: it is not what this box has built, or was changed since.
        """
        try:
            magic, signature, text, engine = entry.path.read_bytes().split(b"\n", 3)
            expected = self._sign(text, engine, create=False)
        except (OSError, ValueError) as error:
            raise EngineError(f"{entry.path} cannot be read ({error}): build it again") from error
        if magic != _MAGIC or not hmac.compare_digest(signature, expected):
            raise EngineError(
                f"{entry.path} is refused: it was changed, or another machine built it. Build it "
                "again, or import it with `edge-deploy engines trust` if you trust its origin"
            )
        return engine

    def entries(self) -> list[EngineEntry]:
        """All entries with a readable header, by name, then newest first."""
        found = [entry for path in self.folder.glob(f"*{_SUFFIX}") if (entry := _entry(path))]
        return sorted(found, key=lambda entry: (entry.name, -entry.built_s))

    def is_own(self, entry: EngineEntry) -> bool:
        """Whether an entry would be loaded."""
        try:
            self.load(entry)
        except EngineError:
            return False
        return True

    def trust(self, path: Path) -> EngineEntry:
        """Import an engine that another machine built, and trust it from now on.

        Raises:
            ConfigError: the file is none of a cache, or the folder cannot be written.
        """
        entry = _entry(path)
        if entry is None:
            raise ConfigError(f"{path} is not an entry of an engine cache: copy it again")
        engine = path.read_bytes().split(b"\n", 3)[3]
        return self.store(entry.key, entry.name, engine, entry.built_s, entry.took_s)

    def leftovers(self) -> Iterator[Path]:
        """Files that a killed process left."""
        yield from self.folder.glob(".*.part")

    def _sign(self, text: bytes, engine: bytes, *, create: bool = True) -> bytes:
        mac = hmac.new(self._secret(create=create), text + b"\n", hashlib.sha256)
        mac.update(engine)
        return mac.hexdigest().encode()

    def _secret(self, *, create: bool) -> bytes:
        """The key of this box, made when it is needed first.

        Raises:
            EngineError: others can read or write it, or it is broken.
        """
        if create and not self._key_file.exists():
            _create(self._key_file, secrets.token_bytes(32))
        if self._key_file.stat().st_mode & 0o077:
            raise EngineError(
                f"{self._key_file} is open to other users, so engines cannot be trusted: delete "
                "it, and they are built again"
            )
        secret = self._key_file.read_bytes()
        if len(secret) != 32:
            raise EngineError(f"{self._key_file} is broken: delete it, and engines are built again")
        return secret


def default_root(environ: Mapping[str, str] = os.environ) -> Path:
    """``$CACHE_DIRECTORY`` of systemd, else ``$XDG_CACHE_HOME/edgewatch``, else the user's."""
    if given := environ.get("CACHE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    told = Path(environ.get("XDG_CACHE_HOME", ""))
    return (told if told.is_absolute() else Path.home() / ".cache") / "edgewatch"


def _entry(path: Path) -> EngineEntry | None:
    """The header of a file, unproven; None when it has none."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
            size_bytes = os.fstat(file.fileno()).st_size
        magic, _, text, _ = start.split(b"\n", 3)
        header = json.loads(text)
        key = EngineKey.from_json(header["key"])
        entry = EngineEntry(
            path, key, str(header["name"]), float(header["built_s"]), float(header["took_s"]),
            size_bytes,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if magic == _MAGIC else None


def _create(path: Path, content: bytes) -> None:
    """Write a private file once, whoever comes first."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part") as part:
        part.write(content)  # mode 0600 from birth
        part.flush()
        os.fsync(part.fileno())
        with suppress(FileExistsError):
            os.link(part.name, path)


def _write(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as part:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
