"""What happens to the node: faults, visitors, changes; drawn from a seed."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from edge.sources.synthetic import find_shipped_photo
from tests.soak.camera import FAULTS, HEALTHY
from tests.soak.settings import DETECTORS
from tests.soak.stage import CHANGING, GALLERY, Stage

End = Callable[[], None]
GAP_S = (2.0, 12.0)  # from the begin of an act to that of the next one
SETTLE_S = 3.0  # from the end of an act to the next one in its place
ATTACKS = ("never_read", "half_handshakes", "subscribe_to_much", "churn_connections", "garbage")
VIEWERS = ("good", "slow", "stalled")
NAMES = ("Ada", "Ben", "Cleo")


@dataclass(frozen=True)
class Act:
    """Something that happens for a while.

    Attributes:
        family: Which kind of thing it is.
        name: Which one.
        begin: Begins it and returns what ends it.
        lasts_s: Between which seconds it may last.
        place: Where only one may be at a time; empty is anywhere.
    """

    family: str
    name: str
    begin: Callable[[Stage, random.Random], End]
    lasts_s: tuple[float, float]
    place: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """An act in its time.

    Attributes:
        at_s: When it begins, in seconds of the run.
        seed: Of what it draws itself.
    """

    at_s: float
    act: Act
    lasts_s: float
    seed: int


def plan(acts: Sequence[Act], seed: int) -> Iterator[Planned]:
    """What happens, without end: all acts in any order, again and again.

    In one place nothing begins before what was there is over. A seed always gives the same.
    """
    rng = random.Random(seed)
    at_s, free_s, deck = 0.0, dict[str, float](), list[Act]()
    while True:
        at_s += rng.uniform(*GAP_S)
        deck = deck or rng.sample(acts, len(acts))
        act = next((act for act in deck if free_s.get(act.place, 0) <= at_s), None)
        if act is None:
            continue
        deck.remove(act)
        lasts_s = rng.uniform(*act.lasts_s)
        if act.place:
            free_s[act.place] = at_s + lasts_s + SETTLE_S
        yield Planned(at_s, act, lasts_s, rng.getrandbits(32))


# --- cameras --------------------------------------------------------------------------------------


def spoil(fault: str) -> Callable[[Stage, random.Random], End]:
    """One of the cameras has a fault."""

    def begin(stage: Stage, rng: random.Random) -> End:
        camera = stage.cameras[rng.choice(CHANGING)]
        camera.change(fault)
        return lambda: camera.change(HEALTHY)

    return begin


def take_away(stage: Stage, rng: random.Random) -> End:
    """A camera is gone: nobody listens at its address."""
    stage.server.stop()
    return stage.server.start


def freeze(stage: Stage, rng: random.Random) -> End:
    """A camera hangs, with every connection open."""
    stage.server.freeze()
    return stage.server.thaw


# --- who subscribes and looks ---------------------------------------------------------------------


def kill_broker(stage: Stage, rng: random.Random) -> End:
    """kill -9 of the server of NATS."""
    stage.broker.kill()
    return lambda: stage.broker.start() and None


def attack(kind: str) -> Callable[[Stage, random.Random], End]:
    """Subscribers that ask for too much, or read nothing."""

    def begin(stage: Stage, rng: random.Random) -> End:
        words = ("tests.support.hostile_subscribers", kind, str(stage.ports.bus), "60")
        child = stage.run(*words)

        def end() -> None:
            child.kill()
            stage.end(child)

        return end

    return begin


def watch(kind: str) -> Callable[[Stage, random.Random], End]:
    """Viewers of live video."""

    def begin(stage: Stage, rng: random.Random) -> End:
        address, count = f"ws://127.0.0.1:{stage.ports.http}", str(rng.randint(1, 3))
        cameras = [camera.name for camera in stage.described]
        chosen = rng.sample(cameras, rng.randint(1, 2))
        child = stage.run("tests.support.live_viewers", address, kind, count, *chosen)
        return lambda: stage.end(child) and None

    return begin


def browse(stage: Stage, rng: random.Random) -> End:
    """Somebody opens the page: lists, pictures, a clip that is left in its midst."""
    over = threading.Event()
    turn = random.Random(rng.random())
    thread = threading.Thread(target=_browse, args=(stage, turn, over), name="browser")
    thread.start()

    def end() -> None:
        over.set()
        thread.join()

    return end


def _browse(stage: Stage, rng: random.Random, over: threading.Event) -> None:
    names = [camera.name for camera in stage.described]
    paths = [
        "/", "/api/v1/cameras", "/api/v1/health", "/api/v1/people", "/api/v1/events",
        *(f"/api/v1/cameras/{name}/{what}" for name in names
          for what in ("latest.jpg", "live.mjpeg", "objects", "places")),
        "/api/v1/changes",
    ]  # fmt: skip
    while not over.wait(rng.uniform(0.05, 0.5)):
        choice = rng.choice(paths)
        if rng.random() < 0.4:
            choice = _find_file(stage, rng) or choice
        _read_some(stage.ports.http, choice, rng.choice((1, 100_000, 10_000_000)))


def _find_file(stage: Stage, rng: random.Random) -> str:
    """Where a picture or a clip of an event is."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        events = json.loads(stage.ask("/api/v1/events?limit=50"))["events"]
        if events:
            what = rng.choice(("snapshot.jpg", "thumbnail.jpg", "clip.mp4"))
            return f"/api/v1/events/{rng.choice(events)['id']}/{what}"
    return ""


def _read_some(port: int, path: str, most_bytes: int) -> None:
    """Read an answer for up to three seconds, and hang up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    until_s = time.monotonic() + 3
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        size = 0
        while time.monotonic() < until_s and size < most_bytes:
            part = answer.read1(65536)
            if not part:
                return
            size += len(part)
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()


# --- changes --------------------------------------------------------------------------------------
#
# What takes memory is changed back: at the end of a minute a node is to be what it was at its
# beginning, so that what it takes more is growth.


def change_threshold(stage: Stage, rng: random.Random) -> End:
    """SIGHUP: another score is needed."""
    stage.configure(replace(stage.settings, min_score=round(rng.uniform(0.3, 0.7), 2)))
    return _do_nothing


def change_sinks(stage: Stage, rng: random.Random) -> End:
    """SIGHUP: a file more or less, and ZeroMQ or NATS opened anew."""
    settings = replace(stage.settings, has_file=not stage.settings.has_file)
    if rng.random() < 0.5:
        settings = replace(settings, sndhwm=rng.randint(500, 1500))
    else:
        settings = replace(settings, max_age_s=rng.randint(50_000, 100_000))
    stage.configure(settings)
    return _do_nothing


def change_model(stage: Stage, rng: random.Random) -> End:
    """SIGHUP: the other detector for a while, which takes more memory or less."""
    usual, other = DETECTORS
    stage.configure(replace(stage.settings, detector=other))
    return lambda: stage.configure(replace(stage.settings, detector=usual))


def change_cameras(stage: Stage, rng: random.Random) -> End:
    """SIGHUP: a camera more for a while."""
    stage.configure(replace(stage.settings, has_spare=True))
    return lambda: stage.configure(replace(stage.settings, has_spare=False))


def break_configuration(stage: Stage, rng: random.Random) -> End:
    """SIGHUP: what cannot be used, and what can again."""
    stage.configure(replace(stage.settings, is_broken=True))
    return lambda: stage.configure(replace(stage.settings, is_broken=False))


def enroll(stage: Stage, rng: random.Random) -> End:
    """Somebody is enrolled."""
    photo, name = str(find_shipped_photo()), rng.choice(NAMES)
    words = ("enroll", name, photo, *GALLERY, "--consent", "--allow-duplicates", "--replace")
    return _wait_for(stage, stage.run("edge", *words))


def forget(stage: Stage, rng: random.Random) -> End:
    """Somebody is forgotten, if they are there."""
    words = ("people", "forget", rng.choice(NAMES), *GALLERY, "--yes")
    return _wait_for(stage, stage.run("edge", *words))


def _wait_for(stage: Stage, child: subprocess.Popen[bytes]) -> End:
    return lambda: stage.end(child) and None


def _do_nothing() -> None:
    """It is over as soon as it has begun."""


ACTS = (
    *(Act("camera", fault, spoil(fault), (5, 40)) for fault in FAULTS),
    Act("camera", "away", take_away, (2, 30), "server"),
    Act("camera", "hangs", freeze, (2, 20), "server"),
    *(Act("broker", "kill -9", kill_broker, (1, 60), "broker") for _ in range(2)),
    *(Act("subscriber", kind, attack(kind), (2, 8), "bus") for kind in ATTACKS),
    *(Act("viewer", kind, watch(kind), (5, 40)) for kind in VIEWERS),
    *(Act("viewer", "page", browse, (5, 30)) for _ in range(2)),
    Act("reload", "threshold", change_threshold, (0, 0), "configuration"),
    Act("reload", "sinks", change_sinks, (0, 0), "configuration"),
    Act("reload", "model", change_model, (10, 30), "configuration"),
    Act("reload", "cameras", change_cameras, (10, 30), "configuration"),
    Act("reload", "refused", break_configuration, (3, 8), "configuration"),
    Act("people", "enroll", enroll, (15, 20)),
    Act("people", "forget", forget, (15, 20)),
)
