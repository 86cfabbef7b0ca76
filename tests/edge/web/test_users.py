"""The users file: written for its owner only, read with care."""

import os
import stat

import pytest

from edge.errors import ConfigError
from edge.web.schema import Role
from edge.web.users import Users, hash_password, read_users, verify_password, write_users


def test_what_is_written_is_read_and_only_its_owner_may(tmp_path):
    path = tmp_path / "users.toml"
    users = Users().put_user("ann@example.org", Role.ENROLLER, "long enough")
    users, token = users.put_token("grafana", Role.VIEWER)
    old_mask = os.umask(0)
    try:
        write_users(path, users)
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_users(path) == users
    assert users.find_token(token) == ("grafana", Role.VIEWER)
    assert users.find_token("edge_other") is None
    text = path.read_text()
    assert token not in text
    assert "long enough" not in text


def test_a_password_is_verified_and_no_other():
    stored = hash_password("correct horse")
    assert verify_password("correct horse", stored)
    assert not verify_password("correct horse ", stored)
    assert not verify_password("", stored)
    assert not verify_password("correct horse", "")
    assert stored != hash_password("correct horse")


@pytest.mark.parametrize(
    "stored",
    [
        "plain",
        "scrypt:32768:8:3:AAAA",
        "scrypt:32768:8:3:AAAA:AAAA",
        "scrypt:1:8:3:AAAA:" + "A" * 43 + "=",
        "scrypt:32767:8:3:AAAA:" + "A" * 43 + "=",
        "scrypt:1048576:8:3:AAAA:" + "A" * 43 + "=",
        "scrypt:32768:9999:3:AAAA:" + "A" * 43 + "=",
        "scrypt:32768:8:999:AAAA:" + "A" * 43 + "=",
        "scrypt:32768:8:-1:AAAA:" + "A" * 43 + "=",
    ],
)
def test_a_hash_that_is_none_or_would_take_too_much_opens_nothing(stored, tmp_path):
    assert not verify_password("anything", stored)
    path = tmp_path / "users.toml"
    path.write_text(f'[users.ann]\nrole = "admin"\npassword = "{stored}"\n')
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="'ann' has no password"):
        read_users(path)


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a\nb", "x" * 65, "ä", "a/b", "[a]"])
def test_a_name_that_would_change_the_file_is_refused(name):
    with pytest.raises(ConfigError, match="must be 1 to 64 letters"):
        Users().put_user(name, Role.VIEWER, "long enough")
    with pytest.raises(ConfigError, match="must be 1 to 64 letters"):
        Users().put_token(name, Role.VIEWER)


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
def test_a_password_has_a_reasonable_length(password):
    with pytest.raises(ConfigError, match="must have 8 to 1000 characters"):
        Users().put_user("ann", Role.VIEWER, password)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        'users = "all"',
        '[users.ann]\nrole = "root"\npassword = "x"',
        "\xff",
        "[tokens.x]\n",
    ],
)
def test_what_is_no_users_file_is_a_configuration_error(text, tmp_path):
    path = tmp_path / "users.toml"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is no users file"):
        read_users(path)


def test_somebody_is_removed_with_user_and_token():
    users = Users().put_user("ann", Role.ADMIN, "long enough")
    users, _ = users.put_token("ann", Role.VIEWER)
    rest = users.remove("ann")
    assert (rest.users, rest.tokens, rest.key) == ({}, {}, users.key)
    with pytest.raises(ConfigError, match="there is no user or token 'ann'"):
        rest.remove("ann")


def test_a_file_that_is_missing_says_how_to_make_it(tmp_path):
    with pytest.raises(ConfigError, match="edge users add"):
        read_users(tmp_path / "users.toml")
