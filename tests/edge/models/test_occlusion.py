"""Occlusion finds what an answer rests on, within its time."""

import numpy as np
import pytest

from edge.models import occlusion
from edge.models.contract import load_model
from edge.runtimes.onnx import Options, build
from edge.types import RgbPicture
from tests.support.models import brightness_classifier, constant_model

BOX = np.array([20, 20, 80, 80], np.float32)


def black(size_wh=(100, 100)):
    return np.zeros((size_wh[1], size_wh[0], 3), np.uint8)


def see_red(pictures):
    """A score that rests on one red pixel."""
    return [float(p.rgb[40, 60, 0] == 255) for p in pictures]


def red_dot():
    rgb = black()
    rgb[40, 60] = 255, 0, 0
    return RgbPicture(rgb)


@pytest.mark.parametrize("whole", [False, True])
def test_the_map_is_highest_where_the_answer_rests(whole):
    found = occlusion.explain(see_red, red_dot(), "dot", BOX, whole=whole)
    assert found.asked == found.planned
    height, width = found.spread((100, 100)).shape
    assert (height, width) == (100, 100)
    y, x = np.unravel_index(found.spread((100, 100)).argmax(), (100, 100))
    step = (found.area[2] - found.area[0]) / found.heat.shape[1]
    assert abs(y - 40) <= step
    assert abs(x - 60) <= step
    assert found.score == found.heat.max() == 1
    assert found.share_inside() > 0.9


def test_nothing_that_matters_gives_an_empty_map():
    found = occlusion.explain(lambda p: [0.5] * len(p), red_dot(), "dot", BOX)
    assert not found.heat.any()
    assert np.isnan(found.share_inside())


def test_the_time_is_bounded_and_the_map_covers_all_of_the_area_first():
    now = iter(range(10_000))
    found = occlusion.explain(
        see_red, red_dot(), "dot", BOX, budget_s=12, clock=lambda: float(next(now))
    )
    assert 0 < found.asked < found.planned
    y, x = np.unravel_index(found.spread((100, 100)).argmax(), (100, 100))
    assert abs(y - 40) < 30
    assert abs(x - 60) < 30


def test_a_box_at_the_edge_is_looked_at_within_the_picture():
    box = np.array([90, 0, 100, 4], np.float32)
    found = occlusion.explain(see_red, red_dot(), "dot", box)
    assert found.area.tolist() == [84, 0, 100, 6]
    assert found.heat.shape == (4, 12)


def test_a_classifier_is_asked_for_its_class(tmp_path):
    (tmp_path / "c.onnx").write_bytes(brightness_classifier())
    model = load_model("classify", build(Options()), tmp_path / "c.onnx")
    rgb = black()
    rgb[:50] = 255
    ask = occlusion.ask_classifier(model, np.array([0, 0, 100, 100], np.float32), 1)
    found = occlusion.explain(
        ask, RgbPicture(rgb), "bright", np.float32([0, 0, 100, 100]), whole=True
    )
    assert found.heat[:5].min() > 0 > found.heat[7:].max()  # gray is darker than white, and lighter


def test_a_detector_is_asked_for_the_same_object(tmp_path):
    rows = np.array([[4, 2, 12, 10, 0.9, 1], [0, 0, 8, 8, 0.4, 0]], np.float32)
    (tmp_path / "d.onnx").write_bytes(
        constant_model("detect", {"detections": rows}, ("person", "dog"))
    )
    model = load_model("detect", build(Options()), tmp_path / "d.onnx")
    picture, box = RgbPicture(black((32, 32))), rows[0, :4]
    assert occlusion.ask_detector(model, box, 1)([picture]) == [pytest.approx(0.9)]
    assert occlusion.ask_detector(model, box, 0)([picture]) == [0]
    assert occlusion.ask_detector(model, box + 20, 1)([picture] * 2) == [0, 0]


def test_large_pictures_are_made_smaller():
    assert occlusion.shrink(RgbPicture(black((2000, 1000)))).size_wh == (960, 480)
    small = RgbPicture(black())
    assert occlusion.shrink(small) is small
