"""`edge keys`: pairs of keys, and whose may subscribe."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.wire.key_pair import KeyPair, read_key_pair
from edge.wire.key_ring import read_clients
from tests.edge.sinks.test_zeromq import message, published, until


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_a_pair_is_made_once_and_its_public_key_printed(tmp_path):
    path = tmp_path / "node.key_secret"
    result = run("keys", "new", "--curve", path)
    assert result.stdout.strip() == read_key_pair(path).public
    assert read_key_pair(path).secret not in result.output
    assert path.stat().st_mode & 0o777 == 0o600
    assert run("keys", "public", path).stdout == result.stdout
    before = path.read_bytes()
    assert "no key is replaced" in run("keys", "new", "--curve", path, code=78).stderr
    assert path.read_bytes() == before


def test_clients_come_and_go(tmp_path):
    file, ann, bob = tmp_path / "clients.toml", KeyPair.generate(), KeyPair.generate()
    run("keys", "authorize", "ann", ann.public, "--file", file)
    run("keys", "authorize", "ann", ann.public, "--file", file)
    run("keys", "authorize", "bob", bob.public, "--file", file)
    assert read_clients(file) == {"ann": ann.public, "bob": bob.public}
    assert ann.public in run("keys", "list", "--file", file).stdout
    run("keys", "revoke", "ann", "--file", file)
    assert read_clients(file) == {"bob": bob.public}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("authorize", "ann", "short"), "no CURVE key"), (("authorize", "a b", "x" * 40), "letters"),
     (("authorize", "ann", "%" * 40), "no CURVE key"), (("revoke", "eve"), "no client 'eve'"),
     (("authorize", "bob", "OTHER"), "has another key"), (("authorize", "eve", "BOB"), "'bob'")],
)  # fmt: skip
def test_mistakes_are_told_and_change_nothing(tmp_path, arguments, said):
    file, bob = tmp_path / "clients.toml", KeyPair.generate()
    run("keys", "authorize", "bob", bob.public, "--file", file)
    keys = {"OTHER": KeyPair.generate().public, "BOB": bob.public}
    result = run("keys", *(keys.get(a, a) for a in arguments), "--file", file, code=78)
    assert said in result.stderr
    assert read_clients(file) == {"bob": bob.public}


def test_watch_shows_an_encrypted_node(tmp_path):
    node, mine, file = (tmp_path / name for name in ("node", "mine", "clients.toml"))
    public = run("keys", "new", "--curve", node).stdout.strip()
    run("keys", "authorize", "me", run("keys", "new", "--curve", mine).stdout.strip(),
        "--file", file)  # fmt: skip
    with published(key_file=str(node), clients_file=str(file)) as sink:
        arguments = ["watch", sink.endpoint, "--json", "--server-key", public, "--key-file", mine]
        command = [sys.executable, "-m", "edge", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as watch:
            until(sink, lambda: sink.count_subscribers().connected == 1)
            sink.send([message(seq=71)])
            line = json.loads(watch.stdout.readline())
            watch.terminate()
    assert line["seq"] == 71


@pytest.mark.parametrize("given", [("--server-key", "x" * 40), ("--key-file", "nothing")])
def test_one_key_without_the_other_is_refused(given):
    result = run("watch", "tcp://127.0.0.1:1", *given, code=1)
    assert "needs both" in result.stderr
