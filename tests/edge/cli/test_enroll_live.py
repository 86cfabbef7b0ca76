"""Live enrollment: a person who does what is asked is enrolled; a moved photo is not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest
from rich.console import Console

from deploy.adopt.adopt import Adoption, adopt
from deploy.adopt.minifasnet import adopt_minifasnet
from edge import plugins
from edge.cli.enroll_live import make_panel
from edge.errors import GalleryError
from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.people.enrollment.capture_session import CaptureSession
from edge.people.enrollment.challenge import (
    TURNS,
    Act,
    Challenge,
    ChallengeError,
    ChallengeProgress,
    ChallengeRules,
    draw_acts,
)
from edge.people.enrollment.observer import EnrollmentObserver
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.metadata import EmbedderId
from edge.people.liveness.evidence import LivenessPolicy
from edge.types import Frame, Motion, RgbPicture
from edge.vision.image_file import read_picture
from tests.support.gallery import KEY, Clock
from trainers.spoofing.heads import Photograph, Pose

FPS = 5
STEP_DEG, STEP_SCALE = 15.0, 0.15  # how much a head moves between two frames
POSES = {
    Act.STRAIGHT: Pose(),
    Act.LEFT: Pose(yaw=30),
    Act.RIGHT: Pose(yaw=-30),
    Act.UP: Pose(pitch=24),
    Act.DOWN: Pose(pitch=-24),
    Act.CLOSER: Pose(scale=1.45),
}
OPPOSITE = {Act.LEFT: Act.RIGHT, Act.RIGHT: Act.LEFT, Act.UP: Act.DOWN, Act.DOWN: Act.UP}


class Models:
    """Real networks, and the stills with the points of their faces."""

    def __init__(self, shared_data, folder) -> None:
        runtime = plugins.create("runtimes", {"kind": "onnx", "workers": 1, "threads": 1})
        given = shared_data / "models"
        embed = Adoption("arcface", "mobilefacenet", (), threshold=0.32)
        pair = [(given / f"minifasnet_live_{n}.onnx").read_bytes() for n in (1, 2)]
        (folder / "live").write_bytes(adopt_minifasnet(pair, "minifasnet"))
        (folder / "embed").write_bytes(
            adopt((given / "mobilefacenet_128d_112x112.onnx").read_bytes(), embed)
        )
        self.finder = load_model("faces", runtime, resolve_model("zoo:faces-nano", folder))
        self.embedder = load_model("embed", runtime, folder / "embed")
        self.liveness = load_model("liveness", runtime, folder / "live")
        self._stills = shared_data / "gallery_video"

    def photograph(self, still: str) -> Photograph:
        picture = read_picture(self._stills / still)
        (faces,) = self.finder.find([Frame("", 0, 0, 0.0, 0.0, picture)])
        return Photograph(picture.rgb, faces.landmarks[int(faces.score.argmax())])


@pytest.fixture(scope="module")
def models(shared_data, tmp_path_factory):
    return Models(shared_data, tmp_path_factory.mktemp("models"))


class Actor:
    """Somebody before the camera who reads the prompts.

    Args:
        render: what the camera sees of a pose.
        answer: the pose for a prompt.
    """

    def __init__(
        self,
        render: Callable[[Pose], np.ndarray],
        answer: Callable[[Act], Pose] = lambda act: POSES[act],
    ) -> None:
        self.render, self.answer = render, answer
        self.pose = Pose()
        self.heard: list[Act] = []
        self.now_s = 100.0
        self.step_s = 1 / FPS

    def hear(self, progress: ChallengeProgress) -> None:
        if not self.heard or self.heard[-1] is not progress.act:
            self.heard.append(progress.act)

    def frames(self) -> Iterator[Frame]:
        for number in range(800):
            target = self.answer(self.heard[-1] if self.heard else Act.STRAIGHT)
            self.pose = _toward(self.pose, target)
            self.now_s += self.step_s
            rgb = self.render(self.pose)
            yield Frame("door", 1, number, self.now_s, self.now_s, RgbPicture(rgb))


def _toward(now: Pose, target: Pose) -> Pose:
    def near(here: float, there: float, step: float) -> float:
        return here + float(np.clip(there - here, -step, step))

    return Pose(
        near(now.yaw, target.yaw, STEP_DEG),
        near(now.pitch, target.pitch, STEP_DEG),
        near(now.scale, target.scale, STEP_SCALE),
    )


@pytest.fixture
def stage(models, tmp_path):
    """Run one challenge with an actor; its templates."""
    embedder = models.embedder
    identity = EmbedderId(embedder.name, embedder.sha256, embedder.dimension)
    clock = Clock()

    def run(actor: Actor, seed: int = 0, **rules: float) -> np.ndarray:
        observer = EnrollmentObserver(
            models.finder, embedder, models.liveness,
            LivenessPolicy(0.7, 0.95, 0.3, 10, Motion.ALWAYS),
        )  # fmt: skip
        challenge = Challenge(ChallengeRules(embedder.threshold, **rules), Random(seed))
        with Gallery(tmp_path / "g.db", KEY, identity, create=True, clock=clock) as gallery:
            return CaptureSession(observer, challenge, gallery, actor.hear).run(actor.frames())

    run.clock = clock
    return run


@pytest.mark.parametrize(("still", "seed"), [("obama.jpg", 1), ("alex-lacamoire.png", 0)])
def test_who_does_what_is_asked_is_enrolled(models, stage, still, seed):
    photograph = models.photograph(still)
    actor = Actor(photograph.head)
    templates = stage(actor, seed)
    assert len(templates) >= 4
    assert np.linalg.norm(templates, axis=1) == pytest.approx(1, abs=1e-3)
    assert len(set(actor.heard) - {Act.STRAIGHT}) == 3


@pytest.mark.parametrize("still", ["obama.jpg", "biden.jpg"])
def test_a_photograph_moved_as_a_plane_is_refused_however_it_obeys(models, stage, still):
    actor = Actor(models.photograph(still).plane)
    with pytest.raises(ChallengeError, match=r"too late|3-D motion|instead of"):
        stage(actor, act_s=3)


def test_a_face_that_is_swapped_in_the_middle_is_refused(models, stage):
    obama, biden = models.photograph("obama.jpg"), models.photograph("biden.jpg")
    swapped = obama.wearing(biden)
    actor = Actor(obama.head)

    def answer(act: Act) -> Pose:
        if len(actor.heard) > 2:  # the first act is done
            actor.render = swapped.head
        return POSES[act]

    actor.answer = answer
    with pytest.raises(ChallengeError, match="another"):
        stage(actor)


def test_who_turns_the_wrong_way_is_refused(models, stage):
    actor = Actor(models.photograph("obama.jpg").head, lambda act: POSES[OPPOSITE.get(act, act)])
    a_turn_first = next(n for n in range(99) if draw_acts(Random(n), 3)[0] in TURNS)
    with pytest.raises(ChallengeError, match="instead of"):
        stage(actor, a_turn_first)


def test_who_leaves_in_the_middle_is_refused(models, stage):
    obama = models.photograph("obama.jpg")
    wall = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    actor = Actor(obama.head)
    actor.render = lambda pose: wall if len(actor.heard) > 1 else obama.head(pose)
    with pytest.raises(ChallengeError, match="lost"):
        stage(actor)


def test_after_three_failures_nobody_may_try_even_with_the_program_started_anew(models, stage):
    head = models.photograph("obama.jpg").head
    for _ in range(3):
        actor = Actor(head, lambda act: Pose())
        with pytest.raises(ChallengeError, match="too late"):
            stage(actor, act_s=0.3)
    with pytest.raises(GalleryError, match="try again in 60 s"):
        stage(Actor(head))
    stage.clock.now_s += 61
    assert len(stage(Actor(head))) >= 4


def test_the_panel_tells_what_to_do_how_long_and_what_is_in_the_way():
    console = Console(file=io.StringIO(), width=80)
    progress = ChallengeProgress(Act.LEFT, 2.4, 8, 1, 3, "too dark")
    console.print(make_panel("Ann [bold]", progress))
    shown = console.file.getvalue()
    for words in ("Ann [bold]: 1 of 3 done", "Turn your head to your left", "2 s", "too dark"):
        assert words in shown
