"""What each witness makes of drawn faces that move, blink, are carried, or are on a screen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.people.liveness import blink, screen, surroundings
from edge.people.liveness.blink import BlinkWitness
from edge.people.liveness.evidence import WITNESSES
from edge.people.liveness.motion import HELD, MotionWitness
from edge.people.liveness.screen import ScreenWitness, find_peak, measure_color, measure_peak
from edge.people.liveness.surroundings import SurroundingsWitness
from edge.people.liveness.witness import SILENCE, LivenessLook
from edge.types import RgbPicture
from edge.vision.face_crops import FACE_POINTS

WIDTH, HEIGHT = 480, 360
STEP_S = 0.2


def draw_texture(seed: int, width: int, height: int) -> np.ndarray:
    """Blotches of several sizes, as rooms and posters have."""
    rng = np.random.default_rng(seed)
    shape = (height // 12 + 1, width // 12 + 1, 3)
    coarse = cv2.resize(rng.uniform(0, 255, shape).astype(np.float32), (width, height))
    return np.clip(coarse + rng.normal(0, 2, coarse.shape), 0, 255).astype(np.uint8)


ROOM = draw_texture(1, WIDTH, HEIGHT)
CARD = draw_texture(2, 260, 260)


def make_look(rgb: np.ndarray, center: tuple[float, float], at_s: float, face_px: float = 80):
    x, y = center
    box = np.array([x - 0.4 * face_px, y - face_px / 2, x + 0.4 * face_px, y + face_px / 2])
    points = (FACE_POINTS - 56) * face_px / 80 + [x, y]
    crop = rgb[int(y) - 56 : int(y) + 56, int(x) - 56 : int(x) + 56]
    return LivenessLook(
        RgbPicture(rgb), crop, box.astype(np.float32), points.astype(np.float32), at_s
    )


def film(move, count=8, carried=False, panned=False):
    """Looks at a head that moves before the room, on a card, or with all the room."""
    for number in range(count):
        dx, dy = move(number)
        rgb = np.roll(ROOM, (dy, dx), (0, 1)) if panned else ROOM.copy()
        x, y = 240 + dx, 170 + dy
        if carried:
            rgb[y - 130 : y + 130, x - 130 : x + 130] = CARD
        cv2.ellipse(rgb, (x, y), (32, 42), 0, 0, 360, (200, 160, 140), -1)
        yield make_look(rgb, (x, y), number * STEP_S)


def sway(number: int) -> tuple[int, int]:
    return round(24 * np.sin(1.3 * number)), round(5 * np.cos(number))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"move": sway}, surroundings.STAYED),
        ({"move": sway, "carried": True}, surroundings.CARRIED),
        ({"move": sway, "panned": True}, surroundings.PANNED),
        ({"move": lambda _: (0, 0)}, SILENCE),
        ({"move": lambda _: (0, 0), "carried": True}, SILENCE),
    ],
    ids=["moving head", "held picture", "moving camera", "still head", "still picture"],
)
def test_surroundings_tell_a_head_from_a_picture_that_is_held(how, says):
    witness = SurroundingsWitness()
    for look in film(**how):
        assert witness.look(look)
    assert witness.testify() == says


def test_a_picture_put_before_the_face_is_noticed():
    witness = SurroundingsWitness()
    looks = [*film(lambda _: (0, 0), 3), *film(lambda _: (0, 0), 3, carried=True)]
    looks = [make_look(one.picture.rgb, (240, 170), n * STEP_S) for n, one in enumerate(looks)]
    assert [witness.look(look) for look in looks] == [True, True, True, False, True, True]


def test_a_photograph_swapped_for_another_elsewhere_is_noticed():
    other = draw_texture(3, 260, 260)
    witness, said = SurroundingsWitness(), []
    for number, card in enumerate([CARD, CARD, other, other]):
        x, y = (240, 170) if card is CARD else (252, 176)
        rgb = ROOM.copy()
        rgb[y - 130 : y + 130, x - 130 : x + 130] = card
        said.append(witness.look(make_look(rgb, (x, y), number * STEP_S)))
    assert said == [True, True, False, True]


def tremble(number: int) -> tuple[int, int]:
    return [(0, 0), (3, 1), (-2, 2), (1, -3), (-3, 0), (2, 2)][number % 6]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, SILENCE),
        ({"carried": True}, surroundings.SWAYED),
        ({"panned": True}, SILENCE),
    ],
    ids=["head", "picture in a hand", "trembling camera"],
)
def test_what_moves_by_little_tells_a_picture_in_a_hand_from_a_head(how, says):
    witness = SurroundingsWitness()
    for look in film(tremble, **how):
        shown = cv2.GaussianBlur(look.picture.rgb, (0, 0), 1.2)
        center = tuple(((look.xyxy[:2] + look.xyxy[2:]) / 2).tolist())
        assert witness.look(make_look(shown, center, look.at_s))
    assert witness.testify() == says


def blank_border(rgb: np.ndarray) -> np.ndarray:
    """Without texture where the motion of the camera is measured."""
    blank = np.full_like(rgb, 120)
    blank[40:-40, 80:-80] = rgb[40:-40, 80:-80]
    return blank


def test_where_the_camera_cannot_be_measured_less_is_said():
    witness = SurroundingsWitness()
    for look in film(tremble, panned=True):
        shown = blank_border(cv2.GaussianBlur(look.picture.rgb, (0, 0), 1.2))
        center = tuple(((look.xyxy[:2] + look.xyxy[2:]) / 2).tolist())
        witness.look(make_look(shown, center, look.at_s))
    assert witness.testify() == surroundings.PANNED


def test_one_shake_is_forgotten_by_who_keeps_still():
    witness, said = SurroundingsWitness(), []
    looks = [*film(tremble, 8, carried=True), *film(lambda _: (0, 0), 80, carried=True)]
    for number, look in enumerate(looks):
        shown = cv2.GaussianBlur(look.picture.rgb, (0, 0), 1.2)
        center = tuple(((look.xyxy[:2] + look.xyxy[2:]) / 2).tolist())
        witness.look(make_look(shown, center, number * STEP_S))
        said.append(witness.testify())
    assert said[7] == surroundings.SWAYED
    assert said[-1] == SILENCE


def test_trees_in_the_wind_are_no_picture():
    witness, rng = SurroundingsWitness(), np.random.default_rng(3)
    for number in range(10):
        rgb = np.zeros_like(ROOM)
        for columns in np.array_split(np.arange(WIDTH), 6):  # each sways by itself
            dx, dy = rng.integers(-3, 4, 2)
            rgb[:, columns] = np.roll(ROOM, (dy, dx), (0, 1))[:, columns]
        x, y = 240 + tremble(number)[0], 170 + tremble(number)[1]
        rgb[y - 60 : y + 60, x - 60 : x + 60] = CARD[:120, :120]
        witness.look(make_look(cv2.GaussianBlur(rgb, (0, 0), 1.2), (x, y), number * STEP_S))
    assert witness.testify() == SILENCE


def test_a_hat_before_a_blank_wall_is_no_picture():
    witness = SurroundingsWitness()
    for number in range(8):
        dx, dy = tremble(number)
        rgb = np.full_like(ROOM, 120)
        cv2.rectangle(rgb, (200 + dx, 60 + dy), (280 + dx, 100 + dy), (40, 60, 90), -1)
        cv2.ellipse(rgb, (240 + dx, 170 + dy), (32, 42), 0, 0, 360, (200, 160, 140), -1)
        cv2.circle(rgb, (230 + dx, 160 + dy), 4, (60, 40, 30), -1)
        cv2.circle(rgb, (250 + dx, 160 + dy), 4, (60, 40, 30), -1)
        assert witness.look(make_look(rgb, (240 + dx, 170 + dy), number * STEP_S))
    assert witness.testify() == SILENCE


def test_a_blank_wall_tells_nothing_of_surroundings():
    witness = SurroundingsWitness()
    for look in film(sway):
        blank = np.full_like(look.picture.rgb, 120)
        assert witness.look(make_look(blank, (240, 170), look.at_s))
    assert witness.testify() == SILENCE


def test_a_face_at_the_edge_of_the_picture_is_looked_at():
    witness = SurroundingsWitness()
    for number in range(6):
        box = np.array([-20 + 8 * number, -30, 40 + 8 * number, 50], np.float32)
        look = LivenessLook(
            RgbPicture(ROOM), ROOM[:112, :112], box, FACE_POINTS - 50, number * STEP_S
        )
        assert witness.look(look)


def draw_eyes(closed: bool = False, light: float = 1.0, rng=None) -> np.ndarray:
    face = np.full((112, 112, 3), (190, 150, 130), np.float32)
    cv2.ellipse(face, (56, 92), (18, 6), 0, 0, 360, (150, 70, 70), -1)
    cv2.line(face, (56, 60), (52, 76), (150, 115, 100), 3)
    for x in (38, 74):
        if closed:
            cv2.line(face, (x - 8, 54), (x + 8, 54), (150, 110, 95), 1)
        else:
            cv2.circle(face, (x, 52), 4, (40, 30, 25), -1)
    noise = np.random.default_rng(0 if rng is None else rng).normal(0, 3, face.shape)
    return np.clip(cv2.GaussianBlur(face, (0, 0), 1) * light + noise, 0, 255).astype(np.uint8)


def watch_eyes(*crops: np.ndarray, step_s: float = STEP_S):
    witness = BlinkWitness()
    for number, crop in enumerate(crops):
        look = make_look(ROOM, (240, 170), number * step_s)
        witness.look(LivenessLook(look.picture, crop, look.xyxy, look.landmarks, look.at_s))
    return witness.testify()


OPEN = [draw_eyes(rng=n) for n in range(6)]


def test_a_blink_is_life():
    assert watch_eyes(*OPEN, draw_eyes(closed=True), *OPEN[:2]) == blink.BLINKED


@pytest.mark.parametrize(
    "crops",
    [
        [*OPEN, *OPEN],
        [*OPEN, *[draw_eyes(closed=True)] * 6],  # closed, or looking down
        [draw_eyes(closed=True)] * 9,
        [*OPEN, draw_eyes(light=0.5), *OPEN[:2]],  # the light went out
        [*OPEN, cv2.GaussianBlur(OPEN[0], (0, 0), 6), *OPEN[:2]],  # out of focus
        [*OPEN, np.zeros((112, 112, 3), np.uint8), *OPEN[:2]],
    ],
    ids=["open", "closes", "closed", "dark", "blurred", "black"],
)
def test_what_is_no_blink_is_none(crops):
    assert watch_eyes(*crops) == SILENCE


def test_eyes_seen_too_rarely_tell_nothing():
    crops = [*OPEN, draw_eyes(closed=True), *OPEN[:2]]
    assert watch_eyes(*crops, step_s=1.0) == SILENCE


def draw_skin(seed: int) -> np.ndarray:
    smooth = draw_texture(seed, screen.SIDE, screen.SIDE).astype(np.float32).mean(axis=2)
    return smooth + np.random.default_rng(seed).normal(0, 3, smooth.shape)


@pytest.mark.parametrize("seed", range(20))
def test_a_grid_stands_out_of_the_spectrum(seed):
    y, x = np.mgrid[: screen.SIDE, : screen.SIDE]
    skin = draw_skin(seed)
    grid = 10 * np.sin(2 * np.pi * (x * 0.23 + y * 0.11 + seed / 20))
    assert measure_peak(skin.astype(np.float32)) < screen.PEAK
    assert measure_peak((skin + grid).astype(np.float32)) > screen.PEAK


def test_a_screen_is_told_after_some_looks():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    grid = (12 * np.sin(2 * np.pi * (x * 0.23 + y * 0.11)))[..., None]
    rgb = np.clip(ROOM * 0.3 + 100 + grid, 0, 255).astype(np.uint8)
    witness = ScreenWitness()
    said = []
    for number in range(4):
        assert witness.look(make_look(rgb, (240, 170), number * STEP_S, face_px=120))
        said.append(witness.testify())
    assert said == [SILENCE, SILENCE, screen.SCREEN, screen.SCREEN]


def draw_skin_looks(pattern=0.0, noise=6, half_color=False, count=8):
    """Looks at skin with noise of its own each time; ``pattern`` is added to red, not to blue."""
    for number in range(count):
        rng = np.random.default_rng(number)
        rgb = ROOM * 0.3 + 90 + rng.normal(0, noise, ROOM.shape)
        rgb[..., 0] += pattern
        rgb[..., 2] -= pattern
        rgb = np.clip(rgb, 0, 255).astype(np.uint8)
        if half_color:
            half = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
            rgb = cv2.cvtColor(half, cv2.COLOR_YUV2RGB_I420)
        yield make_look(rgb, (240, 170), number * STEP_S, face_px=120)


def test_a_colored_grid_too_faint_for_one_look_adds_up():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    witness, alone = ScreenWitness(), []
    for look in draw_skin_looks(np.sin(2 * np.pi * (x * 0.27 + y * 0.11))):
        part = look.picture.rgb[110:230, 192:288].astype(np.float32)
        alone.append(find_peak(measure_color(part), screen.COLOR_RINGS))
        witness.look(look)
    assert np.median(alone) < screen.COLOR_PEAK
    assert witness.testify() == screen.COLORED


@pytest.mark.parametrize("noise", [0, 1, 2, 6])
@pytest.mark.parametrize("half_color", [False, True], ids=["whole color", "half color"])
def test_skin_is_no_screen_whatever_the_resolution_of_color(half_color, noise):
    witness = ScreenWitness()
    for look in draw_skin_looks(noise=noise, half_color=half_color):
        witness.look(look)
        assert witness.testify() == SILENCE


def test_small_faces_tell_nothing_of_screens():
    witness = ScreenWitness()
    for number in range(5):
        witness.look(make_look(ROOM, (240, 170), number * STEP_S, face_px=50))
    assert witness.testify() == SILENCE


def test_a_flat_face_that_is_moved_about_is_held():
    witness = MotionWitness()
    for number in range(8):
        dx, dy = sway(number)
        look = make_look(ROOM, (240, 170), number * STEP_S)
        moved = make_look(ROOM, (240 + 3 * dx, 170 + 3 * dy), number * STEP_S)
        witness.look(LivenessLook(look.picture, look.crop, moved.xyxy, moved.landmarks, look.at_s))
    assert witness.testify() == HELD


def watch_face(stir_px: int, bend: float = 0.0):
    """What motion says of a face that stirs and changes by some gray levels."""
    witness = MotionWitness()
    for number in range(12):
        face = draw_texture(5, 112, 112).astype(np.float32)
        face += (-1) ** number * bend * np.sin(np.arange(112) / 5)[:, None, None]
        rng = np.random.default_rng(number)
        crop = np.clip(face + rng.normal(0, 2, face.shape), 0, 255).astype(np.uint8)
        x, rgb = 240 + (-1) ** number * stir_px, ROOM.copy()
        rgb[170 - 56 : 170 + 56, x - 56 : x + 56] = crop
        witness.look(make_look(rgb, (x, 170), number * STEP_S))
    return witness.testify()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"stir_px": 4}, HELD),
        ({"stir_px": 1}, SILENCE),
        ({"stir_px": 0}, HELD),
        ({"stir_px": 4, "bend": 7}, SILENCE),
    ],
    ids=["trembling photograph", "stirs a little", "never moved", "face that changes a little"],
)
def test_a_face_that_stirs_and_stays_quite_flat_is_held(how, says):
    assert watch_face(**how) == says


@pytest.mark.parametrize("kind", WITNESSES)
def test_who_saw_nothing_says_nothing(kind):
    assert kind().testify() == SILENCE


@pytest.mark.parametrize("points", [np.full((5, 2), np.nan), np.zeros((5, 2)), FACE_POINTS * 0 + 7])
def test_points_that_are_none_break_nothing(points):
    witnesses = [kind() for kind in WITNESSES]
    for number in range(6):
        look = make_look(ROOM, (240 + number, 170), number * STEP_S)
        broken = LivenessLook(
            look.picture, look.crop, look.xyxy, points.astype(np.float32), look.at_s
        )
        assert all(witness.look(broken) for witness in witnesses)
    assert all(np.isfinite(witness.testify().strongest) for witness in witnesses)
