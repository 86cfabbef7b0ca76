"""`edge events`: what happened, and what is kept of it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from edge import config_file
from edge.atomic_file import replace_file
from edge.cli.application import application
from edge.cli.bus_options import ClientKey, ServerKey
from edge.cli.event_words import describe_event, tell
from edge.cli.table import make_table, to_cell
from edge.cli.watch import SILENCE_S, describe_silence, exit_quietly
from edge.client import ENDPOINT, Received, Subscriber
from edge.compat import UTC
from edge.errors import ConfigError, EdgeError, StorageError
from edge.event import Severity
from edge.printable import escape_controls, escape_controls_in_json, format_bytes
from edge.recording.archive import Archive
from edge.recording.index import Index
from edge.recording.mp4 import Part, join
from edge.recording.records import EventFilter, EventRecord, FileKind, StoredFile
from edge.wire.schema import EventMessage, encode_line

app = application("Show what happened, and export what is kept of it.", {})

Configuration = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="Configuration file (TOML).", readable=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
EventId = Annotated[str, typer.Argument(metavar="ID", help="Id of the event.")]


@app.command("list")
def list_events(
    configuration: Configuration,
    camera: Annotated[list[str] | None, typer.Option(help="Only of this camera.")] = None,
    label: Annotated[str, typer.Option(help="Only with an object of this class.")] = "",
    place: Annotated[str, typer.Option(help="Only in this zone, or at this line.")] = "",
    severity: Annotated[Severity | None, typer.Option(help="Only of this severity.")] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Begun since then, as in 2027-01-31T18:00 or 24h.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List events that are kept by the node of CONFIG, newest first."""
    wanted = EventFilter(
        tuple(camera or ()), label, place, severity=severity,
        after_s=_parse_time(since) if since else None,
    )  # fmt: skip
    with _open(configuration) as (_, index):
        records = index.find_events(wanted, limit)
    if as_json:
        for record in records:
            typer.echo(json.dumps(_to_json(record), ensure_ascii=False))
        return
    if not records:
        typer.echo("no such event")
        return
    table = make_table("id", "began", "lasted", "camera", "what", "severity", "kept")
    for record in records:
        table.add_row(*map(to_cell, _describe_row(record)))
    Console().print(table)


@app.command("show")
def show(configuration: Configuration, event_id: EventId, as_json: AsJson = False) -> None:
    """Show an event, and where its files are."""
    with _open(configuration) as (folder, index):
        record = _find(index, event_id)
        files = index.list_files(event_id=event_id)
    if as_json:
        paths = {str(file.kind): str(folder / file.path) for file in files}
        typer.echo(json.dumps(_to_json(record) | {"paths": paths}, ensure_ascii=False))
        return
    event = record.event
    facts = {
        "camera": event.camera,
        "began": _format_moment(event.began_s),
        "lasted": _format_span(record),
        "what": describe_event(event),
        "triggers": ", ".join(event.triggers),
        "severity": str(event.severity),
        "tracks": ", ".join(map(str, event.tracks)),
    } | {str(file.kind): str(folder / file.path) for file in files}
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {escape_controls(value)}")


@app.command("protect")
def protect(
    configuration: Configuration,
    event_id: EventId,
    release: Annotated[bool, typer.Option("--release", help="Protect it no longer.")] = False,
) -> None:
    """Keep an event, whatever its age and however much room is wanted."""
    with _open(configuration) as (_, index):
        _find(index, event_id)
        index.protect(event_id, protected=not release)
    typer.echo(f"{event_id} is {'no longer ' if release else ''}protected")


@app.command("delete")
def delete(
    configuration: Configuration,
    event_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of events.")],
) -> None:
    """Delete events with their pictures and clips.

    Each that can be deleted is; the exit status is 1 if one of them was not.
    """
    doomed, problems = [], []
    with _open(configuration) as (folder, index):
        for event_id in dict.fromkeys(event_ids):
            try:
                _doom(index, event_id)
            except EdgeError as error:
                problems.append(str(error))
            else:
                doomed.append(event_id)
    if doomed:
        _delete_doomed(configuration, folder, doomed)
    if problems:
        raise EdgeError("\n".join(problems))


def _doom(index: Index, event_id: str) -> None:
    record = _find(index, event_id)
    if not index.doom(event_id):
        raise EdgeError(
            f"event {event_id} is protected: `edge events protect --release` first"
            if record.protected
            else f"event {event_id} is still going on: delete it when it is over"
        )


def _delete_doomed(configuration: Path, folder: Path, event_ids: Sequence[str]) -> None:
    """Delete the files of events, unless a node that runs does so."""
    settings = config_file.load(configuration).storage
    assert settings  # noqa: S101 - it was opened
    try:
        with contextlib.closing(Archive(settings, folder)) as archive:
            archive.delete_doomed()
    except StorageError:
        whose = "its" if len(event_ids) == 1 else "their"
        typer.echo(f"{', '.join(event_ids)}: the node deletes {whose} files within seconds")
        return
    typer.echo(f"{', '.join(event_ids)}: deleted")


@app.command("export")
def export(
    configuration: Configuration,
    what: Annotated[
        str, typer.Argument(metavar="ID|CAMERA", help="Id of an event, or a camera with --from.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="FILE", help="MP4 file to write; of an event also .jpg.")
    ],
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Of a camera: from then on.")
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Up to then; now.")] = "now",
) -> None:
    """Copy an event's clip (FILE.mp4) or picture (FILE.jpg), or a camera's video of any time."""
    if out.exists() or out.is_symlink():
        raise EdgeError("File exists: choose another path", file=out)
    with _open(configuration) as (folder, index):
        if begin:
            span_s = _parse_time(begin), _parse_time(end)
            if span_s[0] >= span_s[1]:
                raise ConfigError("--to must be later than --from")
            if span_s[0] >= time.time():
                raise ConfigError("--from is in the future: nothing of that time is kept yet")
            files = index.find_video(what, *span_s)
            continuous = [file for file in files if file.kind is FileKind.CONTINUOUS]
            _export_span(folder, continuous or files, span_s, out)
        else:
            if what in [camera.name for camera in config_file.load(configuration).cameras]:
                raise ConfigError(f"{what} is a camera: give --from and --to as well")
            _find(index, what)
            is_picture = out.suffix.lower() in (".jpg", ".jpeg")
            kind = FileKind.SNAPSHOT if is_picture else FileKind.CLIP
            files = index.list_files(kind, event_id=what)
            if not files:
                word = "picture" if is_picture else "clip"
                raise StorageError(f"no {word} of event {what} is kept")
            with replace_file(out) as part:
                shutil.copyfile(folder / files[0].path, part)
    typer.echo(f"{out}: {format_bytes(out.stat().st_size)}")


def _export_span(
    folder: Path, files: list[StoredFile], span_s: tuple[float, float], out: Path
) -> None:
    if not files:
        raise StorageError("nothing was kept of that camera at that time")
    parts = [Part(folder / file.path, file.began_s, *span_s, folder) for file in files]
    with replace_file(out, suffix=".mp4") as part:
        join(parts, part, _tell_skipped)


def _tell_skipped(part: Part, error: Exception) -> None:
    why = (isinstance(error, OSError) and error.strerror) or error
    typer.echo(f"{part.path} is left out: {why}", err=True)


@app.command("follow")
def follow(
    node: Annotated[
        str,
        typer.Argument(
            help="Configuration file of a node, whose first sink `zeromq` is used, or a ZeroMQ "
            "endpoint.",
        ),
    ] = ENDPOINT,
    as_json: AsJson = False,
    server_key: ServerKey = "",
    key_file: ClientKey = None,
) -> None:
    """Print events as they begin, until Ctrl-C."""
    endpoint = node if "://" in node else _find_endpoint(Path(node), has_key=bool(server_key))
    with (
        exit_quietly(),
        Subscriber(
            endpoint, ["v1/events/"], server_key=server_key, key_file=key_file
        ) as subscriber,
    ):
        heard, warned = -1, False  # messages, heartbeats included
        while True:
            item = subscriber.receive(SILENCE_S)
            if item is None and subscriber.received == heard:
                if not warned:
                    typer.echo(describe_silence(endpoint), err=True)
                warned = True
            elif item is None:
                heard, warned = subscriber.received, False
            if not (isinstance(item, Received) and isinstance(item.body, EventMessage)):
                continue
            if as_json:
                line = escape_controls_in_json(encode_line(item.topic, item.body))
                typer.echo(line.decode(), nl=False)
            elif words := tell(item.body):
                typer.echo(escape_controls(words))


def _find_endpoint(configuration: Path, *, has_key: bool) -> str:
    """Where this machine reaches the first ZeroMQ sink of a node.

    Raises:
        ConfigError: The configuration cannot be read, or does not tell.
    """
    sinks = config_file.load(configuration).sinks
    sink = next((sink for sink in sinks if sink["kind"] == "zeromq"), None)
    if sink is None:
        raise ConfigError("has no sink of kind zeromq: add one, or give an ENDPOINT",
                          file=configuration)  # fmt: skip
    if sink.get("key_file") and not has_key:
        raise ConfigError("the sink encrypts: give --server-key and --key-file", file=configuration)
    bind = str(sink.get("bind", ENDPOINT))
    if bind.endswith(":*"):
        problem = f"{bind} is another port at each start: give the ENDPOINT that the node logs"
        raise ConfigError(problem, file=configuration)
    return re.sub(r"^tcp://(0\.0\.0\.0|\*)(?=:\d+$)", "tcp://127.0.0.1", bind).replace(
        "tcp://[::]:", "tcp://[::1]:"
    )


@contextmanager
def _open(configuration: Path) -> Iterator[tuple[Path, Index]]:
    """The storage folder of a node and its index."""
    storage = config_file.load(configuration).storage
    if storage is None:
        raise ConfigError("keeps no events: add [storage]", file=configuration)
    folder = configuration.parent / storage.folder
    if not (folder / "index.db").is_file():
        raise StorageError("nothing is kept here yet", file=folder)
    index = Index(folder / "index.db")
    try:
        yield folder, index
    finally:
        index.close()


def _find(index: Index, event_id: str) -> EventRecord:
    record = index.get_event(event_id)
    if record is None:
        raise StorageError(f"there is no event {event_id!r}: see `edge events list`")
    return record


def _describe_row(record: EventRecord) -> tuple[str, ...]:
    event = record.event
    return (
        event.event_id, _format_moment(event.began_s), _format_span(record), event.camera,
        describe_event(event), str(event.severity),
        ", ".join(
            sorted(str(kind) for kind in record.files if kind is not FileKind.THUMBNAIL)
            + ["protected"] * record.protected
        ),
    )  # fmt: skip


def _to_json(record: EventRecord) -> dict[str, object]:
    event: dict[str, object] = msgspec.to_builtins(record.event)
    event = {"id": event.pop("event_id")} | event  # as the API names it
    return event | {
        "seen": record.seen,
        "protected": record.protected,
        "files": sorted(map(str, record.files)),
    }


def _format_moment(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))


def _format_span(record: EventRecord) -> str:
    ended_s = record.event.ended_s
    return "ongoing" if ended_s is None else f"{ended_s - record.event.began_s:.0f} s"


def _parse_time(text: str) -> float:
    """Unix time of ``now``, ``90s``, ``15m``, ``24h``, ``7d`` ago, or an ISO time (local)."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text == "now":
        return time.time()
    if text[-1:] in units and text[:-1].isdecimal():
        return time.time() - int(text[:-1]) * units[text[-1]]
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ConfigError(
            f"{text!r} is no time: write one such as 2027-01-31T18:00, or 24h for a day ago"
        ) from None
    return (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC).timestamp()
