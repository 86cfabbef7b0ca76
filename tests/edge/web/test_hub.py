"""The page over all boxes of a fleet, from a real server, in a real browser."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from edge.fleet.box_store import BoxStore
from edge.fleet.records import Outcome, Report
from edge.fleet.store import FleetStore
from edge.wire.nats_connection import NatsServers
from tests.support.browser import needs_chromium, open_browser
from tests.support.fleet_people import KEY, Box, Hub
from tests.support.gallery import faces
from tests.support.nats_server import nats_server

HOSTILE = "<img src=x onerror=alert(1)>"


@contextmanager
def hub(server, *options):
    """`edge hub run`: its address."""
    command = ["hub", "run", "--port", "0", "--server", server.url, *map(str, options)]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", *command],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def report(server, *reports):
    """Boxes say something."""

    async def put():
        client = await NatsServers((server.url,)).connect()
        try:
            await FleetStore.open(client)
            for each in reports:
                await BoxStore(client, each.box).report(each)
        finally:
            await client.close()

    asyncio.run(put())


def make(box, problem="", is_ready=True, outcome=Outcome.APPLIED):
    return Report(box, "0.1.0", 3, outcome, problem, is_ready, time.time())


def ask(address, **headers):
    request = urllib.request.Request(address + "api/v1/boxes", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_for(address, condition, limit_s):
    """Seconds until the page knows."""
    began_s = time.monotonic()
    while not condition(found := ask(address)):
        assert time.monotonic() - began_s < limit_s, found
        time.sleep(0.05)
    return time.monotonic() - began_s


def test_a_thousand_boxes_are_on_one_page_within_two_seconds(tmp_path):
    with nats_server(tmp_path) as server:
        report(server, *(make(f"box{n}") for n in range(1000)))
        with hub(server) as address:
            wait_for(address, lambda found: len(found["boxes"]) == 1000, 15)
            report(server, make("box77", "the disk is full", is_ready=False))
            took_s = wait_for(
                address, lambda found: any(box["problem"] for box in found["boxes"]), 15
            )
            print(f"\n{took_s:.2f} s")
            server.kill()
            wait_for(address, lambda found: found["problem"], 15)
            assert len(ask(address)["boxes"]) == 1000
            server.start()
            wait_for(address, lambda found: not found["problem"], 15)


def test_a_box_that_said_nothing_for_long_is_away():
    report = make("gate", is_ready=False)
    assert report.judge(report.at_s + 60) == "not ready"
    assert report.judge(report.at_s + 100) == "away"
    assert make("gate").judge(report.at_s) == "ready"


def test_only_this_machine_is_answered_by_its_names(tmp_path):
    with nats_server(tmp_path) as server, hub(server) as address:
        with pytest.raises(urllib.error.HTTPError, match="421"):
            ask(address, host="evil.example")
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_what_boxes_owe_is_in_the_metrics(tmp_path):
    people = Hub(tmp_path / "people", time.time)
    key = tmp_path / "key"
    key.write_bytes(KEY.secret)
    key.chmod(0o600)
    person = people.enroll("Ann", faces(2), "*").id
    for name in ("gate", "yard"):
        Box(tmp_path / name, name, people).join()
    people.send()
    people.gallery.set_scope("Ann", ("gate",))
    people.send()
    [withdrawal] = people.people.file.read().boxes["yard"].withdrawn.values()
    people.gallery.close()
    with (
        nats_server(tmp_path / "nats") as server,
        hub(server, "--gallery", people.path, "--key", key) as address,
    ):
        wait_for(address, lambda found: len(found["boxes"]) == 2, 15)
        with urllib.request.urlopen(f"{address}metrics", timeout=10) as answer:
            assert answer.headers["content-type"].startswith("text/plain")
            text = answer.read().decode()
    values = dict(re.findall(r"^(edge_hub_people_owed\S*) (\S+)$", text, re.M))
    assert values['edge_hub_people_owed{box="gate"}'] == "0.0"
    assert values['edge_hub_people_owed{box="yard"}'] == "1.0"
    since = 'edge_hub_people_owed_since_timestamp_seconds{box="%s"}'
    assert float(values[since % "yard"]) == withdrawal.at_s
    assert float(values[since % "gate"]) == 0
    assert re.search(r'edge_hub_lease_end_timestamp_seconds\{box="gate"\} \d', text)
    assert person not in text
    assert "Ann" not in text


@needs_chromium
def test_the_page_names_those_that_need_somebody_first_and_text_stays_text(tmp_path):
    with nats_server(tmp_path) as server:
        report(
            server, make("attic"), make("gate", HOSTILE, outcome=Outcome.ROLLED_BACK),
            make("yard"), make("zoo", is_ready=False),
        )  # fmt: skip
        with hub(server) as address, open_browser() as browser:
            page = browser.new_page()
            dialogs = []
            page.on("dialog", lambda dialog: dialogs.append(dialog.message))
            page.goto(address)
            page.get_by_text("2 of 4 need attention").wait_for()
            names = page.locator("tbody th").all_inner_texts()
            assert names == ["gate", "zoo", "attic", "yard"]
            row = page.locator("tbody tr", has_text="gate").inner_text()
            assert HOSTILE in row
            assert re.search(r"3 rolled back", row)
            assert dialogs == []


@needs_chromium
def test_the_page_says_whom_boxes_know_and_what_they_owe(tmp_path):
    people = Hub(tmp_path / "people", time.time)
    key = tmp_path / "key"
    key.write_bytes(KEY.secret)
    key.chmod(0o600)
    people.enroll("Ann", faces(2), "*")
    for name in ("gate", "yard"):
        Box(tmp_path / name, name, people).join()
    people.gallery.close()
    with nats_server(tmp_path / "nats") as server:
        report(server, make("attic"), make("gate"))
        with (
            hub(server, "--gallery", people.path, "--key", key) as address,
            open_browser() as browser,
        ):
            page = browser.new_page()
            page.goto(address)
            page.get_by_text("2 of 3 need attention").wait_for()
            page.get_by_text("1 person; not there yet").first.wait_for()
            assert page.locator("thead th").all_inner_texts()[-1] == "People"
            rows = page.locator("tbody tr").all_inner_texts()
            assert [row.split()[0] for row in rows] == ["gate", "yard", "attic"]
            assert "it has never reported" in rows[1]
            assert "1 person; not there yet" in rows[0]
