"""The engine cache: engines on disk, each valid for one model, library, GPU and set of options.

An engine is code that runs on the GPU and in this process. So an entry carries an HMAC under a key
that only this machine has, and is refused when the two do not match. One entry is one file::

    EDGE-ENGINE-1
    HMAC-SHA256 of all that follows, in hex
    {"key": {...}, "name": "detect-nano", "built_s": 1767225600.0, "took_s": 12.5}
    the engine as TensorRT serialized it
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from edge.atomic_file import write_file
from edge.compat import Self
from edge.errors import ConfigError, EngineError
from edge.onnxfile import precision_of

BUILDER = "builder=1"  # to be raised when `deploy.engine.builder` builds other engines
_MAGIC = b"EDGE-ENGINE-1"
_SUFFIX = ".engine"
_HEADER_BYTES = 65536


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options of the builder.

    Attributes:
        opt_batch: Batch size that kernels are optimized for.
        workspace_mib: Scratch memory that a layer may use.
        sweeps: Number of unrolled NMS sweeps; 0 keeps the loop and disables CUDA graphs.
    """

    opt_batch: int = 8
    max_batch: int = 16
    workspace_mib: int = 1024
    sweeps: int = 16

    def smaller(self) -> BuildOptions:
        """Options for a GPU that is short of memory; the same when the batch is 1 already."""
        max_batch = max(self.max_batch // 4, 1)
        return replace(self, max_batch=max_batch, opt_batch=min(self.opt_batch, max_batch))


DEFAULT = BuildOptions()


@dataclass(frozen=True, slots=True)
class EngineTarget:
    """The library and the GPU that an engine is built for.

    Attributes:
        library: ``tensorrt`` or ``tensorrt_rtx``.
        gpu: Name of the GPU; empty for an engine that was built ahead for any.
        capabilities: Compute capabilities of the GPUs, such as ``sm86``.
    """

    library: str
    version: str
    gpu: str
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineKey(EngineTarget):
    """Everything that an engine depends on.

    Attributes:
        model: SHA-256 of the ONNX file.
        precision: fp32, fp16 or int8.
        batch: Smallest, optimal and largest batch size.
        flags: Other options of the builder.
    """

    model: str
    precision: str
    batch: tuple[int, int, int]
    flags: tuple[str, ...]

    @classmethod
    def for_model(cls, model: bytes, target: EngineTarget, options: BuildOptions) -> Self:
        """The key of the engine for the bytes of an ONNX file.

        Raises:
            EngineError: The bytes are not an ONNX file.
        """
        try:
            precision = precision_of(model)
        except ValueError as error:
            raise EngineError("this is not an ONNX file: export it again") from error
        return cls(
            **asdict(target),
            model=hashlib.sha256(model).hexdigest(),
            precision=precision,
            batch=(1, options.opt_batch, options.max_batch),
            flags=(BUILDER, f"sweeps={options.sweeps}", f"workspace={options.workspace_mib}MiB"),
        )

    @classmethod
    def from_json(cls, table: Mapping[str, object]) -> Self:
        """Undo ``asdict``, after JSON made lists of its tuples."""
        values = {f.name: table[f.name] for f in fields(cls)}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})  # type: ignore[arg-type]

    @property
    def id(self) -> str:
        """A hash of all fields, 32 hex digits."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def fits(self, wanted: EngineKey) -> bool:
        """Whether an engine of this key can be used where ``wanted`` is needed."""
        ahead = not self.gpu and set(wanted.capabilities) <= set(self.capabilities)
        same = replace(self, gpu=wanted.gpu, capabilities=wanted.capabilities)
        return self == wanted or (ahead and same == wanted)

    def __str__(self) -> str:
        gpu = f"{self.gpu or 'any GPU'} ({'+'.join(self.capabilities)})"
        batch = f"batch {self.batch[0]} to {self.batch[2]}"
        return f"{self.library} {self.version}, {gpu}, {self.precision}, {batch}"


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """A file of the cache.

    Attributes:
        built_s: When it was built, Unix seconds.
        took_s: How long that took, seconds.
        size_bytes: Size of the file.
    """

    path: Path
    key: EngineKey
    name: str
    built_s: float
    took_s: float
    size_bytes: int


class EngineCache:
    """A folder of engines, and the key that proves that this machine built them.

    Args:
        root: The folder; created when something is stored.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "engines"
        self._key_file = root / "engine.key"

    def store(
        self, key: EngineKey, name: str, engine: bytes, built_s: float, took_s: float
    ) -> EngineEntry:
        """Store an engine; one with the same key is replaced.

        Raises:
            ConfigError: The folder cannot be written.
            EngineError: The machine's key is broken or not private.
        """
        header = {"key": asdict(key), "name": name, "built_s": built_s, "took_s": took_s}
        text = json.dumps(header, separators=(",", ":")).encode()
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:64]
        path = self.folder / f"{safe}-{key.id}{_SUFFIX}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            signature = self._sign(text, engine)
            write_file(path, b"\n".join((_MAGIC, signature, text, engine)), sync=True, mode=0o600)
        except OSError as error:
            raise ConfigError(
                f"{self.folder} cannot be written ({error.strerror}): make room, or choose another "
                "place with --cache or runtime.cache"
            ) from error
        return EngineEntry(path, key, name, built_s, took_s, path.stat().st_size)

    def find(self, wanted: EngineKey) -> list[EngineEntry]:
        """Engines for a key, unverified; those of this GPU first, then the newest."""
        fitting = [entry for entry in self.entries() if entry.key.fits(wanted)]
        return sorted(fitting, key=lambda e: (e.key == wanted, e.built_s), reverse=True)

    def load(self, entry: EngineEntry) -> bytes:
        """The engine of an entry.

        Raises:
            EngineError: This machine did not build it, or it was changed since.
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
        paths = self.folder.glob(f"*{_SUFFIX}")
        entries = [entry for path in paths if (entry := _read_entry(path))]
        return sorted(entries, key=lambda entry: (entry.name, -entry.built_s))

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
            ConfigError: The file is not an entry of a cache, or the folder cannot be written.
        """
        entry = _read_entry(path)
        if entry is None:
            raise ConfigError(f"{path} is not an entry of an engine cache: copy it again")
        engine = path.read_bytes().split(b"\n", 3)[3]
        return self.store(entry.key, entry.name, engine, entry.built_s, entry.took_s)

    def leftovers(self) -> Iterator[Path]:
        """Unfinished files that a killed process left, see `replace_file`."""
        yield from self.folder.glob(".*.part")

    def _sign(self, text: bytes, engine: bytes, *, create: bool = True) -> bytes:
        mac = hmac.new(self._secret(create=create), text + b"\n", hashlib.sha256)
        mac.update(engine)
        return mac.hexdigest().encode()

    def _secret(self, *, create: bool) -> bytes:
        """The key of this machine, created when it is first needed.

        Raises:
            EngineError: Others can read or write it, or it is broken.
        """
        if create and not self._key_file.exists():
            key = secrets.token_bytes(32)
            write_file(self._key_file, key, sync=True, mode=0o600, keep=True)
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
    cache = Path(environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "edgewatch"


def _read_entry(path: Path) -> EngineEntry | None:
    """The header of a file, unverified; None when it has none."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
            size_bytes = os.fstat(file.fileno()).st_size
        magic, _, text, _ = start.split(b"\n", 3)
        header = json.loads(text)
        key, name = EngineKey.from_json(header["key"]), str(header["name"])
        built_s, took_s = float(header["built_s"]), float(header["took_s"])
        entry = EngineEntry(path, key, name, built_s, took_s, size_bytes)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if magic == _MAGIC else None
