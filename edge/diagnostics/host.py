"""Host diagnostics: hardware, drivers and libraries, with fixes for what is missing."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import edge
from edge.diagnostics.clock import check_clock, query_kernel
from edge.diagnostics.devices import User, check_accelerators, check_cameras
from edge.diagnostics.disk import check_disks
from edge.diagnostics.finding import Finding
from edge.diagnostics.hardware_decoders import check_hardware_decoders
from edge.diagnostics.jetson import check_jetson
from edge.diagnostics.python_environment import (
    PythonEnvironment,
    advise_system_packages,
    locate_folder,
)
from edge.diagnostics.text_file import read_text
from edge.engines.cache import EngineCache
from edge.engines.library import REMEDY, is_supported
from edge.extra import advise_extra
from edge.opencv import advise_one_wheel, list_wheels

COMMAND_TIMEOUT_S = 60.0
NVIDIA = "0x10de"
MIN_SYSTEMD = 250  # the first version whose LoadCredential= takes a folder

_TENSORRT = ("tensorrt", "tensorrt_rtx")
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
    if cv2.videoio_registry.hasBackend(getattr(cv2, "CAP_" + n))], str(cv2.__file__)
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine to check.

    Attributes:
        root: The root of its file system.
        state: The folder of the daemon's state, relative to the root.
        run: Runs a command and returns its output, or raises OSError with the reason.
        cache: The folder of the engine cache, if it is to be checked.
        python: The Python environment to check.
        user: The user who runs.
        wheels: The installed distributions that bring the cv2 that is imported.
    """

    root: Path
    state: str
    run: Callable[[list[str]], str]
    cache: Path | None = None
    python: PythonEnvironment = field(default_factory=PythonEnvironment.current)
    user: User = field(default_factory=User.current)
    wheels: Sequence[str] = field(default_factory=list_wheels)

    def check(self) -> list[Finding]:
        """Run all checks, several at a time; never fails."""
        checks: list[Callable[[], Iterator[Finding]]] = [
            self._machine,
            lambda: check_jetson(self.root),
            self._gpu,
            self._tensorrt,
            self._engines,
            self._onnxruntime,
            self._av,
            self._opencv,
            lambda: check_accelerators(self.root, self.user),
            lambda: check_cameras(self.root, self.user),
            self._disks,
            self._clock,
            self._systemd,
        ]
        with ThreadPoolExecutor(max_workers=len(checks)) as pool:
            return [
                finding for found in pool.map(lambda run: list(run()), checks) for finding in found
            ]

    def _machine(self) -> Iterator[Finding]:
        model = self._read("proc/device-tree/model")
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
        if any(read_text(vendor) == NVIDIA for vendor in vendors):
            hint = "install NVIDIA's driver, or load it: modprobe nvidia"
            return Finding("gpu", False, "an NVIDIA GPU, but no working driver", hint)
        return Finding("gpu", True, "none; models run on the CPU")

    def _tensorrt(self) -> Iterator[Finding]:
        installed, broken = [], []
        for module in _TENSORRT:
            answer = self._import(module, _ask_version(module), 2)
            if isinstance(answer, Finding):
                if f"No module named '{module}'" not in answer.detail:
                    broken.append(replace(answer, hint=f"reinstall {module}"))
            else:
                installed.append((module, *answer))
        yield from broken
        if installed:
            cuda = self._import("cuda", "import cuda.bindings as c; d = c.__version__")
            if isinstance(cuda, Finding):
                hint = f"TensorRT needs cuda-bindings: {advise_extra('tensorrt')}"
                yield Finding("cuda", False, cuda.detail, hint)
            wrong = [f"{name} {is_}" for name, is_, _ in installed if not is_supported(name, is_)]
            hint = f"not supported: {', '.join(wrong)}; {REMEDY}" if wrong else ""
            places = [
                f"{name} {is_} in {self.python.locate(name, at)}" for name, is_, at in installed
            ]
            yield Finding("tensorrt", not wrong, "; ".join(places), hint)
        elif not broken:
            yield self._find_system_tensorrt()

    def _find_system_tensorrt(self) -> Finding:
        """A TensorRT that another Python has, or none."""
        for python in self.python.outside:
            for module in _TENSORRT:
                answer = self._import(module, _ask_version(module), 2, [python, "-I"])
                if isinstance(answer, Finding):
                    continue
                version, file = answer
                found = (
                    f"none here; {python} has {module} {version} in {locate_folder(module, file)}"
                )
                if not is_supported(module, version):
                    return Finding("tensorrt", True, f"{found}, which is not supported")
                return Finding("tensorrt", False, found, advise_system_packages(python))
        return Finding("tensorrt", True, "none; used only with an NVIDIA GPU")

    def _engines(self) -> Iterator[Finding]:
        if self.cache is None:
            return
        cache = EngineCache(self.cache)
        entries = cache.entries()
        refused = [entry for entry in entries if not cache.is_own(entry)]
        total = sum(entry.size_bytes for entry in entries) / 1e6
        detail = (
            f"{len(entries)} in {cache.folder}, {total:.1f} MB"
            if entries
            else f"none built yet in {cache.folder}"
        )
        if refused:
            detail = f"{detail}; {len(refused)} changed or built elsewhere"
        hint = "edge-deploy engines prune" if refused else ""
        yield Finding("engines", not refused, detail, hint)

    # --- libraries ----------------------------------------------------------------------------

    def _onnxruntime(self) -> Iterator[Finding]:
        answer = self._import("onnxruntime", _ONNXRUNTIME, 2)
        if isinstance(answer, Finding):
            yield answer
            return
        version, providers = answer
        yield Finding("onnxruntime", True, f"{version}: {', '.join(providers)}")

    def _av(self) -> Iterator[Finding]:
        answer = self._import("av", _AV, 3)
        if isinstance(answer, Finding):
            yield answer
            return
        version, decoders, devices = answer
        ok = "h264" in decoders
        hint = "" if ok else _advise_reinstall("av")
        yield Finding("decoders", ok, f"{version} decodes {', '.join(decoders)}", hint)
        yield check_hardware_decoders(self.root, devices, self.run)

    def _opencv(self) -> Iterator[Finding]:
        answer = self._import("opencv", _OPENCV, 3)
        several = advise_one_wheel(self.wheels) if len(self.wheels) > 1 else ""
        if isinstance(answer, Finding):
            yield replace(answer, hint=several or answer.hint)
            return
        version, backends, file = answer
        reads = ", ".join(backends) or "no cameras"
        lacks = "" if "GSTREAMER" in backends else "; without GStreamer"
        detail = f"{version}: {reads}{lacks}; in {self.python.locate('cv2', file)}"
        hint = several
        if several:
            detail = f"{detail}; {' and '.join(self.wheels)} overwrite each other"
        elif lacks:
            where, hint = self._find_gstreamer()
            detail = f"{detail}; the system's has it, in {where}" if hint else detail
        yield Finding("opencv", not hint, detail, hint)

    def _find_gstreamer(self) -> tuple[str, str]:
        """Where outside is an OpenCV with GStreamer, and how to use it; empty if nowhere."""
        for python in self.python.outside:
            answer = self._import("opencv", _OPENCV, 3, [python, "-I"])
            if isinstance(answer, Finding) or "GSTREAMER" not in answer[1]:
                continue
            if python == self.python.shown:
                wheels = " ".join(self.wheels) or "opencv-python-headless"
                remedy = f"{self.python.executable} -m pip uninstall {wheels}"
            else:
                remedy = advise_system_packages(python)
            return str(
                locate_folder("cv2", answer[2])
            ), f"for CSI cameras and other pipelines: {remedy}"
        return "", ""

    def _import(self, part: str, code: str, fields: int = 0, python: Sequence[str] = ()) -> Any:  # noqa: ANN401 - JSON
        """The value of ``d``, a list of so many fields, after running code in another process.

        That process may crash, and libraries may print there.
        """
        script = f"import json\n{code}\nprint(json.dumps(d))"
        try:
            command = [*(python or [self.python.executable]), "-c", script]
            answer = json.loads(self.run(command).splitlines()[-1])
            if fields and not (isinstance(answer, list) and len(answer) == fields):
                raise ValueError(f"unexpected answer {answer}")
        except (OSError, ValueError, IndexError) as error:
            return Finding(part, False, f"cannot be imported: {error}", _advise_reinstall(part))
        return answer

    # --- the rest -----------------------------------------------------------------------------

    def _disks(self) -> Iterator[Finding]:
        folders = [self.root / self.state.lstrip("/"), *([self.cache] if self.cache else [])]
        yield from check_disks(folders)

    def _clock(self) -> Iterator[Finding]:
        built_s = Path(edge.__file__).stat().st_mtime
        yield check_clock(self.root, query_kernel(), time.time(), built_s)

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
        return read_text(self.root / path)


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
    try:
        done = subprocess.run(  # noqa: S603 - commands of this file
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} did not answer in {COMMAND_TIMEOUT_S:g} s") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise OSError(lines[-1])
    return done.stdout


def _ask_version(module: str) -> str:
    return f"import {module}; d = str({module}.__version__), str({module}.__file__)"


def _advise_reinstall(part: str) -> str:
    return f"reinstall Edgewatch: {part} is one of its packages"


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0].strip()
