"""Stored weights: whatever is wrong with a file, one message says so."""

import io
import json
import os
import struct
from zipfile import ZIP_DEFLATED, ZipFile

import cv2
import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.errors import ConfigError, ModelError
from trainers.commands.app import app
from trainers.run.folder import RunFolder
from trainers.weights.archive import read_arrays, read_network


def pack(**entries):
    content = io.BytesIO()
    with ZipFile(content, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "."), data)
    return content.getvalue()


def with_header(header):
    """An archive of one array, of which there is only the header."""
    header += b"\n"
    return pack(a__npy=b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


def with_flag(offset, value):
    """A good archive whose entry is marked, in its own and in the central header."""
    content = io.BytesIO()
    np.savez(content, a=np.arange(9.0))
    data = bytearray(content.getvalue())
    central = data.find(b"PK\x01\x02")
    data[offset] = data[central + offset + 2] = value
    return bytes(data)


def bare():
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


def bomb():
    content = io.BytesIO()
    with ZipFile(content, "w", ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as entry:
        for _ in range(65):
            entry.write(bytes(1 << 20))
    return content.getvalue()


BROKEN_ARRAYS = {
    "nothing": b"",
    "no archive": bare(),
    "encrypted": with_flag(6, 1),
    "unknown compression": with_flag(8, 99),
    "bomb": bomb(),
    "huge": with_header(b"{'descr':'<f8','fortran_order':False,'shape':(1000000,1000000)}"),
    "beyond 64 bits": with_header(b"{'descr':'<f8','fortran_order':False,'shape':(%d,)}" % 10**20),
    "negative": with_header(b"{'descr':'<f8','fortran_order':False,'shape':(-5,)}"),
    "unclosed": with_header(b"{'descr':'<f8',((("),
    "nested": with_header(b"{'descr':" + b"[" * 5000),
    "no type": with_header(b"{'descr':[('a',)],'fortran_order':False,'shape':(1,)}"),
}  # fmt: skip


@pytest.mark.parametrize("content", BROKEN_ARRAYS.values(), ids=BROKEN_ARRAYS)
def test_arrays_that_cannot_be_read_are_refused_with_the_remedy(content, tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"This file cannot be read \(.+\): begin anew\.$"):
        read_arrays(path, "begin anew")


def layer(name, **config):
    return {
        "module": "keras.layers", "class_name": name, "config": config, "registered_name": None,
    }  # fmt: skip


def sequential(*layers):
    config = {"name": "network", "layers": [layer("InputLayer", batch_shape=[None, 4]), *layers]}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": config,
        "registered_name": None,
    }


BROKEN_NETWORKS = {
    "a list": "[]",
    "null": "null",
    "a number": "5",
    "nested": "[" * 100_000,
    "objects in objects": '{"config":' * 900 + "1" + "}" * 900,
    "unknown layer": json.dumps(sequential(layer("NoSuch"))),
    "negative units": json.dumps(sequential(layer("Dense", units=-1))),
    "more than memory": json.dumps(sequential(*[layer("Dense", units=10**n) for n in (6, 8)])),
    "a lambda": json.dumps(sequential(layer("Lambda", function="os.system"))),
}


def keras_file(config):
    return pack(
        metadata__json='{"keras_version":"3.0.0"}', config__json=config, model__weights__h5="x"
    )


@pytest.mark.parametrize("config", BROKEN_NETWORKS.values(), ids=BROKEN_NETWORKS)
def test_a_network_that_cannot_be_read_is_refused_with_the_remedy(config, tmp_path):
    path = tmp_path / "start.keras"
    path.write_bytes(keras_file(config))
    with pytest.raises(ModelError, match=r"^.+Keras model \(.+\): choose another\.$") as error:
        read_network(path, "choose another")
    assert len(error.value.problem) < 400


def test_a_file_that_holds_a_layer_is_no_network(tmp_path):
    path = tmp_path / "layer.keras"
    dense = keras.layers.Dense(3)
    dense.build((None, 4))
    keras.saving.save_model(dense, path)
    with pytest.raises(ModelError, match="it holds a Dense"):
        read_network(path, "choose another")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    path = tmp_path / "start.keras"
    os.mkfifo(path)
    with pytest.raises(ModelError, match="no regular file"):
        read_network(path, "choose another")
    with pytest.raises(ConfigError, match="no regular file"):
        read_arrays(path, "choose another")


def test_a_command_that_starts_from_a_broken_network_ends_with_one_message(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name in "abcdefgh":  # none resembles another
        image = cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (96, 96))
        assert cv2.imwrite(str(tmp_path / "data" / "images" / f"{name}.png"), image)
        (tmp_path / "data" / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data" / "classes.txt").write_text("cat\n")
    start = tmp_path / "nested.keras"
    start.write_bytes(keras_file("[" * 100_000))
    words = ["detector", tmp_path / "data", "--out", tmp_path / "run", "--start", start]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 78, done.output
    assert done.output.count("cannot be read as a Keras model") == 1
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b""])
def test_a_run_whose_configuration_cannot_be_read_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match="begin a new run"):
        RunFolder.open(tmp_path).read("config.json")
