"""Who is looked at, when, and what is said: objects within the budget, places in their interval."""

import itertools
from collections import Counter

import numpy as np
import pytest

from edge.classification.observer import Observer
from edge.config import Attribute, Camera, ModelFile, State
from edge.pipeline import Pipeline
from edge.types import Detections, Frame, RgbPicture
from edge.vision.zoom import NO_WINDOWS

FPS = 10
MODEL = ModelFile(path="light.onnx")
DARK, BRIGHT = 40, 220
GATE = State(name="gate", polygon=((0, 0), (0.25, 0), (0.25, 0.5), (0, 0.5)), model=MODEL)


class Light:
    """Says whether a crop is bright, and writes down what it was asked."""

    name, sha256, classes, independent = "light", "0" * 64, ("dark", "bright"), False

    def __init__(self, sure=0.97):
        self.sure = sure
        self.batches = []

    def cut(self, picture, xyxy):
        x1, y1, x2, y2 = (round(float(edge)) for edge in xyxy)
        return np.resize(picture.rgb[y1:y2, x1:x2].mean((0, 1)).astype(np.uint8), (1, 1, 3))

    def classify(self, crops):
        self.batches.append(len(crops))
        bright = np.where(crops.mean((1, 2, 3)) > 128, self.sure, 1 - self.sure)
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)


class Labels(Light):
    """The same as independent labels."""

    classes, independent = ("lit", "shiny"), True

    def classify(self, crops):
        bright = super().classify(crops)[:, 1]
        return np.stack([bright, np.full_like(bright, 0.02)], axis=1)


class Objects:
    """Finds one box per entry of `boxes`, by camera; people but for those marked as cars."""

    name, sha256, classes = "objects", "0" * 64, ("person", "car")

    def __init__(self):
        self.boxes = {}
        self.cars = set()

    def detect(self, frames):
        found = []
        for frame in frames:
            boxes = np.array(self.boxes.get(frame.camera, ()), np.float32).reshape(-1, 4)
            ids = [int(row in self.cars) for row in range(len(boxes))]
            score = np.full(len(boxes), 0.9, np.float32)
            found.append(Detections(boxes, score, np.array(ids, np.int32)))
        return found

    def input_wh(self):
        return NO_WINDOWS


class Scene:
    """Cameras before a pipeline that asks one classifier."""

    def __init__(self, *attributes, states=(), classifier=None, cameras=("door",)):
        self.classifier, self.objects = classifier or Light(), Objects()
        self.looks = Counter()
        self.at_s, self.seq, self.epoch = 100.0, 0, 1
        self.gate = BRIGHT
        self.pipeline = Pipeline(
            self.objects, None, itertools.count(1), None, self.make_observer(attributes)
        )
        self.cameras = [Camera(name=name, source={"kind": "x"}, states=states) for name in cameras]
        self.pipeline.watch(self.cameras)

    def make_observer(self, attributes, classifier=None):
        classifiers = {MODEL: classifier or self.classifier}
        observer = Observer(attributes, classifiers, self.objects.classes)
        observer.count = lambda name, looks: self.looks.update({name: looks})
        return observer

    def step(self, shade=BRIGHT, *, blind=False, moving=None):
        """The results of the next frame of each camera; all of it but the gate has one shade."""
        self.seq += 1
        self.at_s = 100 + self.seq / FPS
        rgb = np.full((400, 400, 3), shade, np.uint8)
        rgb[:200, :100] = self.gate
        frames = [
            Frame(
                camera.name, self.epoch, self.seq, self.at_s, self.at_s, RgbPicture(rgb),
                blind=blind, moving=moving,
            )
            for camera in self.cameras
        ]  # fmt: skip
        return self.pipeline.step(frames)

    def run(self, seconds, shade=BRIGHT, **options):
        return [r for _ in range(round(seconds * FPS)) for r in self.step(shade, **options)]


def place(column, row=1):
    """A box in a picture of 400 by 400 pixels, beside the gate's corner."""
    return (100 * column + 10, 200 * row + 10, 100 * column + 60, 200 * row + 110)


def light(**settings):
    return Attribute(name="light", model=MODEL, **settings)


def list_told(results):
    return [
        (int(r.tracks.track_id[row]), said.name, said.before, said.value)
        for r in results
        for row, said in r.told_attributes
    ]


def test_an_attribute_is_decided_within_two_seconds_at_five_looks_a_second():
    scene = Scene(light(every_s=0.2), classifier=Light(sure=0.75))
    scene.objects.boxes["door"] = [place(1)]
    results = scene.run(2)
    assert list_told(results) == [(1, "light", "", "bright")]
    decided = next(r.frame.captured_s for r in results if r.told_attributes)
    assert decided - results[0].frame.captured_s <= 2
    assert results[-1].attributes[0][0].value == "bright"


def test_a_decided_object_is_looked_at_less_and_a_change_is_noticed():
    scene = Scene(light(every_s=0.2, refresh_s=2))
    scene.objects.boxes["door"] = [place(1)]
    scene.run(2)
    before = scene.looks["light"]
    scene.run(10)
    assert scene.looks["light"] - before == 5
    results = scene.run(3, DARK)
    assert list_told(results) == [(1, "light", "bright", "dark")]
    assert len([r for r in results if r.attributes and r.attributes[0][0].value == "dark"]) >= 5


def test_only_objects_of_the_named_classes_are_looked_at():
    scene = Scene(light(of=["car"]))
    scene.objects.boxes["door"] = [place(1), place(3)]
    scene.objects.cars = {1}
    results = scene.run(1)
    assert results[-1].attributes[0] == ()
    assert results[-1].attributes[1][0].value == "bright"


def test_specks_are_not_looked_at():
    scene = Scene(light())
    scene.objects.boxes["door"] = [(200, 300, 211, 340)]
    scene.run(2)
    assert scene.looks["light"] == 0


@pytest.mark.parametrize("budget", [1, 3])
def test_never_more_objects_of_all_cameras_are_looked_at_than_the_budget(budget):
    scene = Scene(light(max_looks_per_frame=budget, every_s=0), cameras=("a", "b", "c"))
    boxes = [place(column, row) for column in range(1, 4) for row in (0, 1)]
    scene.objects.boxes = dict.fromkeys(("a", "b", "c"), boxes)
    results = scene.run(12)
    assert max(scene.classifier.batches) == 3 * budget
    assert scene.looks["light"] == sum(scene.classifier.batches) <= 3 * budget * 12 * FPS
    decided = [r for r in results[-3:] if all(s and s[0].value == "bright" for s in r.attributes)]
    assert len(decided) == 3, "each has had its turn"


def test_looks_of_all_cameras_at_objects_and_places_share_a_batch():
    gate = GATE.model_copy(update={"every_s": 0.1})
    scene = Scene(light(), states=[gate], cameras=("a", "b"))
    scene.objects.boxes = {"b": [place(1), place(2)]}  # b has the look that a leaves
    scene.run(0.3)
    assert max(scene.classifier.batches) == 4  # two objects, two gates


def test_frames_of_one_camera_in_one_batch_are_looked_at_in_turn():
    scene = Scene(light(every_s=0.2))
    scene.objects.boxes["door"] = [place(1)]
    rgb = np.full((400, 400, 3), BRIGHT, np.uint8)
    frames = [Frame("door", 1, n, n / 10, n / 10, RgbPicture(rgb.copy())) for n in range(12)]
    results = scene.pipeline.step(frames)
    assert list_told(results) == [(1, "light", "", "bright")]
    assert scene.looks["light"] <= 6


def test_what_was_known_of_a_track_ends_with_it():
    scene = Scene(light())
    scene.objects.boxes["door"] = [place(1)]
    scene.run(1)
    scene.objects.boxes["door"] = []
    scene.run(3)
    scene.objects.boxes["door"] = [place(1)]
    assert list_told(scene.run(1)) == [(2, "light", "", "bright")]
    scene.epoch += 1  # the camera was connected anew
    assert list_told(scene.run(1)) == [(3, "light", "", "bright")]


def test_what_is_known_of_tracks_that_end_silently_is_not_kept():
    scene = Scene(light())
    for _ in range(5):
        scene.objects.boxes["door"] = [place(1)]
        scene.run(0.5)
        scene.pipeline.expire("door")
    observer = scene.pipeline._observer
    assert sum(len(known.subjects) for known in observer._objects.values()) == 0


def test_independent_labels_are_told_one_by_one():
    scene = Scene(light(), classifier=Labels())
    scene.objects.boxes["door"] = [place(1)]
    results = scene.run(1)
    assert sorted(list_told(results)) == [
        (1, "light.lit", "", "yes"), (1, "light.shiny", "", "no"),
    ]  # fmt: skip


def test_a_look_that_gives_nan_says_nothing():
    class Broken(Light):
        def classify(self, crops):
            return np.full((len(crops), 2), np.nan, np.float32)

    scene = Scene(light(), classifier=Broken())
    scene.objects.boxes["door"] = [place(1)]
    results = scene.run(2)
    assert list_told(results) == []
    assert results[-1].attributes == ((),)
    assert scene.looks["light"] <= 11, "and it is not asked more often for that"


# --- states -------------------------------------------------------------------------------------


def list_states(results):
    return [
        (round(r.frame.captured_s - 100, 1), said.before, said.value)
        for r in results
        for said in r.told_states
    ]


def test_a_place_is_looked_at_in_its_interval_also_while_nothing_moves():
    scene = Scene(states=[GATE])
    results = scene.run(10, moving=False)
    assert scene.looks["gate"] == 10
    assert list_states(results) == [(pytest.approx(2.1, abs=0.11), "", "bright")]
    assert results[-1].states[0].value == "bright"
    assert scene.pipeline.list_states() == [("door", results[-1].states[0])]


def test_a_state_changes_within_its_votes():
    scene = Scene(states=[GATE])
    scene.run(5)
    scene.gate = DARK
    results = scene.run(10)
    ((at_s, before, value),) = list_states(results)
    assert (before, value) == ("bright", "dark")
    assert at_s <= 5 + 3 + 0.2


def test_somebody_who_passes_the_place_changes_nothing():
    scene = Scene(states=[GATE])
    scene.run(5)
    for _ in range(10):
        scene.gate = DARK
        assert list_states(scene.run(1.5)) == []
        scene.gate = BRIGHT
        assert list_states(scene.run(4)) == []


def test_a_camera_that_shows_nothing_is_not_looked_at():
    scene = Scene(light(), states=[GATE])
    scene.objects.boxes["door"] = [place(1)]
    scene.run(3)
    before = Counter(scene.looks)
    scene.gate = 0
    assert list_states(scene.run(20, 0, blind=True)) == []
    assert scene.looks == before


def test_ten_minutes_of_a_static_noisy_scene_flip_nothing():
    """Of each look one in twenty is wrong outright; simulated time."""

    class Noisy(Light):
        rng = np.random.default_rng(3)

        def classify(self, crops):
            rows = super().classify(crops)
            wrong = self.rng.random(len(rows)) < 0.05
            rows[wrong] = rows[wrong, ::-1]
            return rows

    scene = Scene(states=[GATE], classifier=Noisy(sure=0.9))
    results = scene.run(600, moving=False)
    assert len(list_states(results)) == 1
    assert scene.looks["gate"] == 600


# --- other settings -----------------------------------------------------------------------------


def watch(scene, *states):
    scene.cameras = [camera.model_copy(update={"states": states}) for camera in scene.cameras]
    return scene.pipeline.watch(scene.cameras)


def test_places_whose_settings_stay_go_on_and_others_begin_anew():
    door = GATE.model_copy(update={"name": "door", "polygon": ((0.5, 0.5), (1, 0.5), (1, 1))})
    scene = Scene(states=[GATE, door])
    scene.run(4)
    moved = door.model_copy(update={"polygon": ((0.5, 0.5), (1, 0.5), (1, 0.9))})
    gone = watch(scene, GATE, moved)
    assert [(camera, s.name, s.before, s.value) for camera, s in gone] == [
        ("door", "door", "bright", "undecided")
    ]
    results = scene.run(4)
    told = [(said.name, said.value) for r in results for said in r.told_states]
    assert told == [("door", "bright")], "of the gate nothing is told again"


def test_a_camera_with_another_source_shows_other_places():
    scene = Scene(states=[GATE])
    scene.run(4)
    gone = scene.pipeline.watch(scene.cameras, frozenset({"door"}))
    assert [(s.name, s.value) for _, s in gone] == [("gate", "undecided")]
    assert len(list_states(scene.run(4))) == 1


def test_another_observer_goes_on_with_what_it_asks_as_well():
    scene = Scene(light(), states=[GATE])
    scene.objects.boxes["door"] = [place(1)]
    scene.run(4)
    more = Attribute(name="more", model=MODEL)
    scene.pipeline.exchange(scene.objects, None, None, scene.make_observer([more, light()]))
    assert scene.pipeline.watch(scene.cameras) == []
    results = scene.run(4)
    assert list_told(results) == [(1, "more", "", "bright")]
    assert list_states(results) == []


def test_another_classifier_is_asked_anew():
    scene = Scene(light(), states=[GATE])
    scene.objects.boxes["door"] = [place(1)]
    scene.run(4)
    other = scene.make_observer([light()], Labels())
    scene.pipeline.exchange(scene.objects, None, None, other)
    gone = scene.pipeline.watch(scene.cameras)
    assert [(s.name, s.value) for _, s in gone] == [("gate", "undecided")]
    results = scene.run(4)
    assert {name for _, name, _, _ in list_told(results)} == {"light.lit", "light.shiny"}
    assert {s.name for r in results for s in r.told_states} == {"gate.lit", "gate.shiny"}
