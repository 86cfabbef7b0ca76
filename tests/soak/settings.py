"""The configuration of the node, and how it changes while it runs."""

from __future__ import annotations

from dataclasses import dataclass

DETECTORS = ("zoo:detect-nano", "zoo:detect-nano-wide")
FPS = 3
MAX_BYTES = 60_000_000  # of what is kept: soon the oldest has to go

_NODE = """
node = "soak"
[models]
detector = "{detector}"
faces = "zoo:faces-nano"
[recognition]
gallery = "gallery.db"
key_file = "gallery.key"
[storage]
folder = "kept"
max_bytes = {max_bytes}
min_free_bytes = 0
[http]
port = {http_port}
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:{bus_port}"
sndhwm = {sndhwm}
[[sinks]]
kind = "nats"
servers = ["{nats_url}"]
spool = "spool.db"
families = ["detections", "events", "faces", "status", "tracks"]
max_age_s = {max_age_s}
"""
_FILE_SINK = """
[[sinks]]
kind = "jsonl"
path = "messages.jsonl"
rotate_bytes = 1_000_000
keep = 2
"""
_CAMERA = """
[[cameras]]
name = "{name}"
fps = {fps}
frozen_after_s = 5
source = {source}
min_score = {{ person = {min_score} }}
zones = [{{ name = "middle", polygon = [[0.3, 0.1], [0.7, 0.1], [0.7, 1.0], [0.3, 1.0]] }}]
[[cameras.events]]
when = ["entered:middle", "known", "offline"]
cooldown_s = 20
[cameras.record]
pre_s = 2
post_s = 2
max_clip_s = 30
{more}
"""
_SPARE = """
[[cameras]]
name = "spare"
fps = {fps}
source = {{ kind = "synthetic", size_wh = [320, 180] }}
"""
CONTINUOUS = "continuous = true"


@dataclass(frozen=True)
class Camera:
    """A camera of the configuration.

    Attributes:
        source: The table of its source.
        record: More lines of its table ``record``.
    """

    name: str
    source: str
    record: str = ""


@dataclass(frozen=True)
class Ports:
    """Where the node is to listen, and where its server of NATS is."""

    http: int
    bus: int
    nats_url: str


@dataclass(frozen=True)
class Settings:
    """What changes of the configuration.

    Attributes:
        min_score: That a person needs.
        sndhwm: Of the ZeroMQ sink: another one opens it anew.
        max_age_s: Of the NATS sink: the same.
        has_file: Whether there is a sink that writes to a file.
        has_spare: Whether there is a camera more.
        is_broken: Whether it cannot be used.
    """

    detector: str = DETECTORS[0]
    min_score: float = 0.5
    sndhwm: int = 1000
    max_age_s: int = 86_400
    has_file: bool = False
    has_spare: bool = False
    is_broken: bool = False

    def render(self, cameras: tuple[Camera, ...], ports: Ports) -> str:
        """The configuration as TOML."""
        node = _NODE.format(
            detector=self.detector, max_bytes=MAX_BYTES, http_port=ports.http,
            bus_port=ports.bus, sndhwm=self.sndhwm, nats_url=ports.nats_url,
            max_age_s=self.max_age_s,
        )  # fmt: skip
        parts = [node, _FILE_SINK if self.has_file else ""]
        for camera in cameras:
            parts.append(
                _CAMERA.format(
                    name=camera.name, fps=FPS, source=camera.source, min_score=self.min_score,
                    more=camera.record,
                )
            )  # fmt: skip
        parts.append(_SPARE.format(fps=FPS) if self.has_spare else "")
        parts.append("[[cameras]]\nname = 7\n" if self.is_broken else "")
        return "".join(parts)
