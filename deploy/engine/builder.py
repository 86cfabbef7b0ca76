"""The builder: an ONNX file to a serialized engine, in a process of its own.

``python -m deploy.engine.builder SPEC MODEL ENGINE``; SPEC is the JSON of `BuildSpec`. Building
takes memory, minutes and now and then a crash, none of which belongs in the calling process.
Standard output is one JSON object per line: progress, or at the end what went wrong.

Precision is in the graph: networks are strongly typed, which is TensorRT 11's only way and has to
be set in 10. So FP16 and INT8 flags, calibrators and layer precisions, which 11 removed, are not
used. TensorRT-RTX gets no timing cache, which would need a GPU.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.compat import Self
from edge.engines.cache import BuildOptions
from edge.engines.cuda import open_cuda
from edge.engines.library import Flavor, Library, create, create_logger, find_library
from edge.errors import ConfigError, EdgeError, ModelError

REPORT_S = 0.2  # between two lines of progress

Progress = Callable[[str, float], None]  # what is done, share of the whole


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What to build.

    Attributes:
        capabilities: Compute capabilities that a TensorRT-RTX engine is for.
        device: Number of the GPU that TensorRT measures on.
    """

    library: Flavor
    options: BuildOptions
    capabilities: tuple[str, ...]
    device: int = 0

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From the command line."""
        table = json.loads(text)
        options, capabilities = BuildOptions(**table["options"]), tuple(table["capabilities"])
        return cls(table["library"], options, capabilities, table["device"])


def build_engine(model: bytes, spec: BuildSpec, library: Library, report: Progress) -> bytes:
    """The serialized engine of an ONNX file.

    Raises:
        ModelError: The parser or the builder refuses the model; holds everything they said.
        ConfigError: The library does not know a compute capability, or cannot use driver or GPU.
    """
    trt, messages = library.module, list[str]()
    logger = create_logger(library, messages)
    builder = create(library, "Builder", logger, messages)
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        problems = [_problem(parser.get_error(n)) for n in range(parser.num_errors)]
        raise ModelError(f"{library.name} cannot parse it:\n" + "\n".join(problems or messages))
    config = _config(builder, network, spec, library)
    config.progress_monitor = monitor = _monitor(trt, report)
    plan = builder.build_serialized_network(network, config)
    del monitor
    if plan is None:
        reasons = messages or ["no reason was given"]
        raise ModelError(f"{library.name} cannot build it:\n" + "\n".join(reasons))
    return bytes(plan)


def _problem(error: Any) -> str:  # noqa: ANN401 - TensorRT's ParserError
    """One error of the parser: node, operator, reason."""
    what = error.node_operator() or "graph"
    name = error.node_name() or f"number {error.node()}"
    return f"  {what} {name}: {error.desc()} ({str(error.code()).rpartition('.')[2]})"


def _config(builder: Any, network: Any, spec: BuildSpec, library: Library) -> Any:  # noqa: ANN401
    trt, options = library.module, spec.options
    config = builder.create_builder_config()
    pool = trt.MemoryPoolType.WORKSPACE
    config.set_memory_pool_limit(pool, options.workspace_mib * 2**20)
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 stays float32; FP16 is a choice of the graph
    if library.is_rtx:
        _set_capabilities(config, spec.capabilities, library)
        if options.sweeps and hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # or no CUDA graph
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        tail = tuple(tensor.shape)[1:]
        batches = (1, options.opt_batch, options.max_batch)
        profile.set_shape(tensor.name, *((batch, *tail) for batch in batches))
    config.add_optimization_profile(profile)
    return config


def _set_capabilities(config: Any, capabilities: tuple[str, ...], library: Library) -> None:  # noqa: ANN401
    known = library.module.ComputeCapability.__members__
    unknown = [name for name in capabilities if name.upper() not in known]
    if unknown:
        names = ", ".join(name.lower() for name in known if name.startswith("SM"))
        raise ConfigError(
            f"{library.name} {library.version} does not build for {', '.join(unknown)}, but for "
            f"{names}"
        )
    config.num_compute_capabilities = len(capabilities)
    for number, name in enumerate(capabilities):
        config.set_compute_capability(known[name.upper()], number)


def _monitor(trt: Any, report: Progress) -> Any:  # noqa: ANN401
    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        """Adds up phases that lie in each other."""

        def __init__(self) -> None:
            base.__init__(self)
            self._phases: dict[str, list[int]] = {}  # name -> steps done, steps; outermost first

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:  # noqa: ARG002
            self._phases[name] = [0, max(steps, 1)]
            self._report(name)

        def phase_finish(self, name: str) -> None:
            self._phases.pop(name, None)

        def step_complete(self, name: str, step: int) -> bool:
            if name in self._phases:
                self._phases[name][0] = step + 1
            self._report(name)
            return True

        def _report(self, name: str) -> None:
            share, width = 0.0, 1.0
            for done, steps in list(self._phases.values()):
                share += width * min(done, steps) / steps
                width /= steps
            report(name, min(share, 1.0))

    return Monitor()


def main(arguments: list[str]) -> int:
    """Build what the command line says."""
    spec, model, out = BuildSpec.from_json(arguments[0]), Path(arguments[1]), Path(arguments[2])
    logging.disable(logging.WARNING)  # errors come with the exception
    last_s = 0.0

    def report(what: str, share: float) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= REPORT_S:
            last_s = time.monotonic()
            _print(what=what, share=share)

    try:
        library = find_library(spec.library)
        if not library.is_rtx:
            open_cuda(spec.device).enter()
        out.write_bytes(build_engine(model.read_bytes(), spec, library, report))
    except EdgeError as error:
        _print(error=str(error), code=error.exit_code)
        return error.exit_code
    return 0


def _print(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
