"""Import Keras without the messages that its backend writes to the terminal."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from edge.errors import ConfigError
from edge.extra import advise_extra
from edge.interrupt import exit_if_interrupted


def load_keras() -> None:
    """Import Keras and its backend.

    Raises:
        ConfigError: Keras is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # messages after the import
    if sys.modules.get("keras") is None:
        try:
            with silent(), exit_if_interrupted():
                importlib.import_module("keras")
        except ImportError as error:
            raise ConfigError(f"{error.name} is not installed: {advise_extra('train')}") from error


@contextmanager
def silent() -> Iterator[None]:
    """Hold back standard error, of native code too; show it if the body fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            with os.fdopen(os.dup(kept), "wb") as stderr:
                shutil.copyfileobj(held_back, stderr)
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
