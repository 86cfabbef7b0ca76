"""Health: the state of every camera, in one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from edge.printable import escape_controls
from edge.redaction import redact
from edge.types import CameraState, CameraStatus


class HealthBoard:
    """The states of all cameras; written by their threads, read by HTTP.

    Args:
        listeners: Called with every change, in the thread that reported it.

    Attributes:
        broken_sinks: Why a sink does not work, by name; empty while all work.
        silent_cameras: Cameras whose threads stand still, whatever they reported last.
        stuck: Threads that have made no progress for too long.
        storage_problem: Why nothing is kept; empty while it is, or need not be.
        reload_problem: Why the configuration file was refused; empty while it is in use.
        gallery_problem: Why no one can be named; empty while the gallery is in use.
        suspension: Why a hub has nobody named; empty where none does.
        broken_models: Why a model is broken, by task; empty while all work.
    """

    def __init__(self, listeners: Iterable[Callable[[CameraStatus], None]] = ()) -> None:
        self._listeners = tuple(listeners)
        self._lock = threading.Lock()
        self._states: dict[str, CameraStatus] = {}
        self.models_loaded = False
        self.broken_models: Mapping[str, str] = {}
        self.broken_sinks: Mapping[str, str] = {}
        self.gallery_problem = ""
        self.suspension = ""
        self.storage_problem = ""
        self.reload_problem = ""
        self.stuck: Sequence[str] = ()
        self.silent_cameras: frozenset[str] = frozenset()

    def report(self, status: CameraStatus) -> None:
        """Store a state; listeners are called when it differs from the last one."""
        reason = escape_controls(redact(status.reason))  # it may quote a camera, or an address
        status = replace(status, reason=reason)
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

    def report_model(self, task: str, problem: str) -> None:
        """Store why a model is broken; an empty problem is none."""
        with self._lock:
            self.broken_models = _replace(self.broken_models, task, problem)

    def report_sink(self, sink: str, problem: str) -> None:
        """Store why a sink does not work; an empty problem is none."""
        with self._lock:
            self.broken_sinks = _replace(self.broken_sinks, sink, problem)

    def report_gallery(self, problem: str) -> None:
        """Store why no one can be named; an empty problem is none."""
        self.gallery_problem = problem

    def report_suspension(self, problem: str) -> None:
        """Store why a hub has nobody named; empty is none. The node is ready all the same."""
        self.suspension = problem

    def report_storage(self, problem: str) -> None:
        """Store why nothing is kept; an empty problem is none. The node is ready all the same."""
        self.storage_problem = problem

    def report_reload(self, problem: str) -> None:
        """Store why the file was refused; an empty problem is none. The node goes on as before."""
        self.reload_problem = "\n".join(
            escape_controls(redact(line)) for line in problem.splitlines()
        )

    def is_ready(self) -> bool:
        """Whether models, gallery, sinks and threads work, and at least one camera delivers."""
        broken = self.broken_models or self.broken_sinks or self.stuck or self.gallery_problem
        works = self.models_loaded and not broken
        return works and any(map(self.delivers, self.states()))

    def delivers(self, status: CameraStatus) -> bool:
        """Whether the camera of this state is online and its thread goes on."""
        return status.state is CameraState.ONLINE and status.camera not in self.silent_cameras


def _replace(problems: Mapping[str, str], name: str, problem: str) -> Mapping[str, str]:
    others = {key: value for key, value in problems.items() if key != name}
    return others | ({name: problem} if problem else {})
