"""The page in a real browser: nothing from elsewhere, nothing that its policy refuses, little to
load, and no name that becomes markup."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge.event import EventChange, KnownPerson
from edge.recording.records import EventRecord, FileKind
from edge.web.changes import ChangeFeed
from edge.web.ports import Explained
from edge.web.schema import Role
from edge.web.sessions import write_invitation
from edge.web.users import Users, read_users, write_users
from tests.support.browser import looking, needs_chromium
from tests.support.videos import write_video
from tests.support.web_node import (
    make_archive,
    make_event,
    make_latest,
    make_node,
    make_sight,
    serving,
    store,
)

FIRST_PAGE_BYTES = 150_000
EVE = KnownPerson("p2", "<img src=x onerror=document.title='owned'>")

pytestmark = needs_chromium


def keep(folder):
    archive = make_archive(folder)
    event = make_event(1, people=(EVE,))
    archive.index.put_event(event)
    jpeg = cv2.imencode(".jpg", np.full((90, 160, 3), 99, np.uint8))[1].tobytes()
    store(archive, event, FileKind.THUMBNAIL, jpeg)
    return archive


class Nobody:
    """A gallery without people."""

    def list_people(self):
        return []


def test_cameras_and_events_are_shown_and_what_happens_appears(browser, tmp_path):
    feed = ChangeFeed()
    node = make_node(archive=keep(tmp_path), get_latest=make_latest, changes=feed, people=Nobody(),
                     list_cameras=lambda: [make_sight("door"), make_sight("yard")])  # fmt: skip
    with serving(node) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, address) as seen:
            seen.page.get_by_text("yard").first.wait_for()
            seen.page.get_by_role("img").first.wait_for()
            loaded = [each for each in seen.answers if "/api/" not in each.url]
            assert sum(len(each.body()) for each in loaded) <= FIRST_PAGE_BYTES
            seen.page.goto(f"{address}#/events")
            seen.page.get_by_text(EVE.name).first.wait_for()
            feed.add_event(
                EventChange.BEGUN, EventRecord(make_event(2, triggers=("crossed:gate",)))
            )
            seen.page.get_by_text("crossed gate").first.wait_for()
            assert all(each.url.startswith((address, "data:")) for each in seen.answers)
            assert "owned" not in seen.page.evaluate("document.title")
            assert seen.complaints == []


def test_an_event_is_protected_and_deleted_and_other_pages_hear_of_it(browser, tmp_path):
    feed, archive = ChangeFeed(), keep(tmp_path)
    archive.index.put_event(make_event(2, triggers=("crossed:gate",)))
    node = make_node(archive=archive, changes=feed, get_latest=make_latest)
    with serving(node) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, f"{address}#/events") as other, looking(browser, address) as seen:
            other.page.get_by_text("crossed gate").first.wait_for()
            seen.page.goto(f"{address}#/events/e00002")
            seen.page.get_by_role("button", name="Protect", exact=True).click()
            seen.page.get_by_role("button", name="Unprotect").wait_for()
            other.page.locator("[data-event=e00002]").get_by_text("protected").wait_for()
            assert not seen.page.get_by_role("button", name="Delete").is_visible()
            seen.page.get_by_role("button", name="Unprotect").click()
            seen.page.on("dialog", lambda dialog: dialog.accept())
            seen.page.get_by_role("button", name="Delete").click()
            other.page.locator("[data-event=e00002]").wait_for(state="detached")
            assert other.page.locator("[data-event=e00001]").is_visible()
            for late in (2, 3):  # of the one that is deleted nothing is shown any more
                feed.add_event(EventChange.ENDED, EventRecord(make_event(late)))
            other.page.locator("[data-event=e00003]").wait_for()
            assert other.page.locator("[data-event=e00002]").count() == 0
            seen.page.get_by_text("The event is deleted").wait_for()
            seen.page.locator("[data-event=e00001]").wait_for()
            assert seen.complaints == other.complaints == []
            assert archive.index.list_doomed() == ["e00002"]


def test_a_problem_is_not_told_any_longer_than_it_holds(browser, tmp_path):
    node = make_node(archive=keep(tmp_path), get_latest=make_latest)
    refusal = {"status": 409, "json": {"detail": "the disk is full"}}
    with serving(node) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, f"{address}#/events/e00001") as seen:
            notice = seen.page.locator("#notice")
            protect = seen.page.get_by_role("button", name="Protect", exact=True)
            seen.page.route("**/protected", lambda route: route.fulfill(**refusal))
            protect.click()
            notice.get_by_text("the disk is full").wait_for()
            seen.page.goto(f"{address}#/health")
            notice.wait_for(state="hidden")
            seen.page.goto(f"{address}#/events/e00001")
            protect.click()
            notice.get_by_text("the disk is full").wait_for()
            seen.page.unroute("**/protected")
            protect.click()
            seen.page.get_by_role("button", name="Unprotect").wait_for()
            assert not notice.is_visible()


def test_an_event_that_goes_on_without_a_picture_asks_for_no_setting(browser, tmp_path):
    archive = make_archive(tmp_path)
    archive.index.put_event(make_event(1, ended_s=None))
    archive.index.put_event(make_event(2))
    with serving(make_node(archive=archive, get_latest=make_latest)) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, f"{address}#/events/e00001") as seen:
            seen.page.get_by_text("This event is still going on").wait_for()
            assert not seen.page.get_by_text("storage.folder").is_visible()
            seen.page.goto(f"{address}#/events/e00002")
            seen.page.get_by_text("storage.folder").wait_for()


@pytest.mark.parametrize("hide", [(), ("face", "person")])
def test_a_clip_of_a_camera_that_hides_says_that_nothing_is_hidden_in_it(browser, tmp_path, hide):
    archive = make_archive(tmp_path)
    event = make_event(1)
    archive.index.put_event(event)
    store(archive, event, FileKind.CLIP, write_video(tmp_path / "a.mp4").read_bytes())
    node = make_node(
        archive=archive, get_latest=make_latest, list_cameras=lambda: [make_sight(hide=hide)]
    )
    with (
        serving(node) as served,
        looking(browser, f"http://127.0.0.1:{served.port}/#/events/e00001") as seen,
    ):
        seen.page.locator("video").wait_for()
        told = seen.page.get_by_text("no face or person is hidden in it")
        if hide:
            told.wait_for()
        assert told.is_visible() is bool(hide)


def test_who_has_no_session_logs_in_and_a_one_time_address_does(browser, tmp_path):
    file = tmp_path / "users.toml"
    write_users(file, Users().put_user("ada", Role.ADMIN, "long enough"))
    node = make_node(get_latest=make_latest, archive=make_archive(tmp_path))
    with serving(node, users_file=str(file)) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, address) as seen:
            seen.page.get_by_label("Name").fill("ada")
            seen.page.get_by_label("Password").fill("long enough")
            seen.page.get_by_role("button", name="Log in").click()
            seen.page.get_by_text("door").first.wait_for()
            (cookie,) = seen.page.context.cookies()
            assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
            assert seen.page.evaluate("document.cookie") == ""
        token = write_invitation(read_users(file).key, Role.VIEWER)
        with looking(browser, f"{address}#token={token}") as seen:
            seen.page.get_by_text("door").first.wait_for()
            assert "token" not in seen.page.url


def test_what_classifiers_have_decided_is_shown_and_changes(browser):
    gate = {"name": "gate", "polygon": [[0, 0], [0.5, 0], [0.5, 1]], "model": "gate.onnx"}
    seen, sight = [make_latest(seq=1)], replace(make_sight("door", states=[gate]), live=False)
    node = make_node(list_cameras=lambda: [sight], get_latest=lambda _: seen[-1])
    with serving(node) as served:
        address = f"http://127.0.0.1:{served.port}/#/live/door"
        with looking(browser, address) as view:
            text = "document.querySelector('.camera')?.textContent.includes"
            view.wait_until(f"{text}('gate: undecided')")
            seen.append(replace(make_latest(seq=2), states={"gate": "open"}))
            view.wait_until(f"{text}('gate: open')")
            seen.append(replace(make_latest(seq=3), states={"gate": "shut"}))
            view.wait_until(f"{text}('gate: shut')")
            assert view.complaints == []


def test_why_shows_what_the_detector_went_by(browser, tmp_path):
    archive, event = keep(tmp_path), make_event(2)
    archive.index.put_event(event)
    jpeg = cv2.imencode(".jpg", np.full((360, 640, 3), 99, np.uint8))[1].tobytes()
    store(archive, event, FileKind.SNAPSHOT, jpeg)
    node = make_node(
        archive=archive,
        explain=lambda picture, label, at: Explained(jpeg, label, 0.83, 0.4, 0.2, 4, 9),
    )
    with serving(node) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, f"{address}#/events/e00002") as seen:
            seen.page.get_by_role("button", name="Why?").click()
            seen.page.get_by_text("person has a score of 83 %").wait_for()
            text = seen.page.locator(".reasons").inner_text()
            for said in (
                "up to 40 points",
                "20 % of the loss",
                "what stands around",
                "4 of 9 parts",
            ):
                assert said in text
            seen.wait_until("document.querySelector('.reasons img').naturalWidth === 640")
            assert seen.complaints == []
            seen.page.goto(f"{address}#/events/e00001")  # of which no picture is kept
            seen.page.get_by_text("e00001", exact=True).wait_for()
            assert not seen.page.get_by_role("button", name="Why?").is_visible()
