"""The camera pool: what is kept of the packets of its cameras."""

import math
import time

import pytest

from edge.config import Camera
from edge.errors import ConfigError
from edge.service.camera_pool import (
    TOLD_S,
    CameraPool,
    create_main,
    create_source,
    describe_unheeded,
)
from edge.service.frame_queue import FrameQueue
from edge.service.metrics import Metrics
from edge.types import Decoding

EVENTS = [{"when": ["began"]}]

RTSP = {"kind": "rtsp", "url": "rtsp://127.0.0.1:1/stream"}


class CodedCamera:
    """A camera that gives nothing until it is stopped."""

    address, every_frame, tap = "nowhere", False, None
    decoding, max_fps = Decoding.ALL, math.inf

    def connect(self, stop):
        class Waiting:
            def __enter__(self):
                return iter(lambda: stop.wait(30), True)

            def __exit__(self, *_):
                return False

        return Waiting()


@pytest.mark.parametrize(
    ("settings", "keep_s"),
    [
        ({}, 0),
        ({"record": {"pre_s": 20}}, 0),
        ({"events": EVENTS, "record": {"pre_s": 20}}, 20 + TOLD_S),
        ({"main": {"kind": "rtsp", "url": "rtsp://a/b"}}, 5 + TOLD_S),
    ],
)
def test_packets_are_kept_as_long_as_events_need_them(settings, keep_s):
    pool = CameraPool(FrameQueue(), Metrics(), lambda _: None)
    camera = Camera(name="door", source={"kind": "x"}, **settings)
    source = CodedCamera()
    pool.add(camera, source, CodedCamera() if camera.main else None)
    try:
        recorded = pool.recorded["door"]
        rings = [ring for ring in (recorded.source, recorded.main) if ring]
        assert len(rings) == 1 + (camera.main is not None)
        assert {ring.keep_s for ring in rings} == {keep_s}
        assert source.tap == recorded.source.put
        pool.adjust(camera.model_copy(update={"events": Camera(
            name="a", source={}, events=EVENTS).events}))  # fmt: skip
        assert recorded.source.keep_s == camera.record.pre_s + TOLD_S
    finally:
        pool.remove(["door"], time.monotonic() + 10)
    assert pool.recorded == {}


class SpeakingCamera(CodedCamera):
    on_sound = None


def test_the_stream_that_is_recorded_is_asked_for_sound_where_that_is_wanted(caplog):
    pool = CameraPool(FrameQueue(), Metrics(), lambda _: None)
    cameras = {}
    for name, audio, main in (("a", True, True), ("b", True, False), ("c", False, True)):
        camera = Camera(name=name, source={"kind": "x"}, record={"audio": audio})
        cameras[name] = SpeakingCamera(), SpeakingCamera() if main else None
        pool.add(camera, *cameras[name])
    pool.add(Camera(name="d", source={"kind": "x"}, record={"audio": True}), CodedCamera())
    try:
        asked = [name for name, pair in cameras.items() for s in pair if s and s.on_sound]
        assert asked == ["a", "b"]
        assert cameras["a"][0].on_sound is None
        assert pool.sound_problems == {"d": "a source of this kind has none"}
        caplog.clear()
        for _ in range(3):
            cameras["a"][1].on_sound("MP4 cannot hold pcm_alaw")
        assert [record.getMessage() for record in caplog.records] == [
            "a: recorded without sound: MP4 cannot hold pcm_alaw"
        ]
        assert pool.sound_problems["a"] == "MP4 cannot hold pcm_alaw"
        cameras["a"][1].on_sound("")
        assert "a" not in pool.sound_problems
    finally:
        pool.remove(["a", "b", "c", "d"], time.monotonic() + 10)
    assert pool.sound_problems == {}


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"kind": "synthetic"}, "kind 'synthetic' sends no coded stream: main is a second stream"),
        ({"kind": "video_file", "path": "a.mp4"}, "kind 'video_file' is a recording, whose time"),
    ],
)
def test_a_main_stream_that_cannot_be_one_is_refused_by_name_with_the_reason(table, why):
    with pytest.raises(ConfigError, match=why):
        create_main(table)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, ""),
        ({"decode": "all"}, ""),
        ({"decode": "keyframes"}, "decode has no effect: a source of kind 'synthetic' is decoded"),
        ({"decode": "keyframes", "motion": {"decode_asleep": "keyframes"}},
         "decode and decode_asleep have no effect"),
        ({"source": RTSP, "decode": "keyframes"}, ""),
    ],
)  # fmt: skip
def test_how_much_to_decode_is_said_to_have_no_effect_where_it_has_none(settings, told):
    camera = Camera(**{"name": "a", "source": {"kind": "synthetic"}} | settings)
    said = describe_unheeded(camera, create_source(camera))
    assert said.startswith(told)
    assert bool(said) is bool(told)
