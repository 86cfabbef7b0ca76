"""What Edgewatch promises, in figures: the proofs measure them, and the documents tell them.

`make proof` prints the table of what it measured and fails where a figure falls short. Then
`python -m tests.proof.promises` brings docs/explanation/promises.md up to date.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

MEASURED = Path("build/promises.json")
DOCUMENT = Path("docs/explanation/promises.md")
NOT_MEASURED = "not measured"
HEAD = """# Promises

What holds, the figure it is held to, and what the proof measured last. `make proof` measures all of
them but those of `soak`, which is `make soak`, and fails where one falls short; `PROOF=` names one.
Figures are the worst of each proof's runs, on two cores that may be shared; bold ones fall short.
"Not measured" says that the proof was not run since this table is kept; what earlier runs gave is
in [performance](performance.md).

| promise | proof | target | measured | on |
|---|---|---|---|---|
"""
_ROW = re.compile(
    r"^\| (?P<words>[^|]+) \| `(?P<proof>[^|]+)` \| (?P<target>[^|]+) \| (?P<figure>[^|]+) \|"
    r" (?P<day>[^|]*) \|$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure and where it ends.

    Attributes:
        words: What is promised.
        proof: The file of its proof, or the folder of one that is no test.
        bound: What the figure must not pass.
        unit: Of the figure; may be empty.
        is_most: Whether it must be at most that, or else at least.
    """

    words: str
    proof: str
    bound: float
    unit: str = ""
    is_most: bool = True

    @property
    def target(self) -> str:
        """The bound in words."""
        if self.bound == 0 and self.is_most:
            return "none"
        return f"at {'most' if self.is_most else 'least'} {self.show(self.bound)}"

    def show(self, figure: float) -> str:
        """A figure with its unit."""
        return f"{figure:.3g}{' ' if self.unit else ''}{self.unit}"

    def holds(self, figure: float) -> bool:
        """Whether a figure keeps the promise; NaN does not."""
        return figure <= self.bound if self.is_most else figure >= self.bound

    def choose_worse(self, one: float, other: float) -> float:
        """The worse of two figures."""
        return max(one, other) if self.is_most else min(one, other)


PROMISES = {
    "stop": Promise("a node ends with 0, whatever its cameras do, within", "test_stops", 5, "s"),
    "held": Promise("a thread that hangs is noticed within", "test_held_threads", 5, "s"),
    "blind": Promise("a model that gives NaN is noticed within", "test_blind_models", 5, "s"),
    "scrape median": Promise(
        "a scrape beside clients that hold connections, median", "test_http_holders", 200, "ms"
    ),
    "scrape longest": Promise(
        "a scrape beside clients that hold connections, longest", "test_http_holders", 500, "ms"
    ),
    "bus rate": Promise(
        "a subscriber beside a hostile one gets its messages", "test_subscribers", 0.95,
        "of the rate before", is_most=False,
    ),
    "bus lost": Promise(
        "a subscriber beside a hostile one loses", "test_subscribers", 0, "messages"
    ),
    "bus age": Promise(
        "a subscriber beside a hostile one gets none older than", "test_subscribers", 0.5, "s"
    ),
    "joiner": Promise(
        "who joins late knows every camera within, p99", "test_late_joiners", 0.1, "s"
    ),
    "events lost": Promise(
        "the motion gate loses events that looking at every frame finds", "test_quiet_scenes", 0,
        "events",
    ),
    "idle looks": Promise(
        "where nobody is, the motion gate looks at", "test_quiet_scenes", 0.05, "of the frames"
    ),
    "parked": Promise(
        "a car that is parked for half an hour, with people passing by, is one track and one event",
        "test_parked_cars", 100, "% of the scenes", is_most=False,
    ),
    "picture off": Promise(
        "an event's picture is off its moment by", "test_recorded_moments", 60, "ms"
    ),
    "clip off": Promise(
        "frames of clips are off their moments by", "test_recorded_moments", 60, "ms"
    ),
    "kill": Promise(
        "kill -9 costs of what was handed to the archive", "test_recording_crashes", 2.5, "s"
    ),
    "kill daemon": Promise(  # a group of pictures is a fragment where it is longer than a second
        "kill -9 costs of what a camera with a key frame every two seconds sent",
        "test_recording_crashes", 4.5, "s",
    ),
    "bytes": Promise(
        "recordings take more than max_bytes by", "test_storage_trouble", 2, "segments"
    ),
    "full disk": Promise(
        "on a full disk detection goes on at", "test_storage_trouble", 0.95,
        "of the rate before", is_most=False,
    ),
    "page behind": Promise(
        "live video on the page is behind the camera by", "test_page", 1, "s"
    ),
    "zone": Promise("a zone that is saved is named by a message within", "test_page", 3, "s"),
    "list": Promise("the list of 10,000 events can be used within, median", "test_page", 1, "s"),
    "named": Promise(
        "moved photographs and simulated attacks that are named", "test_living_and_pictures", 0,
        "attempts",
    ),
    "heads": Promise(
        "simulated living heads are named within six seconds", "test_living_and_pictures", 0.9,
        "of them", is_most=False,
    ),
    "kept name": Promise(
        "faces with a fifth of bad looks keep or regain their name", "test_living_and_pictures",
        0.95, "of them", is_most=False,
    ),
    "after the living": Promise(
        "attacks after a living face that are named three seconds later",
        "test_living_and_pictures", 0, "films",
    ),
    "neighbours": Promise(
        "beside a camera at fault, whatever the fault, the others deliver", "test_faulty_cameras",
        0.95, "of their frames", is_most=False,
    ),
    "silence": Promise(
        "a camera that falls silent is told, p95, within", "test_faulty_cameras", 5, "s"
    ),
    "pictures back": Promise(
        "a silent camera that answers again has pictures, p95, within",
        "test_faulty_cameras", 2, "s",
    ),
    "soak memory": Promise(
        "after ten minutes of soaking, a node's memory grows by",
        "soak", 1, "MB an hour",
    ),
    "soak threads": Promise(
        "after ten minutes of soaking, a node's threads grow by",
        "soak", 1, "an hour",
    ),
    "soak files": Promise(
        "after ten minutes of soaking, a node's file descriptors grow by",
        "soak", 1, "an hour",
    ),
    "soak numbers": Promise(
        "messages of an hour's soaking that are neither received nor replayed nor reported lost",
        "soak", 0,
        "messages",
    ),
    "soak stream": Promise(
        "messages of an hour's soaking that the NATS stream lacks",
        "soak", 0, "messages",
    ),
    "soak kept": Promise(
        "soaking leaves events without files, files without an event, or damaged files", "soak", 0,
        "of them",
    ),
    "soak secrets": Promise(
        "soaking leaves a camera's password in logs, metrics, messages or files",
        "soak", 0, "places",
    ),
    "account": Promise(
        "published numbers that are neither received nor replayed nor reported lost, over a "
        "hundred kills of daemon, box's server, hub and subscriber", "test_fleet_accounts", 0,
        "messages",
    ),
    "account twice": Promise(
        "published numbers that the hub has twice, over the same hundred kills",
        "test_fleet_accounts", 0, "messages",
    ),
    "sink cost": Promise(
        "CPU that the NATS sink takes for a message where it gets ten or more at a time",
        "test_nats_cost", 40, "us",
    ),
    "forgotten": Promise(
        "a person who is forgotten at the hub is forgotten, and that confirmed, on 20 boxes that "
        "are up, within",
        "test_forgetting", 5, "s",
    ),
    "soak stop": Promise("a soaked node ends with 0 within", "soak", 5, "s"),
}  # fmt: skip


class Ledger:
    """What was measured in one run.

    Attributes:
        figures: The worst figure of each promise.
    """

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def note(self, name: str, figure: float) -> None:
        """Take a figure into account; a proof that measures several times gives each."""
        promise = PROMISES[name]
        known = self.figures.get(name, figure)
        is_worst = math.isnan(figure) or promise.choose_worse(known, figure) == figure
        self.figures[name] = float(figure if is_worst and not math.isnan(known) else known)
        assert promise.holds(figure), f"{promise.words}: {promise.show(figure)}, {promise.target}"

    def render(self) -> list[str]:
        """A line for each promise that was measured."""
        return [
            f"{'kept  ' if promise.holds(self.figures[name]) else 'BROKEN'} {promise.words}: "
            f"{promise.show(self.figures[name])} ({promise.target})"
            for name, promise in PROMISES.items()
            if name in self.figures
        ]

    def save(self, path: Path = MEASURED) -> None:
        """Add to what was measured before."""
        path.parent.mkdir(exist_ok=True)
        known = json.loads(path.read_text()) if path.exists() else {}
        day = dt.datetime.now(dt.timezone.utc).date().isoformat()
        known |= {name: [figure, day] for name, figure in self.figures.items()}
        path.write_text(json.dumps(known, indent=1))


def read_rows(text: str) -> dict[str, dict[str, str]]:
    """The rows of the document by their words."""
    return {row["words"]: row.groupdict() for row in _ROW.finditer(text)}


def render_document(measured: dict[str, list], before: str) -> str:
    """The document with new figures, and those of before where there are none."""
    rows, known = [], read_rows(before)
    for name, promise in PROMISES.items():
        row = known.get(promise.words, {})
        figure, day = row.get("figure", NOT_MEASURED), row.get("day", "")
        if name in measured:
            number, day = measured[name]
            figure = promise.show(number)
            if not promise.holds(number):
                figure = f"**{figure}**"
        rows.append(
            f"| {promise.words} | `{promise.proof}` | {promise.target} | {figure} | {day} |"
        )
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    before = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    DOCUMENT.write_text(render_document(measured, before))
