"""What tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import pytest


@pytest.fixture
def eagerly() -> Iterator[None]:
    """A few steps are over before their graph would be traced."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
