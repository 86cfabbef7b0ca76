"""`edge open`: the address of a node's page, with a token that logs in once."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from edge import config_file
from edge.config import Http
from edge.errors import ConfigError
from edge.web.schema import Role
from edge.web.sessions import INVITATION_S, write_invitation
from edge.web.users import read_users

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared only


def open_page(
    configuration: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Configuration file (TOML).", readable=False)
    ],
    role: Annotated[Role, typer.Option("--role", help="What who opens it may do.")] = Role.ADMIN,
) -> None:
    """Print the address of the page of the node of CONFIG.

    Where the node asks for a login, the address logs in whoever opens it first within a minute.
    """
    options = config_file.load(configuration).http
    address = build_address(options)
    if not options.users_file:
        typer.echo(address)
        return
    key = read_users(configuration.parent / options.users_file).key
    if not key:
        raise ConfigError("has no key: write it with edge users", file=options.users_file)
    typer.echo(f"{address}#token={write_invitation(key, role)}")
    typer.echo(f"valid once, within {INVITATION_S:.0f} seconds", err=True)


def build_address(options: Http) -> str:
    """The address of the page.

    Raises:
        ConfigError: The page is not shown, or its port is not known.
    """
    if not options.shows_page:
        raise ConfigError(
            f"host {options.host!r} shows no page without a login: set users_file, and write the "
            "file with edge users add",
            key="http.users_file",
        )
    if options.port == 0:
        raise ConfigError("port 0 is another one at each start: set a port", key="http.port")
    host = options.host
    if options.public_names:
        host = options.public_names[0]
    elif host in EVERYWHERE:
        host = _find_own_address(socket.AF_INET6 if ":" in host else socket.AF_INET)
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if options.tls_cert else 'http'}://{shown}:{options.port}/"


def _find_own_address(family: socket.AddressFamily) -> str:
    """The address by which this machine reaches others, or loopback; nothing is sent."""
    loopback, somewhere = "127.0.0.1", "192.0.2.1"
    if family == socket.AF_INET6:
        loopback, somewhere = "::1", "2001:db8::1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((somewhere, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return loopback
