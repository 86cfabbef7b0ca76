"""The page for who uses no mouse, or has it read out."""

import pytest

from edge.web.schema import Role
from edge.web.users import Users, write_users
from tests.support.axe import find_faults
from tests.support.browser import looking, needs_chromium
from tests.support.shown_node import showing
from tests.support.web_node import make_archive, make_node, serving

pytestmark = needs_chromium

VIEWS = {
    "live": "Garage",
    "live/door": "Boxes and zones",
    "live/garage": "No picture",
    "live/yard": "recorded, ",
    "events": "crossed gate",
    "events/2k0006": "Download the clip",
    "people": "Enroll somebody",
    "health": "Processor load",
    "places/door": "Zone entrance",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with showing(tmp_path_factory.mktemp("shown")) as served:
        yield f"http://127.0.0.1:{served.port}/"


def show(seen, address, view):
    seen.page.goto(f"{address}#/{view}")
    seen.page.get_by_text(VIEWS[view]).first.wait_for()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_fault(browser, address, scheme, width):
    size = {"width": width, "height": 900}
    with looking(browser, address, color_scheme=scheme, viewport=size) as seen:
        for view in VIEWS:
            show(seen, address, view)
            if view == "places/door":
                seen.page.get_by_role("button", name="Zone entrance", exact=True).click()
            assert find_faults(seen.page) == [], view


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_empty_views_have_no_serious_fault(browser, tmp_path, scheme):
    node = make_node(archive=make_archive(tmp_path), list_cameras=list)
    views = {"live": "No camera", "events": "Nothing has", "people": "Nobody", "events/x": "gone"}
    with serving(node) as served:
        empty = f"http://127.0.0.1:{served.port}/"
        with looking(browser, empty, color_scheme=scheme) as seen:
            for view, words in views.items():
                seen.page.goto(f"{empty}#/{view}")
                seen.page.get_by_text(words).first.wait_for()
                assert find_faults(seen.page) == [], view


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_login_has_no_serious_fault(browser, tmp_path, scheme):
    users = tmp_path / "users.toml"
    write_users(users, Users().put_user("ada", Role.ADMIN, "long enough"))
    with (
        serving(make_node(), users_file=str(users)) as served,
        looking(browser, f"http://127.0.0.1:{served.port}/", color_scheme=scheme) as seen,
    ):
        seen.page.get_by_label("Name").fill("ada")
        seen.page.get_by_label("Password").fill("not long enough")
        seen.page.get_by_role("button", name="Log in").click()
        seen.page.get_by_text("wrong").first.wait_for()
        assert find_faults(seen.page) == []


def press_tab(page):
    """What has the focus after the next Tab, as it is read out."""
    page.keyboard.press("Tab")
    return page.evaluate("""() => { const at = document.activeElement;
      return at.getAttribute("aria-label") || at.labels?.[0]?.textContent || at.textContent; }""")


def test_tab_reaches_everything_and_begins_with_a_way_past_the_places(browser, address):
    with looking(browser, address) as seen:
        seen.page.get_by_text("Garage").first.wait_for()
        first = [press_tab(seen.page) for _ in range(6)]
        assert first[:5] == ["Skip to content", "Live", "Events", "People", "Health"]
        assert "door" in first[5]
        seen.page.keyboard.press("Enter")
        seen.page.get_by_text("Boxes and zones").wait_for()
        stops = [press_tab(seen.page) for _ in range(5)]
        assert stops == [
            "All cameras",
            "Boxes and zones",
            "Events",
            "Zones and lines",
            "Full screen",
        ]


def test_the_skip_link_goes_to_what_is_shown_and_stays_there(browser, address):
    with looking(browser, address + "#/health") as seen:
        seen.page.get_by_text("Processor load").wait_for()
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("document.activeElement.id") == "main"
        assert seen.page.url.endswith("#/health")
        seen.page.get_by_text("Processor load").wait_for()


def test_a_zone_is_drawn_named_and_removed_by_keyboard(browser, address):
    with looking(browser, address + "#/places/door") as seen:
        page = seen.page
        page.get_by_role("button", name="Add a zone").focus()
        page.keyboard.press("Enter")
        corner = page.locator(".corner").first
        assert "Corner 1 of 4 of zone zone-1" in corner.get_attribute("aria-label")
        before = corner.bounding_box()
        for _ in range(10):
            page.keyboard.press("ArrowRight")
        after = page.locator(".corner").first.bounding_box()
        assert after["x"] > before["x"] + 20
        assert after["y"] == pytest.approx(before["y"], abs=1)
        assert after["width"] == pytest.approx(after["height"], abs=0.5)  # a circle
        page.keyboard.press("Insert")
        assert page.locator(".corner").count() == 5
        page.keyboard.press("Delete")
        assert page.locator(".corner").count() == 4
        name = page.get_by_label("Name")
        name.fill("bench")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.labels[0].textContent") == "Classes"
        page.get_by_role("button", name="Show what changes").focus()
        page.keyboard.press("Enter")
        page.get_by_text('+name = "bench"').wait_for()
        page.get_by_role("button", name="Remove").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.textContent") == "Add a zone"


def test_what_is_being_done_in_an_event_is_not_disturbed_by_a_change_of_it(browser, address):
    with looking(browser, address + "#/events/2k0006") as seen:
        page = seen.page
        page.get_by_text("Download the clip").wait_for()
        page.evaluate("document.querySelector('video.clip').dataset.kept = 'yes'")
        page.get_by_label("This is", exact=True).fill("Som")
        box = page.get_by_label("Seen")
        for _ in range(2):
            with page.expect_response(lambda answer: answer.url.endswith("/seen")):
                box.focus()
                page.keyboard.press("Space")
        assert page.evaluate("document.activeElement.type") == "checkbox"
        assert page.locator("video.clip").get_attribute("data-kept") == "yes"
        assert page.get_by_label("This is", exact=True).input_value() == "Som"
