"""Events from frames."""

import itertools

import numpy as np
import pytest

from edge.config import Camera
from edge.event import EventChange, KnownPerson, Severity
from edge.events.camera_events import LINGER_S, REST_S, CameraEvents
from edge.types import (
    CameraState,
    CameraStatus,
    Classified,
    Decision,
    Faces,
    Frame,
    FrameResult,
    Liveness,
    Look,
    Outcome,
    ReasonCode,
    RgbPicture,
    StatusReason,
    TrackEvent,
    TrackEventType,
    TrackLoss,
    Tracks,
)

CLASSES = ("person", "car")
BLANK = RgbPicture(np.zeros((120, 160, 3), np.uint8))
BEGUN, UPDATED, ENDED = EventChange
PLACES = {
    "zones": [{"name": "entrance", "polygon": [[0, 0], [1, 0], [1, 1]]}],
    "lines": [{"name": "gate", "a": [0, 0], "b": [1, 1]}],
    "states": [
        {"name": "door", "polygon": [[0.5, 0], [1, 0], [1, 0.5]], "model": "door.onnx"},
        {"name": "lamp", "polygon": [[0, 0], [0.5, 0], [0.5, 0.5]], "model": "lamp.onnx"},
    ],
}


class Scene:
    """A camera whose objects are typed: ``see(at_s, {track: (class_id, box size, ...)})``."""

    def __init__(self, *rules):
        camera = Camera(name="door", source={}, events=rules, **PLACES)
        numbers = itertools.count(1)
        self.events = CameraEvents(camera, CLASSES, lambda _: f"e{next(numbers)}")
        self.known = {}
        self.clock_s = 1000  # Unix time at 0

    def see(
        self, at_s, objects=(), *, changes=(), decisions=(), look=Look.MOTION, said=(), states=()
    ):
        """The updates that a frame makes; objects are ``(track, class, side, stationary)``."""
        objects = list(objects)
        frame = Frame("door", 1, round(at_s * 10), self.clock_s + at_s, at_s, BLANK)
        side = np.array([o[2] for o in objects], np.float32)
        tracks = Tracks(
            np.stack([side * 0 + 9, side * 0 + 9, side + 9, side + 9], axis=1).reshape(-1, 4),
            np.full(len(objects), 0.9, np.float32),
            np.array([o[1] for o in objects], np.int32),
            np.array([o[0] for o in objects], np.int64),
            np.ones(len(objects), np.int32),
            np.zeros(len(objects), np.int32),
            np.array([o[3] for o in objects], np.bool_),
        )
        began = [
            TrackEvent(track, TrackEventType.BEGAN, class_id, (9, 9, 20, 20), 0.9)
            for track, class_id, *_ in objects
            if track not in self.known
        ]
        self.known |= {track: class_id for track, class_id, *_ in objects}
        gone = [track for track in self.known if track not in [o[0] for o in objects]]
        ended = [
            TrackEvent(track, TrackEventType.ENDED, self.known.pop(track), (9, 9, 20, 20), 0.9)
            for track in gone
        ]
        rows = np.full(len(decisions), -1, np.int32)
        box = np.zeros((len(decisions), 4), np.float32)
        score = np.ones(len(decisions), np.float32)
        faces = Faces(box, score, np.zeros((len(decisions), 5, 2), np.float32), rows, score)
        result = FrameResult(
            frame, tracks, ((),) * len(objects), faces, (*began, *changes, *ended),
            tuple(decisions), tuple(range(len(decisions))), look=look,
            told_attributes=tuple(said), told_states=tuple(states),
        )  # fmt: skip
        return [(update.change, update.event) for update in self.events.note(result)]


def change(track, word, place, class_id=0):
    return TrackEvent(track, TrackEventType(word), class_id, (9, 9, 20, 20), 0.9, place)


def decide(track, outcome, name=""):
    return Decision(
        track, outcome, name and f"id of {name}", name, 0.5, 0.1, Liveness.LIVE, 0.9, 3, "",
        ReasonCode.VOTES_AGREE,
    )  # fmt: skip


def walk(scene, begin_s, end_s, *objects, step_s=0.2):
    """Frames with the same objects; all updates."""
    updates = []
    for row in range(round((end_s - begin_s) / step_s)):
        updates += scene.see(begin_s + row * step_s, objects)
    return updates


def list_changes(updates):
    return [change for change, _ in updates]


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_an_event_ends_when_somebody_sets_the_clock_and_the_next_one_has_its_time(step_s):
    scene = Scene({"when": ["began"]})
    updates = walk(scene, 0, 5, (7, 0, 50, False))
    scene.clock_s += step_s
    updates += walk(scene, 5, 10, (7, 0, 50, False)) + walk(scene, 10, 15, (8, 0, 50, False))
    updates += walk(scene, 15, 20)
    assert list_changes(updates) == [BEGUN, ENDED, BEGUN, ENDED]
    (_, first), (_, second) = updates[1], updates[3]
    assert (first.began_s, first.ended_s) == (1000.4, pytest.approx(1004.8))
    assert second.began_s == pytest.approx(1010.4 + step_s)
    assert second.ended_s == pytest.approx(1014.8 + step_s)


def test_an_object_that_appears_is_an_event_from_its_first_frames_to_its_last():
    scene = Scene({"when": ["began"]})
    updates = walk(scene, 0, 5, (7, 0, 50, False)) + walk(scene, 5, 10)
    changes = list_changes(updates)
    assert changes == [BEGUN, ENDED]
    (_, begun), (_, ended) = updates
    assert (begun.event_id, begun.camera, begun.began_s, begun.ended_s) == (
        "e1",
        "door",
        1000.4,
        None,
    )
    assert ended.ended_s == pytest.approx(1004.8)
    assert (ended.triggers, ended.labels, ended.tracks) == (("began",), ("person",), (7,))
    assert ended.best.track_id == 7


def test_what_is_seen_for_a_moment_is_none():
    scene = Scene({"when": ["began", "entered"], "min_frames": 4})
    entered = change(7, "entered", "entrance")
    updates = scene.see(0, [(7, 0, 50, False)], changes=[entered])
    updates += walk(scene, 0.2, 0.6, (7, 0, 50, False)) + walk(scene, 0.6, 5)
    assert list_changes(updates) == []


def test_a_trigger_waits_until_the_object_was_seen_often_enough():
    scene = Scene({"when": ["entered:entrance"], "min_frames": 4})
    updates = scene.see(0, [(7, 0, 50, False)], changes=[change(7, "entered", "entrance")])
    updates += walk(scene, 0.2, 2, (7, 0, 50, False))
    assert [(c, e.triggers) for c, e in updates] == [(BEGUN, ("entered:entrance",))]
    assert updates[0][1].places == ("entrance",)


@pytest.mark.parametrize(
    ("rule", "happened", "label", "fires"),
    [
        ("entered:entrance", ("entered", "entrance"), 0, True),
        ("entered", ("entered", "entrance"), 0, True),
        ("left:entrance", ("entered", "entrance"), 0, False),
        ("left:entrance", ("left", "entrance"), 0, True),
        ("dwelled:entrance", ("dwelled", "entrance"), 0, True),
        ("crossed:gate", ("crossed", "gate"), 1, True),
        ("crossed", ("crossed", "gate"), 1, True),
    ],
)
def test_a_rule_takes_what_it_names(rule, happened, label, fires):
    scene = Scene({"when": [rule], "min_frames": 1})
    updates = scene.see(0, [(7, label, 50, False)], changes=[change(7, *happened, label)])
    assert [e.triggers for _, e in updates] == ([(":".join(happened),)] if fires else [])


def test_labels_choose():
    scene = Scene({"when": ["began"], "labels": ["car"]})
    assert walk(scene, 0, 3, (7, 0, 50, False)) == []
    assert list_changes(walk(scene, 3, 6, (8, 1, 50, False))) == [BEGUN]


def test_what_happens_meanwhile_belongs_to_the_event():
    scene = Scene(
        {"when": ["began"]}, {"when": ["crossed:gate"], "severity": "alert", "min_frames": 1}
    )
    updates = walk(scene, 0, 3, (7, 0, 50, False))
    updates += scene.see(3, [(7, 0, 50, False), (8, 1, 50, False)])
    updates += scene.see(
        3.2, [(7, 0, 50, False), (8, 1, 50, False)], changes=[change(8, "crossed", "gate", 1)]
    )
    updates += walk(scene, 3.4, 9, (8, 1, 50, False)) + walk(scene, 9, 13)
    events = [event for _, event in updates]
    assert {event.event_id for event in events} == {"e1"}
    assert list_changes(updates)[0] is BEGUN
    assert list_changes(updates)[-1] is ENDED
    last = events[-1]
    assert last.triggers == ("began", "crossed:gate")
    assert last.labels == ("person", "car")
    assert last.tracks == (7, 8)
    assert (events[0].severity, last.severity) == (Severity.DETECTION, Severity.ALERT)
    assert last.ended_s == pytest.approx(1008.8)


def test_updates_come_once_a_second_at_most():
    scene = Scene({"when": ["began"], "min_frames": 1})
    updates = []
    for row in range(50):
        objects = [(100 + track, 0, 20 + row, False) for track in range(row + 1)]
        updates += scene.see(row * 0.2, objects)
    assert list_changes(updates) == [BEGUN] + [UPDATED] * 9


def test_one_that_comes_back_within_the_cooldown_begins_no_other_event():
    rule = {"when": ["began"], "cooldown_s": 20, "min_frames": 1}
    scene = Scene(rule)
    updates = walk(scene, 0, 3, (7, 0, 50, False)) + walk(scene, 3, 8)
    updates += walk(scene, 8, 20, (8, 0, 50, False)) + walk(scene, 20, 24)
    assert list_changes(updates) == [BEGUN, ENDED]
    updates = walk(scene, 24, 26, (9, 0, 50, False)) + walk(scene, 26, 30)
    assert [e.event_id for _, e in updates] == ["e2", "e2"]


def test_what_is_cooling_down_joins_an_event_and_does_not_raise_its_severity():
    gate = {"when": ["crossed:gate"], "severity": "alert", "cooldown_s": 60, "min_frames": 1}
    scene = Scene({"when": ["began"], "min_frames": 1}, gate)

    def visit(track, begin_s):
        scene.see(begin_s, [(track, 0, 50, False)])
        crossed = [change(track, "crossed", "gate")]
        updates = scene.see(begin_s + 1.2, [(track, 0, 50, False)], changes=crossed)
        return updates + walk(scene, begin_s + 1.4, begin_s + 5)

    severities = [[e.severity for _, e in visit(n, 28.0 * n)][-1] for n in range(7)]
    alert, detection = Severity.ALERT, Severity.DETECTION
    assert severities == [alert, detection, detection, alert, detection, detection, alert]


def test_a_known_person_is_named_and_an_unknown_one_and_a_spoof_are_said():
    scene = Scene({"when": ["known", "unknown", "spoof"], "min_frames": 1})
    seen = [(7, 0, 50, False)]
    updates = scene.see(0, seen)
    updates += scene.see(0.2, seen, decisions=[decide(7, Outcome.UNDECIDED)])
    updates += scene.see(0.4, seen, decisions=[decide(7, Outcome.KNOWN, "Ann")])
    assert [(e.triggers, e.people) for _, e in updates] == [
        (("known",), (KnownPerson("id of Ann", "Ann"),))
    ]
    updates = scene.see(1.6, seen, decisions=[decide(7, Outcome.SPOOF)])
    assert updates[0][1].triggers == ("known", "spoof")


def test_who_is_forgotten_is_named_no_more_in_the_event_that_goes_on():
    scene = Scene({"when": ["known"], "min_frames": 1})
    seen = [(7, 0, 50, False)]
    scene.see(0, seen)
    scene.see(0.2, seen, decisions=[decide(7, Outcome.KNOWN, "Ann")])
    scene.events.retain_people(frozenset({"id of Bob"}))
    updates = scene.see(1.6, seen, decisions=[decide(7, Outcome.KNOWN, "Ann")])
    updates += scene.see(3.0, seen, decisions=[decide(7, Outcome.KNOWN, "Bob")])
    assert [event.people for _, event in updates] == [
        (KnownPerson("id of Ann", ""),),
        (KnownPerson("id of Ann", ""), KnownPerson("id of Bob", "Bob")),
    ]


def test_a_camera_that_is_away_is_an_event_until_it_shows_something_again():
    scene = Scene({"when": ["offline"], "severity": "alert"})

    def report(state, code, at_s):
        status = CameraStatus("door", 1, state, "", code, at_s)
        return [(u.change, u.event) for u in scene.events.note_status(status)]

    assert report(CameraState.OFFLINE, StatusReason.CONNECTING, 1.0) == []
    assert report(CameraState.ONLINE, StatusReason.DELIVERS, 2.0) == []
    begun = report(CameraState.OFFLINE, StatusReason.SOURCE_FAILED, 5.0)
    assert report(CameraState.FROZEN, StatusReason.FROZEN_PICTURE, 6.0) == []
    ended = report(CameraState.ONLINE, StatusReason.DELIVERS, 9.0)
    assert [(c, e.triggers, e.began_s, e.ended_s) for c, e in begun + ended] == [
        (BEGUN, ("offline",), 5.0, None),
        (ENDED, ("offline",), 5.0, 9.0),
    ]
    assert begun[0][1].severity is Severity.ALERT
    assert report(CameraState.OFFLINE, StatusReason.STOPPED, 10.0) == []


def test_a_parked_car_is_one_event_whoever_walks_past_it():
    scene = Scene({"when": ["began"], "labels": ["car"]})
    updates = []
    for row in range(30 * 60):
        at_s, walker = float(row), (1000 + row // 20, 0, 30, False)
        objects = [(7, 1, 60, row > 3)] + ([walker] if row % 20 < 10 else [])
        updates += scene.see(at_s, objects)
    assert list_changes(updates) == [BEGUN, ENDED]
    assert updates[1][1].ended_s == pytest.approx(1000 + 4 + REST_S - 1, abs=1)


def test_an_event_ends_though_no_frame_comes():
    scene = Scene({"when": ["began"], "min_frames": 1})
    walk(scene, 0, 1, (7, 0, 50, False))
    assert scene.events.tick(1000 + 0.8 + LINGER_S) == []
    assert [u.change for u in scene.events.tick(1001.1 + LINGER_S)] == [ENDED]
    assert scene.events.tick(1100) == []


def test_tracks_that_end_with_their_camera_cross_their_lines_and_are_told_whole():
    scene = Scene({"when": ["crossed:gate"], "min_frames": 1})
    walk(scene, 0, 1, (7, 0, 50, False))
    frame = Frame("door", 1, 9, 1001.0, 1.0, BLANK)
    crossed = change(7, "crossed", "gate")
    ended = TrackEvent(7, TrackEventType.ENDED, 0, (9, 9, 20, 20), 0.9)
    assert scene.events.note_loss(TrackLoss(frame, (crossed, ended))) == []
    updates = scene.events.close()
    assert [u.change for u in updates] == [BEGUN, ENDED]
    assert updates[1].event.ended_s == 1001.0


def test_the_best_view_is_the_largest_and_is_told_with_its_frame():
    scene = Scene({"when": ["began"], "min_frames": 1})
    updates = []
    for row, side in enumerate([20, 30, 90, 50, 40] + [30] * 10):
        result_updates = scene.see(row * 0.2, [(7, 0, side, False)])
        updates += result_updates
    assert updates[0][1].best.xyxy == (9, 9, 29, 29)
    assert updates[1][0] is UPDATED
    assert updates[1][1].best.xyxy == (9, 9, 99, 99)
    assert updates[1][1].best.captured_s == pytest.approx(1000.4)


def test_a_frame_that_nobody_looked_at_counts_for_nothing():
    scene = Scene({"when": ["began"], "min_frames": 3})
    updates = scene.see(0, [(7, 0, 50, False)])
    for row in range(1, 20):
        updates += scene.see(row * 0.2, [(7, 0, 50, False)], look=Look.NONE)
    assert updates == []


# --- what classifiers say -----------------------------------------------------------------------


def say(name, value, before=""):
    return Classified(name, value, 0.97, 3, 5, before)


WALKER = (1, 0, 50, False)


def see_walker(scene, *said, at_s=1.0):
    for frame in range(4):
        scene.see(at_s - 0.4 + frame / 10, [WALKER])
    return scene.see(at_s, [WALKER], said=[(0, each) for each in said])


@pytest.mark.parametrize(
    ("when", "said", "triggers"),
    [
        ("attribute:vest=no", say("vest", "no"), ("attribute:vest=no",)),
        ("attribute:vest", say("vest", "no"), ("attribute:vest=no",)),
        ("attribute", say("vest", "yes", "no"), ("attribute:vest=yes",)),
        ("attribute:vest=no", say("vest", "yes"), ()),
        ("attribute:cap=no", say("vest", "no"), ()),
        ("attribute", say("vest", "undecided", "no"), ()),
        ("attribute", say("vest", "no", "no"), ()),  # it was in doubt meanwhile
        ("attribute:gear.cap=no", say("gear.cap", "no"), ("attribute:gear.cap=no",)),
    ],
)
def test_what_is_decided_of_an_object_begins_an_event(when, said, triggers):
    scene = Scene({"when": [when]})
    updates = see_walker(scene, said)
    found = [event for _, event in updates]
    assert [event.triggers for event in found] == ([triggers] if triggers else [])
    if found:
        assert (found[0].labels, found[0].tracks, found[0].places) == (("person",), (1,), ())
        assert found[0].best.label == "person"


def test_an_attribute_waits_for_the_frames_of_the_rule():
    scene = Scene({"when": ["attribute:vest=no"], "min_frames": 5})
    assert scene.see(0, [WALKER], said=[(0, say("vest", "no"))]) == []
    updates = [update for n in range(1, 5) for update in scene.see(n / 10, [WALKER])]
    assert [event.triggers for _, event in updates] == [("attribute:vest=no",)]


@pytest.mark.parametrize(
    ("when", "state", "begins"),
    [
        ("state:door=open", say("door", "open", "shut"), True),
        ("state:door", say("door", "open", "shut"), True),
        ("state", say("lamp", "on", "off"), True),
        ("state:door=open", say("door", "shut", "open"), False),
        ("state:door=open", say("door", "open"), False),  # as it was found
        ("state:door=open", say("door", "open", "open"), False),
        ("state:door", say("door", "undecided", "open"), False),
        ("state:lamp", say("door", "open", "shut"), False),
    ],
)
def test_a_place_whose_state_changes_begins_an_event_with_a_picture_of_it(when, state, begins):
    scene = Scene({"when": [when], "severity": "alert"})
    updates = scene.see(1, states=[state])
    assert list_changes(updates) == ([BEGUN] if begins else [])
    if begins:
        [(_, event)] = updates
        assert event.triggers == (f"state:{state.name}={state.value}",)
        assert (event.places, event.tracks, event.labels) == ((state.name,), (), ())
        assert event.severity is Severity.ALERT
        assert (event.best.track_id, event.best.label) == (0, state.name)
        assert event.best.xyxy == ((80, 0, 160, 60) if state.name == "door" else (0, 0, 80, 60))
        assert list_changes(scene.see(1 + LINGER_S + 0.1)) == [ENDED]


def test_a_state_joins_the_event_that_goes_on_and_whoever_is_seen_is_its_picture():
    scene = Scene({"when": ["began"]}, {"when": ["state:door=open"], "severity": "alert"})
    see_walker(scene)
    updates = scene.see(2.5, [WALKER], states=[say("door", "open", "shut")])
    [(_, event)] = updates
    assert event.triggers == ("began", "state:door=open")
    assert event.severity is Severity.ALERT
    assert event.best.label == "person"
