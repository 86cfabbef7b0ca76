"""`edge people why`: what a face before a running node lacks for a name."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Annotated

import msgspec
import typer
from msgspec import UNSET
from rich.console import Console

from edge.cli.bus_options import ClientKey, ServerKey
from edge.cli.gallery_options import AsJson
from edge.cli.table import make_table, to_cell
from edge.client import ENDPOINT, Received, Subscriber
from edge.errors import EdgeError
from edge.people.explanation import describe, find_missing
from edge.printable import escape_controls, escape_controls_in_json
from edge.wire.schema import DetectionsMessage, Face, RecentMessage
from edge.wire.topics import VERSION

TOPICS = (f"{VERSION}detections/", f"{VERSION}recent/")


@dataclass(frozen=True, slots=True)
class SeenFace:
    """What a node says of a face.

    Attributes:
        seen_at: Unix time of the frame it was seen in last, in seconds.
        present: Whether it is in the camera's view now.
    """

    camera: str
    track: int
    face: Face
    seen_at: float
    present: bool


@dataclass(slots=True)
class FaceBoard:
    """The faces and the people that a node told of, by track.

    Attributes:
        camera: Only of this camera; of all when empty.
        heard: Cameras that were heard of.
        faceless: Tracks of objects that are in view without a face.
    """

    camera: str = ""
    faces: dict[int, SeenFace] = field(default_factory=dict)
    faceless: dict[int, str] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)

    def update(self, item: object) -> None:
        """Take an item of the subscriber into account."""
        body = item.body if isinstance(item, Received) else None
        if not isinstance(body, DetectionsMessage | RecentMessage):
            return
        self.heard.add(body.camera)
        if self.camera and body.camera != self.camera:
            return
        if isinstance(body, RecentMessage):
            seen = SeenFace(body.camera, body.track, body.face, body.captured_at, present=False)
            self.faces.setdefault(body.track, seen)
            return
        found = {o.track: o.face for o in body.objects if o.face is not UNSET}
        found |= {face.track: face for face in body.faces if face.track is not UNSET}
        self.faceless |= {o.track: o.label for o in body.objects if o.track not in found}
        for track, face in found.items():
            self.faces[track] = SeenFace(body.camera, track, face, body.captured_at, present=True)

    def list_tracks(self) -> str:
        """The tracks that have a face, one per line; what a node says is made printable."""
        if not self.faces:
            return "no face has been in view for a minute"
        rows = [("TRACK", "CAMERA", "OUTCOME", "")]
        for seen in sorted(self.faces.values(), key=lambda seen: (not seen.present, seen.track)):
            outcome = str(seen.face.outcome or "not recognized")
            rows.append((str(seen.track), seen.camera, outcome, "" if seen.present else "has left"))
        told = [tuple(map(escape_controls, row)) for row in rows]
        widths = [max(map(len, column)) for column in zip(*told, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in told)
        return "\n".join(("the tracks with a face are", *lines))


def _parse_track(text: str) -> int:
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} must be a whole number, as `track` in the messages")
    return int(text)


def why(
    track: Annotated[
        int,
        typer.Argument(
            parser=_parse_track, metavar="TRACK", help="Track of the face, as in the messages."
        ),
    ],
    camera: Annotated[str, typer.Option(metavar="NAME", help="Only at this camera.")] = "",
    bus: Annotated[
        str, typer.Option(metavar="ADDRESS", help="ZeroMQ endpoint of the node.")
    ] = ENDPOINT,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.1, max=600, help="Seconds to wait for the face.")
    ] = 3,
    as_json: AsJson = False,
    server_key: ServerKey = "",
    key_file: ClientKey = None,
) -> None:
    """Show what a face at a running node lacks for a name: looks, liveness, votes, similarity.

    The face is in view, or left within the last minute.
    """
    subscriber = Subscriber(bus, TOPICS, gaps=False, server_key=server_key, key_file=key_file)
    seen = _find(_listen(track, camera, subscriber, wait_s), track, bus)
    if as_json:
        line = json.dumps(_to_json(seen), ensure_ascii=False).encode()
        typer.echo(escape_controls_in_json(line).decode())
        return
    where = "in view" if seen.present else f"left {time.time() - seen.seen_at:.0f} s ago"
    table = make_table("", "seen", title=f"{seen.camera}, track {track}, {where}")
    lacks = [missing.text for missing in find_missing(seen.face)]
    for label, text in (*describe(seen.face), *_label("missing", lacks or ["nothing"])):
        table.add_row(label, to_cell(text))
    Console().print(table)


def _label(label: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    """The label stands before the first text only."""
    return [("" if row else label, text) for row, text in enumerate(texts)]


def _listen(track: int, camera: str, subscriber: Subscriber, wait_s: float) -> FaceBoard:
    """What the node says until the face is seen, or for so long.

    Raises:
        EdgeError: Nothing came.
    """
    board, deadline_s = FaceBoard(camera), time.monotonic() + wait_s
    with subscriber:
        while (left_s := deadline_s - time.monotonic()) > 0:
            board.update(subscriber.receive(left_s))
            if track in board.faces and board.faces[track].present:
                break
        if not subscriber.received:
            raise EdgeError(
                f"no messages from {subscriber.endpoint} within {wait_s:g} s: is the daemon "
                "running, and does it have a zeromq sink there?"
            )
    return board


def _find(board: FaceBoard, track: int, bus: str) -> SeenFace:
    """The face of a track.

    Raises:
        EdgeError: There is none.
    """
    if seen := board.faces.get(track):
        return seen
    if board.camera and board.camera not in board.heard:
        cameras = escape_controls(", ".join(sorted(board.heard))) or "none"
        raise EdgeError(
            f"{bus} has no camera {board.camera!r}: the ones that deliver are {cameras}"
        )
    if label := board.faceless.get(track):
        raise EdgeError(
            f"track {track} is a {escape_controls(label)} in view in whom no face is found: a face "
            "must be turned to the camera and not too small"
        )
    raise EdgeError(f"there is no face of track {track}: {board.list_tracks()}")


def _to_json(seen: SeenFace) -> dict[str, object]:
    return {
        "camera": seen.camera,
        "track": seen.track,
        "present": seen.present,
        "seen_at": seen.seen_at,
        "face": msgspec.to_builtins(seen.face),
        "missing": [asdict(missing) for missing in find_missing(seen.face)],
    }
