import cv2
import numpy as np
import pytest

from edge.types import Frame, RgbPicture, YuvPicture
from edge.vision.thumbnail import JpegSampler


def frame(at_s=0.0, width=640, height=480, rgb=(200, 30, 10)):
    picture = RgbPicture(np.full((height, width, 3), rgb, np.uint8))
    return Frame("door", 1, 0, 0.0, at_s, picture)


def opened(jpeg):
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    ("source_wh", "max_px", "want_wh"),
    [
        ((640, 480), 320, (320, 240)),
        ((480, 640), 320, (240, 320)),
        ((640, 480), 4096, (640, 480)),  # never enlarged
        ((4000, 2), 16, (16, 1)),  # never empty
    ],
)
def test_the_longest_side_is_bounded(source_wh, max_px, want_wh):
    picture = opened(JpegSampler(1, max_px).sample(frame(0, *source_wh)))
    assert (picture.shape[1], picture.shape[0]) == want_wh


def test_colors_stay_what_they_are():
    picture = opened(JpegSampler(1).sample(frame(rgb=(200, 30, 10))))
    assert np.abs(picture.mean((0, 1)) - (200, 30, 10)).max() < 4


def test_a_picture_as_the_codec_left_it_will_do():
    planes = [np.full(shape, 128, np.uint8) for shape in ((480, 640), (240, 320), (240, 320))]
    turned = Frame("door", 1, 0, 0.0, 0.0, YuvPicture(*planes, True, True, 1))
    assert opened(JpegSampler(1, 320).sample(turned)).shape == (320, 240, 3)


def test_lower_quality_is_smaller():
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    noisy = Frame("door", 1, 0, 0.0, 0.0, RgbPicture(noise))
    small, large = (len(JpegSampler(1, 320, quality).sample(noisy)) for quality in (20, 95))
    assert small < large / 2


@pytest.mark.parametrize(
    ("fps", "rate_hz", "want"),
    [
        (10, 2, 20),
        (10, 3, 30),  # no divisor of the frame rate, kept on average
        (1, 5, 10),  # frames are scarcer than the rate
        (30, 0, 0),
    ],
)
def test_the_rate_is_kept(fps, rate_hz, want):
    sampler = JpegSampler(rate_hz, max_px=16)
    made = [sampler.sample(frame(n / fps, 64, 48)) for n in range(10 * fps)]
    assert abs(sum(jpeg is not None for jpeg in made) - want) <= 1


def test_a_pause_is_not_made_up_for():
    sampler = JpegSampler(2, max_px=16)
    times = [0, 100, 100.1, 100.2, 100.3]
    made = [sampler.sample(frame(at_s, 64, 48)) is not None for at_s in times]
    assert made == [True, True, False, False, False]
