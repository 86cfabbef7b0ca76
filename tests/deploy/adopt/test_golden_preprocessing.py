"""Each family's network is shown exactly what its makers show it.

The makers' preprocessing is written anew here from their code, with the library calls they use; it
names where it comes from. Ours is what the adopted graph hands to the network inside it.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from deploy.adopt.adopt import Adoption, adopt
from deploy.adopt.minifasnet import adopt_minifasnet
from deploy.graph.manifest import read_manifest
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.types import Frame, RgbPicture, YuvPicture
from edge.vision.face_crops import align_face, crop_wide
from edge.vision.image_file import read_picture
from edge.vision.preprocess import letterbox
from tests.support import foreign_models as foreign
from trainers.data.coco import COCO

GRAY_LEVEL = 1.0
SIZES = {"large": (1920, 1080), "small": (200, 150), "odd": (1237, 711), "tall": (300, 900)}


@cache
def textured(width, height):
    """An RGB picture with texture of every size down to single pixels."""
    rng = np.random.default_rng(width)
    image = np.zeros((height, width, 3), np.float32)
    for share in (1, 3, 11, 60):
        coarse = rng.normal(0, 30, (height // share + 1, width // share + 1, 3))
        image += cv2.resize(coarse.astype(np.float32), (width, height))
    return np.clip(image + 128, 0, 255).astype(np.uint8)


@cache
def smooth(width, height):
    """An RGB picture whose colors change slowly."""
    coarse = np.random.default_rng(5).integers(30, 226, (5, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def as_yuv(rgb):
    """The picture as a codec would have it, 4:2:0."""
    height, width = rgb.shape[:2]
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    y, u, v = np.split(planes, [width * height, width * height * 5 // 4])
    half = (height // 2, width // 2)
    return YuvPicture(y.reshape(height, width), u.reshape(half), v.reshape(half), False, False)


# --- the makers', from BGR pictures as cv2.imread gives them ------------------------------------


def yolox(bgr, size_wh):
    """``preproc`` of yolox/data/data_augment.py (Megvii-BaseDetection/YOLOX)."""
    padded = np.ones((size_wh[1], size_wh[0], 3), np.uint8) * 114
    r = min(size_wh[1] / bgr.shape[0], size_wh[0] / bgr.shape[1])
    resized = cv2.resize(
        bgr, (int(bgr.shape[1] * r), int(bgr.shape[0] * r)), interpolation=cv2.INTER_LINEAR
    )
    padded[: int(bgr.shape[0] * r), : int(bgr.shape[1] * r)] = resized
    return padded.transpose(2, 0, 1)[None].astype(np.float32)


def ultralytics(bgr, size_wh):
    """``LetterBox`` of ultralytics/data/augment.py, and ``preprocess`` of the predictor."""
    height, width = bgr.shape[:2]
    r = min(size_wh[1] / height, size_wh[0] / width)
    inner = round(width * r), round(height * r)
    dw, dh = (size_wh[0] - inner[0]) / 2, (size_wh[1] - inner[1]) / 2
    resized = cv2.resize(bgr, inner, interpolation=cv2.INTER_LINEAR)
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    framed = cv2.copyMakeBorder(
        resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114)
    )
    return framed[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255


def rtdetr(bgr, size_wh):
    """``LetterBox(scale_fill=True)`` of ultralytics/models/rtdetr/predict.py."""
    resized = cv2.resize(bgr, size_wh, interpolation=cv2.INTER_LINEAR)
    return resized[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255


def yunet(bgr, size_wh):
    """The test pipeline of libfacedetection.train: Resize(keep_ratio), Pad(0), no normalization.

    mmcv's ``rescale_size`` adds a half and cuts; OpenCV's FaceDetectorYN pads in the same way.
    """
    height, width = bgr.shape[:2]
    factor = min(size_wh[0] / width, size_wh[1] / height)
    inner = int(width * factor + 0.5), int(height * factor + 0.5)
    resized = cv2.resize(bgr, inner, interpolation=cv2.INTER_LINEAR)
    padded = cv2.copyMakeBorder(
        resized, 0, size_wh[1] - inner[1], 0, size_wh[0] - inner[0], cv2.BORDER_CONSTANT, value=0
    )
    return padded.transpose(2, 0, 1)[None].astype(np.float32)


def scrfd(bgr, size_wh):
    """``SCRFD.detect`` of deepinsight/insightface, scrfd.py."""
    im_ratio = float(bgr.shape[0]) / bgr.shape[1]
    if im_ratio > float(size_wh[1]) / size_wh[0]:
        new_height = size_wh[1]
        new_width = int(new_height / im_ratio)
    else:
        new_width = size_wh[0]
        new_height = int(new_width * im_ratio)
    det_img = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    det_img[:new_height, :new_width] = cv2.resize(bgr, (new_width, new_height))
    return cv2.dnn.blobFromImage(det_img, 1 / 128, size_wh, (127.5, 127.5, 127.5), swapRB=True)


def ultraface(bgr, size_wh):
    """run_video_face_detection_onnx.py of Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB."""
    image = cv2.resize(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), size_wh)
    image = (image - np.array([127, 127, 127])) / 128
    return np.transpose(image, [2, 0, 1])[None].astype(np.float32)


ARCFACE_DST = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)


def umeyama(src, dst):
    """``SimilarityTransform.estimate`` of scikit-image, whose steps (34) to (43) these are."""
    count, dim = src.shape
    src_mean, dst_mean = src.mean(axis=0), dst.mean(axis=0)
    src_demean, dst_demean = src - src_mean, dst - dst_mean
    a = dst_demean.T @ src_demean / count
    d = np.ones(dim)
    if np.linalg.det(a) < 0:
        d[dim - 1] = -1
    u, s, v = np.linalg.svd(a)
    rotation = u @ np.diag(d) @ v
    scale = 1.0 / src_demean.var(axis=0).sum() * (s @ d)
    shift = dst_mean - scale * (rotation @ src_mean.T)
    return np.column_stack([scale * rotation, shift])


def arcface(bgr, landmarks):
    """``norm_crop`` of insightface/utils/face_align.py, and the blob of ``ArcFaceONNX``."""
    matrix = umeyama(landmarks.astype(np.float64), ARCFACE_DST.astype(np.float64))
    warped = cv2.warpAffine(bgr, matrix, (112, 112), borderValue=0.0)
    return cv2.dnn.blobFromImages([warped], 1 / 127.5, (112, 112), (127.5,) * 3, swapRB=True)


def minifasnet(bgr, xyxy, scale, side=80):
    """``CropImage.crop`` of src/generate_patches.py (minivision-ai), to BGR 0..255."""
    x, y, box_w, box_h = xyxy[0], xyxy[1], xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]
    src_h, src_w = bgr.shape[:2]
    scale = min((src_h - 1) / box_h, min((src_w - 1) / box_w, scale))
    new_width, new_height = box_w * scale, box_h * scale
    center_x, center_y = box_w / 2 + x, box_h / 2 + y
    left, top = center_x - new_width / 2, center_y - new_height / 2
    right, bottom = center_x + new_width / 2, center_y + new_height / 2
    if left < 0:
        right -= left
        left = 0
    if top < 0:
        bottom -= top
        top = 0
    if right > src_w - 1:
        left -= right - src_w + 1
        right = src_w - 1
    if bottom > src_h - 1:
        top -= bottom - src_h + 1
        bottom = src_h - 1
    patch = bgr[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    resized = cv2.resize(patch, (side, side))
    return resized.transpose(2, 0, 1)[None].astype(np.float32)


# --- foreign networks whose answers do not matter ----------------------------------------------


def silent(size_wh, outputs, source="data"):
    """A network that gives the same for every picture: ``outputs`` by name, without the batch."""
    width, height = size_wh
    nodes = [
        helper.make_node("ReduceMean", [source], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants, infos = {"zero": np.zeros((1, 1, 1, 1), np.float32)}, []
    for name, value in outputs.items():
        constants[f"{name}_value"] = value[None].astype(np.float32)
        constants[f"{name}_shape"] = np.array([-1] + [1] * value.ndim)
        nodes += [
            helper.make_node("Reshape", ["nothing", f"{name}_shape"], [f"{name}_nothing"]),
            helper.make_node("Add", [f"{name}_value", f"{name}_nothing"], [name]),
        ]
        infos.append(helper.make_tensor_value_info(name, 1, [1, *value.shape]))
    graph = helper.make_graph(
        nodes,
        "silent",
        [helper.make_tensor_value_info(source, 1, [1, 3, height, width])],
        infos,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def rename_input(model):
    """The same network, whose input is called ``data``."""
    proto = onnx.load_model_from_string(model)
    for node in proto.graph.node:
        node.input[:] = ["data" if name == "images" else name for name in node.input]
    proto.graph.input[0].name = "data"
    return proto.SerializeToString()


def rows(count, width, box=0.5):
    """Plausible rows: boxes and small scores."""
    values = np.full((count, width), 0.01, np.float32)
    values[:, :4] = box
    return values


def yunet_outputs(side):
    found = {}
    for stride in (8, 16, 32):
        cells = (side // stride) ** 2
        for noun, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            found[f"{noun}_{stride}"] = np.full((cells, width), 0.1)
    return found


PICTURE_FAMILIES = {
    "yolox": (yolox, (416, 416), lambda: {"out": rows(3549, 85)}),
    "yolo": (ultralytics, (416, 320), lambda: {"out": rows(100, 84, 50).T}),
    "rtdetr": (rtdetr, (320, 320), lambda: {"out": rows(30, 84)}),
    "yunet": (yunet, (320, 320), lambda: yunet_outputs(320)),
    "scrfd": (scrfd, (320, 320), lambda: foreign.scrfd(320)),
    "ultraface": (
        ultraface,
        (320, 240),
        lambda: {"scores": np.full((40, 2), 0.5), "boxes": np.tile([0.1, 0.1, 0.4, 0.4], (40, 1))},
    ),
}


@cache
def adopted(family):
    _, size_wh, made = PICTURE_FAMILIES[family]
    made = made()
    model = rename_input(made) if isinstance(made, bytes) else silent(size_wh, made)
    classes = ("face",) if family in ("yunet", "scrfd", "ultraface") else COCO
    options = Adoption(family, family, classes, input_wh=size_wh)
    return adopt(model, options)


def run_up_to(model, images, tensor):
    """What a contract model hands to the network within it, whose input was called ``tensor``."""
    proto = onnx.load_model_from_string(model)
    proto.graph.output.append(helper.make_tensor_value_info(tensor, 1, None))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([tensor], {session.get_inputs()[0].name: images})[0]


def place(model, picture):
    """The input of a contract model for one picture, as the daemon makes it."""
    manifest = read_manifest(model, "m")
    images = np.empty((1, *manifest.input_shape), np.uint8)
    letterbox(picture, images[0], manifest.placement)
    return images


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", PICTURE_FAMILIES)
def test_a_network_is_shown_what_its_makers_show_it(family, size):
    maker, size_wh, _ = PICTURE_FAMILIES[family]
    rgb, model = textured(*SIZES[size]), adopted(family)
    given = run_up_to(model, place(model, RgbPicture(rgb)), "data")
    expected = maker(np.ascontiguousarray(rgb[..., ::-1]), size_wh)
    gray_level = max(read_manifest(model, "m").scale) * GRAY_LEVEL
    assert given.shape == expected.shape
    assert np.abs(given - expected).max() <= gray_level * (1 + 1e-4)


@pytest.mark.parametrize("family", ["yolox", "ultraface"])
def test_planes_of_a_smooth_picture_differ_by_a_gray_level(family):
    """On average; a codec's rounding of its own is in the planes of both."""
    maker, size_wh, _ = PICTURE_FAMILIES[family]
    picture, model = as_yuv(smooth(1280, 720)), adopted(family)
    given = run_up_to(model, place(model, picture), "data")
    planes = np.concatenate([picture.y.ravel(), picture.u.ravel(), picture.v.ravel()])
    bgr = cv2.cvtColor(planes.reshape(1080, 1280), cv2.COLOR_YUV2BGR_I420)
    difference = np.abs(given - maker(bgr, size_wh)) / max(read_manifest(model, "m").scale)
    assert difference.mean() <= 1
    assert np.quantile(difference, 0.999) <= 4


BOXES = {
    "usual": ((1920, 1080), [700.4, 300.7, 930.2, 610.9]),
    "small": ((1920, 1080), [1500.2, 30.5, 1531.9, 72.3]),
    "at the edge": ((1237, 711), [1100.5, 500.0, 1236.0, 700.0]),
    "close": ((368, 656), [20.0, 60.3, 350.7, 520.2]),  # the crops are limited by the picture
    "closer than the picture": ((368, 656), [-80.0, -60.0, 460.0, 720.0]),
    "small picture": ((64, 48), [10.1, 8.2, 40.0, 44.9]),
}


@cache
def live_pair():
    outputs = {"softmax": np.array([0.2, 0.5, 0.3])}
    return adopt_minifasnet([silent((80, 80), outputs)] * 2, "pair")


@pytest.mark.parametrize("box", BOXES)
def test_minifasnet_is_shown_the_crops_of_its_makers(box):
    (width, height), xyxy = BOXES[box]
    rgb, model = textured(width, height), live_pair()
    manifest, xyxy = read_manifest(model, "m"), np.array(xyxy, np.float32)
    crops = np.stack(
        [
            crop_wide(RgbPicture(rgb), xyxy, scale, manifest.input_wh, manifest.resampling)
            for scale in manifest.crop_scales
        ]
    )
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    for row, scale in enumerate(manifest.crop_scales):
        given = run_up_to(model, crops[None], f"{row}/data")
        assert np.abs(given - minifasnet(bgr, xyxy.astype(float), scale)).max() <= GRAY_LEVEL


@pytest.mark.parametrize("box", ["usual", "close"])
def test_liveness_crops_of_planes_keep_the_texture(box):
    (width, height), xyxy = BOXES[box]
    rgb, xyxy = textured(width, height), np.array(xyxy, np.float32)
    gray = np.repeat(rgb.mean(2, keepdims=True).astype(np.uint8), 3, 2)  # chroma has no texture
    given = crop_wide(as_yuv(gray), xyxy, 2.7, (80, 80), "bilinear")[..., ::-1].transpose(2, 0, 1)
    difference = np.abs(given - minifasnet(gray, xyxy.astype(float), 2.7)[0])
    assert difference.max() <= 3  # rounding to the 220 levels of a codec, and back


FACES = {
    "large": ((1920, 1080), 3.4, 12, (600, 300)),
    "small": ((1920, 1080), 0.3, -9, (1500, 200)),
    "upside down": ((1237, 711), 1.7, 170, (700, 500)),
    "cut off": ((368, 656), 4.5, 4, (-60, -80)),  # the face is larger than the picture
}


@pytest.mark.parametrize("face", FACES)
def test_an_embedder_is_shown_the_face_as_its_makers_align_it(face):
    (width, height), scale, degrees, shift_xy = FACES[face]
    turn = np.exp(1j * np.radians(degrees)) * scale
    points = (ARCFACE_DST[:, 0] + 1j * ARCFACE_DST[:, 1]) * turn + complex(*shift_xy)
    jitter = np.random.default_rng(4).normal(0, 2 * scale, (5, 2))
    landmarks = (np.stack([points.real, points.imag], axis=1) + jitter).astype(np.float32)
    rgb = textured(width, height)
    model = adopt(silent((112, 112), {"out": np.ones(8)}), Adoption("arcface", "m"))
    manifest = read_manifest(model, "m")
    aligned = align_face(RgbPicture(rgb), landmarks, resampling=manifest.resampling)
    given = run_up_to(model, aligned[None], "data")
    expected = arcface(np.ascontiguousarray(rgb[..., ::-1]), landmarks)
    assert (aligned > 0).mean() > 0.4
    assert np.abs(given - expected).max() <= manifest.scale[0] * GRAY_LEVEL * (1 + 1e-4)


# --- real networks give the answers that their makers' programs would get -----------------------

FACE_PICTURES = {
    "large": ("gallery_video/biden.jpg", 1.0),
    "small": ("gallery_video/biden.jpg", 0.25),
    "close": ("liveness/image_T1.jpg", 1.0),
}


@pytest.fixture(params=FACE_PICTURES)
def photo(request, shared_data):
    """A picture of one face, RGB."""
    file, share = FACE_PICTURES[request.param]
    picture = read_picture(shared_data / file)
    rgb = cv2.resize(picture.rgb, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    if request.param == "close":  # the face's crops do not fit into the picture
        xyxy = find_with_yunet(shared_data, rgb[..., ::-1])[:4]
        x1, y1, x2, y2 = (int(v) for v in xyxy + np.array([-20, -20, 20, 20]))
        rgb = rgb[max(y1, 0) : y2, max(x1, 0) : x2]
    return np.ascontiguousarray(rgb)


def run_foreign(shared_data, file, blob):
    """The outputs of a foreign network, by name."""
    path = str(shared_data / "models" / file)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    found = session.run(None, {session.get_inputs()[0].name: blob})
    return dict(zip(names, found, strict=True))


def find_with_yunet(shared_data, bgr, size_wh=(320, 320)):
    """Box, five points and score of the best face, ``(15,)``, pixels of the picture."""
    bgr = np.ascontiguousarray(bgr)
    outputs = run_foreign(shared_data, "yunet_n_dynamic.onnx", yunet(bgr, size_wh))
    best = None
    for stride in (8, 16, 32):
        cls, obj, bbox, kps = (outputs[f"{n}_{stride}"][0] for n in ("cls", "obj", "bbox", "kps"))
        score = np.sqrt(cls * obj)[:, 0]
        row = int(score.argmax())
        if best is None or score[row] > best[14]:
            cell = np.array([row % (size_wh[0] // stride), row // (size_wh[0] // stride)])
            center = (cell + bbox[row, :2]) * stride
            half = np.exp(bbox[row, 2:]) * stride / 2
            points = (kps[row].reshape(5, 2) + cell) * stride
            best = np.array([*(center - half), *(center + half), *points.ravel(), score[row]])
    assert best is not None
    width, height = bgr.shape[1::-1]
    factor = min(size_wh[0] / width, size_wh[1] / height)
    inner = int(width * factor + 0.5), int(height * factor + 0.5)
    best[:14] /= np.tile([inner[0] / width, inner[1] / height], 7)  # mmdet's scale_factor
    return best


def ask_detector(path, task, rgb):
    model = load_model(task, build(Options(threads=1)), path)
    frame = Frame("photo", 1, 0, 0.0, 0.0, RgbPicture(rgb))
    (found,) = model.find([frame]) if task == "faces" else model.detect([frame])
    return found


def test_yunet_finds_the_face_where_its_makers_do(photo, shared_data, adopted_yunet):
    expected = find_with_yunet(shared_data, photo[..., ::-1])
    found = ask_detector(adopted_yunet, "faces", photo)
    limit = np.array([*photo.shape[1::-1]] * 2)
    assert found.score[0] == pytest.approx(expected[14], abs=1e-3)
    np.testing.assert_allclose(found.xyxy[0], np.clip(expected[:4], 0, limit), atol=0.5)
    points = np.clip(expected[4:14].reshape(5, 2), 0, limit[:2])
    np.testing.assert_allclose(found.landmarks[0], points, atol=0.5)


def test_ultraface_finds_the_face_where_its_makers_do(photo, shared_data, adopt_file):
    blob = ultraface(np.ascontiguousarray(photo[..., ::-1]), (320, 240))
    outputs = run_foreign(shared_data, "version-RFB-320.onnx", blob)
    row = int(outputs["scores"][0, :, 1].argmax())
    options = Adoption("ultraface", "ultraface", ("face",))
    found = ask_detector(adopt_file("version-RFB-320.onnx", options), "detect", photo)
    assert found.score[0] == pytest.approx(float(outputs["scores"][0, row, 1]), abs=1e-4)
    size = np.array([*photo.shape[1::-1]] * 2)
    expected = np.clip(outputs["boxes"][0, row], 0, 1) * size
    np.testing.assert_allclose(found.xyxy[0], expected, atol=0.5)


def test_yolox_finds_the_person_where_its_makers_do(photo, shared_data, adopted_yolox):
    blob = yolox(np.ascontiguousarray(photo[..., ::-1]), (416, 416))
    (raw,) = run_foreign(shared_data, "yolox_nano.onnx", blob).values()
    score = raw[0, :, 4] * raw[0, :, 5]
    row = int(score.argmax())
    at, stride = row, 8
    while at >= (416 // stride) ** 2:
        at, stride = at - (416 // stride) ** 2, stride * 2
    cell = np.array([at % (416 // stride), at // (416 // stride)])
    center, half = (raw[0, row, :2] + cell) * stride, np.exp(raw[0, row, 2:4]) * stride / 2
    ratio = min(416 / photo.shape[0], 416 / photo.shape[1])
    expected = np.array([*(center - half), *(center + half)]) / ratio
    found = ask_detector(adopted_yolox, "detect", photo)
    person = int(np.flatnonzero(found.class_id == 0)[0])
    assert found.score[person] == pytest.approx(score[row], abs=1e-3)
    expected = np.clip(expected, 0, [*photo.shape[1::-1]] * 2)
    # sides of the picture cut to whole network pixels: up to one of them more or less
    np.testing.assert_allclose(found.xyxy[person], expected, atol=1 / ratio)


def test_mobilefacenet_describes_the_face_as_its_makers_do(photo, shared_data, adopt_file):
    landmarks = find_with_yunet(shared_data, photo[..., ::-1])[4:14].reshape(5, 2)
    landmarks = landmarks.astype(np.float32)
    blob = arcface(np.ascontiguousarray(photo[..., ::-1]), landmarks) * 127.5 + 127.5
    (expected,) = run_foreign(shared_data, "mobilefacenet_128d_112x112.onnx", blob).values()
    options = Adoption("arcface", "mobilefacenet", normalize="none")
    path = adopt_file("mobilefacenet_128d_112x112.onnx", options)
    model = load_model("embed", build(Options(threads=1)), path)
    crop = align_face(RgbPicture(photo), landmarks, resampling=model.resampling)
    (found,) = model.embed(crop[None])
    assert found @ expected[0] / np.linalg.norm(expected) >= 0.9995


def test_the_minifasnet_pair_answers_as_with_its_makers_crops(photo, shared_data, tmp_path):
    files = [f"minifasnet_live_{n}.onnx" for n in (1, 2)]
    path = tmp_path / "pair.onnx"
    networks = [(shared_data / "models" / file).read_bytes() for file in files]
    path.write_bytes(adopt_minifasnet(networks, "pair"))
    model = load_model("liveness", build(Options(threads=1)), path)
    xyxy = find_with_yunet(shared_data, photo[..., ::-1])[:4].astype(np.float32)
    bgr = np.ascontiguousarray(photo[..., ::-1])
    alive = [
        next(iter(run_foreign(shared_data, file, minifasnet(bgr, xyxy, scale)).values()))[0, 1]
        for file, scale in zip(files, (2.7, 4.0), strict=True)
    ]
    (found,) = model.live(model.crops(RgbPicture(photo), xyxy)[None])
    assert found == pytest.approx(np.mean(alive), abs=2e-3)
