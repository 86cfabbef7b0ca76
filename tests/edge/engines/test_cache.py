"""The engine cache: what is found, what is refused, and what a crash leaves."""

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge.engines.cache import BuildOptions, EngineCache, EngineKey, EngineTarget, default_root
from edge.errors import ConfigError, EngineError
from tests.support.models import summing_model

MODEL = summing_model()
HERE = EngineTarget("tensorrt_rtx", "1.7.1", "RTX A2000", ("sm86",))
KEY = EngineKey.for_model(MODEL, HERE, BuildOptions())
ENGINE = bytes(range(256)) * 50 + b"\n\n"


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "cache")


def store(cache, key=KEY, engine=ENGINE, built_s=1.0):
    return cache.store(key, "gate", engine, built_s, 2.5)


def test_what_was_stored_is_found_and_loaded(cache):
    stored = store(cache)
    (found,) = cache.find(KEY)
    assert found == stored
    assert cache.load(found) == ENGINE
    assert (found.name, found.took_s, found.key.precision) == ("gate", 2.5, "fp32")
    assert found.key.model == hashlib.sha256(MODEL).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"model": "0" * 64},
        {"library": "tensorrt"},
        {"version": "1.7.2"},  # an upgrade never loads a stale engine
        {"gpu": "RTX 4090"},
        {"capabilities": ("sm89",)},
        {"precision": "fp16"},
        {"batch": (1, 8, 32)},
        {"flags": ("builder=2",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_engine_of_any_other_key_is_not_found(cache, other):
    store(cache, replace(KEY, **other))
    assert not cache.find(KEY)
    assert replace(KEY, **other).id != KEY.id


@pytest.mark.parametrize(
    ("capabilities", "fits"), [(("sm80", "sm86"), True), (("sm80", "sm89"), False)]
)
def test_an_engine_built_ahead_fits_the_cards_it_was_built_for(cache, capabilities, fits):
    store(cache, replace(KEY, gpu="", capabilities=capabilities))
    assert bool(cache.find(KEY)) is fits


def test_this_very_cards_engine_comes_before_one_built_ahead(cache):
    store(cache, replace(KEY, gpu=""), built_s=9.0)
    store(cache)
    assert [entry.key.gpu for entry in cache.find(KEY)] == ["RTX A2000", ""]


@pytest.mark.parametrize("place", [0, 20, 120, 200, -1], ids=str)
def test_a_changed_byte_is_refused(cache, place):
    """In the magic, the signature, the header and the engine."""
    entry = store(cache)
    content = bytearray(entry.path.read_bytes())
    content[place] ^= 1
    entry.path.write_bytes(content)
    with pytest.raises(EngineError, match=r"refused|cannot be read"):
        cache.load(entry)
    assert not cache.is_own(entry)


@pytest.mark.parametrize("keep", [0, 10, 300, 5000])
def test_a_part_of_an_entry_is_refused(cache, keep):
    entry = store(cache)
    entry.path.write_bytes(entry.path.read_bytes()[:keep])
    with pytest.raises(EngineError):
        cache.load(entry)
    cache.entries()  # does not fail


def test_another_boxs_engine_is_refused_until_it_is_taken(cache, tmp_path):
    entry = store(EngineCache(tmp_path / "other"))
    store(cache, replace(KEY, version="0"))
    copied = cache.folder / entry.path.name
    copied.write_bytes(entry.path.read_bytes())
    (found,) = cache.find(KEY)
    with pytest.raises(EngineError, match="another machine built it"):
        cache.load(found)
    trusted = cache.trust(entry.path)
    assert cache.load(trusted) == ENGINE
    assert (trusted.key, trusted.built_s) == (entry.key, entry.built_s)


def test_only_an_entry_can_be_trusted(cache, tmp_path):
    (tmp_path / "x.engine").write_bytes(b"Once upon a time\n" * 9)
    with pytest.raises(ConfigError, match="not an entry of an engine cache"):
        cache.trust(tmp_path / "x.engine")


def test_the_key_of_the_box_is_private_and_proves_nothing_when_it_is_not(cache):
    entry = store(cache)
    key_file = cache.root / "engine.key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    key_file.chmod(0o644)
    with pytest.raises(EngineError, match="open to other users"):
        cache.load(entry)
    key_file.unlink()
    with pytest.raises(EngineError):
        cache.load(entry)
    assert cache.load(store(cache)) == ENGINE


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another place"):
        store(EngineCache(tmp_path / "file"))


@pytest.mark.parametrize(
    "text", ["", "{", '{"key": 3}', json.dumps({"key": {}, "name": "", "built_s": 1, "took_s": 1})]
)
def test_a_strange_file_is_no_entry(cache, text):
    store(cache)
    (cache.folder / "x.engine").write_text(f"EDGE-ENGINE-1\n0\n{text}\n")
    assert len(cache.entries()) == 1


def test_a_writer_that_is_killed_leaves_the_old_entry_or_the_new(cache):
    code = f"""
import sys
from pathlib import Path
from tests.edge.engines.test_cache import store, EngineCache
cache = EngineCache(Path({str(cache.root)!r}))
print(1, flush=True)
while True:
    store(cache, engine=bytes(3_000_000))
"""
    store(cache)
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        (found,) = cache.find(KEY)
        assert cache.load(found) in (ENGINE, bytes(3_000_000))


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"CACHE_DIRECTORY": "/var/cache/edge/gate:/other"}, "/var/cache/edge/gate"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/edgewatch"),
        ({"XDG_CACHE_HOME": "relative"}, str(Path.home() / ".cache/edgewatch")),
    ],
)
def test_where_engines_lie(environ, root):
    assert str(default_root(environ)) == root


def test_what_is_no_model_has_no_key():
    with pytest.raises(EngineError, match="not an ONNX file"):
        EngineKey.for_model(b"Once upon a time", HERE, BuildOptions())
