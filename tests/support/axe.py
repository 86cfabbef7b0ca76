"""axe-core, which checks a page for who cannot see it or has no mouse; npm fetches it once."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

VERSION = "4.10.3"
FOLDER = Path(__file__).parents[2] / "build" / "axe"
GRAVE = ("serious", "critical")
_RUN = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.map(
  ({id, impact, help, nodes}) => ({id, impact, help, where: nodes.map(({html}) => html)}))"""


@lru_cache
def read_axe() -> str:
    """The script; skips the test where npm is missing."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, which fetches axe-core")
    script = FOLDER / VERSION / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        folder = FOLDER / VERSION
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-save", f"axe-core@{VERSION}"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            pytest.skip(f"npm cannot fetch axe-core: {done.stderr[-200:]}")
    return script.read_text()


def find_faults(page: Any) -> list[dict[str, Any]]:
    """What is serious or critical in what a page shows."""
    if not page.evaluate("'axe' in globalThis"):
        page.evaluate(read_axe())
    return [fault for fault in page.evaluate(_RUN) if fault["impact"] in GRAVE]
