"""The models of a configuration, loaded and ready to run."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge import plugins
from edge.config import Config, ModelFile
from edge.errors import collect_errors, locate
from edge.models.contract import load_model
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.models.output_check import OutputCheck
from edge.models.paths import resolve_model
from edge.ports import Detector, EngineRuntime, FaceFinder, LoadedModel, Runtime, SerialRuntime
from edge.service.engines import EngineManager


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The models of a configuration, ready to run.

    Attributes:
        workers: The number of batches that are worth running side by side.
        max_batch_size: Cameras that share a batch at most; 0 is all of them.
        manager: Builds and swaps TensorRT engines, where the runtime has them.
    """

    detector: Detector
    faces: FaceFinder | None
    embedder: ContractEmbedder | None = None
    liveness: ContractLiveness | None = None
    workers: int = 1
    max_batch_size: int = 0
    manager: EngineManager | None = None

    @classmethod
    def load(cls, settings: Config, base: Path) -> ModelSet:
        """Load what a configuration names; paths are relative to ``base``.

        Raises:
            ModelError: A model is missing, broken, untrusted or of the wrong task.
            CombinedConfigError: Several are.
            ConfigError: The runtime cannot be used as configured.
        """
        runtime: Runtime = plugins.create("runtimes", settings.runtime)
        manager = None
        if isinstance(runtime, EngineRuntime):
            manager = EngineManager(runtime, _create_cpu_runtime(runtime.workers))
        models = cls._load(settings, base, manager or runtime)
        most = runtime.max_batch_size if isinstance(runtime, SerialRuntime) else 0
        return replace(models, workers=runtime.workers, max_batch_size=most, manager=manager)

    @classmethod
    def _load(cls, settings: Config, base: Path, runtime: Runtime) -> ModelSet:
        models: dict[str, Any] = {}
        recognition = settings.recognition
        files: dict[str, tuple[Any, str, ModelFile | None]] = {
            "detector": ("detect", "models.detector", settings.models.detector),
            "faces": ("faces", "models.faces", settings.models.faces),
            "embedder": (
                "embed",
                "recognition.embedder",
                recognition.embedder if recognition else None,
            ),
            "liveness": (
                "liveness",
                "recognition.liveness",
                recognition.liveness if recognition else None,
            ),
        }
        with collect_errors() as errors:
            for name, (task, key, file) in files.items():
                with errors.catch(), locate(key=key):
                    if file:
                        path = resolve_model(file.path, base)
                        models[name] = load_model(task, runtime, path, file.sha256)
        return cls(models.pop("detector"), models.pop("faces", None), **models)

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
