"""Host diagnostics: hardware, drivers and libraries, with fixes for what is missing."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.engines.cache import EngineCache

COMMAND_TIMEOUT_S = 60.0
NVIDIA = "0x10de"
MIN_FREE_BYTES = 2 * 2**30
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized
MIN_SYSTEMD = 250  # the first version whose LoadCredential= takes a folder

_ONNXRUNTIME = "import onnxruntime as o; d = o.__version__, o.get_available_providers()"
_AV = """
import av
from av.codec.hwaccel import hwdevices_available
wanted = ["h264", "hevc", "av1", "mjpeg", "vp9"]
d = av.__version__, sorted(set(wanted) & av.codecs_available), hwdevices_available()
"""
_OPENCV = """
import cv2
d = cv2.__version__, [n for n in ("GSTREAMER", "V4L2")
    if cv2.videoio_registry.hasBackend(getattr(cv2, "CAP_" + n))]
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        ok: Whether nothing needs to be done.
        hint: What to do about it; empty when ok.
    """

    part: str
    ok: bool
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine to check.

    Attributes:
        root: The root of its file system.
        state: The folder of the daemon's state, relative to the root.
        run: Runs a command and returns its output, or raises OSError with the reason.
        cache: The folder of the engine cache, if it is to be checked.
    """

    root: Path
    state: str
    run: Callable[[list[str]], str]
    cache: Path | None = None

    def check(self) -> list[Finding]:
        """Run all checks, several at a time; never fails."""
        checks: list[Callable[[], Iterator[Finding]]] = [
            self._machine,
            self._gpu,
            self._tensorrt,
            self._engines,
            self._onnxruntime,
            self._av,
            self._opencv,
            self._cameras,
            self._disk,
            self._clock,
            self._systemd,
        ]
        with ThreadPoolExecutor(max_workers=len(checks)) as pool:
            return [
                finding for found in pool.map(lambda run: list(run()), checks) for finding in found
            ]

    def _machine(self) -> Iterator[Finding]:
        model = self._read("proc/device-tree/model").strip("\0\n")
        cores = len(os.sched_getaffinity(0))
        name = model or platform.machine()
        memory = _between(self._read("proc/meminfo"), "MemTotal:", "kB")
        gib = f"{int(memory) / 2**20:.1f} GiB" if memory.isdigit() else "unknown memory"
        yield Finding("machine", True, f"{name}, {cores} cores, {gib}, {platform.release()}")
        yield Finding("python", True, f"{platform.python_version()} at {sys.executable}")

    # --- accelerators -------------------------------------------------------------------------

    def _gpu(self) -> Iterator[Finding]:
        query = "--query-gpu=name,memory.total,compute_cap,driver_version"
        try:
            gpus = self.run(["nvidia-smi", query, "--format=csv,noheader"]).splitlines()
        except OSError:
            gpus = self._list_gpus()
        for gpu in gpus:
            yield Finding("gpu", True, gpu)
        if not gpus:
            yield self._explain_no_gpu()

    def _list_gpus(self) -> list[str]:
        """GPUs according to the CUDA driver, for machines without nvidia-smi such as Jetsons."""
        version = _between(self._read("proc/driver/nvidia/version"), "Kernel Module", "\n")
        tegra = self._read("etc/nv_tegra_release").partition("\n")[0].lstrip("# ")
        try:
            names = json.loads(self.run([sys.executable, "-c", _CUDA]))
        except (OSError, ValueError):
            names = []
        return [", ".join(filter(None, [name, tegra or version.strip()])) for name in names]

    def _explain_no_gpu(self) -> Finding:
        vendors = self.root.glob("sys/bus/pci/devices/*/vendor")
        if any(_text(vendor).strip() == NVIDIA for vendor in vendors):
            hint = "install NVIDIA's driver, or load it: modprobe nvidia"
            return Finding("gpu", False, "an NVIDIA GPU, but no working driver", hint)
        return Finding("gpu", True, "none; models run on the CPU")

    def _tensorrt(self) -> Iterator[Finding]:
        installed, broken = [], []
        for module in ("tensorrt", "tensorrt_rtx"):
            answer = self._import(module, f"import {module}; d = {module}.__version__")
            if isinstance(answer, Finding):
                if f"No module named '{module}'" not in answer.detail:
                    broken.append(replace(answer, hint=f"reinstall {module}"))
            else:
                installed.append(f"{module} {answer}")
        yield from broken
        if installed:
            cuda = self._import("cuda", "import cuda.bindings as c; d = c.__version__")
            if isinstance(cuda, Finding):
                hint = "pip install 'edgewatch[tensorrt]': TensorRT needs cuda-bindings"
                yield Finding("cuda", False, cuda.detail, hint)
            yield Finding("tensorrt", True, ", ".join(installed))
        elif not broken:
            yield Finding("tensorrt", True, "none; used only with an NVIDIA GPU")

    def _engines(self) -> Iterator[Finding]:
        if self.cache is None:
            return
        cache = EngineCache(self.cache)
        entries = cache.entries()
        refused = [entry for entry in entries if not cache.is_own(entry)]
        total = sum(entry.size_bytes for entry in entries) / 1e6
        detail = (
            f"{len(entries)} in {cache.folder}, {total:.1f} MB" if entries else "none built yet"
        )
        if refused:
            detail = f"{detail}; {len(refused)} changed or built elsewhere"
        hint = "edge-deploy engines prune" if refused else ""
        yield Finding("engines", not refused, detail, hint)

    # --- libraries ----------------------------------------------------------------------------

    def _onnxruntime(self) -> Iterator[Finding]:
        answer = self._import("onnxruntime", _ONNXRUNTIME)
        if isinstance(answer, Finding):
            yield answer
            return
        version, providers = answer
        yield Finding("onnxruntime", True, f"{version}: {', '.join(providers)}")

    def _av(self) -> Iterator[Finding]:
        answer = self._import("av", _AV)
        if isinstance(answer, Finding):
            yield answer
            return
        version, decoders, devices = answer
        ok = "h264" in decoders
        hint = "" if ok else _advise_reinstall("av")
        yield Finding("decoders", ok, f"{version} decodes {', '.join(decoders)}", hint)
        yield Finding("hwaccels", True, f"built in: {', '.join(devices) or 'none'}")

    def _opencv(self) -> Iterator[Finding]:
        answer = self._import("opencv", _OPENCV)
        if isinstance(answer, Finding):
            yield answer
            return
        version, backends = answer
        yield Finding("opencv", True, f"{version}: {', '.join(backends) or 'no cameras'}")

    def _import(self, part: str, code: str) -> Any:  # noqa: ANN401 - JSON
        """The value of ``d`` after running code in a separate process, which may crash."""
        script = f"import json\n{code}\nprint(json.dumps(d))"
        try:
            return json.loads(self.run([sys.executable, "-c", script]).splitlines()[-1])
        except (OSError, ValueError, IndexError) as error:
            return Finding(part, False, f"cannot be imported: {error}", _advise_reinstall(part))

    # --- the rest -----------------------------------------------------------------------------

    def _cameras(self) -> Iterator[Finding]:
        devices = sorted(self.root.glob("dev/v4l/by-id/*")) or sorted(self.root.glob("dev/video*"))
        for device in devices:
            usable = os.access(device, os.R_OK | os.W_OK)
            hint = "" if usable else "add the user to the group video"
            name = f"/{device.relative_to(self.root)}"
            yield Finding("camera", usable, name if usable else f"{name}: no permission", hint)
        if not devices:
            yield Finding("camera", True, "none on this machine; network cameras need no device")

    def _disk(self) -> Iterator[Finding]:
        folder = self.root / self.state.lstrip("/")
        while not folder.exists():
            folder = folder.parent
        free_bytes = shutil.disk_usage(folder).free
        detail = f"{free_bytes / 2**30:.1f} GiB free at {folder}"
        enough = free_bytes >= MIN_FREE_BYTES
        hint = "" if enough else "free some space: galleries and engines are stored there"
        yield Finding("disk", enough, detail, hint)

    def _clock(self) -> Iterator[Finding]:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
        if state < 0:
            yield Finding("clock", True, "unknown: it cannot be queried here")
        elif state == TIME_ERROR:
            hint = "run a time service (systemd-timesyncd, chrony): messages carry wall-clock time"
            yield Finding("clock", False, "not synchronized", hint)
        else:
            yield Finding("clock", True, "synchronized")

    def _systemd(self) -> Iterator[Finding]:
        if not (self.root / "run/systemd/system").is_dir():
            yield Finding("systemd", True, "not running; start `edge run` in another way")
            return
        try:
            words = self.run(["systemctl", "--version"]).split()
        except OSError as error:
            yield Finding("systemd", False, str(error), "repair systemctl")
            return
        number = re.match(r"\d+", words[1] if len(words) > 1 else "")
        version = number[0] if number else "0"
        loads = int(version) >= MIN_SYSTEMD
        hint = "" if loads else "give each credential its LoadCredential= line in a drop-in"
        yield Finding("systemd", loads, version, hint)

    def _read(self, path: str) -> str:
        return _text(self.root / path)


_CUDA = """
import ctypes, json
cuda, count, names = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), []
if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
    for number in range(count.value):
        name = ctypes.create_string_buffer(256)
        cuda.cuDeviceGetName(name, 256, number)
        names.append(name.value.decode())
print(json.dumps(names))
"""


def run_command(command: list[str]) -> str:
    """Run a command and return its output.

    Raises:
        OSError: It does not exist, failed or took too long; the message is its last line.
    """
    environ = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - commands of this file
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            env=environ,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} did not answer in {COMMAND_TIMEOUT_S:g} s") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise OSError(lines[-1])
    return done.stdout


def _advise_reinstall(part: str) -> str:
    return f"reinstall Edgewatch: {part} is one of its packages"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0].strip()
