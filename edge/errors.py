"""What can go wrong, as a tree. An error class is a decision: somebody catches it differently.

::

    EdgeError                exit 1    an expected failure
    |-- ConfigError          exit 78   the user must change a file or an option (EX_CONFIG)
    |   `-- CombinedConfigError  exit 78   several of these and of the next two at once
    |-- ModelError           exit 78   a model is missing, broken, untrusted or of the wrong task
    |   `-- EngineError      exit 78   its engine is missing, stale or refused; it can be built
    |-- GalleryError         exit 78   the gallery or its key cannot be used
    |   `-- GalleryRefusedError  exit 78   it is not trusted; a node runs on and names no one
    |-- SourceError          (none)    one camera failed; it is retried every second
    |   |-- SourceDeniedError  (none)  it refused our credentials; it is retried ever more rarely
    |   |-- SourceEndedError   (none)  a recording is damaged for good: told once, not retried
    |   `-- SinglePictureError  (none)  an address answers with one picture: its kind is snapshot
    |-- StorageError         exit 78   the storage of events cannot be used; a node runs on without
    |-- SinkError            (none)    one sink failed; it is retried with backoff
    |-- GpuMemoryError       (none)    the GPU is full; a smaller batch may fit
    |-- GpuLostError         exit 75   the GPU failed this process for good; a new one may work
    `-- WorkerError          exit 70   a thread died; systemd restarts the process (EX_SOFTWARE)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    except EdgeError as caught:
        for error in list_errors(caught):
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


class CombinedConfigError(ConfigError):
    """Several mistakes at once; the message has a line for each."""

    def __init__(self, errors: Sequence[EdgeError]) -> None:
        super().__init__()
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class ErrorCollector:
    """Mistakes of a user that are told together."""

    def __init__(self) -> None:
        self.errors: list[EdgeError] = []

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Collect an error of the configuration or what it names; others pass through."""
        try:
            yield
        except EdgeError as error:
            if error.exit_code != ConfigError.exit_code:
                raise
            self.errors += list_errors(error)

    def raise_all(self) -> None:
        """Raise what was collected, if anything.

        Raises:
            EdgeError: One error as it is, several as `CombinedConfigError`.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise CombinedConfigError(self.errors)


@contextmanager
def collect_errors() -> Iterator[ErrorCollector]:
    """Go on after mistakes that ``with errors.catch()`` met, and raise all of them at the end."""
    errors = ErrorCollector()
    yield errors
    errors.raise_all()


def list_errors(error: EdgeError) -> Sequence[EdgeError]:
    """The single errors that an error consists of."""
    return error.errors if isinstance(error, CombinedConfigError) else (error,)


class ModelError(EdgeError):
    """A model file is missing, broken, untrusted or of the wrong task."""

    exit_code = 78


class EngineError(ModelError):
    """An engine is missing, stale or refused: it must be built (again)."""


class GalleryError(EdgeError):
    """The gallery or its master key cannot be used."""

    exit_code = 78


class GalleryRefusedError(GalleryError):
    """The gallery was tampered with, is an older copy, or is open to other users."""


class GpuMemoryError(EdgeError):
    """The GPU does not have enough memory left."""


class GpuLostError(EdgeError):
    """A CUDA error that no later call of this process survives (EX_TEMPFAIL)."""

    exit_code = 75


class SourceError(EdgeError):
    """A camera could not be opened or went silent. Never carries a password."""


class SourceDeniedError(SourceError):
    """A camera refused our credentials; retrying often would lock us out."""


class SourceEndedError(SourceError):
    """A recording cannot be read further, now or later: reading it again would repeat events."""


class SinglePictureError(SourceError):
    """An address answers with one picture: a source of another kind asks for it repeatedly."""


class StorageError(EdgeError):
    """The storage of events cannot be used."""

    exit_code = 78


class SinkError(EdgeError):
    """A sink could not be opened or refused a message."""


class WorkerError(EdgeError):
    """A required thread died; the process ends and is restarted."""

    exit_code = 70
