"""`edge fleet box`: the NATS server that a box has of its own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from pydantic import TypeAdapter, ValidationError

from edge.cli.nats_extra import require_nats
from edge.config import Bytes
from edge.errors import ConfigError
from edge.written_file import write_for_service

require_nats()

from edge.fleet.nats_files import (  # noqa: E402 - needs the extra
    LEAF_PORT,
    HubAccess,
    render_configuration,
    render_unit,
)
from edge.fleet.settings import check_name  # noqa: E402
from edge.wire.nats_connection import check_encryption, check_urls  # noqa: E402
from edge.wire.nats_credentials import read_file, read_public_key  # noqa: E402

FILE = Path("/etc/edge/nats.conf")
UNIT = Path("/etc/systemd/system/edge-nats.service")
PROGRAM = "/usr/local/bin/nats-server"
PLAIN = re.compile(r"[A-Za-z0-9_./+@-]*")  # what means nothing else in a unit
DAY_S = 86400


def parse_bytes(given: str | int) -> int:
    """A number of bytes, also as ``10GB``; a default comes as it is.

    Raises:
        BadParameter: It is none.
    """
    try:
        return TypeAdapter(Bytes).validate_python(given)
    except ValidationError:
        raise typer.BadParameter('must be a number of bytes, or a text such as "200GB"') from None


MaxBytes = Annotated[
    int,
    typer.Option("--max-bytes", metavar="BYTES", parser=parse_bytes, help="Most to keep of a box."),
]
MaxDays = Annotated[
    float, typer.Option("--max-days", min=0.1, help="Days for which a message is stored.")
]


def write_box(
    box: Annotated[str, typer.Argument(metavar="BOX", help="Name of this box in the fleet.")],
    hub: Annotated[str, typer.Option("--hub", help="The hub's port for boxes, tls://HOST[:7422].")],
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            help="Key (.nk) or credentials (.creds) of this box; BOX.nk beside FILE unless given.",
        ),
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", help="Certificate authority of the hub.")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1 for the node.")
    ] = 4222,
    max_bytes: MaxBytes = 10 * 10**9,
    max_days: MaxDays = 7,
    program: Annotated[
        str, typer.Option("--program", help="nats-server; the one that is found unless given.")
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a hub on another machine without TLS.")
    ] = False,
    file: Annotated[Path, typer.Option("--file", help="Configuration to write.")] = FILE,
    unit: Annotated[Path, typer.Option("--unit", help="systemd unit to write.")] = UNIT,
) -> None:
    """Write what this box's own NATS server reads: it stores, and the hub fetches.

    It is a leaf node of the hub: it connects to the hub, never the other way round. Where the hub
    is away, it goes on alone and gives up the oldest beyond its bounds.
    """
    check_name(box)
    file, path = file.absolute(), (credentials or file.with_name(f"{box}.nk")).absolute()
    url = _complete(hub, insecure=insecure)
    secret = read_file(str(path))
    is_key = not secret.startswith("-----BEGIN")
    if is_key:
        read_public_key(secret, str(path))
    access = HubAccess(
        url, secret if is_key else "", "" if is_key else str(path),
        str(tls_ca.absolute()) if tls_ca else "",
    )  # fmt: skip
    server = Path(program or shutil.which("nats-server") or PROGRAM).absolute()
    for each in (server, file, path, access.tls_ca):
        if not PLAIN.fullmatch(str(each)):
            raise ConfigError(
                f"{str(each)!r} cannot stand in a systemd unit: use a path of letters, digits and "
                "/ . _ + @ -"
            )
    write_for_service(file, [render_configuration(box, access, port, max_bytes)], 0o600)
    text = render_unit(box, access, str(server), str(file))
    write_for_service(unit, [text.rstrip("\n")], 0o644)
    typer.echo(f"wrote {file} and {unit}; now:")
    typer.echo(f"  systemctl daemon-reload && systemctl enable --now {unit.stem}")
    variables = {"STATE_DIRECTORY": "FOLDER"}
    if access.credentials_file:
        variables["HUB_CREDENTIALS"] = access.credentials_file
    if access.tls_ca:
        variables["HUB_CA"] = access.tls_ca
    given = " ".join(f"{name}={value}" for name, value in variables.items())
    typer.echo("or, without systemd, with a FOLDER for what it stores:")
    typer.echo(f"  {given} {server} -c {file}")
    typer.echo("and in the configuration of the node:\n")
    typer.echo(
        f'[[sinks]]\nkind = "nats"\nservers = ["nats://127.0.0.1:{port}"]\n'
        f'spool = "/var/lib/edge/{box}/spool.db"\nstream_max_bytes = {max_bytes}\n'
        f"stream_max_age_s = {max_days * DAY_S:.0f}"
    )


def _complete(url: str, *, insecure: bool) -> str:
    """The address with its port.

    Raises:
        ConfigError: It is none, or nothing would be encrypted.
    """
    try:
        check_urls([url])
        if not insecure:
            check_encryption([url])
    except ValueError as error:
        problem = str(error).replace("set insecure = true", "give --insecure")
        raise ConfigError(problem, key="--hub") from error
    url = url.rstrip("/")
    return url if urlsplit(url).port else f"{url}:{LEAF_PORT}"
