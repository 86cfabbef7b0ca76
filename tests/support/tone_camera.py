"""A camera that writes down which threads its daemon has: ``tests.support.tone_camera:Options``."""

import contextlib
import json
import threading
from pathlib import Path

from tests.support import plugins


class Options(plugins.Options):
    """A camera of noise; ``threads`` is the file that gets name -> thread id."""

    threads: Path


class Camera(plugins.Camera):
    @contextlib.contextmanager
    def connect(self, stop):
        with super().connect(stop) as captures:
            yield self._tell_threads(captures)

    def _tell_threads(self, captures):
        """Write them again with each picture, for some start after the camera."""
        for capture in captures:
            ids = {thread.name: thread.native_id for thread in threading.enumerate()}
            part = self._options.threads.with_suffix(".part")
            part.write_text(json.dumps(ids))
            part.rename(self._options.threads)
            yield capture


def build(options):
    return Camera(options)
