"""A whole node names people for as long as the hub allows it: `edge run` on a box."""

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import av
import cv2
import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.client import Received, Subscriber
from edge.errors import GalleryError
from edge.fleet.people_hub import HubPeople
from edge.fleet.people_keys import BoxKey
from edge.people.gallery.encryption import create_key_file, load_key
from edge.people.gallery.gallery import Gallery
from tests.edge.fleet.test_box_agent import use
from tests.support.fleet_people import connect
from tests.support.nats_server import nats_server
from tests.support.one_face import write_node

PATIENCE_S = 120  # for the daemon to start on a busy machine
LEASE_S = 8.0
AFTERWARDS_S = 3.0


class Fleet:
    """A hub with a gallery and a box with a camera, in one folder."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        write_node(folder, "gate.toml")
        for name in ("key", "hub-key"):
            create_key_file(folder / name)
        self.hub = HubPeople(folder / "hub.db")

    def edge(self, *arguments):
        """A command that works."""
        result = CliRunner().invoke(app, [*map(str, arguments)])
        assert result.exit_code == 0, result.output

    def enroll(self):
        """Enroll whoever is before the camera at the hub, as Ann."""
        with av.open(f"{self.folder}/clip.mp4") as clip:
            picture = next(clip.decode(video=0)).to_ndarray(format="bgr24")
        cv2.imwrite(f"{self.folder}/ann.png", picture)
        self.edge(
            "enroll", "Ann", self.folder / "ann.png", "--consent", "--boxes", "gate",
            "--gallery", self.hub.gallery, "--key", self.folder / "hub-key",
            "--embedder", self.folder / "embedder.onnx", "--faces", self.folder / "faces.onnx",
        )  # fmt: skip

    def join(self):
        """Have the box belong to the fleet and be trusted with people."""
        self.edge(
            "fleet", "join", "gate", "--server", self.server.url, "--file",
            self.folder / "fleet.toml", "--configuration", self.folder / "gate.toml",
            "--hub-key", self.hub.key.public,
        )  # fmt: skip
        self.hub.trust("gate", BoxKey.ensure(self.folder / "gate.people-key").public)

    def send(self, lease_s):
        """Give the box another lease; when it ends, Unix time."""
        with Gallery(self.hub.gallery, load_key(str(self.folder / "hub-key"))) as gallery:
            connect(self.server, lambda bucket, _: self.hub.publish(gallery, bucket, lease_s))
        return self.hub.file.read().boxes["gate"].until_s

    def find_end(self):
        """When the lease ends that the box has; 0 for none."""
        try:
            with Gallery(self.folder / "gallery.db", load_key(str(self.folder / "key"))) as gallery:
                membership = gallery.hub.membership()
        except GalleryError:  # it is being made
            return 0.0
        return membership.lease.until_s if membership else 0.0

    @contextmanager
    def running(self, *words):
        """An `edge` command that runs until it is ended."""
        with (self.folder / f"{words[0]}.log").open("wb") as log:
            command = [sys.executable, "-m", "edge", *map(str, words)]
            process = subprocess.Popen(command, stderr=log, stdout=log)
            try:
                yield
            finally:
                process.terminate()
                assert process.wait(30) == 0


def wait(condition):
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.1)


def list_names(subscriber, span_s):
    """When each face that is received meanwhile was captured, Unix time, and its name."""
    begun_s = time.monotonic()
    while time.monotonic() < begun_s + span_s:
        item = subscriber.receive(0.1)
        if isinstance(item, Received):
            yield from ((item.body.captured_at, face.name or "") for face in item.body.faces)


def is_seen(subscriber, name, since_s):
    """Whether a face has this name (empty for none) in a picture since then, Unix time."""
    return any(
        captured_s >= since_s and found == name
        for captured_s, found in list_names(subscriber, PATIENCE_S)
    )


@pytest.mark.slow
def test_a_node_names_people_until_its_lease_ends_and_again_with_the_next(tmp_path):
    with ExitStack() as stack:
        server = stack.enter_context(nats_server(tmp_path / "nats"))
        use(server, lambda store: store.list_reports())
        fleet = Fleet(tmp_path, server)
        fleet.enroll()
        fleet.join()
        fleet.send(3600)
        stack.enter_context(fleet.running("fleet", "run", tmp_path / "fleet.toml"))
        wait(fleet.find_end)
        subscriber = stack.enter_context(
            Subscriber(f"ipc://{tmp_path}/bus", topics=("v1/detections/door/",))
        )
        stack.enter_context(fleet.running("run", tmp_path / "gate.toml"))
        assert is_seen(subscriber, "Ann", 0)

        end_s = fleet.send(LEASE_S)
        wait(lambda: fleet.find_end() == end_s)
        server.kill()  # the box stays away from now on
        assert is_seen(subscriber, "", end_s)
        assert time.time() >= end_s
        names = [name for _, name in list_names(subscriber, AFTERWARDS_S)]
        assert names
        assert not any(names)
        assert "no one is named: what the hub allowed ended" in (tmp_path / "run.log").read_text()
        with Gallery(tmp_path / "gallery.db", load_key(str(tmp_path / "key"))) as gallery:
            assert [person.name for person in gallery.people()] == ["Ann"]

        server.start()
        given_s = time.time()
        fleet.send(3600)
        assert is_seen(subscriber, "Ann", given_s)
