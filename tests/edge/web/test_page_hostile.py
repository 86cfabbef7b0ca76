"""The page when things go wrong: events that vanish, a node that is away, names that mean harm,
pages of others, and much of everything."""

import contextlib

import pytest

from edge.event import KnownPerson
from edge.recording.records import FileKind
from edge.web.live_ring import open_ring
from edge.web.ports import EnrolledPerson
from edge.web.schema import Role
from edge.web.users import Users, write_users
from tests.support.browser import looking, needs_chromium
from tests.support.drawn_scenes import draw_door
from tests.support.file_server import FileServer
from tests.support.film_camera import FilmCamera
from tests.support.shown_node import ADA, store_clip
from tests.support.web_node import (
    make_archive,
    make_event,
    make_latest,
    make_node,
    make_sight,
    serving,
    store,
)

pytestmark = needs_chromium

EVIL = "<img src=x onerror=\"document.title='owned'\">"
PASSWORD = "long enough"


class Gallery:
    """One person, whose name is markup, and who was enrolled since."""

    def __init__(self):
        self.enrolled = []

    def enroll_event(self, name, event_id, until):
        self.enrolled.append(name)
        return self.list_people()[0]

    def list_people(self):
        return [EnrolledPerson("p1", EVIL, 1, 1000.0, "", "active")]


@contextlib.contextmanager
def opening(browser, node, path="", **options):
    """Serve a node and look at it."""
    with serving(node, **options) as served:
        address = f"http://127.0.0.1:{served.port}/{path}"
        with looking(browser, address) as seen:
            yield seen


def log_in(page, name, password=PASSWORD):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def users_file(tmp_path):
    users = Users()
    for role in Role:
        users = users.put_user(str(role), role, PASSWORD)
    write_users(tmp_path / "users.toml", users)
    return str(tmp_path / "users.toml")


@pytest.fixture(scope="module")
def film():
    return FilmCamera("door", [draw_door(number, 50) for number in range(50)])


def test_a_name_that_is_markup_stays_text_wherever_it_is_shown(browser, tmp_path):
    archive = make_archive(tmp_path)
    archive.index.put_event(make_event(1, people=(KnownPerson("p1", EVIL),)))
    sights = [make_sight("door", zones=[{"name": "a-b", "polygon": [[0, 0], [1, 0], [1, 1]]}])]
    node = make_node(archive=archive, people=Gallery(), list_cameras=lambda: sights,
                     get_latest=make_latest)  # fmt: skip
    with serving(node) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, address) as seen:
            for view in ("events", "events/e00001", "people"):
                seen.page.goto(f"{address}#/{view}")
                seen.page.get_by_text(EVIL).locator("visible=true").first.wait_for()
                assert seen.page.locator("img[onerror], img[src=x]").count() == 0
            assert "owned" not in seen.page.title()
            assert seen.complaints == []


def test_a_camera_with_the_longest_name_is_shown_and_filtered_by(browser, tmp_path):
    name = "-_" + 62 * "W"
    archive = make_archive(tmp_path)
    archive.index.put_event(make_event(1, camera=name))
    archive.index.put_event(make_event(2, camera="other", triggers=("crossed:gate",)))
    node = make_node(archive=archive, get_latest=make_latest,
                     list_cameras=lambda: [make_sight(name)])  # fmt: skip
    with serving(node) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, address, viewport={"width": 390, "height": 800}) as seen:
            seen.page.locator(".tile").click()
            seen.page.get_by_role("heading", name=name).wait_for()
            seen.wait_until("document.querySelector('.stage img, .stage video')")
            seen.page.get_by_role("link", name="Events").last.click()
            seen.page.get_by_text("entered entrance").first.wait_for()
            assert seen.page.get_by_text("crossed gate").count() == 0
            assert seen.page.get_by_label("Camera").input_value() == name
            for view in ("", "#/events", "#/health", f"#/live/{name}", f"#/places/{name}"):
                seen.page.goto(address + view)
                seen.page.get_by_text(name).first.wait_for(state="attached")
                assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390, view


def test_an_event_that_is_gone_says_so(browser, tmp_path):
    with opening(browser, make_node(archive=make_archive(tmp_path)), "#/events/e00001") as seen:
        seen.page.get_by_text("This event is gone").wait_for()
        seen.page.get_by_role("link", name="All events").click()
        seen.page.get_by_text("Nothing has happened yet").wait_for()


def test_an_event_whose_clip_vanishes_while_it_is_open_says_so(browser, tmp_path, film):
    archive = make_archive(tmp_path)
    event = make_event(1)
    archive.index.put_event(event)
    store_clip(archive, event, film)
    with opening(browser, make_node(archive=archive), "#/events/e00001") as seen:
        seen.wait_until("document.querySelector('video')?.readyState > 0")
        archive.index.delete_files([f"events/1970-01-01/{event.event_id}.mp4"])
        archive.index.delete_event(event.event_id)
        seen.page.evaluate("document.querySelector('video').src += '?again'")
        seen.page.get_by_text("This event is gone").wait_for()


def test_the_clip_of_an_event_plays_and_can_be_sought(browser, tmp_path, film):
    archive = make_archive(tmp_path)
    event = make_event(1)
    archive.index.put_event(event)
    store_clip(archive, event, film)
    with opening(browser, make_node(archive=archive), "#/events/e00001") as seen:
        assert seen.wait_until("document.querySelector('video')?.duration || 0") == pytest.approx(
            5.0, abs=0.2
        )
        seen.page.evaluate("document.querySelector('video').play()")
        seen.wait_until("document.querySelector('video').currentTime > 0.5")
        seen.page.evaluate(
            "Object.assign(document.querySelector('video'), {currentTime: 4}).pause()"
        )
        seen.wait_until("!document.querySelector('video').seeking")
        assert seen.page.evaluate("document.querySelector('video').currentTime") == pytest.approx(
            4, abs=0.1
        )
        assert seen.complaints == []


def test_a_clip_that_the_browser_cannot_play_is_offered_to_keep(browser, tmp_path):
    archive = make_archive(tmp_path)
    event = make_event(1)
    archive.index.put_event(event)
    store(archive, event, FileKind.CLIP, b"this is no video")
    with opening(browser, make_node(archive=archive), "#/events/e00001") as seen:
        seen.page.get_by_text("This cannot be played here").wait_for()
        assert seen.page.get_by_text("Download the clip").is_visible()


def test_a_viewer_sees_neither_people_nor_names(browser, tmp_path, users_file):
    archive = make_archive(tmp_path)
    archive.index.put_event(make_event(1, people=(ADA,)))
    node = make_node(archive=archive, people=Gallery(), get_latest=make_latest)
    with serving(node, users_file=users_file) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, address) as seen:
            log_in(seen.page, "viewer")
            seen.page.get_by_text("door").first.wait_for()
            assert not seen.page.get_by_role("link", name="People").is_visible()
            seen.page.goto(f"{address}#/events")
            seen.page.get_by_text("known person").first.wait_for()
            assert seen.page.get_by_label("Person").count() == 0
            seen.page.goto(f"{address}#/events/e00001")
            seen.page.get_by_text("Severity").first.wait_for()
            assert ADA.name not in seen.page.content()
            assert seen.page.get_by_text("Who it is").count() == 0
            seen.page.goto(f"{address}#/people")
            seen.page.get_by_text("This cannot be shown").wait_for()
            seen.page.get_by_text("You may not see people").wait_for()
            seen.page.goto(f"{address}#/health")
            seen.page.get_by_role("heading", name="Health").wait_for()
            assert seen.page.get_by_text("Configuration").count() == 0


def test_an_enroller_sees_people_and_an_admin_the_configuration(browser, tmp_path, users_file):
    node = make_node(people=Gallery(), get_latest=make_latest)
    with serving(node, users_file=users_file) as served:
        address = f"http://127.0.0.1:{served.port}/"
        for role, has_configuration in (("enroller", False), ("admin", True)):
            with looking(browser, address) as seen:
                log_in(seen.page, role)
                seen.page.get_by_role("link", name="People").click()
                seen.page.get_by_text("Enroll somebody").wait_for()
                seen.page.get_by_role("link", name="Health").click()
                seen.page.get_by_role("heading", name="Health").wait_for()
                assert bool(seen.page.get_by_text("Configuration").count()) is has_configuration


def test_a_wrong_password_is_told_and_the_right_one_still_works(browser, users_file):
    with opening(browser, make_node(get_latest=make_latest), users_file=users_file) as seen:
        log_in(seen.page, "viewer", "wrong indeed")
        seen.page.get_by_text("name or the password is wrong").wait_for()
        assert not seen.page.get_by_role("link", name="Live").is_visible()
        log_in(seen.page, "viewer")
        seen.page.get_by_text("door").first.wait_for()
        assert not seen.page.locator("#notice").is_visible()
        seen.page.get_by_role("button", name="Log out").click()
        seen.page.get_by_label("Password").wait_for()


ATTACK = """async (address) => {
  const send = (path, how) =>
    fetch(address + "api/v1" + path, {credentials: "include", ...how}).catch(() => {});
  const headers = {"content-type": "application/json"};
  const person = '{"event": "e00001", "name": "Eve", "consent": true, "until": null}';
  await send("/people/event", {method: "POST", mode: "no-cors", body: person});
  await send("/people/event", {method: "POST", headers, body: person});
  await send("/events/e00001/seen", {method: "PUT", headers, body: '{"seen": true}'});
  await send("/session", {method: "DELETE"});
}"""


def test_the_page_of_another_can_do_nothing_with_a_session_that_is_open(
    browser, tmp_path, users_file
):
    archive, gallery = make_archive(tmp_path), Gallery()
    archive.index.put_event(make_event(1))
    node = make_node(archive=archive, people=gallery, get_latest=make_latest)
    with serving(node, users_file=users_file) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, address) as seen, FileServer(b"kittens").running() as kittens:
            log_in(seen.page, "admin")
            seen.page.get_by_text("door").first.wait_for()
            other, tried = seen.page.context.new_page(), []
            other.goto(kittens.url)  # the same site to cookies, and another origin
            other.on("request", lambda request: tried.append(request.method))
            other.evaluate(ATTACK, address)
            assert tried.count("POST") >= 1
            assert gallery.enrolled == []
            assert not archive.index.get_event("e00001").seen
            seen.page.reload()
            seen.page.get_by_text("door").first.wait_for()  # the session is still open
            assert seen.page.evaluate(ATTACK, address) is None  # the same from our own page
            assert gallery.enrolled == ["Eve"]


def test_the_page_recovers_when_the_node_was_away(browser, tmp_path):
    camera = FilmCamera("door", [draw_door(number, 50) for number in range(50)])
    sights = [make_sight("door")]

    def make_shown():
        return make_node(
            list_cameras=lambda: sights,
            get_latest=lambda name: camera.get_latest(),
            open_live=lambda name: open_ring(camera.ring),
            archive=make_archive(tmp_path),
        )

    with contextlib.ExitStack() as stack:
        stack.enter_context(camera.playing())
        with serving(make_shown()) as served:
            address = f"http://127.0.0.1:{served.port}/#/live/door"
            seen = stack.enter_context(looking(browser, address))
            seen.wait_until("document.querySelector('video')?.currentTime > 0.5")
        seen.page.get_by_text("does not answer").wait_for()
        with serving(make_shown(), port=served.port):
            seen.wait_until("document.querySelector('#notice').hidden", 40)
            seen.page.evaluate("document.querySelector('.stage').dataset.captured = ''")
            seen.wait_until("document.querySelector('.stage').dataset.captured", 40)


def test_the_login_is_shown_when_the_session_is_gone(browser, users_file, tmp_path):
    node = make_node(get_latest=make_latest)
    with opening(browser, node, users_file=users_file) as seen:
        log_in(seen.page, "viewer")
        seen.page.get_by_text("door").first.wait_for()
        seen.page.context.clear_cookies()
        seen.page.get_by_role("link", name="Health").click()
        seen.page.get_by_label("Password").wait_for()


def test_ten_thousand_events_are_listed_a_page_at_a_time(browser, tmp_path):
    archive = make_archive(tmp_path)
    for number in range(10_000):
        archive.index.put_event(make_event(number))
    with opening(browser, make_node(archive=archive), "#/events") as seen:
        seen.page.get_by_role("button", name="Earlier").wait_for()
        assert seen.page.locator("[data-event]").count() == 50
        assert seen.page.locator(".mark").count() == 500
        seen.page.get_by_role("button", name="Earlier").click()
        seen.wait_until("document.querySelectorAll('[data-event]').length === 100")
