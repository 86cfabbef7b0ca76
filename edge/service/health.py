"""Health: the state of every camera, in one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from edge.types import CameraState, CameraStatus


class HealthBoard:
    """What is known of the cameras; written by their threads, read by HTTP.

    Args:
        listeners: called with every change, from the thread that brought it.
    """

    def __init__(self, listeners: Iterable[Callable[[CameraStatus], None]] = ()) -> None:
        self._listeners = tuple(listeners)
        self._lock = threading.Lock()
        self._states: dict[str, CameraStatus] = {}
        self.models_loaded = False

    def report(self, status: CameraStatus) -> None:
        """Take a state; listeners hear of it when it differs from the last."""
        with self._lock:
            known = self._states.get(status.camera)
            self._states[status.camera] = status
        if known is None or (known.state, known.epoch, known.reason) != (
            status.state,
            status.epoch,
            status.reason,
        ):
            for listener in self._listeners:
                listener(status)

    def forget(self, camera: str) -> None:
        """Drop a camera that was removed."""
        with self._lock:
            self._states.pop(camera, None)

    def states(self) -> list[CameraStatus]:
        """All cameras, by name."""
        with self._lock:
            return sorted(self._states.values(), key=lambda status: status.camera)

    def is_ready(self) -> bool:
        """Models are loaded and at least one camera delivers."""
        return self.models_loaded and any(s.state is CameraState.ONLINE for s in self.states())
