"""Pictures of main streams for faces."""

import math
from dataclasses import replace

import numpy as np
import pytest

from edge.config import Camera
from edge.recording.main_pictures import Enlarger, MainPictures, restore
from edge.recording.ring import PacketRing
from edge.types import (
    Decision,
    Faces,
    Frame,
    FrameResult,
    Liveness,
    Outcome,
    ReasonCode,
    RgbPicture,
    Tracks,
)
from edge.vision.resize import to_rgb
from tests.edge.recording.test_mp4 import read_source
from tests.support.videos import write_video


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    """Pictures of 320x240 whose lower half grows brighter by 8 a picture."""
    video = write_video(
        tmp_path_factory.mktemp("m") / "a.mp4", 30, size_wh=(320, 240),
        options={"g": "10", "bf": "0", "sc_threshold": "0"},
    )  # fmt: skip
    return read_source(video)[0]


@pytest.fixture
def ring(packets):
    kept = PacketRing(100)
    for packet in packets:
        kept.put(packet)
    return kept


def read_number(picture):
    return round(float(to_rgb(picture)[160:220].mean()) / 8)


@pytest.mark.parametrize("order", [range(30), range(29, -1, -1), [3, 3, 5, 14, 12, 28, 0]])
def test_the_picture_of_a_moment_is_found_in_any_order(ring, packets, order):
    pictures = MainPictures(ring)
    for number in order:
        found = pictures.find(packets[number].captured_s + 0.01)
        assert found.size_wh == (320, 240)
        assert read_number(found) == number


def test_those_soon_after_it_are_not_decoded_from_the_key_frame_again(ring, packets, monkeypatch):
    pictures, decoded = MainPictures(ring), []
    decode = MainPictures._decode
    monkeypatch.setattr(
        MainPictures, "_decode", lambda self, some: (decoded.extend(some), decode(self, some))
    )
    for number in (12, 14, 17):
        pictures.find(packets[number].captured_s)
    assert decoded == packets[10:18]


def test_what_is_gone_or_broken_is_none(ring, packets):
    assert MainPictures(ring).find(packets[0].captured_s - 5) is None
    assert MainPictures(PacketRing(1)).find(1.0) is None
    broken = PacketRing(100)
    for packet in packets[:5]:
        broken.put(replace(packet, data=b"\0\0\0\1nothing of that kind"))
    assert MainPictures(broken).find(packets[3].captured_s) is None


def make_result(at_s):
    one = np.ones(1, np.float32)
    row = np.zeros(1, np.int32)
    tracks = Tracks(
        np.array([[10, 10, 90, 110]], np.float32), one, row, np.array([7]), row, row, row > 0
    )
    faces = Faces(
        np.array([[30, 20, 60, 60]], np.float32), one, np.full((1, 5, 2), 40, np.float32), row, one
    )
    picture = RgbPicture(np.full((120, 160, 3), 77, np.uint8))
    frame = Frame("door", 1, 0, at_s, 0.0, picture)
    return FrameResult(frame, tracks, ((),), faces, ())


def test_a_result_is_put_into_the_pixels_of_the_main_stream(ring, packets):
    result = make_result(packets[13].captured_s)
    larger = Enlarger(MainPictures(ring)).enlarge(result)
    assert read_number(larger.frame.picture) == 13
    assert larger.faces.xyxy.tolist() == [[60, 40, 120, 120]]
    assert larger.faces.landmarks.tolist() == [[[80, 80]] * 5]
    assert larger.tracks.xyxy.tolist() == [[20, 20, 180, 220]]


def test_where_no_picture_can_be_had_faces_stay_where_they_were(ring, packets):
    enlarger = Enlarger(MainPictures(ring))
    early = make_result(packets[0].captured_s - 5)
    assert enlarger.enlarge(early) is early
    enlarger.enlarge(make_result(packets[13].captured_s))
    larger = enlarger.enlarge(early)
    assert larger.frame.size_wh == (320, 240)
    assert to_rgb(larger.frame.picture).mean() == pytest.approx(77)
    assert larger.faces.xyxy.tolist() == [[60, 40, 120, 120]]


def test_a_frame_without_faces_costs_nothing(ring, packets):
    result = replace(make_result(packets[3].captured_s), faces=Faces.empty())
    assert Enlarger(MainPictures(ring)).enlarge(result) is result


def test_what_is_decided_is_told_in_the_pixels_of_the_frame(ring, packets):
    result = make_result(packets[13].captured_s)
    decision = Decision(
        7,
        Outcome.UNKNOWN,
        "",
        "",
        0.1,
        math.nan,
        Liveness.LIVE,
        0.9,
        3,
        "",
        ReasonCode.NOT_ENROLLED,
    )
    larger = Enlarger(MainPictures(ring)).enlarge(result)
    quality = np.array([0.5], np.float32)
    looked = replace(
        larger, faces=replace(larger.faces, quality=quality), decisions=(decision,), decided=(0,)
    )
    told = restore(result, looked)
    assert told.faces.xyxy.tolist() == [[30, 20, 60, 60]]
    assert told.faces.quality.tolist() == [0.5]
    assert (told.decisions, told.decided) == ((decision,), (0,))
    assert told.frame is result.frame


def test_faces_from_main_need_a_main_stream():
    with pytest.raises(ValueError, match="needs main"):
        Camera(name="a", source={}, faces_from="main")
