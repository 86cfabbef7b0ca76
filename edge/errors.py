"""What can go wrong, as a tree. An error class is a decision: somebody catches it differently.

::

    EdgeError                exit 1    an expected failure
    |-- ConfigError          exit 78   the user must change a file or an option (EX_CONFIG)
    |-- ModelError           exit 78   a model is missing, broken, untrusted or of the wrong task
    |   `-- EngineError      exit 78   its engine is missing, stale or refused; it can be built
    |-- GalleryError         exit 78   the gallery or its key cannot be used
    |-- SourceError          (none)    one camera failed; it is retried every second
    |   `-- SourceDeniedError  (none)  it refused our credentials; it is retried ever more rarely
    |-- SinkError            (none)    one sink failed; it is retried with backoff
    |-- GpuMemoryError       (none)    the GPU is full; a smaller batch may fit
    |-- GpuLostError         exit 75   the GPU failed this process for good; a new one may work
    `-- WorkerError          exit 70   a thread died; systemd restarts the process (EX_SOFTWARE)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class EdgeError(Exception):
    """An expected failure; the message says what to do.

    ``str(error)`` is ``file:line: camera 'NAME': key: problem``, without what is unknown.

    Attributes:
        problem: A whole sentence: what was expected, what came, what to do.
        file: The file at fault: a configuration, a model, a gallery.
        line: The line in ``file``, counted from 1.
        key: The dotted path of a configuration key, such as ``cameras[0].fps``.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str = "",
        *,
        file: Path | str | None = None,
        line: int | None = None,
        camera: str = "",
        key: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file
        self.line = line
        self.camera = camera
        self.key = key

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file or "")
        camera = f"camera {self.camera!r}" if self.camera else ""
        return ": ".join(part for part in (where, camera, self.key, self.problem) if part)


@contextmanager
def locate(
    *, file: Path | str | None = None, line: int | None = None, camera: str = "", key: str = ""
) -> Iterator[None]:
    """Tell an `EdgeError` that passes through where it happened.

    A key goes in front of the key that the error already has. Where the error already names a
    file, as a model's does, that name becomes part of the problem and ``file`` the outer place.
    """
    try:
        yield
    except EdgeError as error:
        if error.file is not None and (file is not None or key):
            error.problem, error.file, error.line, error.key = str(error), None, None, ""
        error.file = file if error.file is None else error.file
        error.line = error.line or line
        error.camera = error.camera or camera
        error.key = f"{key}.{error.key}" if key and error.key else key or error.key
        raise


@contextmanager
def translate_unexpected(translate: Callable[[Exception], Exception]) -> Iterator[None]:
    """Replace an exception that is not an `EdgeError`: the only broad `except` of the product.

    Args:
        translate: Returns the exception to raise in place of another, or the other itself.
    """
    try:
        yield
    except EdgeError:
        raise
    except Exception as error:
        translated = translate(error)
        if translated is error:
            raise
        raise translated from error


class ConfigError(EdgeError):
    """The configuration or a command's options must be changed."""

    exit_code = 78


class ModelError(EdgeError):
    """A model file is missing, broken, untrusted or of the wrong task."""

    exit_code = 78


class EngineError(ModelError):
    """An engine is missing, stale or refused: it must be built (again)."""


class GalleryError(EdgeError):
    """The gallery or its master key cannot be used."""

    exit_code = 78


class GpuMemoryError(EdgeError):
    """The GPU does not have enough memory left."""


class GpuLostError(EdgeError):
    """A CUDA error that no later call of this process survives (EX_TEMPFAIL)."""

    exit_code = 75


class SourceError(EdgeError):
    """A camera could not be opened or went silent. Never carries a password."""


class SourceDeniedError(SourceError):
    """A camera refused our credentials; retrying often would lock us out."""


class SinkError(EdgeError):
    """A sink could not be opened or refused a message."""


class WorkerError(EdgeError):
    """A required thread died; the process ends and is restarted."""

    exit_code = 70
