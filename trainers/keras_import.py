"""Keras without the remarks that its backend writes to the terminal while it is loaded."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from edge.errors import ConfigError


def load_keras() -> None:
    """Import Keras and its backend.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # later remarks on this machine
    if sys.modules.get("keras") is None:
        try:
            with silent():
                importlib.import_module("keras")
        except ImportError as error:
            raise ConfigError(
                f"{error.name} is not installed: pip install 'edgewatch[train]'"
            ) from error


@contextmanager
def silent() -> Iterator[None]:
    """Nothing reaches standard error, not from native code either; all of it when this fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            with os.fdopen(os.dup(kept), "wb") as stderr:
                shutil.copyfileobj(said, stderr)
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
