"""Every number that was published is received, replayed or reported lost, whatever is killed.

A process that publishes through the NATS sink, the NATS server of its box, the hub's server and
a subscriber are killed KILLS times at random, from a seed; in the midst of it the box's server is
away for so long that the spool is full, and gives up its oldest. Then the account is drawn up.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from edge.replay import Replay
from tests.support.documented_fleet import DocumentedFleet
from tests.support.numbered_sender import TOPIC

KILLS = int(os.environ.get("KILLS") or 100)
SEED = int(os.environ.get("SEED") or 15)
PATIENCE_S = 180
BURST = 12_000  # more than the spool holds


class Process:
    """A process that is killed and started again; what its standard output says last is kept."""

    def __init__(self, stack, make_command):
        self._make_command = make_command
        self.starts = 0
        self.said = {}
        stack.callback(self.kill)
        self._process = None

    def start(self):
        self.starts += 1
        command = [sys.executable, "-m", *self._make_command(self.starts)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def type(self, line):
        self._process.stdin.write(f"{line}\n")

    def kill(self):
        if self._process is None:
            return
        self._process.kill()
        lines = self._process.stdout.read().splitlines()
        if lines:
            self.said[self.starts] = int(lines[-1])
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()
        self._process.wait()
        self._process = None


def read_received(path):
    """The numbers that the subscriber kept, by boot."""
    found = set()
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off by a kill; it was not acknowledged
            continue
        if row["topic"] == TOPIC:
            found.add((row["boot"], row["seq"]))
    return found


def replay(fleet):
    """What the hub has, by boot and number, and its account."""
    with Replay(
        fleet.hub_url, since_s=0, until_s=time.time() + 60, box="gate",
        credentials_file=fleet.key, tls_ca=fleet.ca,
    ) as replayed:  # fmt: skip
        found = Counter((body.boot, body.seq) for _, body in replayed)
        return found, replayed.account()


@pytest.mark.proof
def test_every_number_is_accounted_for(tmp_path, keep):
    rng = random.Random(SEED)
    killed = Counter()
    with ExitStack() as stack:
        fleet = stack.enter_context(DocumentedFleet(tmp_path))
        spool, kept = str(tmp_path / "spool.db"), tmp_path / "received"
        sender = Process(
            stack,
            lambda n: ["tests.support.numbered_sender", fleet.box_url, spool, f"boot{n}"],
        )
        subscriber = Process(
            stack,
            lambda _: ["tests.support.durable_subscriber", fleet.hub_url, fleet.key, fleet.ca,
                       str(kept)],
        )  # fmt: skip
        parts = {"daemon": sender, "leaf": fleet.box, "broker": fleet.hub, "subscriber": subscriber}
        sender.start()
        subscriber.start()
        for number in range(KILLS):
            name = rng.choice(sorted(parts))
            killed[name] += 1
            time.sleep(rng.uniform(0.2, 3))
            parts[name].kill()
            time.sleep(rng.uniform(0, 1))
            if number == KILLS // 2:
                fleet.box.kill()
                if name == "daemon":
                    sender.start()
                sender.type(BURST)
                time.sleep(10)
                if name not in ("daemon", "leaf"):
                    parts[name].start()
                fleet.box.start()
                continue
            parts[name].start()
        time.sleep(3)
        sender.kill()
        published = {(f"boot{n}", seq) for n, last in sender.said.items() for seq in
                     range(1, last + 1)}  # fmt: skip
        sender.start()  # its spool still has to be sent; what comes after is not counted
        last, before = f"boot{sender.starts}", None
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            time.sleep(5)
            replayed, accounts = replay(fleet)
            lost = {(account.boot, seq) for account in accounts for first, end in account.missing
                    for seq in range(first, end + 1)}  # fmt: skip
            received = read_received(kept)
            state = len(published & received), len(published & set(replayed)), lost & published
            if state == before and any(boot == last for boot, _ in replayed):
                break  # what was spooled later has arrived, and nothing comes any more
            before = state
        unaccounted = published - received - set(replayed) - lost
    twice = sum(account.repeated for account in accounts)
    print(
        f"\n{dict(killed)}: {len(published)} published, {len(received & published)} received, "
        f"{len(published & set(replayed) - received)} replayed, {len(lost & published)} reported "
        f"lost, {len(unaccounted)} unaccounted for, {twice} twice",
        flush=True,
    )
    assert lost & published, "the spool was to be full once"
    assert published & received, "the subscriber was to receive"
    keep("account", len(unaccounted))
    keep("account twice", twice)
