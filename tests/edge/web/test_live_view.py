"""The live view in a real browser: the camera's own video plays, and what is drawn on it belongs to
the very picture that is shown."""

import contextlib
import time

import cv2
import numpy as np
import pytest

from edge.web.live_ring import open_ring
from tests.support.browser import looking, needs_chromium
from tests.support.film_camera import FilmCamera, Scene, pick_latest
from tests.support.web_node import make_node, make_sight, serving

pytestmark = needs_chromium

BITS = 7
SIDE_PX = 40  # of a bit of the counter
STEP_PX = 4  # of the box, from a picture to the next
COUNT = 120
BOX_RGB = (255, 213, 74)


def make_counted_scene(number):
    """A picture with its number burnt in, and a box whose place says the number too."""
    rgb = np.full((360, 640, 3), 60, np.uint8)
    for bit in range(BITS):
        rgb[:SIDE_PX, bit * SIDE_PX : (bit + 1) * SIDE_PX] = 235 * (number >> bit & 1)
    left = STEP_PX * number
    rgb[120:320, left : left + 100] = 40, 90, 140
    return Scene(rgb, np.array([[left, 120, left + 100, 320]], np.float32))


def read_number(shot):
    """The number in a picture as it is shown."""
    side = SIDE_PX * shot.shape[1] / 640
    row = int(side / 2)
    bits = [shot[row, int((bit + 0.5) * side)].mean() > 120 for bit in range(BITS)]
    return sum(bit << place for place, bit in enumerate(bits))


def read_box(shot):
    """The left edge of the box that is drawn, in pixels of the camera; None without one."""
    height, width = shot.shape[:2]
    row = shot[int(height * 0.75)].astype(int)
    columns = np.flatnonzero((np.abs(row - BOX_RGB) < 60).all(1))
    return columns[0] * 640 / width if len(columns) else None


def take_picture(page):
    """The stage as it is seen, RGB."""
    png = page.locator(".stage").screenshot()
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


@contextlib.contextmanager
def filming(*cameras, **settings):
    """A node that shows what film cameras play."""
    rings = {camera.name: camera.ring for camera in cameras}
    node = make_node(
        open_live=lambda name: open_ring(rings[name]),
        get_latest=pick_latest(cameras),
        list_cameras=lambda: [make_sight(camera.name, **settings) for camera in cameras],
    )
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(serving(node))
        for camera in cameras:
            stack.enter_context(camera.playing())
        yield f"http://127.0.0.1:{served.port}/#/live/{cameras[0].name}"


def wait_for_video(seen):
    seen.wait_until("document.querySelector('video')?.currentTime > 0.5")


@pytest.mark.parametrize("look", [1, 3], ids=["every picture", "every third picture"])
def test_a_box_is_drawn_on_the_picture_that_it_was_found_in(browser, look):
    camera = FilmCamera("door", [make_counted_scene(n) for n in range(COUNT)], look=look)
    with filming(camera) as address, looking(browser, address) as seen:
        wait_for_video(seen)
        numbers, distances = [], []
        deadline_s = time.monotonic() + 60
        while len(numbers) < 12 and time.monotonic() < deadline_s:
            shot = take_picture(seen.page)
            number, left = read_number(shot), read_box(shot)
            if left is None or not 2 * look < number < COUNT - 2 * look:
                continue  # where the film begins again, the box jumps
            numbers.append(number)
            distances.append(left - STEP_PX * number)
    assert len(numbers) == 12
    assert len(set(numbers)) > 4
    assert np.abs(distances).max() <= STEP_PX + 2, distances  # one picture, and the line's width


def test_the_video_of_a_camera_plays_and_says_when_its_picture_was_taken(browser):
    camera = FilmCamera("door", [make_counted_scene(n) for n in range(COUNT)])
    with filming(camera) as address, looking(browser, address) as seen:
        wait_for_video(seen)
        before = seen.page.evaluate("document.querySelector('video').currentTime")
        seen.wait_until(f"document.querySelector('video').currentTime > {before + 2}")
        captured_s = float(seen.page.locator(".stage").get_attribute("data-captured"))
        assert abs(captured_s - camera.newest_s) < 60
        assert seen.page.evaluate("document.querySelector('video').videoWidth") == 640
        assert seen.complaints == []


def test_a_stream_that_changes_its_size_plays_on_in_its_new_shape(browser):
    wide = FilmCamera("door", [make_counted_scene(n) for n in range(30)])
    tall = FilmCamera("door", [Scene(s.rgb[:, :480], s.xyxy) for s in wide.scenes], ring=wide.ring)
    with filming(wide) as address, looking(browser, address) as seen:
        wait_for_video(seen)
        wide.stop()
        with tall.playing():
            seen.wait_until("document.querySelector('video')?.videoWidth === 480")
            before = seen.page.evaluate("document.querySelector('video').currentTime")
            seen.wait_until(f"document.querySelector('video').currentTime > {before} + 1")
            box = seen.page.locator(".stage").bounding_box()
            assert box["width"] / box["height"] == pytest.approx(480 / 360, rel=0.02)


def test_a_browser_that_does_not_play_the_codec_shows_pictures(browser):
    camera = FilmCamera("door", [make_counted_scene(n) for n in range(30)])
    script = "MediaSource.isTypeSupported = () => false"
    with filming(camera) as address, looking(browser, address, script) as seen:
        seen.wait_until("document.querySelector('.stage img')?.naturalWidth > 0")
        assert seen.page.locator(".stage video").count() == 0


def test_a_browser_without_media_source_shows_pictures(browser):
    camera = FilmCamera("door", [make_counted_scene(n) for n in range(30)])
    script = "delete globalThis.MediaSource"
    with filming(camera) as address, looking(browser, address, script) as seen:
        seen.wait_until("document.querySelector('.stage img')?.naturalWidth > 0")
        assert seen.sockets == []


def test_video_that_nothing_could_be_hidden_in_is_not_asked_for(browser):
    camera = FilmCamera("door", [make_counted_scene(n) for n in range(30)])
    with filming(camera, hide=["person"]) as address, looking(browser, address) as seen:
        seen.wait_until("document.querySelector('.stage img')?.naturalWidth > 0")
        seen.page.get_by_text("unrecognizable").wait_for()
        assert seen.sockets == []
