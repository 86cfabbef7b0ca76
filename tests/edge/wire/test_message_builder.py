import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.event import BestView, Event, EventChange, KnownPerson, Severity
from edge.types import (
    CameraState,
    CameraStatus,
    Classified,
    Decision,
    Faces,
    Frame,
    FrameResult,
    Liveness,
    Outcome,
    ReasonCode,
    RgbPicture,
    StatusReason,
    TrackEvent,
    TrackEventType,
    Tracks,
)
from edge.wire.message_builder import MessageBuilder, stamp
from edge.wire.schema import encode

GOLDEN = Path(__file__).parents[2] / "golden"


def builder():
    return MessageBuilder(
        "gate-1", "5eed", ("person", "dog"), "detect-nano", "0123456789abcdef" * 4,
        wall_s=lambda: 1700000000.0, monotonic_s=lambda: 49.625,
    )  # fmt: skip


def frame(camera="door", epoch=3, seq=41):
    picture = RgbPicture(np.zeros((480, 640, 3), np.uint8))
    return Frame(camera, epoch, seq, 1700000000.25, 50.0, picture)


def tracks():
    return Tracks(
        np.array([[10.04, 20.06, 110.55, 220], [300, 310, 400.123, 410]], np.float32),
        np.array([0.9, 1 / 3], np.float32),
        np.array([0, 1], np.int32),
        np.array([7_000_000_001, 7_000_000_002], np.int64),
        np.array([5, 2], np.int32),
        np.zeros(2, np.int32),
        np.array([False, True]),
    )


def faces(*rows):
    count = len(rows)
    points = np.arange(10, dtype=np.float32).reshape(5, 2) + np.float32(0.123)
    return Faces(
        np.full((count, 4), (30, 40, 60, 80), np.float32),
        np.linspace(0.8, 0.7, count, dtype=np.float32),
        np.stack([points] * count) if count else np.zeros((0, 5, 2), np.float32),
        np.array(rows, np.int32),
        np.full(count, 0.5, np.float32),
    )


def event(found=None, changes=(), **where):
    return FrameResult(
        frame(**where), tracks(), (("entrance",), ()), found or Faces.empty(), changes
    )


def quiet_event(camera="door"):
    return FrameResult(frame(camera), Tracks.empty(), (), Faces.empty(), ())


LEFT = TrackEvent(
    7, TrackEventType.LEFT, 1, (0.04, 1.06, 2.0, 3.14159), 0.123456, "entrance", "", 12.34567
)


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def as_json(message):
    return json.loads(encode(stamp(message, 1700000000.5, 50.125).body))


def test_a_frame_reads_like_the_golden_message():
    assert as_json(builder().build(event(faces(0, -1)))[0]) == golden("detections")


def test_an_empty_frame_is_a_message_too():
    assert as_json(builder().build(quiet_event())[0]) == golden("detections_empty")


def test_a_change_of_a_track_reads_like_the_golden_message():
    assert as_json(builder().build(event(changes=(LEFT,)))[1]) == golden("tracks")


VEST = Classified("vest", "no", 0.97531, 4, 5)
GATE = Classified("gate", "open", 0.99123, 3, 3, "closed")


def test_what_classifiers_say_reads_like_the_golden_messages():
    said = replace(
        event(), attributes=((VEST,), ()), told_attributes=((0, VEST),), states=(GATE,),
        told_states=(GATE,),
    )  # fmt: skip
    detections, attribute, state = builder().build(said)
    vest = golden("tracks_attribute")["attribute"]
    assert [found.get("attributes") for found in as_json(detections)["objects"]] == [
        {"vest": vest}, None,
    ]  # fmt: skip
    assert as_json(attribute) == golden("tracks_attribute")
    assert as_json(state) == golden("states")


def test_a_state_is_told_without_a_frame_too():
    made = builder()
    made.build(event())
    withdrawn = as_json(made.build_state("door", replace(GATE, value="undecided"), 1700000003.0))
    assert (withdrawn["captured_at"], withdrawn["epoch"], withdrawn["frame"]) == (
        1700000003.0,
        3,
        41,
    )
    assert (withdrawn["width"], withdrawn["value"], withdrawn["seq"]) == (0, "undecided", 1)


def test_the_picture_of_an_event_at_a_place_is_of_no_track():
    at_gate = Event(
        "e1", "door", Severity.ALERT, ("state:gate=open",), (), ("gate",), (), (), 1700000000.0,
        best=BestView(0, "gate", 0.99, (0.0, 0.0, 9.0, 9.0), (640, 480), 1700000000.0),
    )  # fmt: skip
    told = as_json(builder().build_event(at_gate, EventChange.BEGUN, snapshot=True, clip=True))
    assert (told["label"], "track" in told) == ("gate", False)


def test_a_status_reads_like_the_golden_message():
    status = CameraStatus(
        "door",
        3,
        CameraState.OFFLINE,
        "no packet for 5 s",
        StatusReason.SOURCE_FAILED,
        1700000000.0,
        (640, 480),
    )
    message_builder = builder()
    message_builder.build(event())
    message = message_builder.build_status(status)
    assert as_json(message) == golden("status")
    assert message.topic == "v1/status/door/"


def test_an_event_reads_like_the_golden_message():
    best = BestView(7, "person", 0.91234, (0.04, 1.06, 2.0, 3.14159), (640, 480), 1699999995.25)
    happened = Event(
        "1jf5fs8k4d", "door", Severity.ALERT, ("entered:entrance", "known"), ("person",),
        ("entrance",), (KnownPerson("p1", "Ann"),), (7,), 1699999990.0, 1699999998.5, best,
    )  # fmt: skip
    message = builder().build_event(happened, EventChange.ENDED, snapshot=True, clip=True)
    assert as_json(message) == golden("events")


def test_a_heartbeat_reads_like_the_golden_message():
    message_builder = builder()
    message_builder.build(event(changes=(LEFT, LEFT)))
    message_builder.build_heartbeat()
    message = message_builder.build_heartbeat()
    assert as_json(message) == golden("heartbeat")
    assert message.topic == "v1/heartbeat/"


def test_every_topic_counts_from_one():
    message_builder = builder()
    messages = [
        message
        for camera in ("a", "b", "a")
        for message in message_builder.build(event(camera=camera, changes=(LEFT, LEFT)))
    ]
    numbers = {}
    for message in messages:
        numbers.setdefault(message.topic, []).append(message.body.seq)
    assert numbers == {
        "v1/detections/a/": [1, 2],
        "v1/tracks/a/": [1, 2, 3, 4],
        "v1/detections/b/": [1],
        "v1/tracks/b/": [1, 2],
    }


def test_the_best_face_of_a_person_is_theirs_and_the_others_are_loose():
    body = builder().build(event(faces(0, 0, -1)))[0].body
    assert body.objects[0].face.score == pytest.approx(0.8)
    assert [face.score for face in body.faces] == [0.75, 0.7]


def test_a_better_face_takes_the_place_of_a_worse_one():
    found = faces(0, 0)[np.array([1, 0])]
    body = builder().build(event(found))[0].body
    assert body.objects[0].face.score == pytest.approx(0.8)
    assert [face.score for face in body.faces] == [0.7]


NAN = float("nan")
KNOWN = Decision(
    7_000_000_001, Outcome.KNOWN, "id-a", "Ada", 0.71234, 0.4, Liveness.LIVE, 0.95, 3, "3 of 3",
    ReasonCode.VOTES_AGREE,
)  # fmt: skip
REJECTED = Decision(
    9, Outcome.REJECTED, "", "", NAN, NAN, Liveness.UNDECIDED, NAN, 0, "too small",
    ReasonCode.TOO_SMALL,
)  # fmt: skip


def test_decisions_stand_with_the_faces_and_new_ones_are_messages_of_their_own():
    said = replace(event(faces(0, -1)), decisions=(KNOWN, REJECTED), decided=(0,))
    detections, decided = builder().build(said)
    assert detections.body.objects[0].face.name == "Ada"
    assert detections.body.faces[0].outcome == "rejected"
    assert (decided.topic, decided.body.track) == ("v1/faces/door/", 7_000_000_001)
    assert decided.body.face == detections.body.objects[0].face
    assert decided.body.face.similarity == 0.7123


def test_what_nobody_measured_is_absent():
    said = replace(event(faces(-1)), decisions=(REJECTED,), decided=(0,))
    face = as_json(builder().build(said)[1])["face"]
    assert not {"person", "name", "similarity", "margin", "live_score"} & set(face)
    assert (face["reason"], face["reason_code"]) == ("too small", "too_small")


def test_a_picture_travels_with_the_detections_alone():
    messages = builder().build(event(changes=(LEFT,)), b"jpeg")
    assert [message.jpeg for message in messages] == [b"jpeg", None]


def test_status_tells_the_latest_frame_of_its_own_epoch_only():
    message_builder = builder()
    message_builder.build(event(epoch=3, seq=41))
    later = CameraStatus("door", 4, CameraState.ONLINE, "", StatusReason.DELIVERS, 0.0)
    assert message_builder.build_status(later).body.frame == 0


def test_a_stamp_tells_the_age_and_is_never_negative():
    message = builder().build(event())[0]
    assert stamp(message, 9.0, 50.125).body.age_s == 0.125
    assert stamp(message, 9.0, 49.0).body.age_s == 0
    assert stamp(message, 9.0, 49.0).body.published_at == 9.0
    assert message.body.published_at == 0, "the message itself stays as it was"


def test_threads_never_share_a_number():
    message_builder = builder()
    status = CameraStatus("door", 1, CameraState.ONLINE, "", StatusReason.DELIVERS, 0.0)
    with ThreadPoolExecutor(8) as threads:
        numbers = list(
            threads.map(lambda _: message_builder.build_status(status).body.seq, range(2000))
        )
    assert sorted(numbers) == list(range(1, 2001))
