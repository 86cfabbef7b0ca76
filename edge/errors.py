"""What can go wrong, as a tree. An error class is a decision: somebody catches it differently.

::

    EdgeError                exit 1    anything Edgewatch raises on purpose
    |-- ConfigError          exit 78   the user must change a file (EX_CONFIG)
    |   |-- ModelError       exit 78   a model is missing, broken, untrusted or of the wrong task
    |   |   `-- EngineError  exit 78   its engine is missing, stale or refused; it can be built
    |   `-- GalleryError     exit 78   the gallery or its key cannot be used (people/vault.py)
    |-- SourceError          (none)    one camera failed; it is asked again every second
    |   `-- SourceDeniedError  (none)  it refused us; it is asked ever more rarely
    |-- SinkError            (none)    one sink failed; it is retried with backoff
    |-- GpuMemoryError       (none)    the GPU is full; a smaller batch may fit
    |-- GpuLostError         exit 75   the GPU failed this process for good; a new one may work
    `-- WorkerError          exit 70   a thread died; systemd restarts us (EX_SOFTWARE)
"""

from __future__ import annotations

from pathlib import Path
from typing import Self


class EdgeError(Exception):
    """Anything Edgewatch raises on purpose. The message is meant for a person."""

    exit_code = 1


class ConfigError(EdgeError):
    """The configuration must be changed. Names file, key path and remedy."""

    exit_code = 78

    @classmethod
    def at(cls, file: Path | str, line: int | None, key: str, problem: str) -> Self:
        """``file:line: key: problem``; the line is left out when it is unknown."""
        where = f"{file}:{line}" if line else f"{file}"
        return cls(f"{where}: {key}: {problem}" if key else f"{where}: {problem}")


class ModelError(ConfigError):
    """A model file is missing, broken, untrusted or of the wrong task."""


class EngineError(ModelError):
    """An engine is missing, stale or refused: it must be built (again)."""


class GpuMemoryError(EdgeError):
    """The GPU has not enough memory left."""


class GpuLostError(EdgeError):
    """A CUDA error that no call of this process outlives (EX_TEMPFAIL)."""

    exit_code = 75


class SourceError(EdgeError):
    """A camera could not be opened or went silent. Never carries a password."""


class SourceDeniedError(SourceError):
    """A camera refused our credentials; asking often would lock us out."""


class SinkError(EdgeError):
    """A sink could not be opened or refused a message."""


class WorkerError(EdgeError):
    """A thread that must live ended; the process gives up and is restarted."""

    exit_code = 70
