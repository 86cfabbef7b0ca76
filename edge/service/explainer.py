"""The explainer: why the detector saw an object in a picture, in a process that disturbs nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge.config import ModelFile
from edge.errors import EdgeError
from edge.models.paths import resolve_model
from edge.web.ports import Explained

LOOKING_S = 15.0  # for covering the picture
DEADLINE_S = 60.0  # with loading the model, at the lowest priority
_LOWEST_PRIORITY = 19


@dataclass(frozen=True, slots=True)
class Explainer:
    """Runs `edge explain` on a snapshot: one thread, at the lowest priority.

    Attributes:
        model: The detector.
        base: Folder that its path is relative to.
    """

    model: ModelFile
    base: Path

    def explain(self, picture: Path, label: str, at: tuple[float, float]) -> Explained:
        """What the detector's answer about an object rests on.

        Args:
            picture: A picture file.
            label: Class of the object.
            at: Its middle, as fractions of width and height.

        Raises:
            EdgeError: The detector does not find it there, or it takes too long.
        """
        with tempfile.TemporaryDirectory(prefix="edge-why-") as folder:
            out = Path(folder) / "why.jpg"
            command = [
                sys.executable, "-m", "edge", "explain", str(picture.absolute()),
                f"--model={resolve_model(self.model.path, self.base)}", f"--class={label}",
                "--at", *(f"{share:.4f}" for share in at), f"--seconds={LOOKING_S:g}",
                "--threads=1", "--json", f"--out={out}",
            ]  # fmt: skip
            figures = json.loads(_run(command))
            jpeg = out.read_bytes()
        return Explained(
            jpeg, figures["label"], figures["score"], figures["largest_loss"], figures["inside"],
            figures["patches"], figures["planned"],
        )  # fmt: skip


def _run(command: list[str]) -> str:
    """What a command prints.

    Raises:
        EdgeError: It fails, or does not end in time.
    """
    with subprocess.Popen(  # noqa: S603 - our own command, without a shell
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST_PRIORITY)
        try:
            printed, complaint = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise EdgeError(
                f"explaining took more than {DEADLINE_S:g} s: this machine has no time to spare"
            ) from error
    if process.returncode:
        said = complaint.strip().splitlines() or [f"exit status {process.returncode}"]
        raise EdgeError(f"the picture cannot be explained: {said[-1]}")
    return printed
