"""The hub's server, as commands of `edge hub` are told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import typer
from nats.aio.client import Client

from edge.errors import ConfigError, EdgeError
from edge.fleet.store import FleetStore
from edge.wire.nats_connection import FAILURES, NatsServers, check_encryption, check_urls

T = TypeVar("T")

Server = Annotated[
    list[str] | None,
    typer.Option(
        "--server", envvar="EDGE_HUB",
        help="nats://HOST:PORT or tls://HOST:PORT; nats://127.0.0.1:4222 unless given.",
    ),
]  # fmt: skip
Credentials = Annotated[
    str,
    typer.Option(
        "--credentials",
        envvar="EDGE_HUB_CREDENTIALS",
        help="Your key (.nk) or credentials (.creds).",
    ),
]
TlsCa = Annotated[
    str,
    typer.Option("--tls-ca", envvar="EDGE_HUB_CA", help="Certificate authority of the server."),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow a server on another machine without TLS.")
]


def choose_servers(
    server: Sequence[str] | None, credentials: str, tls_ca: str, *, insecure: bool
) -> NatsServers:
    """The servers of options.

    Raises:
        ConfigError: An address is none, or would be used without encryption.
    """
    urls = tuple(server or ("nats://127.0.0.1:4222",))
    try:
        check_urls(urls)
        if not insecure:
            check_encryption(urls)
    except ValueError as error:
        problem = str(error).replace("set insecure = true", "give --insecure")
        raise ConfigError(problem, key="--server") from error
    return NatsServers(urls, credentials, tls_ca)


async def use_client(servers: NatsServers, act: Callable[[Client], Awaitable[T]]) -> T:
    """Do something over a connection.

    Raises:
        EdgeError: The server cannot be reached, or what is done fails.
    """
    try:
        client = await servers.connect()
        try:
            return await act(client)
        finally:
            await client.close()
    except FAILURES as error:
        raise EdgeError(f"the hub cannot be reached: {servers.explain(error)}") from error


async def use_store(servers: NatsServers, act: Callable[[FleetStore], Awaitable[T]]) -> T:
    """Do something with the buckets, which are made if they are missing.

    Raises:
        EdgeError: The server cannot be reached, or what is done fails.
    """

    async def open_first(client: Client) -> T:
        return await act(await FleetStore.open(client))

    return await use_client(servers, open_first)
