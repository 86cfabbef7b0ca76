"""The figures of a GPU day: one JSON and one table, both rewritten after every row.

``python -m tests.gpu_day.results FOLDER`` prints the verdict and exits with it;
``... FOLDER STEP STATE REASON`` adds the row of a step that cannot do so itself.
Needs nothing but Python.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

MEASURED, ABSENT, FAILED = "measured", "not measured", "failed"
VERDICTS = {"everything was measured": 0, "something failed": 1, "something was not measured": 3}


@dataclass(frozen=True)
class Row:
    """One figure, or the reason why there is none.

    Attributes:
        what: What was measured.
        state: `measured`, `not measured` or `failed`.
        value: The figure; None without one.
        reason: Why there is no figure, or what to know about it.
    """

    step: str
    what: str
    state: str
    value: float | str | None = None
    unit: str = ""
    reason: str = ""

    def to_line(self):
        value = f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value)
        figure = f"{value} {self.unit}".strip() if self.state == MEASURED else self.state
        figure += f": {self.reason}" if self.reason else ""
        cells = (self.step, self.what, figure)
        return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


class Results:
    """The rows of a folder; those that a step adds."""

    def __init__(self, folder, step=""):
        self._json, self._table = Path(folder, "gpu_day.json"), Path(folder, "gpu_day.md")
        self._step = step

    def measured(self, what, value, unit="", note=""):
        self._add(Row(self._step, what, MEASURED, value, unit, note))

    def absent(self, what, reason):
        self._add(Row(self._step, what, ABSENT, reason=first_line(reason)))

    def failed(self, what, reason):
        self._add(Row(self._step, what, FAILED, reason=first_line(reason)))

    def rows(self):
        if not self._json.exists():
            return []
        return [Row(**row) for row in json.loads(self._json.read_text(encoding="utf-8"))["rows"]]

    def verdict(self):
        states = {row.state for row in self.rows()}
        if FAILED in states or not states:
            return "something failed"
        return "something was not measured" if ABSENT in states else "everything was measured"

    def _add(self, row):
        rows, card = [*self.rows(), row], "fake" if is_fake() else "real"
        found = {"card": card, "rows": [asdict(row) for row in rows]}
        _replace(self._json, json.dumps(found, indent=1, allow_nan=False) + "\n")
        note = ["A fake card: its figures mean nothing.", ""] if is_fake() else []
        head = [*note, "| step | what | figure |", "|---|---|---|"]
        _replace(self._table, "\n".join([*head, *(row.to_line() for row in rows)]) + "\n")
        print(row.to_line(), flush=True)


def is_fake():
    """Whether the card is `tests.support.gpu`'s."""
    return os.environ.get("GPU_DAY_CARD") == "fake"


def first_line(text):
    return str(text).strip().partition("\n")[0]


def _replace(path, text):
    """Write a file that is whole at any time: a step may be cut off."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def main(folder, step="", state="", reason=""):
    results = Results(folder, step)
    if step:
        {ABSENT: results.absent, FAILED: results.failed}[state]("the step", reason)
        return 0
    verdict = results.verdict()
    print(f"{verdict}: see gpu_day.md and gpu_day.json in {folder}")
    return VERDICTS[verdict]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
