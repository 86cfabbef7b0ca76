"""The page of a whole daemon, in a real browser: what is detected in a camera's stream is drawn on
that stream, kept as a clip, and asked for by zones that are drawn."""

import cv2
import numpy as np
import pytest

from edge.client import Subscriber
from tests.support.browser import looking, needs_chromium
from tests.support.page_daemon import (
    BIT_PX,
    BITS,
    STEP_PX,
    draw_zone,
    find_left,
    wait_for_zone,
    watching_somebody,
)

pytestmark = [needs_chromium, pytest.mark.slow]

BOX_BGR = (74, 213, 255)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with watching_somebody(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


def read_shot(page):
    """The number in the picture that is shown, and the middle of the box that is drawn, in pixels
    of the camera; None without one."""
    png = page.locator(".stage").screenshot()
    shot = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    scale = shot.shape[1] / 640
    bits = [
        shot[int(BIT_PX * scale / 2), int((bit + 0.5) * BIT_PX * scale)].mean() > 120
        for bit in range(BITS)
    ]
    number = sum(bit << place for place, bit in enumerate(bits))
    rows = shot[int(shot.shape[0] * 0.6) : int(shot.shape[0] * 0.8)].astype(int)
    columns = np.flatnonzero((np.abs(rows - BOX_BGR) < 50).all(2).mean(0) > 0.8)
    return number, (columns[0] + columns[-1]) / 2 / scale if len(columns) > 1 else None


def test_a_box_is_drawn_on_the_picture_that_it_was_found_in(browser, daemon):
    with looking(browser, f"{daemon.address}#/live/hall") as seen:
        seen.wait_until("document.querySelector('.stage')?.dataset.objects", 40)
        forth, back = [], []
        for _ in range(400):
            number, middle = read_shot(seen.page)
            if middle is not None and 3 <= number <= 27:
                forth.append(middle - find_left(number))
            elif middle is not None and 33 <= number <= 57:
                back.append(middle - find_left(number))
            if min(len(forth), len(back)) >= 12:
                break
        assert min(len(forth), len(back)) >= 12
        # a box that is one picture late lies behind by a step, on the way there and back
        late_px = (np.median(back) - np.median(forth)) / 2
        assert abs(late_px) <= STEP_PX, (forth, back)
        assert seen.complaints == []


def test_the_clip_of_an_event_plays_and_can_be_sought(browser, daemon):
    with looking(browser, f"{daemon.address}#/events") as seen:
        seen.page.locator("[data-event] a").first.wait_for(timeout=60_000)
        seen.page.locator("[data-event]").filter(has_text="clip").first.click(timeout=90_000)
        length_s = seen.wait_until("document.querySelector('video')?.duration || 0")
        assert length_s > 1
        seen.page.evaluate("document.querySelector('video').play()")
        seen.wait_until("document.querySelector('video').currentTime > 0.5")
        seen.page.evaluate(f"document.querySelector('video').currentTime = {length_s / 2}")
        seen.wait_until("!document.querySelector('video').seeking")


def test_a_zone_that_is_drawn_and_saved_is_named_by_messages(browser, daemon):
    with (
        Subscriber(daemon.endpoint, topics=["v1/detections/"]) as subscriber,
        looking(browser, f"{daemon.address}#/places/hall") as seen,
    ):
        draw_zone(seen.page, "bench")
        seen.page.get_by_role("button", name="Save").click()
        seen.page.get_by_text("Saved").wait_for()
        assert seen.page.locator("pre.answer").inner_text() == ""  # what differed is written now
        assert wait_for_zone(subscriber, "bench", 40)


def test_what_waits_for_a_restart_is_shown_when_it_is_saved(browser, daemon):
    with looking(browser, f"{daemon.address}#/health") as seen:
        seen.page.get_by_text("Configuration", exact=True).click()
        editor = seen.page.get_by_label("Configuration (TOML)")
        seen.wait_until("document.querySelector('textarea').value")
        editor.fill(editor.input_value().replace('folder = "kept"', 'folder = "elsewhere"'))
        seen.page.get_by_role("button", name="Save").click()
        seen.page.get_by_text(
            "What changed in storage cannot change while the node runs"
        ).wait_for()
        seen.page.get_by_text("Saved. A restart of the node is needed.").wait_for()
        assert seen.complaints == []


def test_health_shows_how_the_cameras_of_a_node_do(browser, daemon):
    with looking(browser, f"{daemon.address}#/health") as seen:
        seen.page.get_by_text("at most").first.wait_for()
        health = seen.page.evaluate("fetch('/api/v1/health').then((answer) => answer.json())")
        assert seen.complaints == []
    for camera in health["cameras"]:
        assert camera["looked"] > 0
        assert 0 < camera["age_s"] <= camera["max_age_s"]
        assert camera["damaged"] == camera["reconnects"] == 0
    assert health["figures"]["disk_free_bytes"] > 0
    assert health["figures"]["stored_protected_bytes"] == 0
