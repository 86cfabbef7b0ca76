"""The race: Edgewatch beside what users would take instead, over the same film in one run.

    make race
    make race RACE="--clip film.mp4 --rounds 5"

Each contender in turn is a process of its own on an RTSP camera on the loopback, and tells of each
picture on ZeroMQ. Printed are CPU time a picture, age from the sending of a picture to its message,
and peak memory; see docs/explanation/performance.md.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.adopt.adopt import Adoption, adopt
from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.runtimes.onnx import Options, build
from tests.race.contenders import RIVALS, Contender, make_node, make_rival
from tests.race.course import code_clip, render_scene
from tests.race.run import Run, measure
from tests.race.table import write_table

DETECTOR, INPUT_WH = "zoo:detect-nano-wide", (416, 256)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """What the race is about; ends the program where that cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.race",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--python", type=_existing, help="that has the rivals; without one Edgewatch runs alone")
    add("--clip", type=_existing, help="film; by default a quiet street where somebody walks by")
    add("--weights", type=_existing, help="for Ultralytics, .pt or .onnx; by default random ones")
    add("--rounds", type=_positive, default=3, help="runs of each contender")
    add("--settle", type=_positive, default=15, help="seconds before a measurement")
    add("--seconds", type=_positive, default=40, help="seconds of a measurement")
    return parser.parse_args(arguments)


def _existing(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def line_up(python: Path | None, weights: Path | None, folder: Path) -> list[Contender]:
    """The contenders; those with the same network behind each other, Edgewatch first."""
    ours = str(resolve_model(DETECTOR, Path()))
    nano = "detect-nano-wide"
    contenders = [
        make_node("Edgewatch", nano, sys.executable, ours, gate=True),
        make_node("Edgewatch without gate", nano, sys.executable, ours, gate=False),
    ]
    if not python:
        return contenders
    theirs, adopted = export(python, weights, folder)
    yolo = weights.stem if weights else "yolov8n, random"
    size = [str(side) for side in INPUT_WH]
    return [
        *contenders,
        make_rival("script", nano, str(python), "script.py", ours),
        make_rival("recorder's way", nano, str(python), "recorder.py", ours),
        make_node("Edgewatch without gate", yolo, sys.executable, str(adopted), gate=False),
        make_rival("Ultralytics' stream", yolo, str(python), "stream.py", str(theirs), *size),
    ]


def export(python: Path, weights: Path | None, folder: Path) -> tuple[Path, Path]:
    """Ultralytics' network as ONNX, and the same adopted for Edgewatch."""
    theirs, adopted = folder / "theirs.onnx", folder / "adopted.onnx"
    if weights and weights.suffix == ".onnx":
        theirs = weights
    else:
        size = [str(side) for side in INPUT_WH]
        script, given = str(RIVALS / "export.py"), str(weights or "random")
        command = [str(python), script, given, *size, str(theirs)]
        subprocess.run(command, check=True, cwd=folder, stdout=sys.stderr)
    adopted.write_bytes(adopt(theirs.read_bytes(), Adoption("yolo", "theirs")))
    return theirs, adopted


def main(arguments: Sequence[str]) -> None:
    """Print each run as it ends, then the table."""
    options = read_arguments(arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        seconds = options.settle + options.seconds
        if options.clip:
            film = code_clip(folder, options.clip, seconds)
        else:
            ours = load_model("detect", build(Options()), resolve_model(DETECTOR, Path()))
            film = render_scene(folder, seconds, ours)
        contenders = line_up(options.python, options.weights, folder)
        runs: list[list[Run]] = [[] for _ in contenders]
        for number in range(options.rounds):
            for contender, rounds in zip(contenders, runs, strict=True):
                run = measure(contender, film, options.settle, options.seconds)
                rounds.append(run)
                told = f"{contender.name}: {run.cpu_ms:.1f} ms a frame, p99 {run.age_ms(99):.0f} ms"
                print(f"round {number + 1}, {told}", file=sys.stderr, flush=True)
        print("\n".join(write_table(contenders, runs)))


if __name__ == "__main__":
    main(sys.argv[1:])
