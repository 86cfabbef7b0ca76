"""Accounts of the hub's NATS server: one for the hub, and one for each box.

Permissions of a user bind where a request goes and not where its answer goes, so whoever may ask a
server anything may have the answer put anywhere in the same account. Hence a box has an account of
its own: what it may ask the hub is imported there, and answers stay there. What the hub gathers
from a box lies in the account of the box as well, under bounds of its own.

The file is a piece of the server's configuration, included by it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from nats.aio.client import Client

from edge.errors import ConfigError, EdgeError
from edge.fleet.names import STREAM, name_account, name_delivery, name_gathered, name_inbox
from edge.input_file import MIB, read_input
from edge.permissions import choose_remedy
from edge.wire.nats_credentials import check_public_key
from edge.written_file import write_for_service

OPERATOR: Final = "*"  # who runs the hub: may do everything there
_ACCOUNT: Final = "HUB"
_SYSTEM: Final = "SYS"
_RELOAD: Final = "$SYS.REQ.SERVER.*.RELOAD"  # a request to the server itself
_LIMITS: Final = {"max_connections": 16, "max_subscriptions": 1000, "max_leafnodes": 4}  # of a box
_EXPORT: Final = {"service": _RELOAD, "accounts": [_ACCOUNT]}
_HEAD: Final = (
    "# Accounts of this NATS server, written by `edge hub authorize` and `edge hub revoke`.",
    f'system_account: "{_SYSTEM}"',
    "accounts {",
    f'  "{_SYSTEM}": {json.dumps({"exports": [_EXPORT]})}',
)
_KEY: Final = r'"users": \[\{"nkey": "(?P<key>\w+)"'
_HUB_LINE: Final = re.compile(rf'^  "{_ACCOUNT}": \{{(?:{_KEY}.*|"jetstream".*)\}}$')
_BOX_LINE: Final = re.compile(rf'^  "box-(?P<box>[A-Za-z0-9_-]{{1,64}})": \{{{_KEY}.*\}}$')
_MAX_BYTES: Final = 64 * MIB
RELOAD_S: Final = 30.0


def list_questions(box: str) -> list[str]:
    """What a box may ask of the hub: its own entries, the models of all, what is sealed."""
    people = "$JS.API.DIRECT.GET.KV_EDGE_PEOPLE.$KV.EDGE_PEOPLE"
    return [
        f"$KV.EDGE_BOXES.{box}",
        f"$JS.API.DIRECT.GET.KV_EDGE_DESIRED.$KV.EDGE_DESIRED.{box}",
        *(f"{people}.{key}" for key in (f"box.{box}", f"lease.{box}", "person.*")),
        "$JS.API.DIRECT.GET.OBJ_EDGE_MODELS",
        "$JS.API.DIRECT.GET.OBJ_EDGE_MODELS.>",
    ]


def read_accounts(path: Path) -> dict[str, str]:
    """The public key of each box, and of `OPERATOR`; none if there is no file.

    Raises:
        ConfigError: It cannot be read, or was not written by `authorize`.
    """
    try:
        lines = read_input(path, _MAX_BYTES).decode().splitlines()
    except FileNotFoundError:
        return {}
    except UnicodeError as error:
        raise ConfigError("binary data: give another file", file=path) from error
    except OSError as error:
        remedy = choose_remedy(error, "read it", "check the path")
        raise ConfigError(f"{error.strerror}: {remedy}", file=path) from error
    if lines[-1:] != ["}"]:
        raise ConfigError("the file has no end, so boxes may be missing: restore it", file=path)
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _BOX_LINE.match(line) or _HUB_LINE.match(line)
        name = match.groupdict().get("box", OPERATOR) if match else ""
        if match and name not in keys:
            keys[name] = match["key"] or ""
        elif match or line not in (*_HEAD, "}"):
            raise ConfigError(
                "not a line of edge hub authorize: give another file, or take the line out",
                file=path, line=number,
            )  # fmt: skip
    return {name: key for name, key in keys.items() if key}


def authorize(path: Path, name: str, key: str) -> None:
    """Let a box (or `OPERATOR`) connect with a key.

    Raises:
        ConfigError: The key is none, or another's; the name has another.
    """
    check_public_key(key)
    with _changing(path) as keys:
        if keys.get(name, key) != key:
            raise ConfigError(f"{name!r} has another key: edge hub revoke it first", file=path)
        if other := next((n for n, theirs in keys.items() if theirs == key and n != name), ""):
            raise ConfigError(f"this is the key of {other!r}: each box has its own", file=path)
        keys[name] = key


def revoke(path: Path, name: str) -> None:
    """Let a box connect no more.

    Raises:
        ConfigError: It could not connect before.
    """
    with _changing(path) as keys:
        if name not in keys:
            raise ConfigError(f"{name!r} is not among those who may connect", file=path)
        del keys[name]


async def reload(client: Client) -> None:
    """Have the server read its accounts, over a connection of who runs the hub.

    Raises:
        EdgeError: It refuses.
        TimeoutError, nats.errors.Error: It does not answer, or has not read the file of accounts.
    """
    server = client._server_info["server_id"]  # noqa: SLF001 - told nowhere else
    for _ in range(2):  # what an account that is new imports is taken up the second time
        answer = await client.request(_RELOAD.replace("*", server), b"{}", timeout=RELOAD_S)
        if error := msgspec.json.decode(answer.data, type=_Answer).error:
            raise EdgeError(f"the NATS server refuses: {error.description}")


class _Error(msgspec.Struct, frozen=True):
    """Why a server refuses."""

    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    """What a server says to a request of the system account."""

    error: _Error | None = None


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[dict[str, str]]:
    """The keys, for one process at a time; written when nothing was raised."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        remedy = choose_remedy(error, "write there", "check the folder")
        raise ConfigError(f"{error.strerror}: {remedy}", file=lock) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        keys = read_accounts(path)
        yield keys
        write_for_service(path, _render(keys), 0o644)  # public keys; the server is another user
    finally:
        os.close(descriptor)


def _render(keys: Mapping[str, str]) -> list[str]:
    """The file, an account a line."""
    boxes = [name for name in keys if name != OPERATOR]
    accounts = {_ACCOUNT: _describe_hub(keys.get(OPERATOR, ""), boxes)}
    accounts |= {name_account(box): _describe_box(box, keys[box]) for box in boxes}
    lines = [f"  {json.dumps(name)}: {json.dumps(account)}" for name, account in accounts.items()]
    return [*_HEAD, *lines, "}"]


def _describe_hub(key: str, boxes: list[str]) -> dict[str, Any]:
    """The account of the hub, which sees the stream of each box in a domain of its own."""
    imports: list[dict[str, Any]] = [{"service": {"account": _SYSTEM, "subject": _RELOAD}}]
    for box in boxes:
        for subject in _list_offers(box):
            seen = subject.replace("$JS.API.", f"$JS.{name_account(box)}.API.")
            service = {"account": name_account(box), "subject": subject}
            imports.append({"service": service, "to": seen})
    users = {"users": [{"nkey": key}]} if key else {}
    exports = [{"service": subject} for subject in list_questions("*")]
    return users | {"jetstream": "enabled", "exports": exports, "imports": imports}


def _describe_box(box: str, key: str) -> dict[str, Any]:
    """The account of a box: one stream, which the hub makes and reads."""
    asked = list_questions(box)
    fetch = f"$JS.{box}.API.CONSUMER.CREATE.{STREAM}"
    permissions = {
        "publish": [*asked, f"{name_delivery(box)}.>", "$JSC.R.>"],  # the last are answers
        "subscribe": [
            f"{name_inbox(box)}.>",
            fetch,
            f"{fetch}.>",
            f"$JS.FC.{STREAM}.>",  # flow control of what is fetched
            f"$JS.FC.{box}.>",
        ],
    }
    return {
        "users": [{"nkey": key, "permissions": permissions}],
        "limits": _LIMITS,
        "jetstream": {"max_streams": 1},
        "imports": [{"service": {"account": _ACCOUNT, "subject": each}} for each in asked],
        "exports": [
            {"service": each, "response_type": "stream", "accounts": [_ACCOUNT]}
            for each in _list_offers(box)
        ],
    }


def _list_offers(box: str) -> list[str]:
    """What the hub may ask in the account of a box: about the stream there, and its consumers."""
    stream = name_gathered(box)
    return [
        f"$JS.API.STREAM.*.{stream}",
        f"$JS.API.STREAM.MSG.GET.{stream}",
        "$JS.API.CONSUMER.>",
        f"$JS.ACK.{stream}.>",
    ]
