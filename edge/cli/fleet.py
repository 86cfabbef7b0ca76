"""`edge fleet`: a box that takes its configuration from a hub."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from edge import config_file
from edge.cli.application import application
from edge.cli.hub_accounts import ensure_key
from edge.cli.nats_extra import require_nats
from edge.written_file import write_for_service

require_nats()

from edge.cli.fleet_server import write_box  # noqa: E402
from edge.fleet.box_agent import BoxAgent  # noqa: E402 - needs the extra
from edge.fleet.node_control import NodeControl  # noqa: E402
from edge.fleet.people_box import make_people  # noqa: E402
from edge.fleet.people_keys import BoxKey, check_hub_key  # noqa: E402
from edge.fleet.settings import FleetSettings, check_name, read_settings  # noqa: E402
from edge.wire.nats_credentials import read_public_key  # noqa: E402

app = application("Let this box take its configuration from a hub.")
app.command("box")(write_box)

FILE = Path("/etc/edge/fleet.toml")

SettingsPath = Annotated[
    Path, typer.Argument(metavar="FILE", envvar="EDGE_FLEET", help="What edge fleet join wrote.")
]


@app.command("join")
def join(
    box: Annotated[str, typer.Argument(metavar="BOX", help="Name of this box in the fleet.")],
    server: Annotated[
        list[str], typer.Option("--server", help="The hub, tls://HOST:PORT; may be given again.")
    ],
    configuration: Annotated[
        Path | None,
        typer.Option(
            "--configuration",
            help="Of the node; /etc/edge/BOX.toml unless given.",
        ),
    ] = None,
    unit: Annotated[
        str, typer.Option("--unit", help="systemd unit of the node; edge@BOX unless given.")
    ] = "",
    credentials: Annotated[
        str,
        typer.Option(
            "--credentials",
            help="Key (.nk) or credentials (.creds); a new key beside FILE unless given.",
        ),
    ] = "",
    tls_ca: Annotated[
        str, typer.Option("--tls-ca", help="Certificate authority of the server.")
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a server on another machine without TLS.")
    ] = False,
    upgrade: Annotated[
        str,
        typer.Option("--upgrade", help="Command that installs a version of Edgewatch, {version}."),
    ] = "",
    hub_key: Annotated[
        str,
        typer.Option(
            "--hub-key", help="Take people from the hub with this key, of edge hub people key."
        ),
    ] = "",
    gallery: Annotated[
        str,
        typer.Option("--gallery", help="File for those people; the node's gallery unless given."),
    ] = "",
    gallery_key: Annotated[
        str,
        typer.Option(
            "--gallery-key", help="Its key, a file or credential:NAME; the node's unless given."
        ),
    ] = "",
    file: Annotated[Path, typer.Option("--file", help="File to create or replace.")] = FILE,
) -> None:
    """Write how this box belongs to a fleet; `edge fleet run` then does what the hub wants.

    Joining again keeps what FILE says of the same box, but for the options that are given.
    """
    check_name(box)
    beside = file.absolute().parent
    lines = {
        "configuration": f"/etc/edge/{box}.toml",
        "credentials_file": str(beside / f"{box}.nk"),
        "people_key_file": str(beside / f"{box}.people-key"),
        **_read_former(file, box),
        "box": box,
        "servers": server,
    }
    if unit or "reload" not in lines:
        unit = unit or f"edge@{box}"
        lines["reload"] = ["systemctl", "reload", unit]
        lines["restart"] = ["systemctl", "restart", unit]
    given = {
        "configuration": str(configuration.absolute()) if configuration else "",
        "credentials_file": str(Path(credentials).absolute()) if credentials else "",
        "tls_ca": tls_ca,
        "insecure": insecure,
        "upgrade": shlex.split(upgrade),
        "hub_key": check_hub_key(hub_key) if hub_key else "",
        "gallery": str(Path(gallery).absolute()) if gallery else "",
        "gallery_key": gallery_key,
    }
    lines |= {key: value for key, value in given.items() if value}
    written = [f"{key} = {json.dumps(value)}" for key, value in lines.items()]
    text = "\n".join(written)
    settings = config_file.parse_table(FleetSettings, config_file.read_tree(text), file, text)
    key = Path(settings.credentials_file)
    public = "" if credentials else read_public_key(ensure_key(key), str(key))
    people_key = BoxKey.ensure(Path(settings.people_key_file))
    write_for_service(file, written, 0o640)
    typer.echo(f"wrote {file}")
    if public:
        typer.echo(f"at the hub, once: edge hub authorize {box} {public}")
    typer.echo(f"and for people: edge hub trust {box} {people_key.public}")
    typer.echo("then here: systemctl enable edge-fleet && systemctl restart edge-fleet")


def _read_former(file: Path, box: str) -> dict[str, Any]:
    """What the file says of the box, if it is there and says it of this one.

    Raises:
        ConfigError: It cannot be read, or has mistakes.
    """
    if not file.exists():
        return {}
    tree, text = config_file.read(file)
    former = config_file.parse_table(FleetSettings, tree, file, text)
    return former.model_dump(exclude_unset=True) if former.box == box else {}


@app.command("run")
def run(file: SettingsPath = FILE) -> None:
    """Keep the node of this box at what the hub wants, until SIGTERM or Ctrl-C."""
    settings = read_settings(file)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    control = NodeControl(
        Path(settings.configuration), settings.reload, settings.restart, settings.patience_s,
        settings.upgrade,
    )  # fmt: skip
    people = make_people(settings)
    BoxAgent(settings.box, settings.hub, control, over.is_set, people).run()
