"""Boxes connect with keys of their own, as the document says."""

import asyncio
import os
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nats.errors import Error
from typer.testing import CliRunner

from edge.cli import app
from edge.cli.hub_accounts import ensure_key
from edge.errors import ConfigError
from edge.fleet import accounts
from edge.fleet.box_store import BoxStore
from edge.fleet.people_keys import HubKey
from edge.fleet.settings import read_settings
from edge.fleet.store import FleetStore
from edge.wire.nats_connection import NatsServers
from edge.wire.nats_credentials import choose_options, make_seed, read_file, read_public_key
from tests.support.certificates import make_certificate
from tests.support.nats_server import nats_server

DOCUMENT = Path("docs/how-to/run-a-fleet.md")
OTHER = "UATXQXMX6QSLTDJUCH7BI376ZTKLQE7ESMYLOFZHXSQ35VJV244ELL2P"
OF_AN_ACCOUNT = "SA" + "A" * 56


def edge(*arguments):
    """The command: its exit status and what it prints."""
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(each) for each in arguments])
    return done.exit_code, done.output


def follow(folder):
    """The hub's commands and its server's configuration, as the document has them, in a folder."""
    [config] = re.findall(r"```text\nlisten: .*?\n(.*?)```", DOCUMENT.read_text(), re.S)
    config = re.sub(r"jetstream .*\n", "", config)  # the server of the tests has its own
    make_certificate(folder)
    for theirs, ours in (
        ("/etc/edge/hub.pem", folder / "cert"),
        ("/etc/edge/hub.key", folder / "key"),
        ("edge/hub-accounts.conf", "../accounts.conf"),
    ):
        assert f'"{theirs}"' in config
        config = config.replace(f'"{theirs}"', f'"{ours}"')
    return config


async def count_reports(servers):
    client = await servers.connect()
    try:
        return len(await (await FleetStore.open(client)).list_reports())
    finally:
        await client.close()


def test_a_box_joins_over_tls_with_a_key_of_its_own_and_is_locked_out_again(tmp_path):
    list_file, key, ca = tmp_path / "accounts.conf", tmp_path / "hub.nk", str(tmp_path / "cert")
    assert edge("hub", "init", "--file", list_file, "--key", key)[0] == 0
    assert key.stat().st_mode & 0o777 == 0o600
    with nats_server(tmp_path / "nats", follow(tmp_path)) as server:
        url = server.url.replace("nats://127.0.0.1", "tls://localhost")
        status, said = edge("hub", "boxes", "--server", url, "--credentials", key, "--tls-ca", ca)
        assert (status, "no box has joined" in said) == (0, True)
        status, said = edge(
            "fleet", "join", "gate", "--server", url, "--tls-ca", ca,
            "--file", tmp_path / "fleet.toml",
        )  # fmt: skip
        assert status == 0
        [told] = re.findall(r"edge (hub authorize .*)", said)
        box = read_settings(tmp_path / "fleet.toml").hub
        assert (tmp_path / "gate.nk").stat().st_mode & 0o777 == 0o600
        with pytest.raises((Error, OSError)):
            asyncio.run(box.connect())
        there = ("--file", list_file, "--server", url, "--credentials", key, "--tls-ca", ca)
        assert edge(*shlex.split(told), *there) == (0, "gate may connect\n")
        assert asyncio.run(ask_and_close(box)) is None  # nothing is wanted, and that was said
        assert edge("hub", "revoke", "gate", *there) == (0, "gate may connect no more\n")
        with pytest.raises((Error, OSError)):
            asyncio.run(box.connect())
        assert asyncio.run(count_reports(NatsServers((url,), str(key), ca))) == 0


def test_a_server_that_ends_an_encrypted_connection_is_no_warning(tmp_path, caplog):
    make_certificate(tmp_path)
    config = f'tls {{ cert_file: "{tmp_path}/cert", key_file: "{tmp_path}/key" }}\n'
    with nats_server(tmp_path / "nats", config) as server:

        async def outlive():
            url = server.url.replace("nats://127.0.0.1", "tls://localhost")
            client = await NatsServers((url,), tls_ca=str(tmp_path / "cert")).connect()
            server.kill()
            while not client.is_closed:
                await asyncio.sleep(0.05)

        asyncio.run(asyncio.wait_for(outlive(), 20))
    assert caplog.records == []


async def ask_and_close(servers):
    client = await servers.connect()
    try:
        return await BoxStore(client, "gate").read_wanted()
    finally:
        await client.close()


def test_where_the_server_does_not_answer_it_is_said_what_to_do(tmp_path):
    path, known = tmp_path / "accounts.conf", read_public_key(make_seed())
    nowhere = ("--file", path, "--server", "nats://127.0.0.1:1")
    for command in (("authorize", "gate", known), ("revoke", "gate")):
        status, said = edge("hub", *command, *nowhere)
        assert (status, "reload it twice" in said) == (1, True)
    assert accounts.read_accounts(path) == {}


def test_joining_again_keeps_the_key(tmp_path):
    said = [
        edge("fleet", "join", "gate", "--server", "nats://127.0.0.1", "--file", tmp_path / "f.toml")
        for _ in range(2)
    ]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "neither credentials"),
        ("SU" + "A" * 56, "neither credentials"),
        (OF_AN_ACCOUNT, "neither credentials"),
        ("\xff", "binary data"),
        (None, "No such file"),
    ],
)
def test_a_key_that_is_none_is_refused_by_name(tmp_path, content, expected):
    path = tmp_path / "a.nk"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=expected) as caught:
        asyncio.run(NatsServers(("nats://127.0.0.1:1",), str(path)).connect())
    assert caught.value.file == path


@pytest.mark.parametrize(
    "content", [make_seed(), "-----BEGIN NATS USER JWT-----"], ids=["key", "credentials"]
)
def test_a_key_that_everybody_can_read_is_refused(tmp_path, content):
    path = tmp_path / "a.nk"
    path.write_text(content)
    for mode, refused in ((0o600, False), (0o640, False), (0o644, True), (0o602, True)):
        path.chmod(mode)
        if not refused:
            assert choose_options(str(path))
            continue
        with pytest.raises(ConfigError, match="everybody can read the key: chmod 640"):
            choose_options(str(path))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("authorize", "gate", OTHER[:-1]), "no public key"),
        (("authorize", "gate", OTHER[:-1] + ("A" if OTHER[-1] != "A" else "B")), "no public key"),
        (("authorize", "a b", OTHER), "no name of a box"),
        (("authorize", "door", "KNOWN"), "the key of 'gate'"),
        (("authorize", "gate", OTHER), "another key"),
        (("revoke", "door"), "not among those"),
    ],
)
def test_a_mistake_is_said_and_changes_nothing(tmp_path, arguments, expected):
    path, known = tmp_path / "accounts.conf", read_public_key(make_seed())
    accounts.authorize(path, "gate", known)
    before = path.read_bytes()
    status, said = edge("hub", *[known if a == "KNOWN" else a for a in arguments], "--file", path)
    assert status == 78
    assert expected in said
    assert path.read_bytes() == before


def test_a_file_that_somebody_else_wrote_is_kept(tmp_path):
    path = tmp_path / "accounts.conf"
    path.write_text("accounts {\n  ann: {users: [{user: ann, password: secret}]}\n}\n")
    status, said = edge("hub", "authorize", "gate", OTHER, "--file", path)
    assert (status, "secret" in said) == (78, False)
    assert f"{path}:2" in said
    assert "ann" in path.read_text()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "has no end"),
        ("accounts {\n", "has no end"),
        (f'accounts {{\n  "box-": {{"users": [{{"nkey": "{OTHER}"}}]}}\n}}\n', "not a line of"),
        (f'accounts {{\n  "gate": {{"users": [{{"nkey": "{OTHER}"}}]}}\n}}\n', "not a line of"),
    ],
)
def test_a_file_that_is_not_whole_or_says_something_else_is_not_written_over(
    tmp_path, content, expected
):
    path = tmp_path / "accounts.conf"
    path.write_text(content)
    status, said = edge("hub", "authorize", "door", OTHER, "--file", path)
    assert (status, expected in said) == (78, True)
    assert path.read_text() == content


@pytest.mark.parametrize("again", ["box-gate", "HUB"])
def test_an_account_that_is_there_twice_is_refused(tmp_path, again):
    path = tmp_path / "accounts.conf"
    accounts.authorize(path, "gate", OTHER)
    lines = path.read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f'  "{again}"')]
    path.write_text("\n".join([*lines[:-1], line, "}"]))
    with pytest.raises(ConfigError, match="not a line of"):
        accounts.read_accounts(path)


def test_credentials_that_never_end_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ConfigError, match="no regular file"):
            read_file(str(path))


def test_a_file_without_an_end_is_refused():
    status, said = edge("hub", "authorize", "door", OTHER, "--file", "/dev/zero")
    assert (status, "no regular file" in said) == (78, True)


def test_of_many_at_once_each_has_its_way(tmp_path):
    path = tmp_path / "accounts.conf"
    keys = {f"box{n}": read_public_key(make_seed()) for n in range(12)}
    accounts.authorize(path, "stolen", OTHER)
    with ThreadPoolExecutor(12) as pool:
        added = [pool.submit(accounts.authorize, path, name, key) for name, key in keys.items()]
        gone = pool.submit(accounts.revoke, path, "stolen")
        for done in (*added, gone):
            done.result()
    assert accounts.read_accounts(path) == keys
    with ThreadPoolExecutor(8) as pool:
        seeds = {*pool.map(lambda _: ensure_key(tmp_path / "a.nk"), range(8))}
    assert len(seeds) == 1


def test_joining_again_keeps_what_is_not_said_anew(tmp_path):
    file = tmp_path / "fleet.toml"
    hub_key = HubKey.ensure(tmp_path / "hub-key").public
    url = ("--server", "nats://127.0.0.1:4222", "--file", file)
    assert edge("fleet", "join", "gate", *url)[0] == 0
    assert edge(
        "fleet", "join", "gate", *url, "--hub-key", hub_key, "--gallery", tmp_path / "g.db",
        "--gallery-key", "k", "--configuration", tmp_path / "gate.toml",
    )[0] == 0  # fmt: skip
    text = file.read_text().replace('["systemctl", "reload", "edge@gate"]', '["my", "reload"]')
    file.write_text(text + "patience_s = 5\n")
    assert edge("fleet", "join", "gate", *url, "--upgrade", "install {version}")[0] == 0
    found = read_settings(file)
    assert found.hub_key == hub_key
    assert found.gallery == str(tmp_path / "g.db")
    assert found.configuration == str(tmp_path / "gate.toml")
    assert found.reload == ("my", "reload")
    assert (found.upgrade, found.patience_s) == (("install", "{version}"), 5)
    assert edge("fleet", "join", "door", *url)[0] == 0
    assert read_settings(file).hub_key == ""
