"""Health: the state of every camera, in one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from edge.types import CameraState, CameraStatus


class HealthBoard:
    """The states of all cameras; written by their threads, read by HTTP.

    Args:
        listeners: Called with every change, in the thread that reported it.
    """

    def __init__(self, listeners: Iterable[Callable[[CameraStatus], None]] = ()) -> None:
        self._listeners = tuple(listeners)
        self._lock = threading.Lock()
        self._states: dict[str, CameraStatus] = {}
        self.models_loaded = False

    def report(self, status: CameraStatus) -> None:
        """Store a state; listeners are called when it differs from the last one."""
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
        """The states of all cameras, ordered by name."""
        with self._lock:
            return sorted(self._states.values(), key=lambda status: status.camera)

    def is_ready(self) -> bool:
        """Whether models are loaded and at least one camera delivers."""
        return self.models_loaded and any(s.state is CameraState.ONLINE for s in self.states())
