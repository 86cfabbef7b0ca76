"""Who may connect to the hub's NATS server: `edge hub init`, `authorize` and `revoke`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from edge.atomic_file import write_file
from edge.cli.nats_extra import require_nats
from edge.errors import ConfigError, EdgeError
from edge.permissions import choose_remedy

require_nats()

from edge.cli.hub_server import (  # noqa: E402
    Credentials,
    Insecure,
    Server,
    TlsCa,
    choose_servers,
    use_client,
)
from edge.fleet import accounts  # noqa: E402 - needs the extra
from edge.fleet.settings import check_name  # noqa: E402
from edge.wire.nats_connection import NatsServers  # noqa: E402
from edge.wire.nats_credentials import make_seed, read_file, read_public_key  # noqa: E402

ACCOUNTS, KEY = Path("/etc/edge/hub-accounts.conf"), Path("/etc/edge/hub.nk")
BY_HAND = (
    "its accounts anew: restart it, or reload it twice, some seconds apart (systemctl reload, or "
    "nats-server --signal reload=PID), since it takes up what new ones import the second time"
)

AccountsPath = Annotated[
    Path,
    typer.Option(
        "--file", envvar="EDGE_HUB_ACCOUNTS", help="What the NATS server's configuration includes."
    ),
]
Box = Annotated[str, typer.Argument(metavar="BOX", help="Name of the box.")]


def init(
    key: Annotated[Path, typer.Option("--key", help="Your key; made if it is missing.")] = KEY,
    file: AccountsPath = ACCOUNTS,
) -> None:
    """Make the key with which you use the hub, and the accounts of its NATS server."""
    for path in (key, file):
        path.parent.mkdir(parents=True, exist_ok=True)
    seed = ensure_key(key)
    accounts.authorize(file, accounts.OPERATOR, read_public_key(seed, str(key)))
    typer.echo(f"wrote {file}: include it in the configuration of the NATS server")
    typer.echo(f"your key is {key}: give --credentials, or set EDGE_HUB_CREDENTIALS={key}")


def authorize(
    box: Box,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Public key that edge fleet join printed there.")
    ],
    file: AccountsPath = ACCOUNTS,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Let a box connect to the hub, to its own keys and no other's, from now on."""
    check_name(box)
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    accounts.authorize(file, box, key)
    _conclude(servers, f"{box} may connect")


def revoke(
    box: Box,
    file: AccountsPath = ACCOUNTS,
    server: Server = None,
    credentials: Credentials = "",
    tls_ca: TlsCa = "",
    insecure: Insecure = False,
) -> None:
    """Stop a box from connecting, at once; it keeps running what it runs."""
    servers = choose_servers(server, credentials, tls_ca, insecure=insecure)
    accounts.revoke(file, box)
    _conclude(servers, f"{box} may connect no more")


def _conclude(servers: NatsServers, done: str) -> None:
    """Have the server read the file; where it cannot, say how that is done, and exit with 1."""
    try:
        asyncio.run(use_client(servers, accounts.reload))
    except EdgeError as error:
        typer.echo(f"{done} once the NATS server has read {BY_HAND}\n{error.problem}", err=True)
        raise typer.Exit(1) from None
    typer.echo(done)


def ensure_key(path: Path) -> str:
    """The seed in a file, which is made if it is missing.

    Raises:
        ConfigError: It cannot be read or written.
    """
    try:
        write_file(path, f"{make_seed()}\n", sync=True, mode=0o600, keep=True)
    except OSError as error:
        remedy = choose_remedy(error, "write there", "choose another path")
        raise ConfigError(f"{error.strerror}: {remedy}", file=path) from error
    return read_file(str(path))
