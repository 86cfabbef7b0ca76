"""edge users and edge open: a users file is made, and an address that logs in once."""

import stat

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.web.schema import Role
from edge.web.users import read_users
from tests.support.web_node import make_node, serving

CONFIG = """
[models]
detector = "zoo:detect-nano"
[[cameras]]
name = "door"
source = {{ kind = "synthetic" }}
[http]
{http}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_USERS", str(tmp_path / "users.toml"))

    def run(*arguments, stdin="", code=0):
        result = CliRunner().invoke(app, arguments, input=stdin)
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_somebody_is_added_listed_changed_and_removed(run, tmp_path):
    path = tmp_path / "users.toml"
    run("users", "add", "ada", "--role", "admin", stdin="long enough\nlong enough\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "password").write_text("another one\nnot this\n")
    run("users", "add", "vera", "--password-file", str(tmp_path / "password"))
    token = run("users", "token", "grafana").strip()
    listed = run("users", "list")
    for name in ("ada", "vera", "grafana"):
        assert name in listed
    assert token not in listed
    assert read_users(path).find_token(token) == ("grafana", Role.VIEWER)
    before = read_users(path).users["vera"]
    run("users", "password", "vera", stdin="a third one\na third one\n")
    after = read_users(path).users["vera"]
    assert (after.role, after.password != before.password) == (before.role, True)
    run("users", "remove", "vera")
    run("users", "remove", "grafana")
    assert set(read_users(path).users) == {"ada"}


def test_a_role_that_there_is_not_is_refused_in_plain_words(run):
    said = " ".join(run("users", "add", "ada", "--role", "adm", code=2).replace("│", " ").split())
    assert "Invalid value for '--role': 'adm' is not one of 'viewer', 'enroller', 'admin'" in said


def test_what_cannot_be_done_is_said(run, tmp_path):
    assert "edge users add" in run("users", "list", code=78)
    assert "8 to 1000" in run("users", "add", "ada", stdin="short\nshort\n", code=78)
    run("users", "add", "ada", stdin="long enough\nlong enough\n")
    assert "already" in run("users", "add", "ada", code=78)
    assert "no user" in run("users", "password", "eve", code=78)
    assert "no user or token" in run("users", "remove", "eve", code=78)
    missing = str(tmp_path / "none")
    assert "check the path" in run("users", "add", "eve", "--password-file", missing, code=78)
    run("users", "add", "eve", "--role", "root", code=2)


def test_the_address_of_a_node_without_login_is_plain(run, tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text(CONFIG.format(http="port = 1234"))
    assert run("open", str(path)) == "http://127.0.0.1:1234/\n"
    path.write_text(CONFIG.format(http='host = "::1"\nport = 1234\npublic_names = ["gate.local"]'))
    assert run("open", str(path)) == "http://gate.local:1234/\n"


def test_the_address_of_a_node_with_login_logs_in_once(run, tmp_path):
    run("users", "add", "ada", "--role", "admin", stdin="long enough\nlong enough\n")
    path = tmp_path / "gate.toml"
    path.write_text(CONFIG.format(http='users_file = "users.toml"'))
    address = run("open", str(path), "--role", "enroller").splitlines()[0]
    token = address.removeprefix("http://127.0.0.1:9470/#token=")
    with serving(make_node(), users_file=str(tmp_path / "users.toml")) as served:
        answers = [served.ask("/api/v1/session", "POST", {"token": token}) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 403]
    assert answers[0].json["role"] == "enroller"


@pytest.mark.parametrize(
    ("http", "remedy"),
    [
        ('host = "0.0.0.0"\ninsecure = true', "set users_file"),
        ("port = 0", "set a port"),
        ('users_file = "users.toml"', "edge users add"),
    ],
)
def test_a_page_that_cannot_be_opened_says_what_to_do(run, tmp_path, http, remedy):
    path = tmp_path / "gate.toml"
    path.write_text(CONFIG.format(http=http))
    assert remedy in run("open", str(path), code=78)
