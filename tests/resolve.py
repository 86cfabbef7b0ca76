"""Resolves every extra and every lock file for each Python and machine, from wheels: a table.

python -m tests.resolve UV; nothing is installed. pip cannot do this for another machine than its
own: its --platform chooses wheels, but leaves the markers of requirements to the running Python.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge.compat import tomllib

ROOT = Path(__file__).parents[1]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
MACHINES = ["x86_64", "aarch64"]
# Source distributions without code to compile: they ask for wheels, or for the vendor's.
NO_WHEELS = ["tensorrt", "tensorrt-cu13", "tensorrt-cu13-libs", "tensorrt-rtx-cu12"]


def resolve(uv: str, python: str, machine: str, *options: str) -> str:
    """How many packages are chosen, or what stands in the way."""
    target = ["--python-version", python, "--python-platform", f"{machine}-manylinux_2_28"]
    wheels = ["--only-binary=:all:", *(f"--no-binary={name}" for name in NO_WHEELS)]
    form = ["--quiet", "--no-header", "--no-annotate"]
    command = [uv, "pip", "compile", *form, *target, *wheels, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{python} {machine} {' '.join(options)}: {done.stderr[-2000:]}", file=sys.stderr)
        return "FAILED"
    return str(done.stdout.count("=="))


def main() -> int:
    """Print the table; 1 if a cell failed."""
    uv = sys.argv[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = {"edgewatch": ["pyproject.toml"]}
    for extra in project["optional-dependencies"]:
        rows[f"edgewatch[{extra}]"] = ["--extra", extra, "pyproject.toml"]
    for lock in sorted((ROOT / ".ci").glob("*.lock")):
        rows[f".ci/{lock.name}"] = ["--no-deps", str(lock)]
    targets = [(python, machine) for machine in MACHINES for python in PYTHONS]
    print("| |", " | ".join(f"{python} {machine}" for python, machine in targets), "|")
    print("|---" * (len(targets) + 1), "|", sep="")
    cells = []
    with ThreadPoolExecutor(len(targets)) as pool:  # each mostly waits for the index
        for name, options in rows.items():
            row = list(pool.map(lambda target, o=options: resolve(uv, *target, *o), targets))
            print("|", " | ".join([name, *row]), "|", flush=True)
            cells += row
    return int("FAILED" in cells)


if __name__ == "__main__":
    sys.exit(main())
