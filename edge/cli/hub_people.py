"""`edge hub people`: whom the boxes of a fleet know, from the hub's gallery."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Annotated

import msgspec
import typer
from nats.aio.client import Client
from rich.console import Console

from edge.cli.application import application
from edge.cli.gallery_options import GALLERY, KEY, AsJson, GalleryPath, KeyPath
from edge.cli.hub_server import (
    Credentials,
    Insecure,
    Server,
    TlsCa,
    choose_servers,
    use_client,
    use_store,
)
from edge.cli.scope_check import explain_unknown
from edge.cli.table import make_table, to_cell
from edge.errors import ConfigError, EdgeError
from edge.fleet.people_bucket import PeopleBucket
from edge.fleet.people_hub import HubPeople, PeopleAtBox
from edge.fleet.records import PeopleReceipt
from edge.fleet.settings import check_name
from edge.fleet.store import FleetStore
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.printable import format_count
from edge.wire.nats_connection import NatsServers

app = application("Send enrolled people to the boxes at which their consent holds.")

DAY_S = 86400.0
POLL_S = 0.2

Box = Annotated[str, typer.Argument(metavar="BOX", help="Name of the box.")]
Days = Annotated[
    float | None,
    typer.Option(
        "--lease-days",
        min=0.001,
        max=366,
        help="Days for which a box that hears nothing from the hub goes on naming people; "
        "as said last unless given, at first 7.",
    ),
]
Wait = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds to wait until boxes confirm it.")
]


@app.command("key")
def show_key(gallery: GalleryPath = GALLERY) -> None:
    """Print the hub's public key, for edge fleet join --hub-key; it is made with the first use."""
    typer.echo(HubPeople(gallery).key.public)


@app.command("list")
def list_boxes(
    gallery: GalleryPath = GALLERY,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """List the boxes that people are sent to, and what each still owes; exit with 1 if one does."""
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    people = HubPeople(gallery)
    found = people.judge(asyncio.run(use_store(servers, read_receipts)))
    _show(found, as_json=as_json)
    _warn_of_untrusted(people)
    raise typer.Exit(0 if all(each.is_well for each in found.values()) else 1)


@app.command("send")
def send(
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    days: Days = None,
    wait: Wait = 10,
    change_embedder: Annotated[
        bool,
        typer.Option(
            "--change-embedder",
            help="Boxes with people of another embedder forget those, and take the present one.",
        ),
    ] = False,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Tell boxes whom they are to know, put all of it on the server again, and renew leases.

    The exit status is 1 while boxes have not confirmed it.
    """
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    people = HubPeople(gallery)
    with Gallery(gallery, load_key(key)) as opened:

        async def act(client: Client) -> None:
            await people.publish(
                opened, PeopleBucket(client), count_seconds(days), everything=True,
                change_embedder=change_embedder,
            )  # fmt: skip

        asyncio.run(use_client(servers, act))
    found = _await_boxes(people, servers, wait)
    _show(found, as_json=False)
    _warn_of_untrusted(people)
    raise typer.Exit(0 if all(each.is_well for each in found.values()) else 1)


@app.command("renew")
def renew(
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    days: Days = None,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Renew the leases of all boxes, and tell them what changed; edge hub run does so by itself."""
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    people = HubPeople(gallery)
    with Gallery(gallery, load_key(key)) as opened:

        async def act(client: Client) -> None:
            await people.publish(opened, PeopleBucket(client), count_seconds(days))

        asyncio.run(use_client(servers, act))
    ledger = people.file.read()
    count = format_count(len(ledger.boxes), "box", "boxes")
    typer.echo(f"{count} may name people for {ledger.lease_s / DAY_S:g} days")


@app.command("forget")
def forget(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name (in any case) or id.")],
    gallery: GalleryPath = GALLERY,
    key: KeyPath = KEY,
    days: Days = None,
    wait: Wait = 10,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Forget a person for good, here and at every box; exit with 1 while a box has not done so.

    What a box owes stays on the list of edge hub boxes until it has. A box that stays away names
    nobody from the end of its lease on.
    """
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    people = HubPeople(gallery)
    with Gallery(gallery, load_key(key)) as opened:
        if not sure:
            typer.confirm(f"Forget {opened.find(name).person.name or name} for good?", abort=True)
        person = opened.forget(name)
        asyncio.run(people.publish(opened, None, count_seconds(days)))
        typer.echo(f"forgotten here; the audit log keeps the id {person}")
        owing = [n for n, box in people.file.read().boxes.items() if person in box.withdrawn]

        async def act(client: Client) -> None:
            await people.publish(opened, PeopleBucket(client), count_seconds(days))

        try:
            asyncio.run(use_client(servers, act))
        except EdgeError as error:
            raise EdgeError(
                f"{error.problem}; boxes that have the person: {', '.join(owing) or 'none'}: they "
                "are told by edge hub people send"
            ) from error
    found = _await_boxes(people, servers, wait, person)
    late = [box for box in owing if box in found and person in found[box].owed]
    for box in owing:
        if box not in late:
            typer.echo(f"{box}: forgotten")
    for box in late:
        end = time.strftime("%Y-%m-%d %H:%M", time.gmtime(found[box].until_s))
        typer.echo(
            f"{box}: NOT YET; without hearing from the hub it names nobody from {end} UTC on"
        )
    raise typer.Exit(1 if late else 0)


def trust(
    box: Box,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Public key that edge fleet join printed there.")
    ],
    gallery: GalleryPath = GALLERY,
) -> None:
    """Let people be sent to a box, sealed for this key of it."""
    check_name(box)
    people = HubPeople(gallery)
    people.trust(box, key)
    typer.echo(f"{box} gets those whose consent holds there: edge hub people send")
    typer.echo(f"at the box, once: edge fleet join {box} ... --hub-key {people.key.public}")


def forget_box(
    box: Box,
    gallery: GalleryPath = GALLERY,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Take a box off the fleet: what is stored for it and of it, and its key for people.

    It keeps running what it has. While its agent runs and may connect, it comes back: edge hub
    revoke it first.
    """
    check_name(box)
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    was_known = HubPeople(gallery).forget_box(box)

    async def act(client: Client) -> bool:
        found = await (await FleetStore.open(client)).forget(box)
        bucket = PeopleBucket(client)
        if was_known:
            await bucket.create()
            await bucket.remove([f"box.{box}", f"lease.{box}"])
        return found

    if not (asyncio.run(use_client(servers, act)) or was_known):
        raise ConfigError(f"nothing is known of {box!r}: see edge hub boxes")
    typer.echo(
        f"{box} is forgotten; while its agent runs, it is back in edge hub boxes within half a "
        f"minute: edge hub revoke {box}, and a reload of the NATS server, keep it out"
    )
    if was_known and (left := len(set(was_known.people) | set(was_known.withdrawn))):
        who = format_count(left, "person", "people")
        end = time.strftime("%Y-%m-%d %H:%M", time.gmtime(was_known.until_s))
        typer.echo(
            f"it may still hold {who}, and names them until {end} UTC unless its gallery is "
            "deleted there; nobody waits for it any more"
        )


def count_seconds(days: float | None) -> float | None:
    """The seconds of days, if any are given."""
    return None if days is None else days * DAY_S


async def read_receipts(store: FleetStore) -> dict[str, PeopleReceipt]:
    """What boxes say of people, by name."""
    return {name: report.people for name, report in (await store.list_reports()).items()}


def _await_boxes(
    people: HubPeople, servers: NatsServers, wait_s: float, person: str = ""
) -> dict[str, PeopleAtBox]:
    """Wait until all boxes have confirmed what they were told, or at least to forget a person."""

    async def act(store: FleetStore) -> dict[str, PeopleAtBox]:
        deadline_s = time.monotonic() + wait_s
        while True:
            found = people.judge(await read_receipts(store))
            late = [each for each in found.values() if _is_late(each, person)]
            if not late or time.monotonic() >= deadline_s:
                return people.settle(await read_receipts(store))
            await asyncio.sleep(POLL_S)

    return asyncio.run(use_store(servers, act))


def _warn_of_untrusted(people: HubPeople) -> None:
    ledger = people.file.read()
    if ledger.untrusted:
        typer.echo(explain_unknown(ledger.untrusted, ledger.boxes), err=True)


def _is_late(box: PeopleAtBox, person: str) -> bool:
    return person in box.owed if person else not box.is_well


def _show(found: Mapping[str, PeopleAtBox], *, as_json: bool) -> None:
    now_s = time.time()
    if as_json:
        for each in found.values():
            typer.echo(json.dumps(msgspec.to_builtins(each)))
        return
    if not found:
        typer.echo("no box is trusted with people: see edge hub trust")
        return
    table = make_table("box", "people", "names until")
    for each in found.values():
        end = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(each.until_s)) if each.until_s else ""
        table.add_row(to_cell(each.box), to_cell(each.describe(now_s)), end)
    Console().print(table)
