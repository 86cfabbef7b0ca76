"""Short films of living faces and of attacks, and recognizers that watch them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from edge import plugins
from edge.config import Camera, Recognition
from edge.models.contract import load_model
from edge.models.paths import get_zoo_folder, resolve_model
from edge.people.gallery.index import Index, IndexedPerson
from edge.people.recognition.close_up import ENROLL_SCALES, FoundFace, refine_landmarks
from edge.people.recognition.recognizer import Recognizer
from edge.pipeline import Pipeline
from edge.types import Decision, Detections, Faces, Frame, FrameResult, RgbPicture
from edge.vision.face_crops import align_face
from trainers.data.dataset import Dataset
from trainers.data.read import read_face_dataset
from trainers.spoofing.attacks import ALL, Clip, simulate_attack
from trainers.spoofing.attacks import Camera as SpoofCamera
from trainers.spoofing.clips import LiveFaces, Scenes
from trainers.spoofing.heads import STILL, TURNED, Photograph, Pose

FPS = 10
SIZE_WH = (640, 480)


class NoObjects:
    """A detector that finds nothing: faces are what matters here."""

    name, sha256, classes = "nothing", "0" * 64, ("person",)

    def detect(self, frames: list[Frame]) -> list[Detections]:
        """Nothing."""
        return [Detections.empty() for _ in frames]


class Remembered:
    """A model whose answers are kept, so that several recognizers may ask for the same face."""

    def __init__(self, model, method: str) -> None:
        self._model, self._method, self._answers = model, method, {}

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def _ask(self, faces: np.ndarray) -> np.ndarray:
        rows = []
        for face in faces:
            key = face.tobytes()
            if key not in self._answers:
                if len(self._answers) > 500:
                    self._answers.clear()
                self._answers[key] = getattr(self._model, self._method)(face[None])[0]
            rows.append(self._answers[key])
        return np.stack(rows)

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """As `Embedder.embed`."""
        return self._ask(faces)

    def live(self, clips: np.ndarray) -> np.ndarray:
        """As `LivenessModel.live`."""
        return self._ask(clips)


class RememberedFaces:
    """A face finder whose answers for single frames are kept."""

    def __init__(self, model) -> None:
        self._model, self._answers = model, {}

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def find(self, frames: list[Frame]) -> list[Faces]:
        """As `FaceFinder.find`."""
        found = []
        for frame in frames:
            key = frame.picture.rgb.tobytes()
            if key not in self._answers:
                if len(self._answers) > 200:
                    self._answers.clear()
                self._answers[key] = self._model.find([frame])[0]
            found.append(self._answers[key])
        return found


class ConstantLiveness:
    """A liveness model that is switched off: it always says the same."""

    def __init__(self, model, score: float) -> None:
        self._model, self._score = model, score

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def live(self, clips: np.ndarray) -> np.ndarray:
        """As `LivenessModel.live`."""
        return np.full(len(clips), self._score, np.float32)


class Cinema:
    """Models, and recognizers that watch films with them.

    Args:
        liveness: A path or ``zoo:NAME``.
    """

    def __init__(
        self, embedder: str = "zoo:embed-nano", liveness: str = "zoo:liveness-nano",
        faces: str = "zoo:faces-nano",
    ) -> None:  # fmt: skip
        runtime = plugins.create("runtimes", {"kind": "onnx", "threads": 1})

        def load(task: str, name: str):
            return load_model(task, runtime, resolve_model(name, get_zoo_folder()))

        self.finder = RememberedFaces(load("faces", faces))
        self.embedder = Remembered(load("embed", embedder), "embed")
        self.liveness = Remembered(load("liveness", liveness), "live")

    def describe(self, rgb: np.ndarray) -> np.ndarray | None:
        """The embedding of the largest face, None without one."""
        (faces,) = self.finder.find([make_frame(rgb, 0)])
        if not len(faces):
            return None
        row = int((faces.xyxy[:, 3] - faces.xyxy[:, 1]).argmax())
        face = FoundFace(make_frame(rgb, 0), faces.xyxy[row], faces.landmarks[row])
        [points] = refine_landmarks(self.finder, [face], ENROLL_SCALES)
        return self.embedder.embed(align_face(RgbPicture(rgb), points)[None])[0]

    def enroll(self, people: Mapping[str, Iterable[np.ndarray]]) -> Index:
        """People by photographs in which theirs is the largest face."""
        names, templates = [], []
        for name, photos in people.items():
            found = [row for rgb in photos if (row := self.describe(rgb)) is not None]
            if found:
                names.append(IndexedPerson(name, name))
                templates.append(np.stack(found))
        return Index.build(names, templates, dimension=self.embedder.dimension)

    def seat(self, index: Index, *, silent: str = "", **settings: object) -> Pipeline:
        """A pipeline with a recognizer; ``silent`` names a witness, or the model, to switch off."""
        rules = Recognition.model_validate(
            {"gallery": "g", "key_file": "k", "embedder": "e", **settings}
        )
        ids = itertools.count(1)
        liveness = ConstantLiveness(self.liveness, 0.8) if silent == "model" else self.liveness
        recognizer = Recognizer(rules, self.embedder, liveness, ids, self.finder)
        recognizer._policy = replace(recognizer._policy, silent=frozenset({silent}))
        recognizer.use(index, self.embedder.threshold)
        pipeline = Pipeline(NoObjects(), self.finder, ids, recognizer)
        pipeline.watch([Camera(name="hall", source={"kind": "synthetic"})])
        return pipeline

    def watch(self, pipeline: Pipeline, film: Iterable[np.ndarray]) -> Iterator[FrameResult]:
        """One event a frame."""
        for number, rgb in enumerate(film):
            yield pipeline.step([make_frame(rgb, number)])[0]


def make_frame(rgb: np.ndarray, number: int, fps: float = FPS) -> Frame:
    """A frame of the one camera."""
    return Frame("hall", 1, number, number / fps, number / fps, RgbPicture(rgb))


def get_main(event: FrameResult) -> Decision | None:
    """The decision about the largest face."""
    if not len(event.faces):
        return None
    return event.decisions[int((event.faces.xyxy[:, 3] - event.faces.xyxy[:, 1]).argmax())]


class People:
    """The people of a data set with labeled faces.

    Args:
        folder: In the format of `read_face_dataset`.
    """

    def __init__(self, folder: Path) -> None:
        whole = read_face_dataset(folder)
        self.by_name: dict[str, list] = {}
        for example in whole.examples:
            if len(example) == 1 and np.isfinite(example.landmarks).all():
                self.by_name.setdefault(example.group, []).append(example)
        self.names = sorted(name for name, rows in self.by_name.items() if len(rows) >= 6)
        self._whole = whole

    @cached_property
    def faces(self) -> LiveFaces:
        """Everybody, as attacks are made of."""
        return LiveFaces(Dataset(self._whole.classes, self._whole.examples))

    def photos(self, name: str) -> list[np.ndarray]:
        """Photographs to enroll: the first of the person's first video."""
        return [example.load().image for example in self.by_name[name][:3]]

    def head(self, name: str) -> Photograph:
        """A photograph of the person's last video that a head can be made of, at its own size.

        Larger or smaller it would no longer be what a camera shows.
        """
        example = self.by_name[name][-1]
        image, points = example.load().image, example.landmarks[0]
        height, width = image.shape[:2]
        eyes_px = float(np.linalg.norm(points[1] - points[0]))
        return Photograph(image, points, (width, height), eyes_px)

    def clip(self, name: str, frames: int) -> Clip:
        """The person's last frames, back and forth."""
        rows = self.by_name[name][-5:]
        walk = [*rows, *rows[-2:0:-1]]
        chosen = [walk[n % len(walk)] for n in range(frames)]
        return Clip(
            tuple(example.load().image for example in chosen),
            np.concatenate([example.xyxy for example in chosen]),
        )


def film_head(
    photo: Photograph, rng: np.random.Generator, frames: int, *, still: bool = False
) -> Iterator[np.ndarray]:
    """A living head that looks about, or hardly moves."""
    much = np.array(STILL if still else TURNED)
    phase, speed = rng.uniform(0, 6.28, 2), rng.uniform(0.5, 2.5, 2)
    for number in range(frames):
        yaw, pitch = much * np.sin(speed * number / FPS + phase)
        yield photo.head(Pose(yaw, pitch))


def film_attack(
    clip: Clip, kind: str, faces: LiveFaces, scenes: Scenes, rng: np.random.Generator
) -> list[np.ndarray]:
    """A simulated attack, as the camera of a door sees it: in a picture of `SIZE_WH`."""
    made = SpoofCamera()(simulate_attack(clip, ALL[kind], scenes, faces.draw, rng), rng)
    width, height = SIZE_WH
    images = []
    for image in made.images:
        grow = min(width / image.shape[1], height / image.shape[0], 1.5)
        shown = cv2.resize(image, None, fx=grow, fy=grow)
        canvas = np.full((height, width, 3), 90, np.uint8)
        y, x = (height - shown.shape[0]) // 2, (width - shown.shape[1]) // 2
        canvas[y : y + shown.shape[0], x : x + shown.shape[1]] = shown
        images.append(canvas)
    return images
