"""The models of a configuration, loaded and ready to run."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from edge import plugins
from edge.config import Config
from edge.errors import locate
from edge.models.contract import load_model
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.models.output_check import OutputCheck
from edge.models.paths import resolve_model
from edge.ports import Detector, EngineRuntime, FaceFinder, LoadedModel, Runtime
from edge.service.engines import EngineManager


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The models of a configuration, ready to run.

    Attributes:
        workers: The number of batches that are worth running side by side.
        manager: Builds and swaps TensorRT engines, where the runtime has them.
    """

    detector: Detector
    faces: FaceFinder | None
    embedder: ContractEmbedder | None = None
    liveness: ContractLiveness | None = None
    workers: int = 1
    manager: EngineManager | None = None

    @classmethod
    def load(cls, settings: Config, base: Path) -> ModelSet:
        """Load what a configuration names; paths are relative to ``base``.

        Raises:
            ModelError: A model is missing, broken, untrusted or of the wrong task.
            ConfigError: The runtime cannot be used as configured.
        """
        runtime: Runtime = plugins.create("runtimes", settings.runtime)
        manager = None
        if isinstance(runtime, EngineRuntime):
            manager = EngineManager(runtime, _create_cpu_runtime(runtime.workers))
        models = cls._load(settings, base, manager or runtime)
        return replace(models, workers=runtime.workers, manager=manager)

    @classmethod
    def _load(cls, settings: Config, base: Path, runtime: Runtime) -> ModelSet:
        faces = embedder = liveness = None
        with locate(key="models.detector"):
            own = settings.models.detector
            detector = load_model("detect", runtime, resolve_model(own.path, base), own.sha256)
        if file := settings.models.faces:
            with locate(key="models.faces"):
                faces = load_model("faces", runtime, resolve_model(file.path, base), file.sha256)
        if recognition := settings.recognition:
            with locate(key="recognition.embedder"):
                path = resolve_model(recognition.embedder.path, base)
                embedder = load_model("embed", runtime, path, recognition.embedder.sha256)
            if file := recognition.liveness:
                with locate(key="recognition.liveness"):
                    path = resolve_model(file.path, base)
                    liveness = load_model("liveness", runtime, path, file.sha256)
        return cls(detector, faces, embedder, liveness)

    def by_task(self) -> dict[str, LoadedModel]:
        """The loaded models by task: detect, faces, embed, liveness."""
        models: dict[str, LoadedModel | None] = {
            "detect": self.detector,
            "faces": self.faces,
            "embed": self.embedder,
            "liveness": self.liveness,
        }
        return {task: model for task, model in models.items() if model is not None}

    def checks(self) -> dict[str, OutputCheck]:
        """The output checks of the models by task."""
        found = {task: getattr(model, "check", None) for task, model in self.by_task().items()}
        return {task: check for task, check in found.items() if check is not None}


def _create_cpu_runtime(workers: int) -> Runtime:
    """ONNX Runtime whose workers use all cores between them."""
    threads = max(len(os.sched_getaffinity(0)) // workers, 1)
    table = {"kind": "onnx", "workers": workers, "threads": threads}
    runtime: Runtime = plugins.create("runtimes", table)
    return runtime
