"""What a foreign file expects is asked of the file, tried on pictures, and never assumed."""

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from deploy.adopt.adopt import Adoption, adopt
from deploy.adopt.claims import read_claims
from deploy.adopt.trial import MAX_PICTURES, TrialPictures, adopt_tried
from deploy.graph.manifest import read_manifest
from deploy.graph.nms import Nms
from edge.engines.synthetic_images import draw_portraits
from edge.errors import ModelError
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.types import Frame, RgbPicture
from edge.vision import boxes
from tests.support import foreign_models as foreign

NAMES = "{0: 'fire', 1: 'smoke'}"
DETECT = {"task": "detect", "names": NAMES}
NMS = Nms(0.3, 0.5, 20, 60)
NONE = TrialPictures()


def padded(*rows, count=300):
    whole = np.zeros((count, len(rows[0])), np.float32)
    whole[: len(rows)] = rows
    return whole


def run(model, images):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})


def detect(model, tmp_path, size_wh=(64, 64)):
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    detector = load_model("detect", build(Options(threads=1)), path)
    picture = RgbPicture(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    refused = {}
    detector.check.on_refused = lambda reason, count: refused.update({str(reason): count})
    return detector.detect([Frame("a", 0, 0, 0.0, 0.0, picture)])[0], detector.classes, refused


# --- names (a2, a9) ---------------------------------------------------------------------------

ENDED = padded([10, 10, 50, 50, 0.9, 1], [5, 5, 20, 20, 0.8, 0])


def test_names_come_from_the_files_metadata(tmp_path):
    found, classes, _ = detect(
        adopt(foreign.fixed_rows(ENDED, DETECT), Adoption("yolo", "m")), tmp_path
    )
    assert [classes[number] for number in found.class_id] == ["smoke", "fire"]


def test_an_end_to_end_file_without_names_is_refused():
    with pytest.raises(ModelError, match="does not tell its class names"):
        adopt(foreign.fixed_rows(ENDED), Adoption("yolo", "m"))


@pytest.mark.parametrize("names", ["{0: 'a', 2: 'b'}", "[1, 2]", "{", "x" * 50, "[" * 9000])
def test_names_that_cannot_be_read_are_told_and_no_names(names):
    model = foreign.fixed_rows(ENDED, {"names": names})
    with pytest.raises(ModelError, match="names in the file's metadata cannot be read") as caught:
        adopt(model, Adoption("yolo", "m"))
    assert repr(names[:40]) in str(caught.value)


def test_adoption_says_that_names_given_replace_some_that_cannot_be_read():
    model = foreign.with_metadata(foreign.plain(), task="detect", names="{0: 'a', 2: 'b'}")
    adopted = adopt_tried(model, Adoption("yolo", "m", ("a", "b", "c"), nms=NMS), NONE)
    said = [p for p in read_manifest(adopted, "m").proofs if "cannot be read" in p]
    assert said
    assert said[0].endswith("the names given (--classes) are taken")


def test_another_number_of_names_than_the_metadatas_is_refused():
    with pytest.raises(ModelError, match="1 names were given, but the file's metadata has 2"):
        adopt(foreign.fixed_rows(ENDED, DETECT), Adoption("yolo", "m", ("fire",)))


def test_a_class_without_a_name_is_dropped_and_counted_never_the_last_name(tmp_path):
    rows = padded([10, 10, 50, 50, 0.9, 200], [5, 5, 20, 20, 0.8, 0], [5, 5, 20, 20, 0.7, -3])
    adopted = adopt(foreign.fixed_rows(rows), Adoption("yolo", "m", ("fire",)))
    found, _, refused = detect(adopted, tmp_path)
    assert found.score.tolist() == pytest.approx([0.8])
    assert refused == {"unknown_class": 2}


def test_a_class_that_is_not_kept_is_dropped_silently(tmp_path):
    adopted = adopt(foreign.fixed_rows(ENDED, DETECT), Adoption("yolo", "m", keep=("fire",)))
    found, classes, refused = detect(adopted, tmp_path)
    assert (found.class_id.tolist(), classes, refused) == ([0], ("fire",), {})


def test_a_name_that_is_there_twice_is_refused():
    with pytest.raises(ModelError, match="'fire' must be there once"):
        adopt(foreign.fixed_rows(ENDED, {"names": "['fire', 'fire']"}), Adoption("yolo", "m"))


# --- what a file is (a3, a5, a7, a8) ----------------------------------------------------------


@pytest.mark.parametrize("task", ["pose", "obb", "segment", "classify", "depth"])
@pytest.mark.parametrize("family", ["yolo", "rtdetr"])
def test_another_task_is_refused_by_its_name(task, family):
    with pytest.raises(ModelError, match=f"a {task} network"):
        adopt(foreign.with_metadata(foreign.plain(), task=task), Adoption(family, "m"))


def columns(count, fill=0.01, anchors=84):
    """(C, A) of decoded boxes all over the picture, and ``fill`` in the other rows."""
    rows = np.full((count, anchors), fill, np.float32)
    rows[:4] = [[*np.linspace(4, 60, anchors)]] * 2 + [[20.0] * anchors] * 2
    return rows


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        (foreign.fixed_rows(padded([0.5, 0.5, 0.5, 0.5, 0.05, 0.95]), DETECT),
         Adoption("yolo", "m"), "RT-DETR"),
        (foreign.fixed_rows(padded([0.5, 0.5, 0.9, 0.9, 0.9, 1]), DETECT),
         Adoption("yolo", "m"), "RT-DETR"),
        (foreign.fixed_rows(np.full((300, 84), 0.01)), Adoption("yolo", "m"), "0 to 1"),
        (foreign.with_metadata(foreign.plain(), head="RTDETRDecoder"),
         Adoption("yolo", "m"), "--family rtdetr"),
        (foreign.fixed_rows(np.tile([0.5, 0.5, -1.5, -2, 0.1, 0.1], (84, 1))),
         Adoption("yolo", "m", layout="objectness"), "--family yolox"),
        (foreign.objectness(), Adoption("yolo", "m", ("a", "b", "c")), ""),
        (foreign.fixed_rows(np.tile([30, 30, 20, 20, 0.1, 0.1], (84, 1))),
         Adoption("yolox", "m", ("a",)), "--layout objectness"),
        (foreign.fixed_rows(columns(56, fill=30)), Adoption("yolo", "m"), "keypoints"),
        (foreign.fixed_rows(columns(6, fill=-3)), Adoption("yolo", "m", ("a", "b")), "logits"),
        (foreign.fixed_rows(columns(6, fill=np.nan)), Adoption("yolo", "m"), "NaN"),
        (foreign.plain(), Adoption("rtdetr", "m", ("a", "b", "c")), "does not lie in 0 to 1"),
        (foreign.plain(), Adoption("scrfd", "m"), "nine|three outputs"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused_with_the_family_that_may_fit(network, options, words):
    if not words:
        adopt(network, options)
        return
    with pytest.raises(ModelError, match=words):
        adopt(network, options)


def two_outputs(first, second, *shapes):
    proto = onnx.load_model_from_string(foreign.plain())
    del proto.graph.node[:], proto.graph.output[:], proto.graph.initializer[:]
    for name, shape in zip((first, second), shapes, strict=True):
        array = numpy_helper.from_array(np.full(shape, 0.1, np.float32), f"of {name}")
        proto.graph.initializer.append(array)
        proto.graph.node.append(helper.make_node("Identity", [f"of {name}"], [name]))
        proto.graph.output.append(helper.make_tensor_value_info(name, 1, shape))
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (two_outputs("dets", "labels", (1, 300, 4), (1, 300, 91)), "RF-DETR"),
        (two_outputs("boxes", "scores", (1, 84, 4), (1, 84, 80)), "YOLO-NAS"),
    ],
)
def test_a_known_network_without_a_family_is_refused_by_its_name(network, words):
    with pytest.raises(ModelError, match=words):
        adopt(network, Adoption("yolo", "m"))


def changed(model, **changes):
    proto = onnx.load_model_from_string(model)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    for at, size in changes.get("dims", {}).items():
        dims[at].dim_value = size
    proto.ir_version = changes.get("ir", proto.ir_version)
    if "opset" in changes:
        proto.opset_import[0].version = changes["opset"]
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (changed(foreign.plain(), dims={0: 4}), "batches of 4 only: export it with batch=1"),
        (changed(foreign.plain(), dims={1: 64, 3: 3}), "channels last"),
        (changed(foreign.plain(), dims={1: 1}), "not 3 channels"),
        (changed(foreign.plain(), ir=99), "newer ONNX"),
        (changed(foreign.plain(), opset=99), "newer ONNX"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
    ],
)
def test_the_remedy_fits_what_is_wrong(model, words):
    with pytest.raises(ModelError, match=words):
        adopt(model, Adoption("yolo", "m"))


def test_nodes_in_another_order_than_that_of_execution_are_sorted():
    proto = onnx.load_model_from_string(foreign.plain())
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    options = Adoption("yolo", "m", ("a", "b", "c"), nms=NMS)
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    one = run(adopt(proto.SerializeToString(), options), images)
    two = run(adopt(foreign.plain(), options), images)
    np.testing.assert_array_equal(one[0], two[0])


# --- families of transformers and SCRFD -------------------------------------------------------


@pytest.mark.parametrize("finished", [False, True])
def test_an_rtdetr_gives_pixels_of_a_stretched_picture(finished, tmp_path):
    rows = padded([0.5, 0.5, 0.5, 0.25, 0.05, 0.95] if not finished else
                  [0.5, 0.5, 0.5, 0.25, 0.95, 1])  # fmt: skip
    adopted = adopt(foreign.fixed_rows(rows, DETECT), Adoption("rtdetr", "m", nms=NMS))
    found, classes, _ = detect(adopted, tmp_path, size_wh=(200, 100))
    np.testing.assert_allclose(found.xyxy, [[50, 37.5, 150, 62.5]], atol=1e-3)
    assert classes[found.class_id[0]] == "smoke"
    assert read_manifest(adopted, "m").letterbox_align == "stretch"


def decode_as_insightface(outputs, side, threshold):
    """Boxes, scores, points as SCRFD.forward of insightface's scrfd.py computes them."""
    found = []
    for at, stride in enumerate((8, 16, 32)):
        scores, distances, offsets = outputs[at], outputs[at + 3] * stride, outputs[at + 6] * stride
        cells = side // stride
        centers = np.stack(np.mgrid[:cells, :cells][::-1], axis=-1).astype(np.float32)
        centers = (centers * stride).reshape((-1, 2))
        centers = np.stack([centers] * 2, axis=1).reshape((-1, 2))
        xyxy = np.concatenate([centers - distances[:, :2], centers + distances[:, 2:]], axis=1)
        points = offsets.reshape(-1, 5, 2) + centers[:, None]
        keep = scores[:, 0] >= threshold
        found += zip(scores[keep, 0], xyxy[keep], points[keep], strict=True)
    found.sort(key=lambda one: -one[0])
    xyxy = np.array([box for _, box, _ in found])
    score = np.array([score for score, _, _ in found])
    kept = boxes.nms(xyxy, score, np.zeros(len(score), np.int32), NMS.iou_threshold)
    return xyxy[kept], score[kept], np.array([points for *_, points in found])[kept]


def test_an_scrfd_gives_what_its_makers_decoding_gives():
    model = foreign.scrfd()
    many = Nms(0.55, NMS.iou_threshold, 100, 300)
    images = np.random.default_rng(1).integers(0, 255, (3, 64, 64, 3), np.uint8)
    detections, landmarks = run(adopt(model, Adoption("scrfd", "m", nms=many)), images)
    for row, image in enumerate(images):
        planes = ((image.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
        xyxy, score, points = decode_as_insightface(run(model, planes), 64, 0.55)
        assert 3 < len(score) <= 100
        used = detections[row, :, 4] > 0
        np.testing.assert_allclose(detections[row, used, :4], xyxy, rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(detections[row, used, 4], score, rtol=1e-4)
        np.testing.assert_allclose(landmarks[row, used], points, rtol=1e-3, atol=1e-2)


# --- values and colors (a1) -------------------------------------------------------------------


def embedder(inside):
    """Signs of low frequencies around middle gray: right only for -1..1, or with Sub and Mul."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (64, 3, 16, 16)).astype(np.float32)
    weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
    nodes = [
        helper.make_node("Sub", ["data", "mean"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "scale"], ["signed"]),
    ] * inside + [
        helper.make_node("Conv", ["signed" if inside else "data", "w"], ["c"], strides=[16, 16]),
        helper.make_node("Tanh", ["c"], ["t"]),
        helper.make_node("Reshape", ["t", "shape"], ["embedding"]),
    ]
    constants = {
        "mean": np.float32(127.5), "scale": np.float32(1 / 127.5), "w": weight,
        "shape": np.array([1, 64 * 49]),
    }  # fmt: skip
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("data", 1, [1, 3, 112, 112])], [value("embedding", 1, [1, 64 * 49])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


@pytest.mark.parametrize(("inside", "values"), [(True, "none"), (False, "signed")])
def test_an_embedder_is_normalized_as_insightface_does(inside, values):
    model = embedder(inside)
    assert read_claims(onnx.load_model_from_string(model)).normalizes == inside
    faces = draw_portraits(2)
    (vectors,) = run(adopt(model, Adoption("arcface", "m")), faces)
    pixels = faces.astype(np.float32)
    pixels = pixels if inside else (pixels - 127.5) / 127.5
    for vector, face in zip(vectors, pixels, strict=True):
        (raw,) = run(model, face.transpose(2, 0, 1)[None])
        np.testing.assert_allclose(vector, raw[0] / np.linalg.norm(raw), atol=1e-5)
    assert read_manifest(adopt(model, Adoption("arcface", "m")), "m").mean == (
        (0, 0, 0) if values == "none" else (127.5, 127.5, 127.5)
    )


def test_drawn_faces_are_different_people_and_the_same_ones_each_time():
    faces = draw_portraits(4)
    assert faces.shape == (4, 112, 112, 3)
    np.testing.assert_array_equal(faces, draw_portraits(4))
    assert all(np.abs(faces[0].astype(int) - other).mean() > 5 for other in faces[1:])


def outside(shared_data):
    """The shared MobileFaceNet without its Sub and Mul, as PyTorch exports embedders."""
    proto = onnx.load(shared_data / "models" / "mobilefacenet_128d_112x112.onnx")
    del proto.graph.node[:2]
    proto.graph.node[0].input[0] = "data"
    return proto.SerializeToString()


def test_an_embedder_fed_wrongly_is_refused_because_it_holds_strangers_for_one(shared_data):
    wrong = Adoption("arcface", "m", normalize="none")
    with pytest.raises(ModelError, match="for the same person"):
        adopt_tried(outside(shared_data), wrong, NONE)
    forced = read_manifest(adopt_tried(outside(shared_data), wrong, NONE, force=True), "m")
    assert "by force" in " ".join(forced.proofs)


def test_an_embedder_that_wants_its_values_from_outside_gets_them(shared_data):
    manifest = read_manifest(adopt_tried(outside(shared_data), Adoption("arcface", "m"), NONE), "m")
    assert manifest.mean == (127.5, 127.5, 127.5)
    assert "drawn faces" in " ".join(manifest.proofs)


def test_a_detector_fed_wrongly_is_refused_because_another_convention_finds_more(shared_data):
    pytest.importorskip("matplotlib", reason="its photograph shows a person")
    yolox = (shared_data / "models" / "yolox_nano.onnx").read_bytes()
    with pytest.raises(ModelError, match="--normalize none --color bgr"):
        adopt_tried(yolox, Adoption("yolox", "m", normalize="unit"), NONE)


def test_a_network_that_finds_nothing_in_the_users_pictures_is_refused():
    blind = foreign.fixed_rows(padded([10, 10, 50, 50, 0.01, 0]), DETECT)
    pictures = TrialPictures((RgbPicture(np.zeros((64, 64, 3), np.uint8)),))
    with pytest.raises(ModelError, match="finds nothing in the pictures given"):
        adopt_tried(blind, Adoption("yolo", "m"), pictures)
    shipped = read_manifest(adopt_tried(blind, Adoption("yolo", "m"), NONE), "m")
    assert "not proven" in " ".join(shipped.proofs)


def test_pictures_that_are_none_are_told(tmp_path):
    (tmp_path / "a.txt").write_text("no picture")
    with pytest.raises(ModelError, match="no picture can be read"):
        TrialPictures.read([tmp_path])


def test_what_lies_among_the_users_pictures_and_is_not_tried_is_told(tmp_path):
    for number in range(MAX_PICTURES + 2):
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "00.png").write_bytes(b"x")
    (tmp_path / "a.heic").write_bytes(b"x")
    read = TrialPictures.read([tmp_path])
    assert len(read.given) == MAX_PICTURES
    assert [note.what.split(":")[0] for note in read.notes] == [
        "1 .heic file(s) were passed over, not read here",
        "passed over",
        "the last 1 pictures are not tried",
    ]


def test_a_network_of_nothing_but_impossible_rows_is_refused():
    rows = padded([10, 10, 50, 50, 0.9, 7], [10, 10, 50, 50, 0.8, 9])
    with pytest.raises(ModelError, match="rows of the network are implausible"):
        adopt_tried(foreign.fixed_rows(rows), Adoption("yolo", "m", ("fire",)), NONE)


def test_the_manifest_names_what_the_network_takes():
    manifest = read_manifest(adopt(foreign.plain(), Adoption("yolo", "m", ("a", "b", "c"))), "m")
    assert (manifest.color, manifest.layout, manifest.resampling) == (
        "rgb",
        "plain",
        "bilinear",
    )
    assert manifest.scale == pytest.approx((1 / 255,) * 3)


def test_a_network_that_does_not_look_at_its_picture_is_refused():
    blind = foreign.fixed_rows(padded([16, 16, 48, 48, 0.95, 1]), DETECT)
    with pytest.raises(ModelError, match="exactly the same in different pictures"):
        adopt_tried(blind, Adoption("yolo", "m", input_wh=(64, 64)), NONE)
