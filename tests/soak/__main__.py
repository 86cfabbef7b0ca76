"""The soak: a whole node for an hour or a day, to which happens what happens to nodes.

    make soak                        # an hour
    make soak HOURS=24 SEED=7

Six cameras, of which four fail in every way we know, subscribers, viewers and a server of NATS that
come, go, stall and are killed, a configuration that changes, people who are enrolled and forgotten:
all drawn from a seed. At the end every message and every recording is accounted for, and what the
node used is laid on a line. The report is build/soak/soak.html, with soak.json beside it. The exit
status is 1 where a promise is broken, 130 where it was interrupted before its end.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.proof.promises import PROMISES, Ledger
from tests.soak.acts import ACTS, plan
from tests.soak.conservation import check_kept, count_lines, replay
from tests.soak.director import Director
from tests.soak.numbers import Numbers
from tests.soak.outcome import Outcome, fit_trends, judge
from tests.soak.report import describe, write_report
from tests.soak.stage import PASSWORD, Stage, running, set_stage
from tests.soak.usage import Watch
from tests.soak.witness import Witness

DRAIN_S = 60.0  # for what waits in the spool
TOLD_EVERY_S = 300.0
PROMISED_S = 3600.0  # a shorter run says too little to be told as a promise
BROKEN, INTERRUPTED = 1, 130


class NodeEndedError(Exception):
    """The node ended by itself."""


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    """How long, and which seed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=float, default=1.0, help="how long")
    parser.add_argument("--seed", type=int, help="of what happens; by default any")
    parser.add_argument("--folder", type=Path, default=Path("build/soak"), help="of the report")
    return parser.parse_args(arguments)


def soak(stage: Stage, seed: int, lasts_s: float, over: threading.Event) -> Outcome:
    """Let a node run, and account for everything."""
    numbers, began_s = Numbers(), time.time()
    end, leaks = "", 0
    with (
        Witness(stage.ports.bus, numbers, PASSWORD) as witness,
        running(stage),
        Watch(stage.process.pid, stage.folder, stage.count_waiting) as watch,
    ):
        print("the node runs", file=sys.stderr, flush=True)
        director = Director(stage, plan(ACTS, seed), lambda: watch.lasts_s)
        tell = _make_teller(stage, watch, director)
        try:
            director.run(lasts_s, over, tell)
        except NodeEndedError as error:
            end = str(error)
        lasted_s = watch.lasts_s
        end = end or ("interrupted" if over.is_set() else "")
        if stage.process.poll() is None:
            _wait_for_spool(stage)
            with contextlib.suppress(OSError):
                leaks += PASSWORD in "".join(
                    stage.ask(path).decode() for path in ("/metrics", "/api/v1/health", "/readyz")
                )
        status, stopped_s = stage.stop()
        time.sleep(1)  # for the last messages to arrive at the witness
    replayed = replay(stage.ports.nats_url, began_s, numbers, PASSWORD)
    log = stage.log.read_text(errors="replace")
    leaks += log.count(PASSWORD) + replayed.leaks + witness.leaks
    return Outcome(
        seed, lasts_s, lasted_s, watch.usages, fit_trends(watch.usages), director.done,
        numbers.account(), check_kept(stage.folder / "kept", replayed), status, stopped_s, leaks,
        replayed.repeated, count_lines(log), end,
    )  # fmt: skip


def _make_teller(stage: Stage, watch: Watch, director: Director):
    """What is done between acts: notice that the node has ended, and say how it goes."""
    told_s = 0.0

    def tell() -> None:
        nonlocal told_s
        if stage.process.poll() is not None:
            raise NodeEndedError(f"the node ended by itself with {stage.process.returncode}")
        if watch.lasts_s - told_s >= TOLD_EVERY_S and watch.usages:
            told_s, usage = watch.lasts_s, watch.usages[-1]
            print(
                f"{told_s / 60:.0f} min: {len(director.done)} acts, anonymous "
                f"{usage.anonymous_bytes / 1e6:.1f} MB, {usage.threads} threads, {usage.files} "
                f"files, {usage.waiting} messages wait", file=sys.stderr, flush=True,
            )  # fmt: skip

    return tell


def _wait_for_spool(stage: Stage) -> None:
    """Return once the server of NATS has everything but what comes now."""
    deadline_s = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline_s and not 0 <= stage.count_waiting() < 20:
        time.sleep(0.5)


def main(arguments: list[str]) -> int:
    """Run, report, and return the exit status."""
    options = read_arguments(arguments)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    print(f"soak: seed {seed}, {options.hours:g} h", file=sys.stderr, flush=True)
    over = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: over.set())
    with tempfile.TemporaryDirectory() as place:
        try:
            with set_stage(Path(place)) as stage:
                outcome = soak(stage, seed, 3600 * options.hours, over)
        except pytest.skip.Exception as reason:
            sys.exit(f"soak: {reason}")
        finally:
            _keep_log(Path(place) / "node" / "log", options.folder)
    ledger = Ledger()

    def keep(name: str, figure: float) -> None:
        with contextlib.suppress(AssertionError):  # told by the report
            ledger.note(name, figure)

    judge(outcome, keep)
    page = write_report(options.folder, outcome, ledger)
    print(describe(outcome), *ledger.render(), f"report: {page}", sep="\n")
    if outcome.is_whole and outcome.planned_s >= PROMISED_S:
        ledger.save()
    return choose_exit(ledger, is_whole=outcome.is_whole)


def choose_exit(ledger: Ledger, *, is_whole: bool) -> int:
    """The exit status: of a broken promise, or of a run that did not come to its end."""
    if not all(PROMISES[name].holds(figure) for name, figure in ledger.figures.items()):
        return BROKEN
    return 0 if is_whole else INTERRUPTED


def _keep_log(log: Path, folder: Path) -> None:
    """Put the node's log beside the report."""
    if log.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "node.log").write_bytes(log.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
