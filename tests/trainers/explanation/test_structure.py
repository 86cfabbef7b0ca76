"""Multiply-adds and receptive fields are those that papers state, or that are computed by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from trainers.explanation.structure import (
    Axis,
    describe_layers,
    list_groups,
    measure_groups,
    name_group,
)
from trainers.networks import minifasnet, mobilefacenet, yolo
from trainers.networks.backbone import LayerFactory, backbone
from trainers.networks.config import ENCODERS, LivenessConfig, NetworkConfig


def build_backbone(name):
    images = keras.Input((224, 224, 3))
    maps = backbone(name)(images, LayerFactory("relu", "none", depthwise=False))
    return keras.Model(images, maps[-1])


@pytest.mark.parametrize(
    ("name", "billions", "tolerance"),
    [
        ("vgg16", 15.3466, 1e-4),  # He et al. 2015: 15.3 of the convolutions
        ("resnet18", 1.8, 0.02),  # He et al. 2015, table 1
        ("resnet50", 3.8, 0.02),
    ],
)
def test_multiply_adds_are_the_published_ones(name, billions, tolerance):
    macs = sum(row.macs for row in describe_layers(build_backbone(name)))
    assert macs / 1e9 == pytest.approx(billions, rel=tolerance)


def test_weights_of_vgg16_are_those_of_keras_applications():
    assert sum(row.weights for row in describe_layers(build_backbone("vgg16"))) == 14_714_688


@pytest.mark.parametrize(
    ("layer", "size", "step"),
    [  # by hand: + 2 steps for a 3x3, + 1 step for a pooling of two, which doubles the step
        ("backbone_block1_conv2", 5, 1),
        ("backbone_block2_conv2", 14, 2),
        ("backbone_block3_conv3", 40, 4),
        ("backbone_block4_conv3", 92, 8),
        ("backbone_block5_conv3", 196, 16),
        ("backbone_block5_pool", 212, 32),  # Araujo et al. 2019: 212 for VGG-16
    ],
)
def test_receptive_fields_of_vgg16(layer, size, step):
    rows = {row.name: row for row in describe_layers(build_backbone("vgg16"))}
    for axis in rows[layer].field:
        assert (axis.size, axis.step) == (size, step)


def test_the_receptive_field_of_resnet18_takes_its_longest_way():
    # 7, +4 of the pooling, then two 3x3 a block: 4 * 8, 8 * 15 less one step that is shared ..
    *_, last = describe_layers(build_backbone("resnet18"))
    assert [axis.size for axis in last.field] == [435, 435]


def reach(network, name, unit):
    """First and last row of the input whose change changes a unit, by trying each."""
    part = keras.Model(network.input, network.get_layer(name).output)
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, network.input_shape[1:]).astype(np.float32)
    changed = np.repeat(image[None], len(image) + 1, 0)
    for row in range(len(image)):
        changed[row, row] += rng.uniform(50, 99, image[0].shape)
    maps = np.asarray(part.predict(changed, verbose=0))[:, unit, unit]  # (H + 1, C)
    rows = np.flatnonzero(np.abs(maps[:-1] - maps[-1]).max(-1) > 0)
    return rows.min(), rows.max()


@pytest.mark.parametrize("kind", ["slim", "nano"])
@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
def test_what_a_unit_reads_is_what_changes_it(kind, place):
    config = NetworkConfig(("a",), (96, 96), kind, activation="softplus", norm="none")
    network = yolo.build(config)
    rng = np.random.default_rng(1)
    network.set_weights([np.abs(rng.normal(0, 0.1, w.shape)) for w in network.get_weights()])
    rows = [row for row in describe_layers(network) if row.kind == "Activation"]
    row = rows[int(place * (len(rows) - 1))]
    unit = row.shape[0] // 2
    axis = row.field[0]
    low, high = (round(unit * axis.step + end) for end in (axis.low, axis.high))
    first, last = reach(network, row.name, unit)
    slack = 0 if place < 0.6 else 32  # an enlargement is taken for what any of its copies reads
    assert max(low, 0) <= first <= max(low, 0) + slack
    assert min(high, 95) - slack <= last <= min(high, 95)


def test_axes_by_hand():
    assert Axis().slide(3, 2, 1, 1) == Axis(2, -1, 1)
    assert Axis(2, -1, 1).slide(3, 1, 2, 2) == Axis(2, -5, 5)
    assert Axis(4, 0, 6).repeat(2) == Axis(2, -2, 6)


def test_a_dense_layer_counts_its_kernel():
    images = keras.Input((4, 4, 2))
    x = layers.DepthwiseConv2D(3, padding="same", name="deep")(images)
    network = keras.Model(images, layers.Dense(5, name="dense")(layers.Flatten(name="f")(x)))
    macs = {row.name: row.macs for row in describe_layers(network)}
    assert macs["deep"] == 4 * 4 * 2 * 9
    assert macs["dense"] == 4 * 4 * 2 * 5


NETWORKS = {
    "detector": lambda: yolo.build(NetworkConfig(("a",), (64, 64), "slim")),
    "faces": lambda: yolo.build(NetworkConfig(("a",), (64, 64), "yunet", landmarks=True)),
    "embedder": lambda: mobilefacenet.build(ENCODERS["pico"]),
    "liveness": lambda: minifasnet.build(LivenessConfig()),
    "sequence": lambda: minifasnet.build(LivenessConfig(frames=2, over_time="conv3d")),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_network_is_described(kind):
    network = NETWORKS[kind]()
    rows = list(describe_layers(network))
    assert sum(row.weights for row in rows) == network.count_params()
    groups = list_groups(network)
    assert sum(group.macs for group in groups) == sum(row.macs for row in rows) > 0
    assert len({group.name for group in groups}) == len(groups)


def test_groups_compute_what_the_network_does():
    network = NETWORKS["detector"]()
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3))
    known = {id(network.inputs[0]): image}
    left = list_groups(network)
    while left:
        group = next(g for g in left if all(id(tensor) in known for tensor in g.entries))
        left.remove(group)
        found = group.network([known[id(tensor)] for tensor in group.entries])
        known |= {id(t): x for t, x in zip(group.exits, keras.tree.flatten(found), strict=True)}
    whole = np.asarray(network(image))
    np.testing.assert_allclose(known[id(network.outputs[0])], whole, atol=1e-5)


def test_times_are_measured_of_each_group():
    *parts, whole = measure_groups(NETWORKS["detector"](), 2)
    assert [name for name, _, _ in parts][:2] == ["backbone_stem", "backbone_dark2"]
    assert all(seconds > 0 for _, _, seconds in [*parts, whole])
    assert whole[1] == sum(macs for _, macs, _ in parts)


@pytest.mark.parametrize(
    ("layer", "group"),
    [("backbone_dark2_csp_conv1", "backbone_dark2"), ("neck_p4_conv1", "neck"),
     ("head_0_stem", "head_0"), ("head_classes", "head"), ("stage1_down_widen", "stage1"),
     ("embedding", "embedding")],
)  # fmt: skip
def test_layers_are_grouped_by_how_their_names_begin(layer, group):
    assert name_group(layer) == group
