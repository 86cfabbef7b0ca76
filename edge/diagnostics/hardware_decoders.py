"""Hardware decoders: which of those that PyAV is built with decode H.264 on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge.diagnostics.finding import Finding
from edge.diagnostics.jetson import is_jetson
from edge.diagnostics.text_file import list_matches

# One gray key frame of 128x128 in H.264's constrained baseline profile, made with x264.
_CLIP = (
    "AAAAAWdCwArcIEaEAAADAAQAAAMAUDxIngAAAAFozgOSyAAAAAFliIQEryYoMnJycnJycnXXXXXX"
    "XXXXXXXXXXXXXXXXXXgAAAABZQQiIQEryYoMnJycnJycnXXXXXXXXXXXXXXXXXXXXXXXXg=="
)
# Opens as edge.sources does, without falling back to software. A process for each, since a driver
# may crash or hang.
_DECODE = f"""
import base64, io, json, sys, av
from av.codec.hwaccel import HWAccel
av.logging.set_level(av.logging.PANIC)
try:
    device = HWAccel(sys.argv[1], allow_software_fallback=False)
    clip = io.BytesIO(base64.b64decode("{_CLIP}") * 2)
    with av.open(clip, format="h264", hwaccel=device) as container:
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)]
    answer = "" if shapes else "no picture came out"
except (av.FFmpegError, NotImplementedError, OSError, RuntimeError, ValueError) as error:
    answer = str(error) or type(error).__name__
print(json.dumps(answer))
"""
_NOT_FOR_H264 = "no stream is compatible"  # PyAV's words
_NVIDIA_HINT = (
    "install the decoder of NVIDIA's driver (libnvcuvid: libnvidia-decode-VERSION); "
    "a container needs NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"
)


def check_hardware_decoders(
    root: Path, names: Sequence[str], run: Callable[[list[str]], str]
) -> Finding:
    """Decode a short clip with each.

    Args:
        root: The root of the machine's file system.
        names: FFmpeg's names of the devices that PyAV is built with.
        run: Runs a command and returns its output, or raises OSError with the reason.
    """
    problems = {name: _try_decoder(name, run) for name in names}
    working = [name for name, problem in problems.items() if not problem]
    parts = [f"decodes here: {', '.join(working) or 'none'}", *_describe(problems)]
    # A Jetson decodes through GStreamer, not through the driver's libnvcuvid.
    nvidia = bool(list_matches(root, "dev/nvidia[0-9]*")) and not is_jetson(root)
    broken = nvidia and bool(problems.get("cuda"))
    return Finding("hwaccels", not broken, "; ".join(parts), _NVIDIA_HINT if broken else "")


def _try_decoder(name: str, run: Callable[[list[str]], str]) -> str:
    """Why it does not decode; empty if it does."""
    try:
        return str(json.loads(run([sys.executable, "-c", _DECODE, name]).splitlines()[-1]))
    except OSError as error:
        return str(error) or "it crashed"
    except (ValueError, IndexError):
        return "no answer"


def _describe(problems: dict[str, str]) -> Iterator[str]:
    reasons = {name: problem for name, problem in problems.items() if problem}
    never = [name for name, problem in reasons.items() if _NOT_FOR_H264 in problem]
    for name, problem in reasons.items():
        if name not in never:
            yield f"{name} does not: {problem}"
    if never:
        yield f"not for H.264: {', '.join(never)}"
