"""The network: shapes, layouts, saving."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edge.errors import ConfigError
from trainers.networks import backbone
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import build, cells, decode

ANCHORS = tuple(tuple((s * k, s * k) for k in (1.0, 2.0, 3.0)) for s in (8, 16, 32))
SMALL = NetworkConfig(
    ("a", "b"), (64, 96), "slim", 0.05, neck="fpn", neck_channels=(8, 8, 8),
    head_channels=8, head_depth=1,
)  # fmt: skip


@pytest.mark.parametrize("name", backbone.NAMES)
def test_every_backbone_gives_maps_at_strides_8_16_and_32(name):
    images = keras.Input((64, 96, 3))
    maps = backbone.backbone(name)(images, backbone.LayerFactory(), 0.125)
    assert [tuple(m.shape[1:3]) for m in maps] == [(8, 12), (4, 6), (2, 3)]


def test_an_unknown_backbone_names_the_known_ones():
    with pytest.raises(ConfigError, match="nano, slim, squeezenet"):
        backbone.backbone("mega")


@pytest.mark.parametrize(
    ("changes", "num_anchors", "columns"),
    [
        ({}, 1, 7),
        ({"landmarks": True}, 1, 17),
        ({"head": "anchor", "anchors_wh": ANCHORS}, 3, 7),
        ({"neck": "pafpn", "shared_head": True, "norm": "none"}, 1, 7),
    ],
)
def test_rows_and_columns(changes, num_anchors, columns):
    config = NetworkConfig(**{**SMALL.to_json(), **changes})
    raw = build(config)(np.zeros((2, 96, 64, 3), np.float32))
    assert raw.shape == (2, num_anchors * (8 * 12 + 4 * 6 + 2 * 3), columns)


def test_decode_reads_the_layout_of_the_docstring():
    config = NetworkConfig(("a",), (64, 64), landmarks=True)
    place, _ = cells(config.input_wh)
    raw = np.zeros((1, len(place), 16), np.float32)
    row = 64 + 5  # stride 16, column 1, row 1
    raw[0, row] = [0.5, 0.25, np.log(2), np.log(3), 1, -1, *[0.25, -0.5] * 5]
    found = decode(keras.ops.convert_to_tensor(raw), config)
    xyxy, points = (keras.ops.convert_to_numpy(x)[0, row] for x in (found.xyxy, found.points))
    np.testing.assert_allclose(xyxy, [24 - 16, 20 - 24, 24 + 16, 20 + 24], rtol=1e-5)
    np.testing.assert_allclose(points, [[24 + 8, 20 - 24]] * 5, rtol=1e-5)
    expected = 1 / (1 + np.exp(-1)) * 1 / (1 + np.exp(1))
    assert float(found.score[0, row, 0]) == pytest.approx(expected, rel=1e-5)


def test_the_anchor_head_keeps_its_centre_in_the_cell_and_starts_at_its_anchor():
    config = NetworkConfig(**{**SMALL.to_json(), "head": "anchor", "anchors_wh": ANCHORS})
    images = np.random.default_rng(0).uniform(0, 255, (1, 96, 64, 3)).astype(np.float32)
    raw = keras.ops.convert_to_numpy(build(config)(images))[0]
    assert (raw[:, :2] >= 0).all()
    assert (raw[:, :2] <= 1).all()
    xyxy = keras.ops.convert_to_numpy(decode(raw[None], config).xyxy)[0]
    wh = (xyxy[:, 2:] - xyxy[:, :2])[:3]
    np.testing.assert_allclose(wh, ANCHORS[0], rtol=1.0)  # of its order before training


def test_a_configuration_survives_json():
    config = NetworkConfig(**{**SMALL.to_json(), "head": "anchor", "anchors_wh": ANCHORS})
    import json

    assert NetworkConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("wrong", [{"classes": ()}, {"input_wh": (100, 64)}, {"head": "anchor"}])
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"must|needs"):
        NetworkConfig(**{"classes": ("a",), **wrong})


def test_saved_and_loaded_it_answers_the_same(tmp_path):
    config = NetworkConfig(**{**SMALL.to_json(), "head": "anchor", "anchors_wh": ANCHORS})
    model = build(config)
    images = np.random.default_rng(0).uniform(0, 255, (1, 96, 64, 3)).astype(np.float32)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(again(images)), keras.ops.convert_to_numpy(model(images)),
        atol=1e-6,
    )  # fmt: skip
