"""The motion detector: who walks by is noticed at once; light, noise, rain and clocks are not."""

import cv2
import numpy as np
import pytest

from edge.types import RgbPicture, YuvPicture
from edge.vision.motion import MotionDetector, find_regions, shrink

HEIGHT, WIDTH = 360, 640
STEP_S = 0.2


@pytest.fixture(scope="module")
def street():
    """A textured picture, float32."""
    rng = np.random.default_rng(1)
    coarse = rng.uniform(60, 180, (12, 20)).astype(np.float32)
    fine = cv2.resize(rng.uniform(-25, 25, (90, 160)).astype(np.float32), (WIDTH, HEIGHT))
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) + fine


def picture(luma, seed=0, noise=3.0, turns=0):
    """Luma with sensor noise, as planes."""
    rng = np.random.default_rng(seed)
    noisy = luma + rng.normal(0, noise, luma.shape)
    gray = np.full((luma.shape[0] // 2, luma.shape[1] // 2), 128, np.uint8)
    y = noisy.clip(0, 255).astype(np.uint8)
    return YuvPicture(y, gray, gray.copy(), False, True, quarter_turns=turns)


def count_moving(lumas, followed=False, **settings):
    """How many cells move in each picture."""
    detector = MotionDetector(**settings)
    return [
        int(detector.update(picture(luma, row), STEP_S * row, followed=followed).sum())
        for row, luma in enumerate(lumas)
    ]


def draw_walker(street, x, height=60, contrast=30.0):
    """Somebody whose left side is at ``x``, a third as wide as high."""
    luma = street.copy()
    luma[200 - height : 200, x : x + height // 3] += contrast
    return luma


def test_in_the_first_picture_everything_moves_and_then_nothing(street):
    moving = count_moving([street] * 100)
    assert moving[0] == 72 * 128
    assert not any(moving[1:])


@pytest.mark.parametrize("contrast", [-40, -15, 15, 40])
@pytest.mark.parametrize("height", [24, 60, 200])
def test_who_walks_into_the_picture_is_noticed_at_once(street, height, contrast):
    walk = [draw_walker(street, 60 + 12 * n, height, contrast) for n in range(20)]
    moving = count_moving([street] * 50 + walk)
    assert not any(moving[1:50])
    assert all(moving[50:])


def test_light_that_drifts_is_no_motion(street):
    drift = 1 + 0.25 * np.sin(np.arange(600) / 60)
    assert not any(count_moving([street * gain for gain in drift])[1:])


@pytest.mark.parametrize("gain", [0.5, 1.6])
def test_a_lamp_that_is_switched_is_motion_once(street, gain):
    moving = count_moving([street] * 20 + [street * gain] * 40)
    assert moving[20]
    assert not any(moving[21:])


def test_rain_is_no_motion_and_who_walks_in_it_is(street):
    rng = np.random.default_rng(5)

    def rain(luma):
        wet = luma.copy()
        for x, y, length in rng.integers((0, 0, 6), (WIDTH, HEIGHT, 20), (100, 3)).tolist():
            cv2.line(wet, (x, y), (x + 2, y + length), 200, 1)
        return wet

    dry, walk = [street] * 20, [draw_walker(street, 60 + 12 * n, 120) for n in range(20)]
    moving = count_moving([*dry, *map(rain, [street] * 100), *map(rain, walk)])
    assert np.count_nonzero(moving[20:120]) <= 3
    assert all(moving[120:])


@pytest.mark.parametrize("count", [6, 12])
def test_people_far_away_are_no_rain_however_many_they_are(street, count):
    def walk(step):
        luma = street
        for row in range(count):
            x, foot = 20 + 95 * (row % 6) + step, 60 + 110 * (row // 6)
            luma = luma.copy()
            luma[foot - 24 : foot, x : x + 8] += 30
        return luma

    moving = count_moving([street] * 50 + [walk(2 * step) for step in range(30)])
    assert not any(moving[1:50])
    assert all(moving[52:])


def test_a_clock_in_the_picture_becomes_noise(street):
    def tick(row):
        luma = street.clip(0, 255).astype(np.uint8)
        text = f"12:00:{row // 5 % 60:02d}"
        cv2.rectangle(luma, (8, 6), (120, 30), 0, -1)
        cv2.putText(luma, text, (10, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
        return luma

    moving = count_moving(map(tick, range(1500)))
    assert np.count_nonzero(moving[300:]) / 1200 < 0.03


def test_leaves_that_wave_become_noise_but_not_while_somebody_is_followed(street):
    rng = np.random.default_rng(3)

    def wave(_):
        luma = street.copy()
        luma[40:120, 400:520] += 20 * cv2.resize(rng.normal(0, 1, (10, 15)), (120, 80))
        return luma

    lumas = [street, *map(wave, range(400))]
    assert np.count_nonzero(count_moving(lumas)[300:]) < 30
    assert np.count_nonzero(count_moving(lumas, followed=True)[300:]) > 90


def test_what_was_put_down_is_the_new_background(street):
    placed = draw_walker(street, 300, 80)
    moving = count_moving([street] * 20 + [placed] * 50)
    assert moving[20]
    assert not any(moving[32:])


def test_masks_are_of_the_upright_picture(street):
    left = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)
    for turns in range(4):
        detector = MotionDetector(left)
        moved = [np.rot90(draw_walker(street, x, 90), -turns) for x in (100, 500)]
        before = np.rot90(street, -turns)
        for row in range(10):
            detector.update(picture(before, row, turns=turns), row * STEP_S)
        assert not detector.update(picture(moved[0], 11, turns=turns), 2.2).any()
        assert detector.update(picture(moved[1], 12, turns=turns), 2.4).any()


def test_after_a_long_gap_everything_is_new(street):
    detector = MotionDetector()
    assert detector.update(picture(street), 0).all()
    assert not detector.update(picture(street), 1).any()
    assert detector.update(picture(street), 100).all()


@pytest.mark.parametrize(
    ("size_wh", "shape"),
    [
        ((1, 1), (1, 1)),
        ((3, 400), (100, 1)),
        ((400, 3), (1, 100)),
        ((128, 72), (72, 128)),  # a cell is a pixel
        ((129, 72), (36, 64)),
        ((641, 359), (59, 106)),  # five pixels remain on both sides
        ((704, 576), (96, 117)),
        ((1280, 720), (72, 128)),
        ((1920, 1080), (72, 128)),
        ((1080, 1920), (128, 72)),
        ((3840, 2160), (72, 128)),
    ],
)
@pytest.mark.parametrize("kind", ["planes", "RGB"])
def test_pictures_of_any_size_are_shrunk_to_square_cells(size_wh, shape, kind):
    width, height = size_wh
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 255 // (height + width)
    luma = ramp.astype(np.uint8)
    if kind == "RGB":
        shown = RgbPicture(np.repeat(luma[..., None], 3, axis=2))
    else:
        gray = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
        shown = YuvPicture(luma, gray, gray.copy(), False, True)
    cells = shrink(shown)
    assert cells.shape == shape
    cell_h, cell_w = height // shape[0], width // shape[1]
    kept = luma[: shape[0] * cell_h, : shape[1] * cell_w].astype(np.float32)
    expected = kept.reshape(shape[0], cell_h, shape[1], cell_w).mean(axis=(1, 3))
    np.testing.assert_allclose(cells, expected, atol=2)


def test_what_is_as_high_as_half_a_cell_is_seen_wherever_it_lies():
    """The upper or the lower row of a cell meets it."""
    black = np.zeros((1080, 1920), np.uint8)
    for top in range(500, 515):
        luma = black.copy()
        luma[top : top + 8, 600:615] = 200
        gray = np.full((540, 960), 128, np.uint8)
        cells = shrink(YuvPicture(luma, gray, gray.copy(), False, True))
        assert cells[:, 40].sum() >= 100


def test_regions_surround_what_moves_in_the_upright_picture():
    moving = np.zeros((90, 160), np.bool_)
    moving[10:20, 30:40] = True
    moving[13:15, 43:45] = True  # near
    moving[70:75, 100:104] = True
    wide = RgbPicture(np.zeros((180, 640, 3), np.uint8))
    np.testing.assert_allclose(
        find_regions(moving, wide), [[112, 16, 188, 44], [392, 136, 424, 154]]
    )
    turned = picture(np.zeros((180, 320), np.float32), turns=1)
    assert turned.size_wh == (180, 320)
    np.testing.assert_allclose(
        find_regions(moving, turned), [[136, 108, 154, 124], [16, 226, 44, 264]]
    )
    assert find_regions(np.zeros((90, 160), np.bool_), wide).shape == (0, 4)
    assert find_regions(np.ones((90, 160), np.bool_), wide).shape == (0, 4)
