"""`edge fleet box`: what it writes."""

import re
import shlex
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.wire.nats_credentials import make_seed
from tests.support.certificates import make_certificate
from tests.support.documented_fleet import Server, free_port
from tests.support.nats_server import BINARY

BOX = ["fleet", "box", "gate", "--hub", "tls://hub.example"]


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "gate.nk"
    path.write_text(make_seed())
    path.chmod(0o600)
    return path


@pytest.fixture
def run(tmp_path, key):
    def do(*arguments, code=0):
        files = ["--file", tmp_path / "nats.conf", "--unit", tmp_path / "n.service"]
        credentials = [] if "--credentials" in arguments else ["--credentials", key]
        result = CliRunner(env={"COLUMNS": "300"}).invoke(
            app, [str(each) for each in (*arguments, *files, *credentials)]
        )
        assert result.exit_code == code, result.output
        return result

    return do


def test_the_server_of_a_box_listens_on_the_loopback_and_keeps_its_key_from_others(
    run, tmp_path, key
):
    said = run(*BOX, "--port", 4333, "--max-bytes", "2GB", "--max-days", 3).output
    text = (tmp_path / "nats.conf").read_text()
    assert 'listen: "127.0.0.1:4333"' in text
    assert 'url: "tls://hub.example:7422"' in text
    assert f"nkey: {key.read_text()}" in text
    assert (tmp_path / "nats.conf").stat().st_mode & 0o777 == 0o600
    assert "tls {" not in text  # the system's authorities
    (stored,) = re.findall(r"max_file_store: (\d+)", text)
    assert int(stored) > 2 * 10**9  # the stream gives up its oldest before the server refuses
    assert "stream_max_bytes = 2000000000" in said
    assert "stream_max_age_s = 259200" in said
    assert key.read_text() not in said + (tmp_path / "n.service").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fleet", "box", "hub", "--hub", "tls://h"], "a box cannot be called hub"),
        (["fleet", "join", "hub", "--server", "tls://h"], "a box cannot be called hub"),
        (["fleet", "box", "a b", "--hub", "tls://h"], "is no name of a box"),
        (["fleet", "box", "gate", "--hub", "nats://u:Sesame77@hub.example"], "give --insecure"),
        (["fleet", "box", "gate", "--hub", "http://hub.example"], "is no server"),
        ([*BOX, "--credentials", "/nowhere.nk"], "/nowhere.nk"),
        ([*BOX, "--credentials", "/etc/hostname"], "neither credentials"),
        ([*BOX, "--program", "/opt/%i/nats-server"], "cannot stand in a systemd unit"),
        ([*BOX, "--tls-ca", "a\nExecStartPre=/bin/evil"], "cannot stand in a systemd unit"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_nothing_is_written(run, tmp_path, arguments, said):
    output = run(*arguments, code=78).stderr
    assert said in " ".join(output.split())
    assert "Sesame77" not in output
    assert {path.name for path in tmp_path.iterdir()} == {"gate.nk"}


def test_credentials_are_handed_over_by_the_unit(run, tmp_path):
    path = tmp_path / "gate.creds"
    path.write_text("-----BEGIN NATS USER JWT-----\nsecret\n")
    path.chmod(0o600)
    run(*BOX, "--credentials", path)
    text = (tmp_path / "nats.conf").read_text()
    assert "credentials: $HUB_CREDENTIALS" in text
    assert "secret" not in text
    assert f"LoadCredential=hub.creds:{path}" in (tmp_path / "n.service").read_text()


def test_without_systemd_the_command_that_is_printed_starts_the_server(run, tmp_path, key):
    certificate = make_certificate(tmp_path)["tls_cert"]
    port = free_port()
    said = run(*BOX, "--port", port, "--tls-ca", certificate, "--program", BINARY).output
    [line] = re.findall(r"^  (STATE_DIRECTORY=.*)$", said, re.M)
    words = shlex.split(line.replace("FOLDER", str(tmp_path / "stored")))
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    command = [word for word in words if "=" not in word]
    server = Server(command, port, tmp_path / "log", variables)
    server.start()
    server.kill()
    assert (tmp_path / "stored/jetstream").is_dir()


def test_the_key_is_looked_for_beside_the_file(run, tmp_path):
    files = ["--file", tmp_path / "nats.conf", "--unit", tmp_path / "n.service"]
    said = CliRunner().invoke(app, [str(each) for each in (*BOX, *files)])
    assert said.exit_code == 0, said.output


def test_bytes_that_are_none_are_refused(run):
    assert "number of bytes" in run(*BOX, "--max-bytes", "much", code=2).output


def test_the_unit_is_hardened(run, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not installed: systemd-analyze, of the package systemd")
    run(*BOX, "--tls-ca", "/etc/edge/hub.pem")
    command = ["systemd-analyze", "--no-pager", "security", "--offline=true", "--threshold=12",
               str(tmp_path / "n.service")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
