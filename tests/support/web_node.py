"""A node made of functions, with its page on a real server on loopback."""

import contextlib
import http.client
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge.config import Camera, Http
from edge.event import BestView, Event, KnownPerson, Severity
from edge.recording.index import Index
from edge.recording.records import FileKind, StoredFile
from edge.service.health import HealthBoard
from edge.service.http import HttpServer
from edge.service.metrics import Metrics
from edge.types import CameraState, CameraStatus, Frame, RgbPicture, StatusReason
from edge.web.app import create_page
from edge.web.changes import ChangeFeed
from edge.web.ports import Archive, CameraSight, LatestPicture, Node, NodeHealth

ANN = KnownPerson("p1", "Ann")


def make_event(number, **changes):
    event = Event(
        f"e{number:05d}", "door", Severity.DETECTION, ("entered:entrance",), ("person",),
        ("entrance",), (), (number,), 1000.0 + number, 1003.0 + number,
        BestView(number, "person", 0.9, (100.0, 50.0, 200.0, 250.0), (640, 360), 1001.0 + number),
    )  # fmt: skip
    return replace(event, **changes)


def make_sight(name="door", **settings):
    camera = Camera(name=name, source={"kind": "synthetic"}, **settings)
    status = CameraStatus(
        name, 1, CameraState.ONLINE, "it delivers", StatusReason.DELIVERS, 12.0, (640, 360)
    )
    return CameraSight(camera, status, 9.876, live=True)


def make_latest(camera="door", seq=1, hide=()):
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (360, 640, 3), np.uint8)
    frame = Frame(camera, 1, seq, 1000.25, 5.0, RgbPicture(rgb))
    boxes = np.array([[100, 50, 200, 250]], np.float32)
    faces = np.array([[130, 60, 170, 110]], np.float32)
    return LatestPicture(frame, boxes, ("person",), (7,), ("Ann",), faces, hide)


def make_node(**parts):
    given = {
        "name": "gate",
        "list_cameras": lambda: [make_sight()],
        "health": lambda: NodeHealth(True, (), {"disk_free_bytes": 5e9}),
        "changes": ChangeFeed(),
    }
    return Node(**(given | parts))


def make_archive(folder):
    Index(folder / "index.db").close()
    return Archive(folder)


def store(archive, event, kind, content, path=None):
    """Keep a file of an event, as a recorder does."""
    ending = {FileKind.CLIP: "mp4", FileKind.SNAPSHOT: "jpg", FileKind.THUMBNAIL: "thumb.jpg"}
    path = path or f"events/1970-01-01/{event.event_id}.{ending[kind]}"
    file = archive.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    archive.index.put_file(
        StoredFile(
            path, kind, event.camera, event.event_id, event.began_s, event.ended_s, len(content)
        )
    )
    return file


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A node that is served."""

    server: HttpServer

    @property
    def port(self):
        return self.server.port

    def ask(self, path, method="GET", body=None, **headers):
        """Ask once; a body that is no bytes is sent as JSON."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


@contextlib.contextmanager
def serving(node, **options):
    """Serve a node as its daemon does."""
    http_options = Http(**({"port": 0} | options))
    app = create_page(http_options, Path(), node)
    server = HttpServer(http_options, Metrics(), HealthBoard(), app)
    server.start()
    try:
        yield Served(server)
    finally:
        server.stop(time.monotonic() + 5)
        if node.archive:
            node.archive.index.close()
