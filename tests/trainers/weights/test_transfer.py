"""Weights from files, frozen parts, new heads."""

from __future__ import annotations

from dataclasses import replace

import h5py
import keras
import numpy as np
import onnx
import pytest

from edge.errors import ConfigError, ModelError
from tests.support.drawn_data import shared
from trainers.data.coco import COCO
from trainers.networks.config import NetworkConfig
from trainers.networks.yolo import build
from trainers.weights import transfer

SMALL = NetworkConfig(
    ("a", "b"), (64, 64), "slim", 0.05, neck="fpn", neck_channels=(8, 8, 8),
    head_channels=8, head_depth=1, depthwise=False,
)  # fmt: skip
DEPTHWISE = replace(SMALL, depthwise=True)


def numpy(x: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def images(side: int = 64, count: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side, 3)).astype(np.float32)


def settled(config: NetworkConfig) -> keras.Model:
    """A network whose normalization does something."""
    model = build(config)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    return model


def test_yolox_weights_give_what_onnx_runtime_gives():
    import onnxruntime

    path = shared("models") / "yolox_nano.onnx"
    config = NetworkConfig(COCO, norm="none")
    model = build(config)
    report = transfer.start_from(model, config, path)
    assert not report.left
    rgb = images(416)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    bgr = rgb[..., ::-1].transpose(0, 3, 1, 2)
    expected = session.run(None, {"images": np.ascontiguousarray(bgr)})[0]
    raw = numpy(model(rgb)).copy()
    raw[..., 4:] = 1 / (1 + np.exp(-raw[..., 4:]))
    np.testing.assert_allclose(raw, expected, atol=1e-3)


def test_folding_the_normalisation_changes_nothing():
    model = settled(DEPTHWISE)
    config = replace(DEPTHWISE, norm="none")
    folded = build(config)
    transfer.assign_weights(folded, config, dict(transfer.read_convolutions(model)), SMALL.classes)
    assert not any("_bn" in layer.name for layer in folded.layers)
    np.testing.assert_allclose(numpy(folded(images())), numpy(model(images())), atol=1e-3)


def test_a_keras_file_is_loaded_by_name_into_either_layout(tmp_path):
    model = settled(DEPTHWISE)
    model.save(tmp_path / "m.keras")
    expected = numpy(model(images()))
    for norm in ("none", "batch"):
        config = replace(DEPTHWISE, norm=norm)
        fresh = build(config)
        report = transfer.start_from(fresh, config, tmp_path / "m.keras", SMALL.classes)
        assert not report.left
        np.testing.assert_allclose(numpy(fresh(images())), expected, atol=1e-3)


def test_known_classes_are_carried_over_and_new_ones_start_anew(tmp_path):
    model = settled(DEPTHWISE)
    model.save(tmp_path / "m.keras")
    config = replace(DEPTHWISE, classes=("new", "b"))
    fresh = build(config)
    transfer.start_from(fresh, config, tmp_path / "m.keras", SMALL.classes)
    old, new = numpy(model(images())), numpy(fresh(images()))
    np.testing.assert_allclose(
        new[..., [0, 1, 2, 3, 4, 6]], old[..., [0, 1, 2, 3, 4, 6]], atol=1e-3
    )
    assert np.abs(new[..., 5] - old[..., 5]).max() > 1e-3


def test_all_classes_new_keeps_the_head_of_the_network(tmp_path):
    build(SMALL).save(tmp_path / "m.keras")
    config = replace(SMALL, classes=("raccoon",))
    report = transfer.start_from(build(config), config, tmp_path / "m.keras", SMALL.classes)
    assert sorted(report.left) == [f"head_{i}_cls_pred" for i in range(3)]


PUBLISHED = {  # layers at three depths, by their names in the file and here
    "vgg16": ("block1_conv1", "block3_conv3", "block5_conv3"),
    "resnet50": ("conv1_relu", "conv3_block4_out", "conv5_block3_out"),
}


def published(name: str) -> keras.Model:
    """The maker's network, with random weights and a normalization that does something."""
    maker = {"vgg16": keras.applications.VGG16, "resnet50": keras.applications.ResNet50}[name]
    model = maker(include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        elif layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.normal(0, 1, bias.shape)])
    return model


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_give_the_features_that_their_maker_gets(name, suffix, tmp_path):
    model, path = published(name), tmp_path / f"published{suffix}"
    model.save(path)
    config = replace(SMALL, backbone=name, width=0.0, norm="none", convention="published")
    ours = build(config)
    report = transfer.start_from(ours, config, path)
    assert len(report.loaded) == len(report.expected) == {"vgg16": 13, "resnet50": 53}[name]
    prepare = getattr(keras.applications, name).preprocess_input
    for depth in PUBLISHED[name]:
        here = depth.replace("conv1_relu", "conv1_conv_act")
        here = f"backbone_{here}_act" if name == "vgg16" else f"backbone_{here}"
        theirs = keras.Model(model.input, model.get_layer(depth).output)
        expected = numpy(theirs(prepare(images())))
        got = numpy(keras.Model(ours.input, ours.get_layer(here).output)(images()))
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()
        assert np.abs(expected).max() > 1


def write_squeezenet(path, spelling):
    """The published layers of SqueezeNet 1.1, as Keras 1 or 2 wrote them: name and kernel."""
    layers = {"conv1": (3, 3, 3, 64)}
    channels = 64
    for index in range(2, 10):
        squeeze, expand = 16 * (index // 2), 64 * (index // 2)
        layers[f"fire{index}/squeeze1x1"] = (1, 1, channels, squeeze)
        layers[f"fire{index}/expand1x1"] = (1, 1, squeeze, expand)
        layers[f"fire{index}/expand3x3"] = (3, 3, squeeze, expand)
        channels = 2 * expand
    layers["conv10"] = (1, 1, 512, 1000)
    rng = np.random.default_rng(3)
    kernels = {n: rng.normal(0, 0.1, shape).astype(np.float32) for n, shape in layers.items()}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in kernels]
        for name, kernel in kernels.items():
            group = file.create_group(name)
            group[spelling[0].format(name)] = kernel
            group[spelling[1].format(name)] = np.zeros(kernel.shape[-1], np.float32)
    return kernels


@pytest.mark.parametrize("spelling", [("{}_W:0", "{}_b:0"), ("{}/kernel:0", "{}/bias:0")])
def test_every_published_name_of_squeezenet_is_read(spelling, tmp_path):
    kernels = write_squeezenet(tmp_path / "squeezenet.h5", spelling)
    found = transfer.read_h5(tmp_path / "squeezenet.h5")
    assert len(found) == 26
    for name, kernel in kernels.items():
        np.testing.assert_array_equal(found[name.replace("/", "_")].kernel, kernel)
    config = replace(SMALL, backbone="squeezenet", width=0.0, norm="none", convention="published")
    report = transfer.start_from(build(config), config, tmp_path / "squeezenet.h5")
    assert len(report.loaded) == 25  # conv10 tells ImageNet's classes, which no detector has


def test_less_than_half_is_refused_unless_told(tmp_path):
    config = replace(SMALL, backbone="vgg16", width=0.125, norm="none", convention="published")
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype(np.float32)
    with h5py.File(tmp_path / "vgg.h5", "w") as file:  # as Keras 1 names them
        group = file.create_group("block1_conv1")
        group["block1_conv1_W_1:0"], group["block1_conv1_b_1:0"] = kernel, np.ones(8, np.float32)
    with pytest.raises(ConfigError, match=r"Only 1 of 13 layers start from .*--start-partial"):
        transfer.start_from(build(config), config, tmp_path / "vgg.h5")
    model = build(config)
    report = transfer.start_from(model, config, tmp_path / "vgg.h5", partial=True)
    assert report.loaded == ("backbone_block1_conv1",)
    rgb = numpy(model.get_layer("backbone_block1_conv1").kernel)
    np.testing.assert_array_equal(rgb, kernel[:, :, ::-1])


def test_a_normalization_that_is_not_whole_is_refused(tmp_path):
    with h5py.File(tmp_path / "half.h5", "w") as file:
        file["conv1_conv/kernel"] = np.zeros((7, 7, 3, 64), np.float32)
        file["conv1_bn/gamma"] = np.ones(64, np.float32)
    with pytest.raises(ModelError, match="conv1_conv is not whole"):
        transfer.read_h5(tmp_path / "half.h5")


def test_files_that_cannot_help_say_why(tmp_path):
    model = build(SMALL)
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff")
    (tmp_path / "bad.h5").write_bytes(b"no")
    other = replace(
        SMALL, backbone="resnet18", width=0.0625, neck_channels=(16, 16, 16), head_channels=16
    )
    build(other).save(tmp_path / "other.keras")
    with pytest.raises(ConfigError, match=r"\.keras, \.h5 or \.onnx"):
        transfer.start_from(model, SMALL, tmp_path / "x.txt")
    with pytest.raises(ConfigError, match="does not exist"):
        transfer.start_from(model, SMALL, tmp_path / "gone.onnx")
    for name in ("bad.onnx", "bad.h5"):
        with pytest.raises(ModelError):
            transfer.start_from(model, SMALL, tmp_path / name)
    with pytest.raises(ConfigError, match="choose the backbone"):
        transfer.start_from(model, SMALL, tmp_path / "other.keras")


@pytest.mark.parametrize(
    ("regime", "free"),
    [
        ("none", ("backbone_", "neck_", "head_")),
        ("backbone", ("neck_", "head_")),
        ("all", ("head_",)),
        ("backbone_stem,neck_", ("backbone_dark", "head_")),
    ],
)
def test_freeze_regimes(regime, free):
    model = build(SMALL)
    count = transfer.freeze(model, regime)
    names = {w.path.split("/")[0] for w in model.trainable_weights}
    assert count > 0
    assert names
    assert all(name.startswith(free) for name in names)
    if regime == "all":
        assert all(name.endswith("_pred") for name in names)


def test_freezing_what_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="neckk"):
        transfer.freeze(build(SMALL), "neckk")


def test_yunet_weights_give_what_onnx_runtime_gives():
    import onnxruntime

    from trainers.faces import NETWORKS

    path = shared("models") / "yunet_n_dynamic.onnx"
    config = replace(NETWORKS["yunet"], input_wh=(64, 64))
    model = build(config)
    assert not transfer.start_from(model, config, path).left
    rgb = images()
    raw = numpy(model(rgb))[0]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    bgr = np.ascontiguousarray(rgb[..., ::-1].transpose(0, 3, 1, 2))
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {session.get_inputs()[0].name: bgr}), strict=True))
    for first, columns in (("bbox", slice(0, 4)), ("kps", slice(6, 16))):
        rows = [
            found[f"{first}_{s}"].reshape(-1, columns.stop - columns.start) for s in (8, 16, 32)
        ]
        np.testing.assert_allclose(raw[:, columns], np.concatenate(rows), atol=1e-3)
    for first, column in (("obj", 4), ("cls", 5)):
        rows = np.concatenate([found[f"{first}_{s}"].ravel() for s in (8, 16, 32)])
        np.testing.assert_allclose(1 / (1 + np.exp(-raw[:, column])), rows, atol=1e-3)


def test_the_last_layers_of_yunet_stay_free_when_all_is_frozen():
    from trainers.faces import NETWORKS

    model = build(replace(NETWORKS["yunet"], input_wh=(64, 64)))
    assert 0 < transfer.freeze(model, "all") < transfer.freeze(model, "backbone")


def test_hdf5_files_whose_content_is_no_weights_are_refused(tmp_path):
    path = tmp_path / "start.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(ModelError, match="cannot be read"):
        transfer.read_h5(path)
    with h5py.File(path, "w") as file:
        file["layer/kernel"] = "a string"
    with pytest.raises(ModelError, match="cannot be read"):
        transfer.read_h5(path)


@pytest.mark.parametrize("change", [{"dims": [10**9, 10**9]}, {"data_type": 99}])
def test_an_onnx_file_whose_weights_are_not_as_declared_is_refused(change, tmp_path):
    weight = onnx.numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
    for name, value in change.items():
        weight.ClearField(name)
        weight.MergeFrom(onnx.TensorProto(**{name: value}))
    graph = onnx.helper.make_graph([], "g", [], [], [weight])
    path = tmp_path / "start.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError, match="weight of the ONNX file cannot be read"):
        transfer.read_onnx(path)
