"""`edge keys`: encryption keys in files, and whose keys may subscribe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge.cli.application import application
from edge.cli.table import make_table, to_cell
from edge.errors import ConfigError
from edge.people.gallery.encryption import create_key_file
from edge.wire.key_pair import create_key_pair, decode_key, read_key_pair
from edge.wire.key_ring import check_name, read_clients, write_clients

app = application("Create encryption keys; say whose keys may subscribe.")

CLIENTS = Path("/etc/edge/subscribers.toml")

ClientsPath = Annotated[
    Path,
    typer.Option(
        "--file", envvar="EDGE_CLIENTS", help="Clients file: clients_file of the zeromq sink."
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits or any of . _ @ -")]


@app.command("new")
def new(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to create; it must not exist.")
    ],
    curve: Annotated[
        bool, typer.Option("--curve", help="A key pair for encrypted ZeroMQ, of node or client.")
    ] = False,
) -> None:
    """Create a random master key for a gallery, or a key pair; its owner alone may read it.

    Back up a gallery's: without its key, a gallery cannot be decrypted.
    """
    if curve:
        typer.echo(create_key_pair(file).public)
        typer.echo(f"created {file}: above is its public key, which can be shared", err=True)
        return
    create_key_file(file)
    typer.echo(f"created {file}; back it up: without it, the gallery cannot be decrypted")


@app.command("public")
def public(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A key pair of edge keys new.")],
) -> None:
    """Print the public key of a key pair, which can be shared."""
    typer.echo(read_key_pair(file).public)


@app.command("authorize", context_settings={"ignore_unknown_options": True})
def authorize(
    name: Name,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The client's public key.")],
    file: ClientsPath = CLIENTS,
) -> None:
    """Let a client subscribe; a running node serves it at once."""
    check_name(name)
    decode_key(key)
    clients = read_clients(file) if file.exists() else {}
    if clients.get(name, key) != key:
        raise ConfigError(f"{name!r} has another key: edge keys revoke it first", file=file)
    if other := next((n for n, theirs in clients.items() if theirs == key and n != name), ""):
        raise ConfigError(f"this is the key of {other!r}: give each client its own", file=file)
    write_clients(file, clients | {name: key})
    typer.echo(f"{name} may subscribe")


@app.command("revoke")
def revoke(name: Name, file: ClientsPath = CLIENTS) -> None:
    """Revoke a client's access; a running node ends its connections within a second."""
    clients = read_clients(file)
    if name not in clients:
        raise ConfigError(f"there is no client {name!r}: see edge keys list", file=file)
    write_clients(file, {each: key for each, key in clients.items() if each != name})
    typer.echo(f"{name} may no longer subscribe")


@app.command("list")
def list_clients(file: ClientsPath = CLIENTS) -> None:
    """List who may subscribe."""
    table = make_table("name", "public key")
    for row in sorted(read_clients(file).items()):
        table.add_row(*map(to_cell, row))
    Console().print(table)
