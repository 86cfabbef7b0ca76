"""The choice of a camera: asked for, tried, and corrected until it delivers or is kept anyway."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr, ValidationError

from edge import plugins
from edge.bounded_call import call_within
from edge.cli.camera_trial import Trial, try_camera
from edge.cli.cameras import parse_source
from edge.cli.dialogue import ask, ask_choice, ask_secret, find_fault, say
from edge.config import FILE_SYSTEM_S
from edge.diagnostics.text_file import list_matches
from edge.errors import ConfigError, SinglePictureError, SourceDeniedError, SourceError
from edge.ports import Source
from edge.redaction import show_address
from edge.sources._address import remove_login
from edge.sources._login import escape

SYNTHETIC = "synthetic"
QUESTION = (
    f"Camera: rtsp:// or http:// address, /dev/video0, a file, or {SYNTHETIC} for a test picture"
)
WHAT_NOW = "Give another camera, try this one again, or keep it as it is"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A camera as it was given.

    Attributes:
        table: Its source in a configuration, without a password.
        password: The password of the user in `table`.
        trial: What it delivered; None if it was not tried or failed.
    """

    table: Mapping[str, Any]
    password: str = field(default="", repr=False)
    trial: Trial | None = None

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """An address, a device, a file, or the word for a synthetic camera.

        Raises:
            ConfigError: It is none of these; the message does not contain a login.
        """
        if fault := find_fault(text):
            raise ConfigError(f"the camera cannot be used: {fault}")
        if text == SYNTHETIC:
            return cls({"kind": "synthetic"})
        table = parse_source(text)
        if table["kind"] == "video_file":
            path = _find_file(table["path"].removeprefix("file:"))
            candidate = cls(table | {"path": path, "loop": True})
        elif "url" in table:
            url, user, password = _split_login(table["url"])
            candidate = cls(table | {"url": url} | ({"user": user} if user else {}), password)
        else:
            candidate = cls(table)
        candidate.create()
        return candidate

    @property
    def has_address(self) -> bool:
        """Whether it may have a login."""
        return "url" in self.table

    @property
    def shown(self) -> str:
        """What may be shown of it."""
        keys = ("url", "device", "path", "kind")
        return show_address(next(str(self.table[key]) for key in keys if key in self.table))

    def with_login(self, user: str, password: str) -> Candidate:
        """The same with another login."""
        return replace(self, table={**self.table, "user": user}, password=password)

    def create(self) -> Source:
        """The source.

        Raises:
            ConfigError: It cannot be used as given.
        """
        table = dict(self.table)
        if self.password:
            table["password"] = SecretStr(self.password)  # is taken as it is, without variables
        plugin = plugins.load("sources", table["kind"])
        try:
            source: Source = plugin.build(plugins.validate(plugin, table))
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]["msg"]
            why = str(problem).removeprefix("Value error, ")
            raise ConfigError(
                f"the camera {self.shown} cannot be used: its address {why}"
            ) from None
        return source

    def tried(self) -> Candidate:
        """The same with what it delivers; a picture that is no stream is asked for repeatedly.

        Raises:
            SourceError: It delivers nothing.
        """
        try:
            return replace(self, trial=try_camera(self.create()))
        except SinglePictureError:
            snapshots = replace(self, table={**self.table, "kind": "snapshot"})
        return replace(snapshots, trial=try_camera(snapshots.create()))

    def suggest_name(self) -> str:
        """A name for it, of its host, device or file."""
        table = self.table
        if self.has_address:
            try:
                host = urlsplit(table["url"]).hostname or ""
            except ValueError:
                host = ""
            label = host.partition(".")[0]
            name = "" if re.fullmatch(r"[0-9]*", label) or ":" in host else label
        elif "device" in table:
            device = Path(table["device"]).name
            name = device if device.startswith("video") else ""
        else:
            name = Path(table.get("path", "")).stem
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:64]
        return name or "camera-1"


def choose_camera(text: str, devices: Sequence[str], *, asks: bool, offline: bool) -> Candidate:
    """A camera that delivers, or that is kept though it does not.

    Args:
        text: What was given on the command line; empty to be asked for.
        devices: Video devices of this machine, to choose from.
        asks: Whether questions may be asked.
        offline: Keep a camera that does not deliver.

    Raises:
        ConfigError: It cannot be used, and no question may be asked.
        SourceError: The same for one that does not deliver.
        typer.Abort: A question was not answered.
    """
    candidate = _parse_or_ask(text, devices, asks=asks)
    while True:
        say(f"trying {candidate.shown} ...")
        try:
            candidate = candidate.tried()
        except SourceError as error:
            if offline:
                say(f"{error}; kept all the same")
                return candidate
            if not asks:
                raise
            corrected = _correct(candidate, error, devices)
        else:
            return candidate
        if corrected is None:
            return candidate
        candidate = corrected


def check_name(name: str) -> None:
    """Check a camera's name, which messages, metrics and logs carry.

    Raises:
        ConfigError: It is none.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name[:80]} is no name for a camera: use 1 to 64 letters A-Z, digits, - and _"
        )


def ask_name(candidate: Candidate) -> str:
    """A name for a camera.

    Raises:
        typer.Abort: The question was not answered.
    """
    while True:
        name = ask("Name of the camera", candidate.suggest_name())
        try:
            check_name(name)
        except ConfigError as error:
            say(str(error))
        else:
            return name


def find_devices(folder: Path) -> list[str]:
    """The video devices in /dev, by the names that stay; without those of metadata."""
    stable = list_matches(folder, "v4l/by-id/*-index0")
    return [str(device) for device in stable or list_matches(folder, "video[0-9]*")]


def _parse_or_ask(text: str, devices: Sequence[str], *, asks: bool) -> Candidate:
    if not text and not asks:
        if not devices:
            raise ConfigError("there is no video device on this machine: give --camera CAMERA")
        text = devices[0]
    while True:
        try:
            return Candidate.parse(text or _ask_address(devices))
        except ConfigError as error:
            if not asks:
                raise
            say(str(error))
            text = ""


def _ask_address(devices: Sequence[str]) -> str:
    for number, device in enumerate(devices, start=1):
        say(f"{number}: {device}")
    question = f"{QUESTION}{', or a number above' if devices else ''}"
    while not (answer := ask(question, "1" if devices else "")):
        say("give a camera")
    if answer.isdecimal() and 0 < int(answer[:4]) <= len(devices):
        return devices[int(answer[:4]) - 1]
    return answer


def _correct(candidate: Candidate, error: SourceError, devices: Sequence[str]) -> Candidate | None:
    """What to try next; None to keep the camera as it is."""
    say(str(error))
    is_denied = isinstance(error, SourceDeniedError) and candidate.has_address
    if is_denied and (user := ask("User (empty for none)")):
        return candidate.with_login(escape(user), ask_secret(f"Password of {user}"))
    match ask_choice(WHAT_NOW, ("other", "again", "keep")):
        case "other":
            return _parse_or_ask("", devices, asks=True)
        case "again":
            return candidate
        case _:
            return None


def _find_file(path: str) -> str:
    """The absolute path of a file.

    Raises:
        ConfigError: There is none.
    """
    try:
        exists = call_within(FILE_SYSTEM_S, lambda: os.path.exists(path))  # noqa: PTH110 - long
    except TimeoutError:
        raise ConfigError(f"the file system of {path} does not answer: check the mount") from None
    if not exists:
        raise ConfigError(
            f"{show_address(path)[:80]} is no file, and no address or device: an address begins "
            "with rtsp:// or http://, a device with /dev/"
        )
    return os.path.abspath(path)  # noqa: PTH100 - links stay


def _split_login(url: str) -> tuple[str, str, str]:
    """The address without its login, user and password; all of it where that cannot be parted."""
    bare, userinfo = remove_login(url)
    user, _, password = userinfo.partition(":")
    try:
        user, password = unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        return url, "", ""
    if not user or "${" in userinfo or not (user + password).isprintable():
        return url, "", ""
    return bare, escape(user), password
