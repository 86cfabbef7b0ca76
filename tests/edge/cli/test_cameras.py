"""Cameras on the command line: what is none is told."""

import pytest

from edge.cli.cameras import open_source
from edge.errors import ConfigError


@pytest.mark.parametrize("text", ["nowhere.mp4", "x" * 5000, "a\0b"])
def test_what_is_no_camera_is_told_whatever_its_length(text):
    with pytest.raises(ConfigError, match="it is not an address, a device or a file"):
        open_source(text, None)
