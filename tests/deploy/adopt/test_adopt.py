"""Adoption: every layout gives what its network meant, in batches too; bad files one message."""

import hashlib

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from deploy.adopt.adopt import Adoption, adopt
from deploy.commands.app import app
from deploy.graph.nms import Nms
from edge.errors import ConfigError, ModelError
from edge.manifest import KEY, Manifest
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.vision import boxes
from tests.support import foreign_models as foreign
from trainers.data.coco import COCO

NAMES = ("cat", "dog", "cow")
NMS = Nms(score_threshold=0.3, iou_threshold=0.4, max_rows=40, candidates=60)


def session(model: bytes) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 4
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def pictures(count, size_wh=(foreign.SIDE, foreign.SIDE), seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (count, 9, 9, 3), np.uint8)
    return np.stack([cv2.resize(one, size_wh) for one in coarse])


def raw_outputs(model, images):
    """What the foreign network itself says of each picture."""
    run = session(model)
    batch = images.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(1 / 255)
    return [run.run(None, {run.get_inputs()[0].name: one[None]})[0][0] for one in batch]


def expected(center, size, scores, options=NMS):
    """Contract rows of one picture, by brute force."""
    xyxy = np.concatenate([center - size / 2, center + size / 2], axis=1)
    score, label = scores.max(axis=1), scores.argmax(axis=1).astype(np.int32)
    best = np.argsort(-score, kind="stable")[: options.candidates]
    best = best[score[best] >= np.float32(options.score_threshold)]
    kept = best[boxes.nms(xyxy[best], score[best], label[best], options.iou_threshold)]
    kept = kept[: options.max_rows]
    rows = np.zeros((options.max_rows, 6), np.float32)
    rows[: len(kept)] = np.column_stack([xyxy[kept], score[kept], label[kept]])
    return rows


def expected_finished(raw, options=NMS):
    order = np.argsort(-raw[:, 4], kind="stable")
    order = order[raw[order, 4] >= options.score_threshold][: options.max_rows]
    rows = np.zeros((options.max_rows, 6), np.float32)
    rows[: len(order)] = raw[order]
    rows[:, 5] = np.floor(rows[:, 5])
    return rows


LAYOUTS = {
    "objectness": (foreign.objectness,
                   lambda r: expected(r[:, :2], r[:, 2:4], r[:, 5:] * r[:, 4:5])),
    "plain": (foreign.plain, lambda r: expected(r[:2].T, r[2:4].T, r[4:].T)),
    "finished": (foreign.finished, expected_finished),
}  # fmt: skip


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_yolo_layout_is_told_by_its_shape_and_decoded(layout, opset):
    make, want = LAYOUTS[layout]
    model = make(opset)
    images = pictures(16)
    adopted = session(adopt(model, Adoption("yolo", "tiny", NAMES, nms=NMS)))
    for count in (1, 2, 5, 16):
        (rows,) = adopted.run(None, {"images": images[:count]})
        for got, raw in zip(rows, raw_outputs(model, images), strict=False):
            np.testing.assert_allclose(got, want(raw), rtol=1e-4, atol=1e-4)
    assert (rows[..., 4] > 0).sum(axis=1).min() > 1


def test_one_class_with_objectness_looks_like_a_finished_network_until_it_is_told():
    model = foreign.objectness(classes=1)
    images = pictures(2)
    told = Adoption("yolo", "tiny", ("cat",), nms=NMS, layout="objectness")
    (rows,) = session(adopt(model, told)).run(None, {"images": images})
    raw = raw_outputs(model, images)[1]
    np.testing.assert_allclose(
        rows[1], expected(raw[:, :2], raw[:, 2:4], raw[:, 5:] * raw[:, 4:5]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_kept_classes_are_reported_and_renumbered(layout):
    make, _ = LAYOUTS[layout]
    model, images = make(), pictures(3)
    options = Adoption("yolo", "tiny", NAMES, keep=("cow", "cat"), nms=NMS)
    adopted = adopt(model, options)
    (rows,) = session(adopted).run(None, {"images": images})
    for got, raw in zip(rows, raw_outputs(model, images), strict=True):
        if layout == "objectness":
            want = expected(raw[:, :2], raw[:, 2:4], raw[:, [7, 5]] * raw[:, 4:5])
        elif layout == "plain":
            want = expected(raw[:2].T, raw[2:4].T, raw[[6, 4]].T)
        else:
            label = np.floor(raw[:, 5])
            want = expected_finished(np.where((label != 1)[:, None], raw, 0))
            want[:, 5] = np.where((want[:, 4] > 0) & (want[:, 5] == 0), 1, 0)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert manifest_of(adopted).classes == ("cow", "cat")


def manifest_of(model: bytes) -> Manifest:
    metadata = {e.key: e.value for e in onnx.load_model_from_string(model).metadata_props}
    return Manifest.model_validate_json(metadata[KEY])


def test_the_manifest_tells_where_the_model_came_from():
    model = foreign.plain()
    options = Adoption("yolo", "tiny", NAMES, nms=NMS, license="MIT", trained_on="drawings")
    manifest = manifest_of(adopt(model, options))
    assert manifest.source_sha256 == hashlib.sha256(model).hexdigest()
    assert (manifest.task, manifest.name, manifest.family) == ("detect", "tiny", "yolo")
    assert manifest.input_wh == (foreign.SIDE, foreign.SIDE)
    assert manifest.letterbox_align == "center"
    assert (manifest.score_threshold, manifest.iou_threshold, manifest.max_rows) == (0.3, 0.4, 40)
    assert (manifest.license, manifest.trained_on) == ("MIT", "drawings")


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("yolox_nano.onnx", Adoption("yolox", "yolox", COCO, nms=Nms(score_threshold=0.05))),
        ("yunet_n_dynamic.onnx",
         Adoption("yunet", "yunet", ("face",), input_wh=(320, 320), nms=Nms(0.05, 0.3, 50, 128))),
        ("version-RFB-320.onnx", Adoption("ultraface", "rfb", ("face",), nms=Nms(0.3, 0.3, 50))),
    ],
)  # fmt: skip
def test_a_batch_of_any_size_gives_what_single_pictures_give(
    shared_data, adopt_file, file, options
):
    run = session(adopt_file(file, options).read_bytes())
    height, width = run.get_inputs()[0].shape[1:3]
    paths = sorted((shared_data / "ytf_dev" / "images").rglob("*.jpg"))[:4000:250]
    images = np.stack([cv2.resize(cv2.imread(str(p))[..., ::-1], (width, height)) for p in paths])
    singles = [run.run(None, {"images": image[None]}) for image in images]
    for count in (2, 3, 5, 8, 16):
        together = run.run(None, {"images": images[:count]})
        for values, *single in zip(together, *singles[:count], strict=True):
            np.testing.assert_allclose(values, np.concatenate(single), rtol=1e-4, atol=1e-2)
    assert (singles[0][0][0, :, 4] > 0).any()
    assert all(output.shape[0] == "N" for output in run.get_outputs())


def test_a_grid_that_a_network_counts_from_its_pictures_shape_stays_as_it_is():
    adopted = session(adopt(foreign.any_size(), Adoption("yolo", "m", ("red", "green"),
                                                         input_wh=(64, 64))))  # fmt: skip
    images = np.zeros((3, 64, 64, 3), np.uint8)
    images[0, 16:24, 40:48, 0] = 204
    images[2, 8:16, 0:8, 1] = 102
    (rows,) = adopted.run(None, {"images": images})
    np.testing.assert_allclose(rows[0, 0], [40, 16, 48, 24, 0.8, 0], atol=1e-5)
    np.testing.assert_allclose(rows[2, 0], [0, 8, 8, 16, 0.4, 1], atol=1e-5)
    assert (rows[:, :, 4] > 0).sum(axis=1).tolist() == [1, 0, 1]


def external(model: bytes, nested: bool) -> bytes:
    """The model with a weight in another file, in a Constant node when ``nested``."""
    proto = onnx.load_model_from_string(model)
    tensor = proto.graph.initializer[0]
    if nested:
        del proto.graph.initializer[0]
        node = helper.make_node("Constant", [], [tensor.name], value=tensor)
        proto.graph.node.insert(0, node)
        tensor = proto.graph.node[0].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return proto.SerializeToString()


def without_nodes(model: bytes) -> bytes:
    proto = onnx.load_model_from_string(model)
    del proto.graph.node[:]
    return proto.SerializeToString()


TINY = Adoption("yolo", "tiny", NAMES)


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda m: m[: len(m) // 2], TINY, "not a complete ONNX file"),
        (lambda m: b"Once upon a time\n" * 9, TINY, "not a complete ONNX file"),
        (lambda m: b"", TINY, "not a complete ONNX file"),
        (lambda m: external(m, nested=False), TINY, "outside its file"),
        (lambda m: external(m, nested=True), TINY, "outside its file"),
        (lambda m: adopt(m, TINY), TINY, "a contract model already"),
        (lambda m: m, Adoption("yolov99", "tiny", NAMES), "use one of yolox"),
        (lambda m: m, Adoption("yolox", "tiny", NAMES), "has 64"),
        (lambda m: m, Adoption("yunet", "tiny", ("face",)), "choose the family that fits"),
        (lambda m: m, Adoption("ultraface", "tiny", ("face",)), "choose the family that fits"),
        (lambda m: m, Adoption("yolo", "tiny", NAMES[:2]), "--classes"),
        (lambda m: m, Adoption("yolo", "tiny", NAMES, keep=("cat", "bat")), "'bat'"),
        (lambda m: m, Adoption("yolo", "tiny", NAMES, keep=("cat", "cat")), "once"),
        (lambda m: m, Adoption("yolo", "tiny", NAMES, input_wh=(320, 320)), "64x64 pictures only"),
        (lambda m: m, Adoption("yolo", "two words", NAMES), "--name"),
        (lambda m: m, Adoption("yolo", "tiny", NAMES, layout="finished"), "another --layout"),
        (lambda m: m, Adoption("yolo", "tiny", NAMES, layout="round"), "layouts are objectness"),
        (lambda m: m, Adoption("yolox", "tiny", NAMES, layout="plain"), "the family yolo only"),
    ],
)  # fmt: skip
def test_what_cannot_be_adopted_is_refused_with_a_remedy(spoil, options, message):
    model = spoil(foreign.objectness())
    with pytest.raises(ModelError, match=message) as caught:
        adopt(model, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"max_rows": 0}, {"candidates": 0}, {"score_threshold": 1.5}, {"iou_threshold": -1}]
)
def test_options_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Nms(**values)


def test_a_network_whose_batch_cannot_be_freed_is_refused():
    proto = onnx.load_model_from_string(foreign.objectness())
    axis = helper.make_tensor("axis", TensorProto.INT64, [], [0])  # across pictures
    proto.graph.initializer.append(axis)
    proto.graph.node.append(helper.make_node("CumSum", ["detections", "axis"], ["mixed"]))
    proto.graph.output[0].name = "mixed"
    with pytest.raises(ModelError, match="dynamic batch size"):
        adopt(proto.SerializeToString(), Adoption("yolo", "tiny", NAMES, nms=Nms(0.0)))


def test_a_network_that_suppresses_boxes_itself_is_refused_with_what_to_export():
    proto = onnx.load_model_from_string(foreign.plain())
    floats = TensorProto.FLOAT
    proto.graph.initializer.append(helper.make_tensor("some", floats, [1, 1, 4], [0, 0, 8, 8]))
    proto.graph.initializer.append(helper.make_tensor("score", floats, [1, 1, 1], [0.5]))
    proto.graph.node.append(helper.make_node("NonMaxSuppression", ["some", "score"], ["kept"]))
    with pytest.raises(ModelError, match="export it without NMS"):
        adopt(proto.SerializeToString(), Adoption("yolo", "tiny", NAMES, nms=NMS))


def test_the_command_writes_a_model_that_the_daemon_can_load(tmp_path):
    source = tmp_path / "my network (1).onnx"
    source.write_bytes(foreign.plain())
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n\ncow\n")
    out = tmp_path / "out.onnx"
    result = CliRunner().invoke(
        app,
        ["adopt", str(source), "--family", "yolo", "--classes", str(names), "--keep", "dog",
         "--out", str(out), "--score", "0.2", "--iou", "0.5", "--rows", "7"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    detector = load_model("detect", build(Options(threads=1)), out)
    assert detector.name == "my-network-1-"
    assert detector.classes == ("dog",)
    assert detector.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.onnx", "--family", "yolo"], "missing.onnx"),
        (["text.onnx", "--family", "yolo"], "not a complete ONNX file"),
        (["good.onnx", "--family", "yolo"], "--classes"),
        (["good.onnx", "--family", "yolo", "--classes", "cat,dog,cow", "--rows", "0"], "max_rows"),
        (["good.onnx", "--family", "yolo", "--input-size", "big"], "--input-size big"),
        (["good.onnx", "--family", "nothing"], "use one of"),
        (["good.onnx", "--family", "yolo", "--classes", "cat,dog,cow", "--out", "no/where.onnx"],
         "--out cannot be written (No such file or directory): create the folder"),
    ],
)  # fmt: skip
def test_the_command_refuses_with_one_line_and_78(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.onnx").write_bytes(foreign.plain())
    (tmp_path / "text.onnx").write_text("no model at all\n" * 20)
    result = CliRunner().invoke(app, ["adopt", *arguments])
    assert result.exit_code == 78
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
