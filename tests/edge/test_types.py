"""Values: checked at birth, read-only afterwards."""

import dataclasses

import numpy as np
import pytest

from edge.types import Detections, Faces, Letterbox, RgbPicture, Tracks, YuvPicture

N = 3


def columns(kind):
    """Good columns of a type, N long."""
    shapes = {
        "xyxy": ((N, 4), "f4"), "score": ((N,), "f4"), "class_id": ((N,), "i4"),
        "track_id": ((N,), "i8"), "age": ((N,), "i4"), "missed": ((N,), "i4"),
        "stationary": ((N,), "?"),
        "landmarks": ((N, 5, 2), "f4"), "track_row": ((N,), "i4"), "quality": ((N,), "f4"),
    }  # fmt: skip
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: np.ones(shapes[name][0], shapes[name][1]) for name in names}


KINDS = [Detections, Tracks, Faces]
COLUMNS = [(kind, name) for kind in KINDS for name in columns(kind)]


@pytest.mark.parametrize(("kind", "name"), COLUMNS)
def test_a_column_of_another_dtype_is_refused_with_the_remedy(kind, name):
    values = columns(kind)
    with pytest.raises(TypeError, match=f"{name} must be .*got float16: convert with astype"):
        kind(**{**values, name: values[name].astype("f2")})


@pytest.mark.parametrize(("kind", "name"), COLUMNS)
def test_a_column_of_another_shape_is_refused(kind, name):
    values = columns(kind)
    with pytest.raises(ValueError, match=rf"{name} must have shape \(N.*got "):
        kind(**{**values, name: values[name][..., None]})
    with pytest.raises(ValueError, match=rf"{name} must have shape \(N.*got \(\)"):
        kind(**{**values, name: np.ones((), values[name].dtype)})


@pytest.mark.parametrize(("kind", "name"), COLUMNS)
def test_a_column_of_another_length_is_refused(kind, name):
    values = columns(kind)
    with pytest.raises(ValueError, match="columns must be equally long"):
        kind(**{**values, name: values[name][:-1]})


@pytest.mark.parametrize(("kind", "name"), COLUMNS)
def test_columns_and_fields_are_read_only(kind, name):
    value = kind(**columns(kind))
    with pytest.raises(ValueError, match="read-only"):
        getattr(value, name)[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_taken_by_mask_indices_and_slice(kind):
    values = columns(kind)
    values["score"] = np.array([0.1, 0.2, 0.3], "f4")
    value = kind(**values)
    for rows in (np.array([True, False, True]), np.array([0, 2]), slice(0, 3, 2)):
        taken = value[rows]
        assert type(taken) is kind
        assert taken.score.tolist() == value.score[[0, 2]].tolist()
        assert len(taken) == 2
    assert len(kind.empty()) == 0
    assert len(value) == N


def test_the_message_gives_what_was_expected_and_what_came():
    with pytest.raises(ValueError) as caught:
        Detections(np.zeros(4, "f4"), np.zeros(1, "f4"), np.zeros(1, "i4"))
    assert str(caught.value) == "xyxy must have shape (N, 4), got (4,)"


@pytest.mark.parametrize(
    "rgb",
    [np.zeros((4, 4), "u1"), np.zeros((4, 4, 4), "u1"), np.zeros((4, 4, 3), "f4")],
)
def test_a_picture_that_is_no_rgb_is_refused(rgb):
    with pytest.raises(ValueError, match=r"rgb must be \(H, W, 3\) uint8"):
        RgbPicture(rgb)


def test_pictures_are_read_only_and_know_their_size():
    rgb = RgbPicture(np.zeros((4, 6, 3), "u1"))
    assert rgb.size_wh == (6, 4)
    y, chroma = np.zeros((4, 6), "u1"), np.zeros((2, 3), "u1")
    yuv = YuvPicture(y, chroma, chroma.copy(), bt709=True, full_range=False)
    assert yuv.size_wh == (6, 4)
    turned = YuvPicture(y, chroma, chroma, bt709=True, full_range=False, quarter_turns=3)
    assert turned.size_wh == (4, 6)
    for plane in (rgb.rgb, yuv.y, yuv.u, yuv.v):
        assert not plane.flags.writeable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros((4, 6, 1), "u1")}, "y must be 2-D uint8"),
        ({"u": np.zeros((2, 3), "f4")}, "u must be 2-D uint8"),
        ({"v": np.zeros((4, 6), "u1")}, "u and v must match"),
        ({"quarter_turns": 4}, "quarter_turns must be 0..3, got 4"),
    ],
)
def test_planes_that_do_not_fit_are_refused(changes, message):
    good = {"y": np.zeros((4, 6), "u1"), "u": np.zeros((2, 3), "u1"), "v": np.zeros((2, 3), "u1")}
    with pytest.raises(ValueError, match=message):
        YuvPicture(**{**good, "bt709": True, "full_range": False, **changes})


def test_points_follow_the_letterbox_like_corners():
    placed = Letterbox((0.5, 0.5), (10, 20), (200, 100))
    assert placed.points_to_source(np.array([[[60, 45]]], "f4")).tolist() == [[[100, 50]]]
    assert placed.to_source(np.array([[10, 20, 60, 45]], "f4")).tolist() == [[0, 0, 100, 50]]
    assert placed.to_network(np.array([[0, 0, 100, 50]], "f4")).tolist() == [[10, 20, 60, 45]]
    assert placed.to_source(np.zeros((0, 4), "f4")).shape == (0, 4)
