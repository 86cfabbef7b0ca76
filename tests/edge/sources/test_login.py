"""Logins from keys, files, credentials and the environment."""

import os

import pytest
from pydantic import ValidationError

from edge.errors import SourceError
from edge.redaction import redact
from edge.sources import http, rtsp, snapshot, video_file

KINDS = {
    "rtsp": (rtsp, "rtsp://cam/live"),
    "http": (http, "http://cam/live"),
    "snapshot": (snapshot, "https://cam/snap.jpg"),
}


@pytest.fixture(params=KINDS)
def make(request):
    """Options of a kind with a login; ``{}`` in a URL is where the host begins."""
    module, url = KINDS[request.param]
    return lambda **options: module.Options(**{"url": url} | options)


def test_variables_of_the_environment_are_taken_in_logins(make, monkeypatch):
    monkeypatch.setenv("CAM_USER", "viewer")
    monkeypatch.setenv("CAM_PASS", "p@ss/w#1")
    options = make(user="${CAM_USER}", password="${CAM_PASS}")
    assert (options.user, options.read_password()) == ("viewer", "p@ss/w#1")
    assert make(user="a", password="$${CAM_PASS}").read_password() == "${CAM_PASS}"


def test_a_variable_in_an_address_is_encoded_but_for_a_whole_address(make, monkeypatch):
    url = make().url.get_secret_value()
    monkeypatch.setenv("CAM_PASS", "p@ss/w#1")
    monkeypatch.setenv("CAM_URL", url)
    expanded = make(url=url.replace("://", "://viewer:${CAM_PASS}@")).url.get_secret_value()
    assert "viewer:p%40ss%2Fw%231@cam/" in expanded
    assert make(url="${CAM_URL}").url.get_secret_value() == url


def test_a_variable_that_is_not_set_is_a_mistake_of_the_file(make):
    with pytest.raises(ValidationError, match="NO_SUCH_VARIABLE, which is not set"):
        make(user="viewer", password="${NO_SUCH_VARIABLE}")


def test_a_password_comes_from_a_file_or_a_credential(make, monkeypatch, tmp_path):
    (tmp_path / "door").write_text("p@ss\n")
    assert make(user="a", password_file=str(tmp_path / "door")).read_password() == "p@ss"
    options = make(user="a", password_file="credential:door")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SourceError, match="credential:door exists only in a service") as caught:
        options.read_password()
    assert redact(str(caught.value)) == str(caught.value), "the remedy is shown whole"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert options.read_password() == "p@ss"
    with pytest.raises(ValidationError, match="names no credential"):
        make(user="a", password_file="credential:../door")


def test_a_password_file_that_cannot_be_read_is_named_with_the_cause(make, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xff")
    os.mkfifo(tmp_path / "pipe")
    for name, cause in (
        ("missing", "No such file or directory"),
        ("pipe", "it is not a file"),
        ("binary", "it is not a text file"),
    ):
        options = make(user="a", password_file=str(tmp_path / name))
        with pytest.raises(SourceError, match=rf"password file .*{name} \({cause}\): check"):
            options.read_password()


@pytest.mark.parametrize("password", ["a/b", "a#b", "a?b", "a bz"])
def test_a_password_that_needs_encoding_is_refused_with_the_remedy(make, password):
    url = make().url.get_secret_value().replace("://", f"://cam:{password}@")
    with pytest.raises(
        ValidationError, match=r"percent-encode.* keys user and\s+password"
    ) as caught:
        make(url=url)
    assert password not in str(caught.value)


@pytest.mark.parametrize("path", ["rtsp://cam:a/b@host/live", "gopher://cam/1"])
def test_an_address_of_a_video_file_is_checked_as_such(path):
    with pytest.raises(ValidationError, match=r"percent-encode|must begin with"):
        video_file.Options(path=path)
