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
    """What is to be built, and for what.

    Attributes:
        options: how.
        ahead: compute capabilities to build for; empty is the card of this box.
        library: flavour of TensorRT.
        device: number of the card.
        timeout_s: a build that takes longer is given up.
    """

    options: BuildOptions = DEFAULT
    ahead: tuple[str, ...] = ()
    library: Flavor = "auto"
    device: int = 0
    timeout_s: float = 3600


@dataclass(frozen=True, slots=True)
class BuildResult:
    """An engine in the cache.

    Attributes:
        entry: where.
        is_new: False when it was there before.
    """

    entry: EngineEntry
    is_new: bool


def parse_request(
    options: BuildOptions, ahead: str, library: str, device: int, timeout_s: float
) -> BuildRequest:
    """An order in the words of the command line.

    Raises:
        ConfigError: a word that is none.
    """
    if library not in get_args(Flavor):
        raise ConfigError(f"--library {library}: use one of {', '.join(get_args(Flavor))}")
    wanted = tuple(part.strip().lower() for part in ahead.split(",") if part.strip())
    wrong = [part for part in wanted if not re.fullmatch(r"sm\d{2,3}", part)]
    if wrong:
        raise ConfigError(f"--for {ahead}: {wrong[0]} is not a compute capability, say sm86,sm89")
    return BuildRequest(options, wanted, cast("Flavor", library), device, timeout_s)


def find_target(order: BuildRequest) -> EngineTarget:
    """What an engine would run on and with.

    Raises:
        ConfigError: TensorRT is not here, or no card is and none was named.
    """
    choice: Flavor = "tensorrt_rtx" if order.ahead and order.library == "auto" else order.library
    library = find_library(choice)
    if not order.ahead:
        try:
            gpu = open_cuda(order.device).get_gpu()
        except ConfigError as error:
            raise ConfigError(f"{error}; --for builds ahead for other boxes") from error
        return EngineTarget(library.name, library.version, gpu.name, (gpu.capability,))
    if not library.is_rtx:
        raise ConfigError("--for: needs TensorRT-RTX; tensorrt measures on the card it builds for")
    return EngineTarget(
        library.name,
        library.version,
        "",
        tuple(sorted(set(order.ahead), key=lambda name: int(name[2:]))),
    )


def build(
    model: bytes, name: str, order: BuildRequest, cache: EngineCache, tell: Progress
) -> BuildResult:
    """Build the engine of a model, unless the cache has it.

    Args:
        model: bytes of its ONNX file.
        name: for messages.
        order: what and for what.
        cache: where to.
        tell: is told what is done, and the share of the whole.

    Raises:
        ModelError: the model is broken or cannot be built; everything TensorRT said.
        ConfigError: something is missing here, or the cache cannot be written.
    """
    target = find_target(order)
    try:
        key = EngineKey.for_model(model, target, order.options)
    except EngineError as error:
        raise ModelError(error.problem, file=name) from error
    for entry in cache.find(key):
        if entry.key == key and cache.is_own(entry):
            return BuildResult(entry, is_new=False)
    library: Flavor = "tensorrt_rtx" if target.library == "tensorrt_rtx" else "tensorrt"
    spec = BuildSpec(library, order.options, target.capabilities, order.device)
    started_s = time.monotonic()
    graph = prepare_for_tensorrt(model, order.options)
    engine = _in_child(graph, spec, name, order.timeout_s, tell)
    took_s = time.monotonic() - started_s
    return BuildResult(
        cache.store(key, read_name(model, name), engine, time.time(), took_s), is_new=True
    )


def prepare_for_tensorrt(model: bytes, options: BuildOptions) -> bytes:
    """The same model as TensorRT takes it: bytes cast first, NMS without its loop.

    Raises:
        ModelError: the bytes are no ONNX file.
    """
    return cast_first(unroll_nms(model, options.sweeps))


def read_name(model: bytes, name: str) -> str:
    """What a model calls itself, else its file's name."""
    try:
        return read_manifest(model, name).name
    except ModelError:
        return Path(name).stem


def _in_child(model: bytes, spec: BuildSpec, name: str, timeout_s: float, tell: Progress) -> bytes:
    """Run `deploy.engine.builder` and follow what it says.

    Raises:
        ModelError, ConfigError: what it said; it crashed; it took too long.
    """
    with tempfile.TemporaryDirectory(prefix="edge-build-") as folder:
        source, out = Path(folder, "model.onnx"), Path(folder, "engine")
        source.write_bytes(model)
        command = [
            sys.executable, "-m", "deploy.engine.builder", spec.to_json(), str(source), str(out),
        ]  # fmt: skip
        with Path(folder, "stderr").open("w+", encoding="utf-8", errors="replace") as complaints:
            code, problem, late = _run(command, complaints, timeout_s, tell)
            complaints.seek(0)
            told = complaints.read().strip().splitlines()
        if late:
            raise ModelError(f"{name} was not built in {timeout_s:g} s: raise --timeout")
        if problem:
            raise ModelError(f"{name}: {problem}")
        if code:
            how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"
            last = f": {told[-1]}" if told else ""
            raise ModelError(f"{name} was not built, {spec.library}'s process {how}{last}")
        return out.read_bytes()


def _run(
    command: list[str], complaints: IO[str], timeout_s: float, tell: Progress
) -> tuple[int, str, bool]:
    """Run a builder; its exit status, the error it reports, and whether it took too long."""
    late = threading.Event()
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdout=subprocess.PIPE, stderr=complaints, text=True
    ) as child:

        def give_up() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(timeout_s, give_up)
        timer.start()
        try:
            problem = _follow(child.stdout or (), tell)
            return child.wait(), problem, late.is_set()
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()


def _follow(lines: Iterable[str], tell: Progress) -> str:
    """Pass progress on; the error that ended the build, or nothing."""
    problem = ""
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # a library's own print
        if "error" in said:
            problem = str(said["error"])
        elif "share" in said:
            tell(str(said["what"]), float(said["share"]))
    return problem
