"""The soak: what it draws, how it counts, and that it notices what it is there to notice."""

import json
import math
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest

from edge.errors import SourceError
from edge.recording.records import FileKind
from edge.sources.rtsp import Options, RtspCamera
from edge.wire.message_builder import MessageBuilder
from tests.proof.promises import PROMISES, Ledger
from tests.soak.__main__ import BROKEN, INTERRUPTED, choose_exit
from tests.soak.acts import ACTS, plan
from tests.soak.camera import HEALTHY, changing_camera
from tests.soak.chart import Line, draw_chart
from tests.soak.conservation import OLD_S, Kept, Replayed, check_kept, count_lines
from tests.soak.director import Done
from tests.soak.numbers import LOST, RECEIVED, REPLAYED, Account, Numbers
from tests.soak.outcome import SETTLED_S, Outcome, fit_trends, judge
from tests.soak.report import render_page, write_report
from tests.soak.settings import Settings
from tests.soak.trend import _find_quantile, fit_line
from tests.soak.usage import Usage, measure, pick_lowest
from tests.support.drawn_scenes import draw_door
from tests.support.film_camera import FilmCamera
from tests.support.nats_server import BINARY
from tests.support.rtsp_server import why_missing
from tests.support.shown_node import _encode, store_clip
from tests.support.videos import WALKING
from tests.support.web_node import make_archive, make_event, store

TOPIC = "v1/detections/a/"
KEPT = Kept(1, 2, 2, (), (), (), ())
needs_film = pytest.mark.skipif(not WALKING.is_file(), reason=f"no {WALKING.name}")


def make_usage(at_s, anonymous_bytes=10e6, threads=20):
    return Usage(at_s, 2e7, 15e6, anonymous_bytes, threads, 40, at_s / 2, 1000, 0)


def make_outcome(**changes):
    usages = [make_usage(at_s) for at_s in range(5, 3600, 5)]
    account = Account(TOPIC, 10, 9, 1, 10, 0, 0, 0)
    given = {
        "seed": 7, "planned_s": 3600, "lasted_s": 3600, "usages": usages,
        "trends": fit_trends(usages), "done": [Done(3, "camera", "404", 9)],
        "accounts": [account], "kept": KEPT, "exit_status": 0, "stopped_s": 2.0, "leaks": 0,
        "repeated": 0, "lines": {"a: offline": 3}, "end": "",
    }  # fmt: skip
    return Outcome(**(given | changes))


def judge_all(outcome):
    ledger, broken = Ledger(), []

    def keep(name, figure):
        try:
            ledger.note(name, figure)
        except AssertionError:
            broken.append(name)

    judge(outcome, keep)
    return ledger, broken


# --- what is drawn --------------------------------------------------------------------------------


def test_a_seed_always_gives_the_same_acts_and_another_one_others():
    def draw(seed):
        hour = takewhile(lambda planned: planned.at_s < 3600, plan(ACTS, seed))
        return [(p.at_s, p.act.name, p.lasts_s, p.seed) for p in hour]

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize("seed", range(5))
def test_every_act_has_happened_before_growth_is_measured(seed):
    early = takewhile(lambda planned: planned.at_s < SETTLED_S - 60, plan(ACTS, seed))
    seen = {(planned.act.family, planned.act.name) for planned in early}
    assert seen == {(act.family, act.name) for act in ACTS}


def test_in_one_place_nothing_begins_before_what_was_there_is_over():
    free_s = {}
    for planned in takewhile(lambda p: p.at_s < 7200, plan(ACTS, 1)):
        place = planned.act.place
        if place:
            assert planned.at_s >= free_s.get(place, 0)
            free_s[place] = planned.at_s + planned.lasts_s


def test_a_configuration_is_refused_only_when_it_is_broken(tmp_path):
    from edge import config_file
    from edge.errors import ConfigError
    from tests.soak.settings import Camera, Ports

    camera = Camera("a", '{ kind = "synthetic" }', "continuous = true")
    path = tmp_path / "edge.toml"
    for settings in (Settings(), Settings(has_file=True, has_spare=True, min_score=0.31)):
        path.write_text(settings.render((camera,), Ports(9470, 5555, "nats://127.0.0.1:4222")))
        loaded = config_file.load(path)
        assert len(loaded.sinks) == 2 + settings.has_file
        assert loaded.cameras[0].min_score["person"] == settings.min_score
    path.write_text(
        Settings(is_broken=True).render((camera,), Ports(9470, 5555, "nats://127.0.0.1:4222"))
    )
    with pytest.raises(ConfigError):
        config_file.load(path)


@needs_film
def test_a_camera_hangs_up_when_its_fault_changes_and_is_back_when_it_is_healthy():
    with changing_camera("u:p") as camera:
        source = RtspCamera(Options(url=camera.url))
        with source.connect(threading.Event()) as captures:
            assert next(captures).picture.size_wh == (320, 180)
            camera.change("404")
            with pytest.raises(SourceError, match="ended the stream"):
                for _ in captures:
                    pass
        with pytest.raises(SourceError, match="404"), source.connect(threading.Event()):
            pass
        camera.change(HEALTHY)
        with source.connect(threading.Event()) as captures:
            assert next(captures).picture.size_wh == (320, 180)


# --- growth ---------------------------------------------------------------------------------------


def test_a_line_has_the_slope_of_its_points():
    trend = fit_line([(x / 60, 5 + 3 * x / 60) for x in range(50)])
    assert (trend.begin, trend.slope) == pytest.approx((5, 3))
    assert (trend.low, trend.high) == pytest.approx((3, 3))
    assert fit_line([(0, 1), (1, 2)]) is None


@pytest.mark.parametrize(("free", "table"), [(3, 3.182), (5, 2.571), (10, 2.228), (48, 2.011)])
def test_quantiles_are_those_of_the_tables(free, table):
    assert _find_quantile(free) == pytest.approx(table, rel=0.02)


@pytest.mark.parametrize("memory", [0.0, 0.7])  # of a value for the one before it
def test_the_interval_contains_the_true_slope_as_often_as_it_says(memory):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        rest = [0.0]
        for step in rng.normal(0, 1, 200):
            rest.append(memory * rest[-1] + step)
        trend = fit_line([(x / 60, 2 * x / 60 + rest[x]) for x in range(len(rest))])
        hits += trend.low <= 2 <= trend.high
    assert 0.90 <= hits / 400 <= 0.985


def test_what_comes_and_goes_within_a_minute_is_no_growth():
    usages = [make_usage(at_s, 10e6 + (at_s % 60 == 30) * 9e6) for at_s in range(0, 3600, 5)]
    points = list(pick_lowest(usages, SETTLED_S, "anonymous_bytes"))
    assert len(points) == 50
    assert {value for _, value in points} == {10e6}
    assert points[0][0] * 60 == pytest.approx(10.5)


# A process of its own: what this one gave back or keeps for later says nothing about `measure`.
GROWING = """
import sys, threading, time
input()
began_s = time.process_time()
while time.process_time() < began_s + 0.1:
    pass
content = b"x" * (32 << 20)
threading.Thread(target=threading.Event().wait, daemon=True).start()
file = open(sys.argv[1], "wb", buffering=0)
file.write(b"x" * 5000)
print("grown", flush=True)
input()
"""


def test_memory_threads_and_files_of_a_process_are_seen(tmp_path):
    command = [sys.executable, "-c", "print('ready', flush=True)" + GROWING, tmp_path / "file"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        before = measure(process.pid, tmp_path, 0, 0)
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "grown\n"
        after = measure(process.pid, tmp_path, 0, 0)
        process.communicate("\n")
    assert 32 << 20 <= after.anonymous_bytes - before.anonymous_bytes < 34 << 20
    assert after.threads == before.threads + 1
    assert after.files == before.files + 1
    assert (before.disk_bytes, after.disk_bytes) == (0, 5000)
    assert after.cpu_s - before.cpu_s >= 0.08


# --- conservation ---------------------------------------------------------------------------------


def test_each_number_has_its_fate():
    numbers = Numbers()
    for number in (1, 2, 5):
        numbers.note("boot", TOPIC, number, RECEIVED)
    numbers.note("boot", TOPIC, 3, LOST, 5)
    for number in (1, 2, 4, 5, 6):
        numbers.note("boot", TOPIC, number, REPLAYED)
    numbers.claim("boot", TOPIC, 8)
    [account] = numbers.account()
    assert account == Account(TOPIC, 8, 3, 2, 5, unaccounted=2, untrue=0, unstored=3)
    numbers.note("boot", TOPIC, 3, RECEIVED)
    [account] = numbers.account()
    assert account.untrue == 1
    numbers.note("other boot", TOPIC, 1, RECEIVED)
    assert [account.sent for account in numbers.account()] == [8, 1]


@pytest.fixture
def kept(tmp_path):
    """A storage folder of four events, and what messages say of them."""
    archive = make_archive(tmp_path)
    builder = MessageBuilder("soak", "boot", ("person",), "none", "0" * 64)
    film = FilmCamera("door", [draw_door(n, 20) for n in range(20)])
    ended = {}
    for number in range(4):
        event = make_event(number, began_s=1000.0 + 500 * number, ended_s=1001.0 + 500 * number)
        archive.index.put_event(event)
        store(archive, event, FileKind.SNAPSHOT, _encode(film.scenes[0].rgb, 90))
        store_clip(archive, event, film)
        message = builder.build_event(event, "ended", snapshot=True, clip=True)
        ended[event.event_id] = message.body
    for file in archive.index.list_files(FileKind.CLIP):
        archive.index.put_file(replace(file, ended_s=file.began_s + 2.0))
    yield archive, Replayed(frozenset(ended), ended, 0, 0)
    archive.index.close()


def check(kept):
    archive, replayed = kept
    return check_kept(archive.folder, replayed)


def test_a_whole_folder_has_no_problems(kept):
    found = check(kept)
    assert found == Kept(4, 8, 8, (), (), (), ())
    assert found.problems == 0


def test_what_had_to_go_is_not_missed(kept):
    archive, _ = kept
    first = min(archive.index.list_event_ids())
    for file in archive.index.list_files(event_id=first):
        (archive.folder / file.path).unlink()
        archive.index.delete_files([file.path])
    archive.index.delete_event(first)
    assert check(kept).problems == 0
    assert OLD_S < 500


@pytest.mark.parametrize("kind", [FileKind.CLIP, FileKind.SNAPSHOT])
def test_an_event_without_its_file_is_found(kept, kind):
    archive, _ = kept
    [file] = archive.index.list_files(kind, event_id="e00002")
    (archive.folder / file.path).unlink()
    assert check(kept).strays == (file.path,)
    archive.index.delete_files([file.path])
    assert check(kept).lacking == ("e00002",)


def test_strays_untold_events_and_damaged_files_are_found(kept):
    archive, replayed = kept
    (archive.folder / "stray.mp4").write_bytes(b"x")
    [clip] = archive.index.list_files(FileKind.CLIP, event_id="e00003")
    path = archive.folder / clip.path
    content = bytearray(path.read_bytes())
    content[-20_000:] = bytes(20_000)
    path.write_bytes(content)
    found = check((archive, replace(replayed, told=replayed.told - {"e00001"})))
    assert found.strays == ("stray.mp4",)
    assert found.untold == ("e00001",)
    assert [each.split(":")[0] for each in found.damaged] == [clip.path]


def test_lines_of_the_log_are_counted_without_what_differs():
    log = (
        "2026-12-01T03:04:06Z warning c: offline: rtsp://127.0.0.1:39329/live ended the stream\n"
        "2026-12-01T03:05:07Z warning c: offline: rtsp://127.0.0.1:39329/live ended the stream\n"
        "2026-12-01T03:05:07Z info c: online: delivers\n"
    )
    assert count_lines(log) == {"c: offline: rtsp://#/live ended the stream": 2}


# --- the verdict and the report -------------------------------------------------------------------


def test_a_good_hour_keeps_every_promise_of_the_soak():
    ledger, broken = judge_all(make_outcome())
    assert broken == []
    assert set(ledger.figures) == {n for n, each in PROMISES.items() if each.proof == "soak"}
    assert choose_exit(ledger, is_whole=True) == 0
    assert choose_exit(ledger, is_whole=False) == INTERRUPTED


def grow(**how):
    [(name, (first, slope))] = how.items()
    usages = [make_usage(at_s, **{name: first + slope * at_s / 3600}) for at_s in range(5, 3600, 5)]
    return {"usages": usages, "trends": fit_trends(usages)}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        (grow(anonymous_bytes=(10e6, 1.1e6)), "soak memory"),
        (grow(threads=(20, 1.5)), "soak threads"),
        ({"accounts": []}, "soak numbers"),
        ({"accounts": [Account(TOPIC, 10, 9, 0, 9, 1, 0, 0)]}, "soak numbers"),
        ({"accounts": [Account(TOPIC, 10, 9, 1, 10, 0, 1, 0)]}, "soak numbers"),
        ({"accounts": [Account(TOPIC, 10, 10, 0, 9, 0, 0, 1)]}, "soak stream"),
        ({"kept": replace(KEPT, strays=("x",))}, "soak kept"),
        ({"leaks": 1}, "soak secrets"),
        ({"exit_status": -9}, "soak stop"),
        ({"stopped_s": 6.0}, "soak stop"),
    ],
)
def test_what_falls_short_is_named_and_fails(changes, broken, tmp_path):
    outcome = make_outcome(**changes)
    ledger, found = judge_all(outcome)
    assert found == [broken]
    assert choose_exit(ledger, is_whole=True) == choose_exit(ledger, is_whole=False) == BROKEN
    page = write_report(tmp_path, outcome, ledger).read_text()
    assert page.count("BROKEN") == 1
    promises = json.loads((tmp_path / "soak.json").read_text())["promises"]
    assert [name for name, each in promises.items() if not each["holds"]] == [broken]


def test_memory_that_was_not_watched_for_long_enough_is_not_judged(tmp_path):
    usages = [make_usage(at_s) for at_s in range(5, 660, 5)]
    outcome = make_outcome(
        usages=usages, trends=fit_trends(usages), lasted_s=660, end="interrupted"
    )
    ledger, _ = judge_all(outcome)
    assert not {"soak memory", "soak threads", "soak files"} & set(ledger.figures)
    page = render_page(outcome, ledger)
    assert "ENDED EARLY, after 11.0 of 60 minutes: interrupted" in page
    assert page.count("not measured") == 3


def test_the_page_stands_by_itself_and_names_seed_acts_and_log():
    page = render_page(make_outcome(lines={"<script>": 1}), judge_all(make_outcome())[0])
    assert "seed 7" in page
    assert "404, 9 s" in page
    assert "<script>" not in page
    assert not re.findall(r"(?:src|href)=|https?://", page)


def test_lines_of_a_chart_rise_with_their_values():
    chart = draw_chart("Memory", [Line("a", [(0, 10), (0.5, 20), (1, 40)])], 1)
    [points] = re.findall(r'polyline points="([^"]+)"', chart)
    xs, ys = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    assert list(xs) == sorted(xs)
    assert ys[0] - ys[1] == pytest.approx((ys[1] - ys[2]) / 2, abs=0.2)
    assert [float(each) for each in re.findall(r'end">(\d+)<', chart)] == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("values", [[0, 0], [5e-9], [1e9, 1e9 + 1], []])
def test_a_chart_of_what_does_not_change_is_drawn(values):
    for from_zero in (True, False):
        chart = draw_chart("x", [Line("a", [(0.5, v) for v in values])], 1, from_zero=from_zero)
        assert "nan" not in chart
        assert math.isfinite(sum(map(float, re.findall(r" y=\"(\S+)\"", chart))))


# --- all of it ------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_film
@pytest.mark.skipif(not BINARY, reason="no nats-server")
@pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "-")
def test_a_soak_that_is_interrupted_accounts_for_what_was(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.soak", "--seed", "1", "--folder", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert any("the node runs" in line for line in process.stderr)
    time.sleep(random.Random(0).uniform(20, 25))  # for something to happen
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, told
    assert "ENDED EARLY" in told
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["end"] == "interrupted"
    assert sum(account["sent"] for account in found["accounts"]) > 100
    assert len(found["done"]) > 0
    assert (tmp_path / "node.log").stat().st_size > 0
