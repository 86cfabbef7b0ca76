"""Building: the engine of a model for this box, or ahead for others, into the engine cache."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast, get_args

from deploy.engine.builder import BuildSpec, Progress
from deploy.graph.manifest import read_manifest
from deploy.graph.uint8 import cast_first
from deploy.graph.unroll import unroll_nms
from edge.engines.cache import (
    DEFAULT,
    BuildOptions,
    EngineCache,
    EngineEntry,
    EngineKey,
    EngineTarget,
)
from edge.engines.cuda import open_cuda
from edge.engines.library import Flavor, find_library
from edge.errors import ConfigError, EngineError, ModelError


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        ahead: Compute capabilities to build for; empty is the GPU of this machine.
        device: Number of the GPU.
        timeout_s: Time after which a build is given up.
    """

    options: BuildOptions = DEFAULT
    ahead: tuple[str, ...] = ()
    library: Flavor = "auto"
    device: int = 0
    timeout_s: float = 3600


@dataclass(frozen=True, slots=True)
class BuildResult:
    """An engine in the cache; ``is_new`` is False if it was there before."""

    entry: EngineEntry
    is_new: bool


def parse_request(
    options: BuildOptions, ahead: str, library: str, device: int, timeout_s: float
) -> BuildRequest:
    """A request in the words of the command line.

    Raises:
        ConfigError: A library or compute capability is unknown.
    """
    if library not in get_args(Flavor):
        raise ConfigError(f"--library {library}: use one of {', '.join(get_args(Flavor))}")
    capabilities = tuple(part.strip().lower() for part in ahead.split(",") if part.strip())
    wrong = [part for part in capabilities if not re.fullmatch(r"sm\d{2,3}", part)]
    if wrong:
        raise ConfigError(f"--for {ahead}: {wrong[0]} is not a compute capability, say sm86,sm89")
    return BuildRequest(options, capabilities, cast("Flavor", library), device, timeout_s)


def find_target(request: BuildRequest) -> EngineTarget:
    """What an engine would run on and with.

    Raises:
        ConfigError: TensorRT is missing, or there is no GPU and none was named.
    """
    ahead = request.ahead
    library = find_library(
        "tensorrt_rtx" if ahead and request.library == "auto" else request.library
    )
    if not ahead:
        try:
            gpu = open_cuda(request.device).get_gpu()
        except ConfigError as error:
            raise ConfigError(f"{error}; --for builds ahead for other machines") from error
        return EngineTarget(library.name, library.version, gpu.name, (gpu.capability,))
    if not library.is_rtx:
        raise ConfigError("--for: needs TensorRT-RTX; tensorrt measures on the GPU it builds for")
    capabilities = sorted(set(ahead), key=lambda name: int(name[2:]))
    return EngineTarget(library.name, library.version, "", tuple(capabilities))


def build(
    model: bytes, name: str, request: BuildRequest, cache: EngineCache, report: Progress
) -> BuildResult:
    """Build the engine of a model, unless the cache has it.

    Messages call the model ``name``; ``report`` receives each step and the finished fraction.

    Raises:
        ModelError: The model is broken or cannot be built; holds everything TensorRT said.
        ConfigError: Something is missing here, or the cache cannot be written.
    """
    target = find_target(request)
    try:
        key = EngineKey.for_model(model, target, request.options)
    except EngineError as error:
        raise ModelError(error.problem, file=name) from error
    for entry in cache.find(key):
        if entry.key == key and cache.is_own(entry):
            return BuildResult(entry, is_new=False)
    library: Flavor = "tensorrt_rtx" if target.library == "tensorrt_rtx" else "tensorrt"
    spec = BuildSpec(library, request.options, target.capabilities, request.device)
    started_s = time.monotonic()
    graph = prepare_for_tensorrt(model, request.options)
    engine = _build_in_child(graph, spec, name, request.timeout_s, report)
    took_s = time.monotonic() - started_s
    entry = cache.store(key, read_name(model, name), engine, time.time(), took_s)
    return BuildResult(entry, is_new=True)


def prepare_for_tensorrt(model: bytes, options: BuildOptions) -> bytes:
    """The same model as TensorRT takes it: bytes cast first, NMS without its loop.

    Raises:
        ModelError: The bytes are not an ONNX file.
    """
    return cast_first(unroll_nms(model, options.sweeps))


def read_name(model: bytes, name: str) -> str:
    """The name in a model's manifest, else that of its file."""
    try:
        return read_manifest(model, name).name
    except ModelError:
        return Path(name).stem


def _build_in_child(
    model: bytes, spec: BuildSpec, name: str, timeout_s: float, report: Progress
) -> bytes:
    """Run `deploy.engine.builder` and follow its output."""
    with tempfile.TemporaryDirectory(prefix="edge-build-") as folder:
        source, out = Path(folder, "model.onnx"), Path(folder, "engine")
        source.write_bytes(model)
        module = [sys.executable, "-m", "deploy.engine.builder"]
        command = [*module, spec.to_json(), str(source), str(out)]
        with Path(folder, "stderr").open("w+", encoding="utf-8", errors="replace") as stderr:
            code, problem, late = _run(command, stderr, timeout_s, report)
            stderr.seek(0)
            messages = stderr.read().strip().splitlines()
        if late:
            raise ModelError(f"{name} was not built in {timeout_s:g} s: raise --timeout")
        if problem:
            raise ModelError(f"{name}: {problem}")
        if code:
            how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"
            last = f": {messages[-1]}" if messages else ""
            raise ModelError(f"{name} was not built, {spec.library}'s process {how}{last}")
        return out.read_bytes()


def _run(
    command: list[str], stderr: IO[str], timeout_s: float, report: Progress
) -> tuple[int, str, bool]:
    """Run a builder; its exit status, the error it reports, and whether it took too long."""
    late = threading.Event()
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as child:

        def give_up() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(timeout_s, give_up)
        timer.start()
        try:
            problem = _follow(child.stdout or (), report)
            return child.wait(), problem, late.is_set()
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()


def _follow(lines: Iterable[str], report: Progress) -> str:
    """Pass progress on; the error that ended the build, or nothing."""
    problem = ""
    for line in lines:
        try:
            message = json.loads(line)
        except ValueError:
            continue  # a library's own print
        if "error" in message:
            problem = str(message["error"])
        elif "share" in message:
            report(str(message["what"]), float(message["share"]))
    return problem
