"""Encryption: key files and seals."""

import base64
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.people.gallery.encryption import (
    GalleryError,
    KeyStore,
    MasterKey,
    SealError,
    create_key_file,
    load_key,
    seal,
    unseal,
)

SECRET = bytes(range(32))


def key_file(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_a_new_key_file_is_private_and_loads(tmp_path):
    path = tmp_path / "gallery.key"
    create_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(load_key(str(path)).secret) == 32


def test_two_new_keys_differ(tmp_path):
    for name in ("a", "b"):
        create_key_file(tmp_path / name)
    assert load_key(str(tmp_path / "a")) != load_key(str(tmp_path / "b"))


def test_a_key_file_is_never_overwritten(tmp_path):
    path = key_file(tmp_path / "k", SECRET)
    with pytest.raises(GalleryError, match="left alone"):
        create_key_file(tmp_path / "k")
    assert load_key(path).secret == SECRET


@pytest.mark.parametrize(
    "content", [SECRET, base64.b64encode(SECRET), base64.b64encode(SECRET) + b"\n"]
)
def test_a_key_is_raw_or_base64(tmp_path, content):
    assert load_key(key_file(tmp_path / "k", content)).secret == SECRET


@pytest.mark.parametrize("content", [b"", b"secret\n", SECRET[:31], SECRET + b"\n", b"A" * 43])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path, content):
    with pytest.raises(GalleryError, match="neither 32 raw bytes") as refused:
        load_key(key_file(tmp_path / "k", content))
    assert not content or content.decode("latin-1") not in str(refused.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_open_to_others_is_refused_with_the_remedy(tmp_path, mode):
    with pytest.raises(GalleryError, match="chmod 600") as refused:
        load_key(key_file(tmp_path / "k", SECRET, mode))
    assert refused.value.exit_code == 78


def test_a_missing_key_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(GalleryError, match="edge keys new"):
        load_key(str(tmp_path / "absent"))


def test_a_folder_is_no_key(tmp_path):
    with pytest.raises(GalleryError):
        load_key(str(tmp_path))


def test_a_credential_comes_from_systemd(tmp_path, monkeypatch):
    key_file(tmp_path / "gallery", SECRET, 0o440)  # so it looks when systemd grants it by ACL
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_key("credential:gallery").secret == SECRET


@pytest.mark.parametrize("name", ["", "../k", "."])
def test_a_credential_stays_in_its_folder(tmp_path, monkeypatch, name):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(GalleryError, match="not a credential name"):
        load_key(f"credential:{name}")


def test_a_credential_without_systemd_is_explained(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(
        GalleryError, match="credential:gallery exists only in a service for which systemd"
    ):
        load_key("credential:gallery")


def test_a_key_is_never_shown():
    assert str(MasterKey(SECRET)) == repr(MasterKey(SECRET)) == "MasterKey()"


@settings(deadline=None)
@given(st.binary(max_size=64), st.binary(max_size=16), st.data())
def test_a_seal_opens_whole_or_not_at_all(content, about, data):
    sealed = seal(SECRET, content, about)
    assert unseal(SECRET, sealed, about) == content
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = bytearray(sealed)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        unseal(SECRET, bytes(flipped), about)
    with pytest.raises(SealError):
        unseal(SECRET, sealed, about + b"x")
    with pytest.raises(SealError):
        unseal(SECRET, sealed[: len(sealed) // 3], about)


def test_a_person_key_opens_for_that_person_alone():
    keys = KeyStore(MasterKey(SECRET), b"gallery")
    key, wrapped = keys.create_person_key("ann")
    assert keys.unwrap_person_key("ann", wrapped) == key
    for other, person in ((keys, "bob"), (KeyStore(MasterKey(SECRET), b"another"), "ann")):
        with pytest.raises(SealError):
            other.unwrap_person_key(person, wrapped)


def test_name_tags_ignore_case_and_form_but_not_the_key():
    keys = KeyStore(MasterKey(SECRET), b"gallery")
    assert keys.compute_name_tag("Zoë") == keys.compute_name_tag("ZOE\u0308")
    assert keys.compute_name_tag("Zoë") != keys.compute_name_tag("Zoe")
    assert keys.compute_name_tag("Zoë") != KeyStore(
        MasterKey(os.urandom(32)), b"gallery"
    ).compute_name_tag("Zoë")
