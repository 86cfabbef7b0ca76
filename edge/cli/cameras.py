"""Cameras on the command line: a name in a configuration, or a source itself."""

from __future__ import annotations

import os
import re
from typing import Any

from pydantic import ValidationError

from edge import plugins
from edge.config import Config
from edge.errors import ConfigError
from edge.ports import Source


def parse_source(text: str) -> dict[str, Any]:
    """The options of a source for an rtsp:// address, a /dev device, a file or a URL."""
    if re.match(r"rtsps?://", text):
        return {"kind": "rtsp", "url": text}
    if text.startswith("/dev/"):
        return {"kind": "camera", "device": text}
    if "://" in text and not text.startswith("file:"):
        return {"kind": "http", "url": text}
    return {"kind": "video_file", "path": text}


def open_source(text: str, settings: Config | None) -> Source:
    """Create the source of a camera in ``settings``, or of the address ``text``.

    Raises:
        ConfigError: ``text`` is not a camera, address, device or file.
    """
    cameras = {camera.name: camera.source for camera in settings.cameras} if settings else {}
    table = cameras.get(text)
    if table is None:
        if not ("://" in text or os.path.exists(text)):  # noqa: PTH110 - of any length
            known = f"the configuration has {', '.join(cameras)}" if cameras else "give --config"
            raise ConfigError(
                f"--camera {text}: there is no camera of that name ({known}), and it is not an "
                "address, a device or a file"
            )
        table = parse_source(text)
    try:
        source: Source = plugins.create("sources", table)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise ConfigError(f"--camera {text.split('://')[0]}: {problem}") from None
    return source
