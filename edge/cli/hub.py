"""`edge hub`: what the boxes of a fleet run."""

from __future__ import annotations

import asyncio
import getpass
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from edge import config_file
from edge.cli import hub_accounts
from edge.cli.application import application
from edge.cli.gallery_options import GALLERY, KEY, GalleryPath, KeyPath
from edge.cli.nats_extra import require_nats
from edge.cli.table import make_table, to_cell
from edge.errors import ConfigError, EdgeError
from edge.printable import escape_controls_in_json, format_count

require_nats()

from edge.cli import hub_people  # noqa: E402
from edge.cli.fleet_server import DAY_S, MaxBytes, MaxDays  # noqa: E402
from edge.cli.hub_server import (  # noqa: E402
    Credentials,
    Insecure,
    Server,
    TlsCa,
    choose_servers,
    use_store,
)
from edge.fleet import gathering  # noqa: E402
from edge.fleet.board import FleetBoard  # noqa: E402
from edge.fleet.models import bind  # noqa: E402
from edge.fleet.people_hub import HubPeople, PeopleAtBox  # noqa: E402
from edge.fleet.people_sender import PeopleSender  # noqa: E402
from edge.fleet.records import Desired, Report  # noqa: E402 - needs the extra
from edge.fleet.rollout import Rollout, roll_out, split_waves  # noqa: E402
from edge.fleet.settings import check_name, check_version  # noqa: E402
from edge.fleet.store import FleetStore  # noqa: E402

app = application("Choose what the boxes of a fleet run, and see their state.")

Waves = Annotated[
    str,
    typer.Option("--waves", help="Boxes reached after each wave, as numbers or percentages."),
]
Wait = Annotated[
    float, typer.Option("--wait", min=1, help="Seconds a wave may take until all run with it.")
]
app.command()(hub_people.trust)
app.command("forget")(hub_people.forget_box)
app.add_typer(hub_people.app, name="people")
for command in (hub_accounts.init, hub_accounts.authorize, hub_accounts.revoke):
    app.command()(command)

Boxes = Annotated[list[str] | None, typer.Argument(metavar="[BOX]...", help="Names of boxes.")]


@app.command("boxes")
def boxes(
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
    gallery: GalleryPath = GALLERY,
) -> None:
    """List the boxes, what they run, and what they say of it; exit with 1 if one is not well."""
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    reports = asyncio.run(use_store(servers, lambda store: store.list_reports()))
    now_s, ill = time.time(), 0
    known = _judge_people(HubPeople(gallery), reports)
    titles = ("box", "state", "revision", "version", "heard", "problem")
    table = make_table(*titles, *(("people",) if known else ()))
    for name, report in sorted(reports.items()):
        state = report.judge(now_s)
        people = known.get(name)
        ill += state != "ready" or bool(report.problem) or bool(people and not people.is_well)
        if as_json:
            more = {"people_owed": people.owed} if people else {}
            line = msgspec.json.encode(msgspec.to_builtins(report) | more)
            typer.echo(escape_controls_in_json(line))
            continue
        told = (to_cell(people.describe(now_s) if people else ""),) if known else ()
        done = report.outcome.value.replace("_", " ") if report.outcome else "nothing yet"
        table.add_row(
            to_cell(name), state, to_cell(f"{report.revision} {done}"), to_cell(report.version),
            f"{max(now_s - report.at_s, 0):.0f} s ago", to_cell(report.problem), *told,
        )  # fmt: skip
    for name in known.keys() - reports.keys():
        ill += 1
        if as_json:
            typer.echo(msgspec.json.encode({"box": name, "people_owed": known[name].owed}))
        else:
            owed = to_cell(known[name].describe(now_s))
            table.add_row(to_cell(name), "away", "", "", "never", "", owed)
    if not as_json:
        Console().print(table if reports or known else "no box has joined: see edge fleet join")
    raise typer.Exit(1 if ill else 0)


@app.command("run")
def run(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 takes any.")
    ] = 9480,
    public_name: Annotated[
        list[str] | None,
        typer.Option("--public-name", help="Name of a proxy that logs people in; may repeat."),
    ] = None,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery",
            help="The hub's gallery: boxes are told of its changes, and leases are renewed.",
        ),
    ] = None,
    key: KeyPath = KEY,
    days: hub_people.Days = None,
) -> None:
    """Show a page over all boxes, until SIGTERM or Ctrl-C.

    It asks for no login, so it listens on this machine alone; for others put a proxy before it.
    """
    import uvicorn  # the other commands do without a server

    from edge.web.access import AccessRules
    from edge.web.hub import create_hub

    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    people = HubPeople(gallery) if gallery else None
    sender = PeopleSender(people, key, servers, hub_people.count_seconds(days)) if people else None
    board = FleetBoard(servers, people, sender)
    page = create_hub(board, AccessRules("127.0.0.1", names=frozenset(public_name or ())))
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(f"port {port}: {error.strerror}", key="--port") from error
    with listener:
        typer.echo(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        board.start()
        if sender:
            sender.start()
        try:
            config = uvicorn.Config(page, lifespan="off", log_config=None, server_header=False)
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            board.stop()
            if sender:
                sender.stop()


@app.command("apply")
def apply(
    configuration: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG", exists=True,
            help="A configuration for all BOXes, or a folder with a BOX.toml for each.",
        ),
    ],
    names: Boxes = None,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models", exists=True, file_okay=False,
            help="Folder of the models that it names as hub:FILE; that of CONFIG unless given.",
        ),
    ] = None,
    version: Annotated[
        str, typer.Option("--version", help="Version of Edgewatch that boxes install first.")
    ] = "",
    waves: Waves = "1,5%,100%",
    wait: Wait = 300.0,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:  # fmt: skip
    """Have boxes run a configuration, in waves; stop if one fails to run it.

    A box refuses what cannot work on it, and goes back where its node does not become ready.
    """
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    folder = models or (configuration if configuration.is_dir() else configuration.parent)
    if version:
        check_version(version)
    wanted, files = _read_wanted(configuration, names or [], folder)
    wanted = {name: msgspec.structs.replace(each, version=version) for name, each in wanted.items()}
    plan = split_waves(list(wanted), waves)

    async def act(store: FleetStore) -> Rollout:
        if files:
            await store.send_models(files)
        return await roll_out(store, wanted, plan, wait, typer.echo)

    _conclude(asyncio.run(use_store(servers, act)))


@app.command("upgrade")
def upgrade(
    names: Annotated[list[str], typer.Argument(metavar="BOX...", help="Names of boxes.")],
    version: Annotated[str, typer.Option("--version", help="Of Edgewatch.")],
    waves: Waves = "1,5%,100%",
    wait: Wait = 1800.0,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Have boxes install a version and run their configuration with it, in waves, as apply does.

    A box goes back to its previous version if its node does not become ready as the new one.
    """
    check_version(version)
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    plan = split_waves(names, waves)

    async def act(store: FleetStore) -> Rollout:
        wanted = {}
        for name in names:
            known = [r.desired for r in await store.list_revisions(name) if r.desired]
            if not known:
                raise EdgeError(f"no configuration of {name} is known: edge hub apply one")
            wanted[name] = _want(known[-1].text, version)
        return await roll_out(store, wanted, plan, wait, typer.echo)

    _conclude(asyncio.run(use_store(servers, act)))


@app.command("rollback")
def rollback(
    names: Annotated[list[str], typer.Argument(metavar="BOX...", help="Names of boxes.")],
    wait: Wait = 300.0,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Return boxes to their previous configuration, all at once."""
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)

    async def act(store: FleetStore) -> Rollout:
        wanted = {}
        for name in names:
            known = [r.desired for r in await store.list_revisions(name) if r.desired]
            others = [
                d for d in known[:-1]
                if (d.text, d.version) != (known[-1].text, known[-1].version)
            ]  # fmt: skip
            if not others:
                raise EdgeError(f"nothing is known that {name} ran before")
            wanted[name] = _want(others[-1].text, others[-1].version)
        return await roll_out(store, wanted, [names], wait, typer.echo)

    _conclude(asyncio.run(use_store(servers, act)))


@app.command("gather")
def gather(
    names: Boxes = None,
    max_bytes: MaxBytes = 2 * 10**9,
    max_days: MaxDays = 90,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Have the hub keep what boxes store: it takes it over, now and from then on.

    Without names it is every box that has reported. The bounds are for each box.
    """
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    for name in names or ():
        check_name(name)

    async def act(store: FleetStore) -> Sequence[str]:
        boxes = names or sorted(await store.list_reports())
        if not boxes:
            raise EdgeError("no box has joined yet: name those whose streams are gathered")
        for box in boxes:
            await gathering.gather(store.client, box, max_bytes, max_days * DAY_S)
        return boxes

    gathered = asyncio.run(use_store(servers, act))
    typer.echo(f"the hub takes over what is stored by {', '.join(gathered)}")


def _judge_people(people: HubPeople, reports: Mapping[str, Report]) -> dict[str, PeopleAtBox]:
    """How far boxes are with people, where any are sent and this user may know of it."""
    if not people.is_used:
        return {}
    try:
        return people.judge({name: report.people for name, report in reports.items()})
    except ConfigError as error:
        typer.echo(f"what boxes owe of people is not shown: {error}", err=True)
        return {}


def _read_wanted(
    path: Path, names: Sequence[str], folder: Path
) -> tuple[dict[str, Desired], dict[str, Path]]:
    """What each box is to run, checked as far as that can be done elsewhere, and its models."""
    files = dict.fromkeys(names, path)
    if path.is_dir():
        files = {name: path / f"{name}.toml" for name in names}
        if not names:
            files = {file.stem: file for file in sorted(path.glob("*.toml"))}
    if not files:
        raise ConfigError("name the boxes, or give a folder with a BOX.toml for each", file=path)
    wanted: dict[str, Desired] = {}
    models: dict[str, Path] = {}
    for name, file in files.items():
        check_name(name)
        tree, text = config_file.read(file)
        config_file.parse(tree, file, text)
        text, named = bind(tree, text, folder)
        models |= named
        wanted[name] = _want(text)
    return wanted, models


def _want(text: str, version: str = "") -> Desired:
    return Desired(text, getpass.getuser(), time.time(), version)


def _conclude(rollout: Rollout) -> None:
    """Say what came of it; exit with 1 where a box does not run with it."""
    typer.echo(f"{format_count(len(rollout.applied), 'box runs', 'boxes run')} with it")
    if rollout.untouched:
        typer.echo(f"not told: {', '.join(rollout.untouched)}")
    if rollout.failed:
        raise typer.Exit(1)
