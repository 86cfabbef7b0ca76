"""The models of a configuration, loaded and ready to run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge import plugins
from edge.classification.subject import list_questions
from edge.config import Config, ModelFile, split_trigger
from edge.errors import ConfigError, ErrorCollector, collect_errors, locate
from edge.manifest import read_model
from edge.models.classifier import ContractClassifier
from edge.models.contract import load_model
from edge.models.embedder import ContractEmbedder
from edge.models.liveness import ContractLiveness
from edge.models.output_check import OutputCheck
from edge.models.paths import resolve_model
from edge.ports import Detector, EngineRuntime, FaceFinder, LoadedModel, Runtime, SerialRuntime
from edge.service.engines import EngineManager
from edge.service.workers import Worker


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The models of a configuration, ready to run.

    Attributes:
        workers: The number of batches that are worth running side by side.
        max_batch_size: Cameras that share a batch at most; 0 is all of them.
        manager: Builds and swaps TensorRT engines, where the runtime has them.
        runtime: What loaded them; None for those that nobody loaded.
        classifiers: Those that attributes and states name, by their file.
    """

    detector: Detector
    faces: FaceFinder | None
    embedder: ContractEmbedder | None = None
    liveness: ContractLiveness | None = None
    workers: int = 1
    max_batch_size: int = 0
    manager: EngineManager | None = None
    runtime: Runtime | None = None
    classifiers: Mapping[ModelFile, ContractClassifier] = field(default_factory=dict)

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
        return replace(
            models, workers=runtime.workers, max_batch_size=most, manager=manager, runtime=runtime
        )

    @classmethod
    def _load(cls, settings: Config, base: Path, runtime: Runtime) -> ModelSet:
        models: dict[str, Any] = {}
        with collect_errors() as errors:
            for name, (task, key, file) in _list_files(settings).items():
                with errors.catch(), locate(key=key):
                    if file:
                        path = resolve_model(file.path, base)
                        models[name] = load_model(task, runtime, path, file.sha256)
            models["classifiers"] = _load_classifiers(
                settings, lambda file: _load_classifier(file, base, runtime), errors
            )
        return cls(models.pop("detector"), models.pop("faces", None), **models)

    def renew(self, settings: Config, running: Config, base: Path, worker: Worker) -> ModelSet:
        """The models of another configuration, loaded beside these; this set if they are the same.

        A model goes on if it is named as in the ``running`` configuration and its file is the one
        that was loaded. ``worker`` is who loads them, which may take minutes where engines are
        built first.

        Raises:
            ModelError: A model is missing, broken, untrusted or of the wrong task.
            CombinedConfigError: Several are.
        """
        runtime = self.runtime or plugins.create("runtimes", settings.runtime)
        manager = self.manager.renew() if self.manager else None
        before, models = _list_files(running), dict[str, Any]()
        with collect_errors() as errors:
            for name, (task, key, file) in _list_files(settings).items():
                with errors.catch(), locate(key=key):
                    model = getattr(self, name)
                    if file is None:
                        models[name] = None
                    elif model and file == before[name][2] and self._is_current(model, file, base):
                        models[name] = model
                    else:
                        path = resolve_model(file.path, base)
                        models[name] = load_model(task, manager or runtime, path, file.sha256)

            def find(file: ModelFile) -> ContractClassifier:
                model = self.classifiers.get(file)
                if model and self._is_current(model, file, base):
                    return model
                return _load_classifier(file, base, manager or runtime)

            classifiers = _load_classifiers(settings, find, errors)
        same = all(model is getattr(self, name) for name, model in models.items())
        if same and classifiers == self.classifiers:
            return self
        renewed = replace(self, **models, classifiers=classifiers, runtime=runtime, manager=manager)
        if manager and self.manager:
            manager.prepare(worker)
            present = self.by_task()
            kept = [m.sha256 for task, m in renewed.by_task().items() if m is present.get(task)]
            manager.take_over(self.manager, kept)
        return renewed

    def _is_current(self, model: LoadedModel, file: ModelFile, base: Path) -> bool:
        """Whether the file of a model is the one that was loaded, if one was."""
        if self.runtime is None:
            return True
        content = read_model(resolve_model(file.path, base), file.sha256)
        return hashlib.sha256(content).hexdigest() == model.sha256

    def by_task(self) -> dict[str, LoadedModel]:
        """The loaded models by task: detect, faces, embed, liveness, classify:NAME."""
        models: dict[str, LoadedModel | None] = {
            "detect": self.detector,
            "faces": self.faces,
            "embed": self.embedder,
            "liveness": self.liveness,
        }
        for model in self.classifiers.values():
            task = f"classify:{model.name}"
            models[task if task not in models else f"{task}:{model.sha256[:12]}"] = model
        return {task: model for task, model in models.items() if model is not None}

    def checks(self) -> dict[str, OutputCheck]:
        """The output checks of the models by task."""
        found = {task: getattr(model, "check", None) for task, model in self.by_task().items()}
        return {task: check for task, check in found.items() if check is not None}


def _list_files(settings: Config) -> dict[str, tuple[Any, str, ModelFile | None]]:
    """Task, key and file of each model."""
    models, recognition = settings.models, settings.recognition
    embedder = recognition.embedder if recognition else None
    liveness = recognition.liveness if recognition else None
    return {
        "detector": ("detect", "models.detector", models.detector),
        "faces": ("faces", "models.faces", models.faces),
        "embedder": ("embed", "recognition.embedder", embedder),
        "liveness": ("liveness", "recognition.liveness", liveness),
    }


def _load_classifier(file: ModelFile, base: Path, runtime: Runtime) -> ContractClassifier:
    return load_model("classify", runtime, resolve_model(file.path, base), file.sha256)


def _load_classifiers(
    settings: Config,
    load: Callable[[ModelFile], ContractClassifier],
    errors: ErrorCollector,
) -> dict[ModelFile, ContractClassifier]:
    """The classifiers that a configuration names, each once.

    Errors are collected, also those of triggers that name a class which the classifier lacks.
    """
    keys: dict[ModelFile, str] = {}
    for row, attribute in enumerate(settings.attributes):
        keys.setdefault(attribute.model, f"attributes[{row}].model")
    for row, camera in enumerate(settings.cameras):
        for n, state in enumerate(camera.states):
            keys.setdefault(state.model, f"cameras[{row}].states[{n}].model")
    models = {}
    for file, key in keys.items():
        with errors.catch(), locate(key=key):
            models[file] = load(file)
    _check_triggers(settings, models, errors)
    return models


def _check_triggers(
    settings: Config, models: Mapping[ModelFile, ContractClassifier], errors: ErrorCollector
) -> None:
    """Check that triggers of attributes and states name values that there are."""
    for row, camera in enumerate(settings.cameras):
        asked = {
            "attribute": {each.name: each.model for each in settings.attributes},
            "state": {each.name: each.model for each in camera.states},
        }
        for n, rule in enumerate(camera.events):
            for trigger in rule.when:
                word, name, _ = split_trigger(trigger)
                file = asked.get(word, {}).get(name)
                if file is None or file not in models:
                    continue
                known = [
                    text
                    for question, values, _ in list_questions(name, models[file])
                    for text in (question, *(f"{question}={value}" for value in values))
                ]
                rest = trigger.partition(":")[2]
                with errors.catch(), locate(key=f"cameras[{row}].events[{n}].when"):
                    if rest not in (name, *known):
                        words = ", ".join(f"{word}:{text}" for text in known if "=" in text)
                        raise ConfigError(f"{trigger!r} never comes: use one of {words}")


def _create_cpu_runtime(workers: int) -> Runtime:
    """ONNX Runtime whose workers use all cores between them."""
    threads = max(len(os.sched_getaffinity(0)) // workers, 1)
    table = {"kind": "onnx", "workers": workers, "threads": threads}
    runtime: Runtime = plugins.create("runtimes", table)
    return runtime
