"""What tests of training share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import keras
import pytest


@pytest.fixture(scope="session")
def eager_steps() -> Callable[[], AbstractContextManager[None]]:
    """For fixtures that outlive a test."""
    return contextlib.contextmanager(_eagerly)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """A few steps are over before their graph would be traced."""
    yield from _eagerly()


def _eagerly() -> Iterator[None]:
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
