"""Metrics: the series of a camera live as long as the camera."""

from dataclasses import replace

import numpy as np
import pytest

from edge.service.metrics import CameraTotals, Metrics
from edge.types import (
    CameraState,
    CameraStatus,
    Classified,
    Faces,
    Frame,
    FrameResult,
    Look,
    RgbPicture,
    StatusReason,
    Tracks,
)  # fmt: skip


def result(camera, look=Look.ALWAYS):
    picture = RgbPicture(np.zeros((4, 4, 3), np.uint8))
    one = np.ones(1, np.int32)
    tracks = Tracks(
        np.zeros((1, 4), np.float32), np.ones(1, np.float32), 0 * one, np.ones(1, np.int64),
        one, 0 * one, one > 1,
    )  # fmt: skip
    frame = Frame(camera, 1, 0, 0.0, 0.0, picture)
    return FrameResult(frame, tracks, ((),), Faces.empty(), (), look=look)


GATE = Classified("gate", "open", 0.97, 3, 3, "shut")


def test_a_place_has_one_state_at_a_time_and_none_once_nobody_looks():
    metrics = Metrics()
    metrics.camera("gate")
    metrics.count_result(replace(result("gate"), told_states=(GATE,)), ("person",))
    shut = replace(GATE, value="shut")
    metrics.count_result(replace(result("gate", Look.NONE), told_states=(shut,)), ("person",))
    told = [line for line in metrics.render().decode().splitlines() if "edge_state{" in line]
    assert told == ['edge_state{camera="gate",name="gate",value="shut"} 1.0']
    metrics.set_state("gate", replace(GATE, value="undecided"))
    assert b"edge_state{" not in metrics.render()


LATE = {
    "a state": lambda metrics: metrics.set_state("gate", GATE),
    "a result": lambda metrics: metrics.count_result(result("gate"), ("person",)),
    "a status": lambda metrics: metrics.set_status(
        CameraStatus("gate", 1, CameraState.OFFLINE, "", StatusReason.STOPPED, 0.0)
    ),
    "a message": lambda metrics: metrics.observe_latency("gate", 0.1),
}


@pytest.mark.parametrize("arrive", LATE.values(), ids=LATE)
def test_what_arrives_after_a_camera_was_removed_does_not_bring_its_series_back(arrive):
    metrics = Metrics()
    metrics.camera("gate")
    arrive(metrics)
    assert b'camera="gate"' in metrics.render()
    metrics.forget_camera("gate")
    arrive(metrics)
    assert b'"gate"' not in metrics.render()


def test_a_camera_that_is_added_again_is_counted_from_zero():
    metrics = Metrics()
    for _ in range(2):
        metrics.camera("gate")
        metrics.count_result(result("gate"), ("person",))
        labels = {"camera": "gate", "label": "person"}
        assert metrics.registry.get_sample_value("edge_detections_total", labels) == 1
        metrics.forget_camera("gate")


def test_each_frame_is_a_look_with_its_cause_or_dropped_without_motion():
    metrics = Metrics()
    metrics.camera("gate")
    for look in (Look.MOTION, Look.NONE, Look.FOLLOWED, Look.MOTION, Look.NONE, Look.NONE):
        metrics.count_result(result("gate", look), ("person",))

    def count(name, **labels):
        return metrics.registry.get_sample_value(name, {"camera": "gate", **labels})

    looks = {look: count("edge_looks_total", cause=str(look)) for look in Look}
    assert looks.pop(Look.NONE) is None
    assert looks == {Look.ALWAYS: 0, Look.MOTION: 2, Look.FOLLOWED: 1, Look.INTERVAL: 0}
    assert count("edge_frames_dropped_total", reason="no_motion") == 3


def test_what_was_counted_of_a_camera_is_read_until_it_is_removed():
    metrics = Metrics()
    series = metrics.camera("gate")
    metrics.count_result(result("gate"), ("person",))
    series.replaced.inc(3)
    series.late.inc(2)
    series.not_due.inc(50)
    series.damaged.inc()
    series.reconnects.inc(4)
    series.lag.set(0.25)
    assert metrics.read_camera("gate") == CameraTotals(1, 5, 1, 4, 0.25)
    metrics.forget_camera("gate")
    assert metrics.read_camera("gate") is None
    assert b'camera="gate"' not in metrics.render()
