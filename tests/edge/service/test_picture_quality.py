"""What a camera shows: frozen behind a living encoder, nothing at all, damaged, flapping."""

import contextlib
import io
import threading

import av
import cv2
import numpy as np
import pytest

from edge.errors import SourceError
from edge.service.flaps import FlapMeter
from edge.service.freeze_detector import FreezeDetector
from edge.service.picture_quality import DamageMeter, PictureQuality
from edge.sources._picture import to_picture
from edge.sources.synthetic import find_shipped_photo
from edge.sources.video_file import Options, build
from edge.types import Capture, RgbPicture, StatusReason
from edge.vision.image_file import read_picture
from tests.support.videos import truncate_slices

FPS = 10
SIZE_WH = (240, 180)


@pytest.fixture(scope="module")
def still():
    """A real photograph as ``(H, W, 3)`` float."""
    pytest.importorskip("matplotlib", reason="pip install '.[demo]'")
    photo = read_picture(find_shipped_photo()).rgb[:500, :600]
    return cv2.resize(photo, SIZE_WH, interpolation=cv2.INTER_AREA).astype(np.float32)


def encode(frames, gop=20, bit_rate=0, **options):
    """H.264 of frames in RGB or as YUV planes, decoded again: captures with their times."""
    file = io.BytesIO()
    x264 = f"keyint={gop}:min-keyint={gop}:scenecut=0"
    options = {"preset": "veryfast", "tune": "zerolatency", "x264-params": x264, **options}
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE_WH, "yuv420p"
        stream.codec_context.thread_count = 1
        if bit_rate:
            stream.bit_rate = bit_rate
        for image in frames:
            pixels = np.clip(image, 0, 255).astype(np.uint8)
            layout = "rgb24" if pixels.ndim == 3 else "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format=layout)))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        for frame in container.decode(video=0):
            at_s = frame.time
            yield Capture(to_picture(frame), at_s, at_s, None, bool(frame.key_frame))


def as_jpeg(frames, quality=70):
    """The same as single pictures, as MJPEG and snapshots give them."""
    for row, image in enumerate(frames):
        data = cv2.imencode(
            ".jpg", np.clip(image, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )[1]
        picture = RgbPicture(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8))
        yield Capture(picture, row / FPS, row / FPS)


def with_clock(image, row):
    stamped = np.clip(image, 0, 255).astype(np.uint8).copy()
    text = f"2026-11-28 12:00:{row // FPS:02d}"
    cv2.putText(stamped, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return stamped


def find_freeze(captures, after_s=10):
    """When ``frozen`` is told first, in seconds; None for never."""
    detector = FreezeDetector(after_s)
    return next((c.monotonic_s for c in captures if detector.is_frozen(c)), None)


def living(still, seconds, noise, brightness=1.0, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(seconds * FPS):
        yield still * brightness + rng.normal(0, noise, (*still.shape[:2], 1))


FROZEN = {
    "coded anew at a constant quality": lambda s: encode([s] * 160, crf="23"),
    "coded anew at a bit rate": lambda s: encode([s] * 160, bit_rate=300_000),
    "under a clock": lambda s: encode([with_clock(s, n) for n in range(160)], crf="23"),
    "repeated as it was coded": lambda s: (
        Capture(first.picture, n / FPS, n / FPS)
        for first in [next(encode([s]))]
        for n in range(160)
    ),
    "in single pictures": lambda s: as_jpeg([s] * 160),
    "in single pictures under a clock": lambda s: as_jpeg([with_clock(s, n) for n in range(160)]),
}


@pytest.mark.parametrize("kind", FROZEN)
def test_a_frozen_picture_is_found_in_twelve_seconds(still, kind):
    assert 10 <= find_freeze(FROZEN[kind](still)) <= 12.5


@pytest.mark.parametrize(
    ("noise", "brightness", "gop", "options"),
    [
        (1.5, 1, 20, {"crf": "23"}),
        (1.5, 1, 20, {"bit_rate": 100_000}),
        (0.7, 0.15, 20, {"crf": "28"}),
        (0.7, 0.15, 20, {"crf": "38"}),
        (0.7, 0.15, 150, {"crf": "38"}),  # frames only repeat the last key frame for 15 s
        (1.5, 0.15, 300, {"crf": "35"}),
    ],
)
def test_a_living_picture_is_never_frozen_however_coarsely_it_is_coded(
    still, noise, brightness, gop, options
):
    assert find_freeze(encode(living(still, 62, noise, brightness), gop, **options)) is None


@pytest.mark.parametrize("quality", [90, 40])
def test_living_single_pictures_are_never_frozen(still, quality):
    assert find_freeze(as_jpeg(living(still, 30, 0.7, 0.15), quality)) is None


def at_one_a_second(images, *, is_key):
    for n, image in enumerate(images):
        picture = RgbPicture(np.clip(image, 0, 255).astype(np.uint8))
        yield Capture(picture, n, n, key_frame=is_key(n))


def test_a_living_picture_is_never_frozen_where_frames_only_repeat_key_frames_75_s_apart(still):
    pictures = list(living(still, 1, 0.7, 0.15))
    repeated = (pictures[n // 75] for n in range(600))
    assert find_freeze(at_one_a_second(repeated, is_key=lambda n: n % 75 == 0)) is None


def test_a_frozen_picture_is_found_in_a_stream_without_key_frames(still):
    found_s = find_freeze(at_one_a_second([still] * 400, is_key=lambda n: False))
    assert found_s is not None
    assert 300 <= found_s <= 330


def test_a_living_stream_without_key_frames_is_never_frozen(still):
    alive = living(still, 40, 0.7, 0.15)
    assert find_freeze(at_one_a_second(alive, is_key=lambda n: False)) is None


def keys_after_two(captures):
    """Key frames alone, once two were seen."""
    keys = 0
    for capture in captures:
        keys += capture.key_frame
        if keys <= 2 or capture.key_frame:
            yield capture


def test_a_living_picture_of_which_only_key_frames_are_decoded_is_never_frozen(still):
    film = encode(living(still, 62, 0.7, 0.15), 100, crf="38")
    assert find_freeze(keys_after_two(film)) is None


def test_a_frozen_picture_is_found_in_key_frames_alone(still):
    assert 10 <= find_freeze(keys_after_two(encode([still] * 300, 50, crf="23"))) <= 25


def test_someone_who_walks_through_a_picture_without_noise_is_no_clock(still):
    def walk():
        for n in range(300):
            image = still.copy()
            x = 20 + n % 160
            image[90:150, x : x + 16] = 20 + n % 50
            yield image

    assert find_freeze(encode(walk(), crf="23")) is None


def test_a_picture_that_moves_again_is_no_longer_frozen(still):
    detector, states = FreezeDetector(10), []
    frames = [*[still] * 150, *living(still, 8, 2)]
    for capture in encode(frames, crf="23"):
        states.append(detector.is_frozen(capture))
    assert states[140]
    assert not states[-1]


# --- what shows nothing ---------------------------------------------------------------------------


def find_flaws(images):
    quality = PictureQuality()
    return [
        quality.find_flaw(Capture(RgbPicture(np.clip(image, 0, 255).astype(np.uint8)), n, n / FPS))
        for n, image in enumerate(images)
    ]


def plain(color, seconds=5, noise=2):
    rng = np.random.default_rng(0)
    for _ in range(seconds * FPS):
        yield np.full((90, 120, 3), color, np.float32) + rng.normal(0, noise, (90, 120, 1))


@pytest.mark.parametrize(
    ("color", "flaw"),
    [
        ((4, 4, 4), StatusReason.BLACK_PICTURE),
        ((250, 250, 250), StatusReason.OVEREXPOSED_PICTURE),
        ((0, 135, 0), StatusReason.UNIFORM_PICTURE),  # a decoder's zeros
        ((120, 90, 80), StatusReason.UNIFORM_PICTURE),  # a hand
    ],
)
def test_a_picture_that_shows_nothing_is_named_after_three_seconds(color, flaw):
    flaws = find_flaws(plain(color))
    assert flaws[-1] is flaw
    assert not any(flaws[: 3 * FPS])


def test_night_and_day_show_something(still):
    for brightness in (0.15, 1, 1.5):
        assert not any(find_flaws(living(still, 5, 2, brightness)))


def test_a_flash_is_not_told_and_a_flaw_is_over_after_two_seconds(still):
    dark, light = list(plain((3, 3, 3), 5)), [still] * 30
    assert not any(find_flaws([*light, *dark[:20], *light]))
    flaws = find_flaws([*dark, *light])
    assert flaws[len(dark) + 10] is StatusReason.BLACK_PICTURE
    assert flaws[-1] is None


# --- damage and flaps -----------------------------------------------------------------------------


def test_a_stream_of_which_two_thirds_are_damaged_is_told_and_one_lost_packet_is_not():
    picture = RgbPicture(np.zeros((8, 8, 3), np.uint8))

    def run(damaged_of):
        meter = DamageMeter()
        return [
            meter.is_damaged(Capture(picture, n / FPS, n / FPS, damaged=damaged_of(n)))
            for n in range(200)
        ]

    assert run(lambda n: int(n % 3 > 0))[-1]
    assert not any(run(lambda n: int(n == 50)))
    healed = run(lambda n: int(n < 80))
    assert healed[79]
    assert not healed[-1]


def test_one_damaged_key_frame_of_three_is_not_told_where_the_others_are_left_out():
    picture = RgbPicture(np.zeros((8, 8, 3), np.uint8))
    meter = DamageMeter()
    told = [
        meter.is_damaged(Capture(picture, 4 * n, 4 * n, damaged=int(n == 5), undecoded=39))
        for n in range(20)
    ]
    assert not any(told)


def test_what_ffmpeg_conceals_is_counted(still):
    damaged = truncate_slices(still, share=2 / 3)
    try:
        source = build(Options(path=str(damaged), every_frame=True))
        counts = []
        with source.connect(threading.Event()) as captures, contextlib.suppress(SourceError):
            for capture in captures:
                counts.append(capture.damaged)
    finally:
        damaged.unlink()
    assert 0.4 < sum(counts) / 60 < 0.9


def test_flaps_are_counted_until_a_connection_lasts():
    now_s = [0.0]
    flaps = FlapMeter(lambda: now_s[0])
    for _ in range(6):
        flaps.begin()
        now_s[0] += 2
        assert flaps.end()
    assert flaps.is_flapping()
    assert flaps.is_due()
    assert not flaps.is_due()
    assert flaps.describe() == "flaps: 6 connections in 1 minute"
    flaps.begin()
    now_s[0] += 31
    assert not flaps.is_flapping()
    assert not flaps.end()
