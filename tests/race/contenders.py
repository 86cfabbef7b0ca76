"""The contenders: how each is started, and how it tells what it saw."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zmq

from edge.client import Received, Subscriber
from edge.wire.schema import DetectionsMessage

RIVALS = Path(__file__).parent / "rivals"
NODE = """
[models]
detector = "{model}"
[[cameras]]
name = "street"
source = {{ kind = "rtsp", url = "{url}" }}
motion = {{ enabled = {gate} }}
[[sinks]]
kind = "zeromq"
bind = "{endpoint}"
[http]
port = 0
"""
Seen = tuple[int, bool] | None  # number of a picture, and whether somebody is in it
Listen = Callable[[str], Iterator[Seen]]


@dataclass(frozen=True)
class Contender:
    """Somebody who runs the course.

    Attributes:
        name: As it stands in the table.
        network: What it looks with; ratios are taken among those with the same.
        command: The command, of a folder for files of its own, the camera's and its own address.
        listen: What it tells, of its own address; None where it has told nothing for a while.
    """

    name: str
    network: str
    command: Callable[[Path, str, str], list[str]]
    listen: Listen


def make_node(name: str, network: str, python: str, model: str, *, gate: bool) -> Contender:
    """Edgewatch, on ``model``."""

    def command(folder: Path, url: str, endpoint: str) -> list[str]:
        config = folder / "edge.toml"
        said = {"model": model, "url": url, "endpoint": endpoint, "gate": str(gate).lower()}
        config.write_text(NODE.format(**said))
        return [python, "-m", "edge", "run", str(config)]

    return Contender(name, network, command, listen_to_node)


def make_rival(name: str, network: str, python: str, script: str, *arguments: str) -> Contender:
    """One of `RIVALS`; ``arguments`` are its model, and what follows the address."""
    model, *others = arguments

    def command(_: Path, url: str, endpoint: str) -> list[str]:
        return [python, str(RIVALS / script), url, model, endpoint, *others]

    return Contender(name, network, command, listen_to_rival)


def listen_to_node(endpoint: str) -> Iterator[Seen]:
    """What a node tells of the pictures of its camera."""
    with Subscriber(endpoint, topics=("v1/detections/",)) as subscriber:
        while True:
            item = subscriber.receive(0.2)
            if isinstance(item, Received) and isinstance(item.body, DetectionsMessage):
                persons = [one for one in item.body.objects if one.label == "person"]
                yield item.body.frame, bool(persons)
            else:
                yield None


def listen_to_rival(endpoint: str) -> Iterator[Seen]:
    """What a script tells."""
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        subscriber.connect(endpoint)
        while True:
            if not subscriber.poll(200):
                yield None
                continue
            message = json.loads(subscriber.recv())
            yield message["frame"], bool(message["objects"])
