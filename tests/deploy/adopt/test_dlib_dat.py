"""dlib files: a small network is written as dlib does, read, and gives what its layers mean.

That the real file gives dlib's own answer is tested where dlib and the file are at hand: see the
last test.
"""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from deploy.adopt.adopt import Adoption, adopt
from deploy.adopt.dlib_dat import convert_dlib, take_aligned_faces
from deploy.adopt.trial import TrialPictures, adopt_tried
from edge.engines.synthetic_images import draw_portraits
from edge.errors import ModelError
from tests.support.dlib_network import END, FLOATS, SIDE, ints, name, write_small_network

MEAN = np.float32([122.782, 117.001, 104.298])


@pytest.fixture(scope="module")
def written():
    """A picture, a network in which all kinds of sums occur, and its answer."""
    return write_small_network()


def run(model, values):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: values})[0]


def test_a_written_network_gives_what_its_layers_mean(written):
    picture, data, answer = written
    assert run(convert_dlib(data), picture[None])[0] == pytest.approx(answer, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "size", [(7, 2, 5000), (7, 2, 2**31), (7, 2, 2**62), (7, 0, 0), (999, 2, 0)]
)
def test_windows_that_no_network_has_are_refused_before_they_cost_memory(size):
    window, stride, padding = size
    data = ints(1, 1, 1) + name("input_rgb_image_sized") + b"".join(FLOATS.values())
    data += ints(SIDE, SIDE) + name("max_pool_2")
    data += ints(window, window, stride, stride, padding, padding) + END
    with pytest.raises(ModelError, match="this dlib network is not supported"):
        convert_dlib(data)


def test_a_network_of_a_hundred_thousand_layers_is_refused():
    data = ints(1, 1, 1) + name("input_rgb_image_sized") + b"".join(FLOATS.values())
    data += ints(SIDE, SIDE) + (name("relu_") + END) * 100_000
    with pytest.raises(ModelError, match="more than 1000 layers"):
        convert_dlib(data)


def test_an_aligned_face_lies_where_dlib_has_it(written):
    """A ramp stays a ramp: column x of dlib's picture shows column (x + 9.7) / 1.4987 of ours."""
    proto = onnx.load_model_from_string(take_aligned_faces(convert_dlib(written[1])))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("data", 1, [1, 3, SIDE, SIDE]))
    across, down = np.meshgrid(np.arange(112), np.arange(112))
    ramps = np.stack([across, down, 0 * down])[None].astype(np.float32)
    [shown] = run(proto.SerializeToString(), ramps)
    at = np.arange(SIDE)
    assert shown[0, 0] == pytest.approx(np.clip((at + 9.70) / 1.4987, 0, 111), abs=1e-3)
    assert shown[1, :, 0] == pytest.approx(np.clip((at + 32.59) / 1.4987, 0, 111), abs=1e-3)


def test_a_dlib_network_is_adopted_without_trial_because_the_file_says_all(written):
    options = Adoption("dlib", "small", threshold=0.75)
    adopted = adopt_tried(written[1], options, TrialPictures())
    vectors = run(adopted, draw_portraits(2))
    assert vectors.shape == (2, 9)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_damaged_file_is_one_clear_error(written, keep):
    data = written[1]
    with pytest.raises(ModelError, match="ends early or is damaged"):
        convert_dlib(data[: int(len(data) * keep)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: b"else" + d[40:], "not a dlib network for RGB pictures"),
        (lambda d: d.replace(b"\x06affine", b"\x06batchn").replace(b"relu_", b"tanh_"),
         "'tanh_' is not supported"),
        (lambda d: d.replace(ints(SIDE, SIDE), ints(64, 64), 1), "takes 64x64"),
        (lambda d: d.replace(FLOATS[122.782], FLOATS[117.001], 1), "it is another one"),
    ],
)  # fmt: skip
def test_another_network_of_dlib_is_refused_by_name(written, change, words):
    with pytest.raises(ModelError, match=words):
        convert_dlib(change(written[1]))


def test_a_dlib_file_of_another_family_says_which(written):
    with pytest.raises(ModelError, match="adopt it with --family dlib"):
        adopt(written[1], Adoption("arcface", "small"))


def test_the_real_file_gives_dlibs_own_answer():
    dlib = pytest.importorskip("dlib", reason="the maker's own answer: pip install dlib-bin")
    path = os.environ.get("EDGE_DLIB_DAT", "")
    if not path:
        pytest.skip("EDGE_DLIB_DAT names no dlib_face_recognition_resnet_model_v1.dat")
    model = convert_dlib(Path(path).read_bytes())
    maker = dlib.face_recognition_model_v1(path)
    chips = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    for chip in chips:
        values = ((chip.astype(np.float32) - MEAN) / 256).transpose(2, 0, 1)[None].copy()
        answer = np.array(maker.compute_face_descriptor(chip))
        assert run(model, values)[0] == pytest.approx(answer, abs=1e-4)
