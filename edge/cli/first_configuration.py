"""A first configuration: a file with one camera, and comments that name what to change next.

Prose begins with `# `. A setting to try begins with `#` alone, so that it is one letter away; a
test reads the file with each of them taken in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.atomic_file import remove_leftovers, write_together
from edge.errors import ConfigError, EdgeError
from edge.printable import escape_controls

PRIVATE = 0o600
DETECTOR, WIDE_DETECTOR, FACES = "zoo:detect-nano", "zoo:detect-nano-wide", "zoo:faces-nano"
MIN_WIDE_ASPECT = 1.5  # width over height; 16:9 is, 4:3 and portraits are not
CREDENTIAL = (
    ".\n# Or only root does: in /etc/edge/credentials/yard, which systemd loads as "
    "credential:edge_yard"
)

TEXT = """\
# Written by `edge setup`. After a change: edge check {file}
# A line like `#jpeg_hz = 1`, with nothing between # and the setting, is one to try: remove the #.
# Every setting is in the configuration reference, docs/reference/configuration.md.

# Name of this machine in messages.
node = {node}

# What looks at the pictures. The detector knows {classes}.
# `edge models list` shows others; a file of your own is given by its path.
[models]
detector = {detector}
faces = {faces}

# On an NVIDIA GPU: engines are built in the background, until then the processor does the work.
#[runtime]
#kind = "tensorrt"

[[cameras]]
# Name of the camera in topics, metrics and logs.
name = {name}
# Pictures per second that are looked at{rate}. Fewer cost less.
fps = {fps}
# Report these classes alone, and those of one class only above a score:
#labels = ["person", "car"]
#min_score = {{ person = 0.6 }}
# Thumbnails per second, sent with the detections:
#jpeg_hz = 1
# Report nothing in here, a strip at the top. Corners are fractions of width and height, from the
# left and from the top.
#masks = [[[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 0.1]]]
{source_comment}
[cameras.source]
{source}

# What makes an event, which is kept with a picture and a clip.
[[cameras.events]]
when = ["began"]
labels = ["person"]
# Alerts want attention:
#[[cameras.events]]
#when = ["entered", "spoof", "offline"]
#severity = "alert"
#cooldown_s = 60
# Keep everything, not only events; clips begin earlier and end later:
#[cameras.record]
#continuous = true
#pre_s = 10
#post_s = 20
# Clips and pictures come from a second stream with more pixels, if the camera has one:
#[cameras.main]
#kind = "rtsp"
#url = "rtsp://192.168.1.20/main"

# A zone reports who enters it, leaves it, and stays for dwell_s seconds.
#[[cameras.zones]]
#name = "entrance"
#polygon = [[0.1, 0.2], [0.9, 0.2], [0.9, 1.0], [0.1, 1.0]]
#labels = ["person"]
#dwell_s = 10

# A line reports who crosses it and in which direction, seen from a to b.
#[[cameras.lines]]
#name = "sill"
#a = [0.2, 0.6]
#b = [0.8, 0.6]

# Another camera. Its password is the text of a file of mode 600{credential}.
#[[cameras]]
#name = {other_name}
#[cameras.source]
#kind = "rtsp"
#url = "rtsp://192.168.1.21/stream"
#user = "edge"
#password_file = {other_password}

# Names of enrolled people. First make the key and enroll someone:
#   edge keys new {key}
#   edge enroll Ann ann1.jpg ann2.jpg --consent --gallery {gallery} --key {key}
#[recognition]
#gallery = {gallery_value}
#key_file = {key_value}

# Where messages go: to subscribers on this machine (`edge watch`). For those on others bind
# "tcp://0.0.0.0:5555" with insecure = true: whoever reaches the port then reads all of it.
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:5555"

# And to a file, one message per line.
#[[sinks]]
#kind = "jsonl"
#path = {events}

# Pictures and clips of events; the oldest go where this is reached.
[storage]
folder = {storage}
max_bytes = "50GB"
#keep_days = {{ events = 90, clips = 30, continuous = 3 }}

# The page, its API, /metrics for Prometheus, /healthz and /readyz. For other machines set host to
# "0.0.0.0", token_file to a file with a secret that scrapers send, and users_file (`edge users`).
[http]
host = "127.0.0.1"
port = 9470

# What is logged: "debug" says most, "error" least.
#[log]
#level = "debug"
"""


def choose_detector(size_wh: tuple[int, int]) -> str:
    """The detector whose input has the shape of a camera's pictures, so that no part is empty."""
    return WIDE_DETECTOR if size_wh[0] >= MIN_WIDE_ASPECT * size_wh[1] else DETECTOR


@dataclass(frozen=True, slots=True)
class FirstConfiguration:
    """What a first configuration says.

    Attributes:
        file: Where it is written: an absolute path.
        name: Name of the camera.
        source: Its source, without a password.
        password: The password of the source's user.
        sent_fps: Pictures per second that the camera sends; 0 if that is not known.
        state: The folder of a service's state; empty for a configuration of no service.
        detector: What looks at its pictures.
    """

    file: Path
    name: str
    source: Mapping[str, Any]
    password: str = field(default="", repr=False)
    sent_fps: float = 0.0
    state: str = ""
    detector: str = WIDE_DETECTOR

    @property
    def node(self) -> str:
        """Name of the node, of the file's."""
        return re.sub(r"[^A-Za-z0-9_-]+", "-", self.file.stem).strip("-")[:64] or "edge"

    @property
    def password_file(self) -> Path | None:
        """Where the password is kept, if there is one."""
        if not self.password:
            return None
        return self.file.with_name(f"{self.file.stem}.{self.name}.password")

    def to_toml(self, classes: Sequence[str]) -> str:
        """The text of the file.

        Args:
            classes: What the detector knows.
        """
        source = dict(self.source)
        if self.password_file:
            source["password_file"] = str(self.password_file)
        other = "yard" if self.name != "yard" else "door"
        folder = self.file.parent
        gallery = f"{self.state}/gallery.db" if self.state else "gallery.db"
        key = f"{folder}/credentials/gallery.key" if self.state else "gallery.key"
        return TEXT.format(
            file=escape_controls(str(self.file)),
            node=_quote(self.node),
            classes=", ".join(classes),
            detector=_quote(self.detector),
            faces=_quote(FACES),
            name=_quote(self.name),
            fps=2 if source["kind"] == "snapshot" else 10,
            rate=f"; the camera sends {self.sent_fps:.3g}" if self.sent_fps else "",
            source_comment=_comment_source(source),
            source="\n".join(f"{key} = {_quote(value)}" for key, value in source.items()),
            credential=CREDENTIAL if self.state else "",
            other_name=_quote(other),
            other_password=_quote(str(folder / f"{self.file.stem}.{other}.password")),
            gallery=gallery,
            gallery_value=_quote(gallery),
            key=key,
            key_value=_quote("credential:edge_gallery.key" if self.state else key),
            storage=_quote(f"{self.state}/kept" if self.state else "kept"),
            events=_quote(f"{self.state}/events.jsonl" if self.state else "events.jsonl"),
        )

    def write(self, text: str, *, force: bool) -> None:
        """Write the file and that of the password: both, or none.

        Args:
            text: What `to_toml` returned.
            force: Replace files that are there.

        Raises:
            EdgeError: One is there already, or cannot be written.
        """
        if not force:
            refuse_existing(self.file)
        new, secret = self.password_file, f"{self.password}\n"
        if new and not force and not _has_text(new, secret):  # a run that was killed left its own
            refuse_existing(new)
        texts = {new: secret} if new else {}
        try:
            for path in (*texts, self.file):
                remove_leftovers(path)
            write_together({**texts, self.file: text}, mode=PRIVATE)
        except OSError as error:
            raise EdgeError(
                f"{error.strerror}: nothing was written; choose another path", file=self.file
            ) from error


def _has_text(path: Path, text: str) -> bool:
    """Whether a file is there, no link or device, and has this text."""
    if path.is_symlink() or not path.is_file():
        return False
    return path.stat().st_size == len(text.encode()) and path.read_bytes() == text.encode()


def refuse_existing(path: Path) -> None:
    """Refuse to write over what is there.

    Raises:
        ConfigError: Something is.
    """
    if path.exists() or path.is_symlink():
        raise ConfigError(
            "this file exists: choose another path, or --force to replace it", file=path
        )


def _comment_source(source: Mapping[str, Any]) -> str:
    return "\n".join(_list_comments(source))


def _list_comments(source: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    if source["kind"] == "synthetic":
        yield "# A photograph, panned and zoomed: replace it by a camera, such as the one below."
    elif "loop" in source:
        yield "# With loop = false the recording is played once."
    elif "device" in source:
        yield "# width, height and fps ask the device for another format."
    elif "password_file" in source:
        yield "# The password is not in here, but in a file that is read at every connection."
    else:
        yield "# Where the pictures come from. A camera with a login has user and password_file."


def _quote(value: object) -> str:
    """A string, number or boolean as TOML has it."""
    return json.dumps(value, ensure_ascii=False)
