"""Galleries of a fleet over a real server: agents, commands, and the page."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

import pytest

from edge.fleet.box_agent import BoxAgent
from edge.people.gallery.encryption import create_key_file, load_key
from edge.people.gallery.gallery import Gallery
from edge.wire.nats_connection import NatsServers
from tests.edge.fleet.test_box_agent import ToldControl, use
from tests.support.fleet_people import Box, Hub, connect
from tests.support.gallery import EMBEDDER, faces
from tests.support.nats_server import nats_server

PATIENCE_S = 30
COUNT, AWAY = 20, 3


@pytest.fixture
def server(tmp_path):
    with nats_server(tmp_path / "nats") as running:
        use(running, lambda store: store.list_reports())
        yield running


def edge(*arguments, timeout=90):
    """The command: its exit status and what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "edge", *map(str, arguments)], capture_output=True, text=True,
        timeout=timeout, check=False, env=os.environ | {"COLUMNS": "300"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def wait(condition):
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


class FleetOfPeople:
    """A hub with a gallery on the disk, and boxes with agents in threads."""

    def __init__(self, folder, server, count):
        self.folder, self.server = folder, server
        self.hub = Hub(folder / "hub", time.time)
        self.key = folder / "hub" / "key"
        self.key.write_bytes(bytes(range(32)))
        self.key.chmod(0o600)
        self.boxes = {}
        for name in (f"box{n}" for n in range(count)):
            self.boxes[name] = Box(folder / name, name, self.hub).join()
            (folder / name / "edge.toml").write_text("good")

    def options(self, *, key=True):
        keys = ["--key", self.key] if key else []
        return ["--gallery", self.hub.path, *keys, "--server", self.server.url]

    @contextmanager
    def running(self, names):
        """The agents of these boxes."""
        over = threading.Event()
        servers = NatsServers((self.server.url,))
        threads = []
        for name in names:
            box = self.boxes[name].start()
            control = ToldControl(box.folder / "edge.toml")
            agent = BoxAgent(name, servers, control, over.is_set, box.people)
            threads.append(threading.Thread(target=agent.run))
            threads[-1].start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE_S)
            assert not any(thread.is_alive() for thread in threads)

    def send(self):
        connect(
            self.server,
            lambda bucket, _: self.hub.people.publish(self.hub.gallery, bucket, 3600.0),
        )


def test_forgetting_is_confirmed_by_those_that_are_up_and_the_others_are_named(tmp_path, server):
    """Measured: 1.5 s; the command waits for longer, as machines of tests may be busy."""
    fleet = FleetOfPeople(tmp_path, server, COUNT)
    fleet.hub.enroll("Ann", faces(3, 1), "*")
    fleet.hub.enroll("Bob", faces(2, 2), "*")
    fleet.send()
    fleet.hub.gallery.close()
    names = [*fleet.boxes]
    up, away = names[AWAY:], names[:AWAY]
    with fleet.running(names):
        wait(lambda: all(box.people.receipt.number for box in fleet.boxes.values()))
        wait(lambda: all(box.names() == ["Ann", "Bob"] for box in fleet.boxes.values()))
    with fleet.running(up):
        wait(lambda: all(fleet.boxes[name].people.receipt.number for name in up))
        status, said = edge(
            "hub", "people", "forget", "ann", "--yes", "--wait", 10, *fleet.options()
        )
        assert status == 1
        assert [line for line in said.splitlines() if line.endswith(": forgotten")] == [
            f"{name}: forgotten" for name in up
        ]
        assert [line.partition(":")[0] for line in said.splitlines() if "NOT YET" in line] == away
        assert all(fleet.boxes[name].stored() == ["Bob"] for name in up)
        assert all(fleet.boxes[name].stored() == ["Ann", "Bob"] for name in away)
        status, said = edge("hub", "boxes", *fleet.options(key=False))
        assert status == 1
        owing = [line.split()[1] for line in said.splitlines() if "1 not forgotten yet" in line]
        assert owing == away
    with fleet.running(away):
        wait(lambda: all(fleet.boxes[name].stored() == ["Bob"] for name in away))
        wait(lambda: edge("hub", "people", "list", *fleet.options(key=False))[0] == 0)


def test_the_hub_sends_what_changes_by_itself_and_its_page_says_who_owes(tmp_path, server):
    fleet = FleetOfPeople(tmp_path, server, 2)
    command = [
        sys.executable, "-m", "edge", "hub", "run", "--port", "0", *map(str, fleet.options()),
    ]  # fmt: skip
    hub = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = hub.stdout.readline().strip()

        def ask():
            with urllib.request.urlopen(address + "api/v1/boxes", timeout=10) as answer:
                return {box["name"]: box for box in json.load(answer)["boxes"]}

        with fleet.running(fleet.boxes):
            fleet.hub.enroll("Ann", faces(3, 1), "*")
            box0, box1 = fleet.boxes.values()
            wait(lambda: all(box.people.receipt.number for box in (box0, box1)))
            wait(lambda: box0.names() == box1.names() == ["Ann"])
            wait(lambda: [box["people"] for box in ask().values()] == ["1 person", "1 person"])
        with fleet.running(["box0"]):
            fleet.hub.gallery.forget("Ann")
            wait(lambda: ask()["box1"]["owes"] and not ask()["box0"]["owes"])
            assert "1 not forgotten yet" in ask()["box1"]["people"]
            assert box0.stored() == []
            assert box1.stored() == ["Ann"]
    finally:
        hub.terminate()
        hub.communicate(timeout=20)


def test_commands_take_a_box_from_its_key_to_being_forgotten(tmp_path, server):
    folder = tmp_path / "all"
    folder.mkdir()
    gallery, key, url = folder / "hub.db", folder / "key", ["--server", server.url]
    create_key_file(key)
    with Gallery(gallery, load_key(str(key)), EMBEDDER, create=True) as opened:
        opened.enroll("Ann", faces(2), consent=True)
    options = ["--gallery", gallery, "--key", key, *url]
    status, hub_key = edge("hub", "people", "key", "--gallery", gallery)
    assert status == 0
    status, said = edge(
        "fleet", "join", "gate", *url, "--file", folder / "fleet.toml", "--hub-key",
        hub_key.strip(), "--configuration", folder / "gate.toml",
        "--gallery", folder / "box.db", "--gallery-key", key,
    )  # fmt: skip
    assert status == 0, said
    [told] = [line for line in said.splitlines() if "hub trust" in line]
    status, said = edge(*told.partition("edge ")[2].split(), "--gallery", gallery)
    assert status == 0, said
    assert hub_key.strip() in said
    scope = ["people", "scope", "Ann", "--boxes", "gate", "--gallery", gallery, "--key", key]
    assert edge(*scope) == (0, "Ann: gate\n")
    status, said = edge("hub", "people", "send", "--wait", 0, *options)
    assert status == 1
    assert "not there yet" in said
    agent = subprocess.Popen([sys.executable, "-m", "edge", "fleet", "run", folder / "fleet.toml"])
    try:
        wait((folder / "box.db").exists)
        status, said = edge("hub", "people", "send", "--wait", PATIENCE_S, *options)
        assert (status, "1 person" in said) == (0, True), said
        assert edge("hub", "people", "renew", "--lease-days", 2, *options)[0] == 0
        status, said = edge("hub", "people", "forget", "Ann", "--yes", *options)
        assert (status, "gate: forgotten" in said) == (0, True), said
    finally:
        agent.terminate()
        agent.wait(20)
    status, said = edge("people", "list", "--gallery", folder / "box.db", "--key", key)
    assert (status, "Ann" in said) == (0, False)
    status, said = edge("people", "purge", "--gallery", folder / "box.db", "--key", key)
    assert status == 0, said
    status, said = edge("hub", "forget", "gate", "--gallery", gallery, *url)
    assert (status, "gate is forgotten" in said) == (0, True), said
    assert "while its agent runs, it is back in edge hub boxes" in said
    status, said = edge("hub", "forget", "gate", "--gallery", gallery, *url)
    assert status == 78
    assert "nothing is known of 'gate'" in said
    assert edge("hub", "boxes", "--gallery", gallery, *url)[0] == 0


def test_boxes_that_are_misspelt_in_a_scope_are_listed(tmp_path, server):
    fleet = FleetOfPeople(tmp_path, server, 1)
    fleet.hub.enroll("Ann", faces(3, 1), "box0", "bxo0")
    fleet.send()
    fleet.hub.gallery.close()
    listing = ["hub", "people", "list", *fleet.options(key=False)]
    assert "not trusted with people: bxo0 (those that are: box0)" in edge(*listing)[1]
    assert "bxo0" in edge("hub", "people", "send", "--wait", 0, *fleet.options())[1]
    edge(
        "people", "scope", "Ann", "--boxes", "box0", "--gallery", fleet.hub.path, "--key", fleet.key
    )
    assert "bxo0" not in edge("hub", "people", "send", "--wait", 0, *fleet.options())[1]
    assert "bxo0" not in edge(*listing)[1]


def test_a_server_that_is_away_does_not_hide_that_somebody_was_forgotten(tmp_path, server):
    fleet = FleetOfPeople(tmp_path, server, 1)
    fleet.hub.enroll("Ann", faces(3, 1), "*")
    fleet.send()
    fleet.hub.gallery.close()
    server.kill()
    status, said = edge("hub", "people", "forget", "Ann", "--yes", *fleet.options())
    assert status == 1
    assert "forgotten here" in said
    assert "boxes that have the person: box0" in said
    server.start()
    status, said = edge("hub", "boxes", *fleet.options(key=False))
    assert (status, "1 not forgotten yet" in said) == (1, True)
    with fleet.running(["box0"]):
        status, said = edge("hub", "people", "send", "--wait", PATIENCE_S, *fleet.options())
    assert status == 0, said


def test_real_boxes_read_what_a_real_server_holds_and_nothing_is_left_of_the_forgotten(
    tmp_path, server
):
    hub = Hub(tmp_path / "hub")
    box = Box(tmp_path / "gate", "gate", hub).join()
    for n in range(40):
        hub.enroll(f"Person {n}", faces(2, n), "gate")

    async def act(bucket, _):
        await hub.people.publish(hub.gallery, bucket, 3600.0)
        await box.people.ask(bucket)
        person = hub.gallery.forget("Person 7")
        await hub.people.publish(hub.gallery, bucket, 3600.0)
        await box.people.ask(bucket)
        return person, await bucket.list_keys("person"), await bucket.list_keys("box")

    person, people, boxes = connect(server, act)
    assert len(people) == 39
    assert f"person.{person}" not in people
    assert boxes == ["box.gate"]
    assert len(box.names()) == 39
    hub.gallery.close()


@pytest.mark.parametrize("pattern", ["person.*", "person.>", "box.*", "lease.>"])
def test_a_key_that_is_a_pattern_takes_no_others_with_it(tmp_path, server, pattern):
    """The server takes such subjects from whoever may write there."""
    hub = Hub(tmp_path / "hub")
    box = Box(tmp_path / "gate", "gate", hub).join()
    hub.enroll("Ann", faces(2), "gate")

    async def act(bucket, client):
        await hub.people.publish(hub.gallery, bucket, 3600.0)
        before = [await bucket.list_keys(kind) for kind in ("person", "box", "lease")]
        await client.jetstream().publish(f"$KV.EDGE_PEOPLE.{pattern}", b"x")
        await hub.people.publish(hub.gallery, bucket, 3600.0)
        with pytest.raises(ValueError, match="is no key"):
            await bucket.remove([pattern])
        await box.people.ask(bucket)
        return before, [await bucket.list_keys(kind) for kind in ("person", "box", "lease")]

    before, after = connect(server, act)
    assert before == after
    assert all(len(keys) == 1 for keys in after)
    assert box.names() == ["Ann"]
    hub.gallery.close()
