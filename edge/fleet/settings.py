"""How a box belongs to a fleet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from edge import config_file
from edge.compat import Self
from edge.config import Table
from edge.errors import ConfigError
from edge.fleet.names import HUB, name_inbox
from edge.wire.nats_connection import NatsServers, check_encryption, check_urls

VERSION = re.compile(r"^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}$")
BOX_NAME = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


def _check_servers(servers: tuple[str, ...]) -> tuple[str, ...]:
    check_urls(servers)
    return servers


class FleetSettings(Table):
    """The file of `edge fleet`.

    Attributes:
        box: Name of this box in the fleet.
        servers: Of the hub, `tls://HOST:PORT`, tried in turn.
        configuration: File of the node that is replaced.
        reload: Command that has the node read its configuration.
        restart: Command that starts the node anew, where reading is not enough.
        credentials_file: Credentials for the server (.creds) or a key (.nk); empty sends none.
        tls_ca: Certificate authority of the server; empty uses those of the system.
        insecure: Allow a server on another machine without TLS.
        upgrade: Command that installs a version of Edgewatch, `{version}`; without one the box
            refuses what names another version than it has.
        hub_key: The hub's public key for people, of `edge hub people key`; empty takes none of it.
        people_key_file: This box's own key for them, which `edge fleet join` makes.
        gallery: File of people; empty is that of the configuration, `recognition.gallery`.
        gallery_key: The gallery's key, a file or credential:NAME; empty is that of the
            configuration.
        patience_s: How long a node may take to become ready, in seconds.
    """

    box: str
    servers: Annotated[tuple[str, ...], AfterValidator(_check_servers)] = Field(min_length=1)
    configuration: str = Field(min_length=1)
    reload: tuple[str, ...] = Field(min_length=1)
    restart: tuple[str, ...] = Field(min_length=1)
    credentials_file: str = ""
    tls_ca: str = ""
    insecure: bool = False
    upgrade: tuple[str, ...] = ()
    hub_key: str = ""
    people_key_file: str = ""
    gallery: str = ""
    gallery_key: str = ""
    patience_s: float = Field(default=60, ge=1, le=3600)

    @model_validator(mode="after")
    def _check_encryption(self) -> Self:
        if not self.insecure:
            check_encryption(self.servers)
        return self

    @field_validator("box")
    @classmethod
    def _check_box(cls, box: str) -> str:
        try:
            check_name(box)
        except ConfigError as error:
            raise ValueError(error.problem) from error
        return box

    @field_validator("upgrade")
    @classmethod
    def _check_upgrade(cls, upgrade: tuple[str, ...]) -> tuple[str, ...]:
        if upgrade and not any("{version}" in word for word in upgrade):
            raise ValueError("a word of it must hold {version}")
        return upgrade

    @model_validator(mode="after")
    def _check_people(self) -> Self:
        if self.hub_key and not self.people_key_file:
            raise ValueError("hub_key needs people_key_file: use edge fleet join")
        if bool(self.gallery) != bool(self.gallery_key):
            raise ValueError("gallery and gallery_key belong together")
        return self

    @property
    def hub(self) -> NatsServers:
        """The servers."""
        return NatsServers(self.servers, self.credentials_file, self.tls_ca, name_inbox(self.box))


def check_name(box: str) -> None:
    """Check the name of a box.

    Raises:
        ConfigError: It is none.
    """
    if box == HUB:
        raise ConfigError(f"a box cannot be called {HUB}: that is what the hub's domain is called")
    if not BOX_NAME.fullmatch(box):
        raise ConfigError(f"{box!r} is no name of a box: use letters, digits, _ and -")


def check_version(version: str) -> None:
    """Check the name of a version, which becomes a word of a command.

    Raises:
        ConfigError: It is none.
    """
    if not VERSION.fullmatch(version):
        raise ConfigError(f"{version!r} is no version: use letters, digits and . + ~ _ -")


def read_settings(path: Path) -> FleetSettings:
    """The settings in a file.

    Raises:
        ConfigError: It cannot be read, or has mistakes.
    """
    tree, text = config_file.read(path)
    return config_file.parse_table(FleetSettings, tree, path, text)
