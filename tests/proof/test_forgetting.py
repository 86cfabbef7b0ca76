"""Who is forgotten at the hub is forgotten on every box that is up, and each has confirmed it.

Prints how long that takes with a real server and 20 boxes, the agents threads of one process.
"""

import os
import time

import pytest

from tests.edge.fleet.test_box_agent import use
from tests.edge.fleet.test_people_over_nats import FleetOfPeople, wait
from tests.support.gallery import faces
from tests.support.nats_server import nats_server

pytestmark = pytest.mark.proof
BOXES = int(os.environ.get("BOXES", "20"))
PEOPLE = int(os.environ.get("PEOPLE", "20"))
ROUNDS = min(PEOPLE, 10)


def test_forgetting_is_confirmed_by_all_boxes(tmp_path, keep):
    with nats_server(tmp_path / "nats") as server:
        use(server, lambda store: store.list_reports())
        fleet = FleetOfPeople(tmp_path, server, BOXES)
        hub = fleet.hub
        for number in range(PEOPLE):
            hub.enroll(f"Person {number}", faces(3, number), "*")
        fleet.send()

        def owes_nobody():
            reports = use(server, lambda store: store.list_reports())
            found = hub.people.judge({name: each.people for name, each in reports.items()})
            return len(reports) == BOXES and not any(box.owed for box in found.values())

        with fleet.running(fleet.boxes):
            wait(lambda: all(box.people.receipt.number for box in fleet.boxes.values()))
            wait(owes_nobody)
            for number in range(ROUNDS):
                began_s = time.monotonic()
                hub.gallery.forget(f"Person {number}")
                fleet.send()
                wait(owes_nobody)
                took_s = time.monotonic() - began_s
                print(f"Person {number}: confirmed by {BOXES} boxes after {took_s:.2f} s")
                keep("forgotten", took_s)
        hub.gallery.close()
        assert all(len(box.stored()) == PEOPLE - ROUNDS for box in fleet.boxes.values())
