"""The box: what this machine has for the daemon, and what to do about what it lacks."""

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

ASK_S = 60.0
NVIDIA = "0x10de"
FREE_LEAST_BYTES = 2 * 2**30
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
LOADS_FOLDERS = 250  # the first systemd whose LoadCredential= takes a folder

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
    """What was found out about one part of the box.

    Attributes:
        part: what it is about.
        fine: nothing is to be done.
        says: what is there.
        remedy: what to do about it; empty when fine.
    """

    part: str
    fine: bool
    says: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A machine.

    Attributes:
        root: of its file system.
        state: folder of the daemon's state, from the root.
        ask: runs a command and gives its output, or an OSError with the reason.
        cache: folder of the engine cache, if it is to be looked at.
    """

    root: Path
    state: str
    ask: Callable[[list[str]], str]
    cache: Path | None = None

    def look(self) -> list[Finding]:
        """Look at everything, several things at once; never fails."""
        looks: list[Callable[[], Iterator[Finding]]] = [
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
        with ThreadPoolExecutor(max_workers=len(looks)) as pool:
            return [
                finding for found in pool.map(lambda look: list(look()), looks) for finding in found
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
            cards = self.ask(["nvidia-smi", query, "--format=csv,noheader"]).splitlines()
        except OSError:
            cards = self._cards_of_the_driver()
        for card in cards:
            yield Finding("gpu", True, card)
        if not cards:
            yield self._no_gpu()

    def _cards_of_the_driver(self) -> list[str]:
        """Without nvidia-smi, as on a Jetson: what the CUDA driver itself says."""
        version = _between(self._read("proc/driver/nvidia/version"), "Kernel Module", "\n")
        tegra = self._read("etc/nv_tegra_release").partition("\n")[0].lstrip("# ")
        try:
            names = json.loads(self.ask([sys.executable, "-c", _CUDA]))
        except (OSError, ValueError):
            names = []
        return [", ".join(filter(None, [name, tegra or version.strip()])) for name in names]

    def _no_gpu(self) -> Finding:
        vendors = self.root.glob("sys/bus/pci/devices/*/vendor")
        if any(_text(vendor).strip() == NVIDIA for vendor in vendors):
            remedy = "install NVIDIA's driver, or load it: modprobe nvidia"
            return Finding("gpu", False, "an NVIDIA card, but no driver that answers", remedy)
        says = "none; models run on the processor"
        return Finding("gpu", True, says)

    def _tensorrt(self) -> Iterator[Finding]:
        there, broken = [], []
        for module in ("tensorrt", "tensorrt_rtx"):
            answer = self._import(module, f"import {module}; d = {module}.__version__")
            if isinstance(answer, Finding):
                if f"No module named '{module}'" not in answer.says:
                    broken.append(replace(answer, remedy=f"install {module} again"))
            else:
                there.append(f"{module} {answer}")
        yield from broken
        cuda = self._import("cuda", "import cuda.bindings as c; d = c.__version__") if there else ""
        if isinstance(cuda, Finding):
            remedy = "pip install 'edgewatch[tensorrt]': TensorRT is reached through cuda-bindings"
            yield Finding("cuda", False, cuda.says, remedy)
        if there:
            yield Finding("tensorrt", True, ", ".join(there))
        elif not broken:
            yield Finding("tensorrt", True, "none; only boxes with an NVIDIA GPU use it")

    def _engines(self) -> Iterator[Finding]:
        if self.cache is None:
            return
        cache = EngineCache(self.cache)
        entries = cache.entries()
        refused = [entry for entry in entries if not cache.is_own(entry)]
        total = sum(entry.size_bytes for entry in entries) / 1e6
        says = f"{len(entries)} in {cache.folder}, {total:.1f} MB" if entries else "none built yet"
        if refused:
            says = f"{says}; {len(refused)} changed, or built elsewhere"
        remedy = "edge-deploy engines prune" if refused else ""
        yield Finding("engines", not refused, says, remedy)

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
        says = f"{version} decodes {', '.join(decoders)}"
        yield Finding(
            "decoders", "h264" in decoders, says, "" if "h264" in decoders else _again("av")
        )
        yield Finding("hwaccels", True, f"built in: {', '.join(devices) or 'none'}")

    def _opencv(self) -> Iterator[Finding]:
        answer = self._import("opencv", _OPENCV)
        if isinstance(answer, Finding):
            yield answer
            return
        version, backends = answer
        yield Finding("opencv", True, f"{version}: {', '.join(backends) or 'no cameras'}")

    def _import(self, part: str, code: str) -> Any:  # noqa: ANN401 - JSON
        """The value of ``d`` after running code in a process of its own, which may crash."""
        script = f"import json\n{code}\nprint(json.dumps(d))"
        try:
            return json.loads(self.ask([sys.executable, "-c", script]).splitlines()[-1])
        except (OSError, ValueError, IndexError) as error:
            return Finding(part, False, f"cannot be imported: {error}", _again(part))

    # --- the rest -----------------------------------------------------------------------------

    def _cameras(self) -> Iterator[Finding]:
        found = sorted(self.root.glob("dev/v4l/by-id/*")) or sorted(self.root.glob("dev/video*"))
        for device in found:
            usable = os.access(device, os.R_OK | os.W_OK)
            remedy = "" if usable else "add the user to the group video"
            name = f"/{device.relative_to(self.root)}"
            yield Finding("camera", usable, name if usable else f"{name}: no permission", remedy)
        if not found:
            yield Finding("camera", True, "none at this box; those in the network need none")

    def _disk(self) -> Iterator[Finding]:
        folder = self.root / self.state.lstrip("/")
        while not folder.exists():
            folder = folder.parent
        free_bytes = shutil.disk_usage(folder).free
        says = f"{free_bytes / 2**30:.1f} GiB free at {folder}"
        enough = free_bytes >= FREE_LEAST_BYTES
        remedy = "" if enough else "make room: galleries and engines are written there"
        yield Finding("disk", enough, says, remedy)

    def _clock(self) -> Iterator[Finding]:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
        if state < 0:
            yield Finding("clock", True, "cannot be asked here")
        elif state == TIME_ERROR:
            remedy = (
                "run a time service (systemd-timesyncd, chrony): messages carry wall-clock time"
            )
            yield Finding("clock", False, "not synchronised", remedy)
        else:
            yield Finding("clock", True, "synchronised")

    def _systemd(self) -> Iterator[Finding]:
        if not (self.root / "run/systemd/system").is_dir():
            says = "does not run this box"
            yield Finding("systemd", True, f"{says}; start `edge run` by other means")
            return
        try:
            words = self.ask(["systemctl", "--version"]).split()
        except OSError as error:
            yield Finding("systemd", False, str(error), "repair systemctl")
            return
        number = re.match(r"\d+", words[1] if len(words) > 1 else "")
        version = number[0] if number else "0"
        loads = int(version) >= LOADS_FOLDERS
        remedy = "" if loads else "give each credential its LoadCredential= line in a drop-in"
        yield Finding("systemd", loads, version, remedy)

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


def ask(command: list[str]) -> str:
    """Run a command; what it printed.

    Raises:
        OSError: it is not there, failed or took too long; the message is its last line.
    """
    environ = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - commands of this file
            command, capture_output=True, text=True, timeout=ASK_S, env=environ, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} did not answer in {ASK_S:g} s") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise OSError(lines[-1])
    return done.stdout


def _again(part: str) -> str:
    return f"install Edgewatch again: {part} is one of its packages"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0].strip()
