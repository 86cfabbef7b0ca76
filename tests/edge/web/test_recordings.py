"""What is recorded of a camera: listed over a real server, and played in a real browser."""

import time

import pytest

from edge.recording import mp4
from edge.recording.records import FileKind, StoredFile
from edge.service.node_view import Exporter
from edge.web.recordings import join_spans
from edge.web.schema import Recording
from tests.edge.recording.test_mp4 import read_source, write_mp4
from tests.support.axe import find_faults
from tests.support.browser import looking, needs_chromium
from tests.support.shown_node import showing
from tests.support.videos import write_talkie, write_video
from tests.support.web_node import make_archive, make_latest, make_node, make_sight, serving

PLAYING = "document.querySelector('.replay video').currentTime"


def put(archive, path, began_s, ended_s, camera="door", kind=FileKind.CONTINUOUS):
    archive.index.put_file(StoredFile(path, kind, camera, "", began_s, ended_s, 1))


@pytest.fixture
def served(tmp_path):
    archive = make_archive(tmp_path)
    put(archive, "a.mp4", 1000, 1060)
    put(archive, "b.mp4", 1060.4, 1120)
    put(archive, "c.mp4", 1200, 1260)
    put(archive, "d.mp4", 1205, 1230, kind=FileKind.CLIP)
    put(archive, "e.jpg", 1300, 1300, kind=FileKind.SNAPSHOT)
    put(archive, "f.mp4", 1000, 9000, camera="yard")
    node = make_node(
        archive=archive, export=Exporter(archive).export,
        list_cameras=lambda: [make_sight("door"), make_sight("yard")],
    )  # fmt: skip
    with serving(node) as served:
        yield served


def test_files_that_follow_each_other_are_one_recording(served):
    answer = served.ask("/api/v1/cameras/door/recordings?from=900&to=2000")
    assert answer.json == {
        "kept": True,
        "recordings": [{"began_s": 1000, "ended_s": 1120}, {"began_s": 1200, "ended_s": 1260}],
    }


def test_a_recording_ends_where_the_range_does(served):
    answer = served.ask("/api/v1/cameras/door/recordings?from=1030&to=1210")
    assert answer.json["recordings"] == [
        {"began_s": 1030, "ended_s": 1120}, {"began_s": 1200, "ended_s": 1210}
    ]  # fmt: skip
    assert served.ask("/api/v1/cameras/door/recordings?from=0&to=9").json["recordings"] == []


def test_what_is_being_written_ends_where_it_was_written_last(tmp_path):
    archive = make_archive(tmp_path)
    written_s = time.time()
    (tmp_path / "a.mp4").write_bytes(b"some")
    put(archive, "a.mp4", written_s - 30, None)
    put(archive, "gone.mp4", written_s - 500, None)
    with serving(make_node(archive=archive, export=Exporter(archive).export)) as served:
        asked = f"from={written_s - 3600}&to={written_s + 3600}"
        [found] = served.ask(f"/api/v1/cameras/door/recordings?{asked}").json["recordings"]
        assert found["began_s"] == pytest.approx(written_s - 30)
        assert found["ended_s"] == pytest.approx(written_s, abs=5)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nobody/recordings?from=1&to=2", 404),
        ("door/recordings", 400),
        ("door/recordings?from=2&to=2", 400),
        ("door/recordings?from=0&to=691201", 400),
        ("door/recordings?from=nan&to=nan", 400),
        ("door/recordings?from=-1&to=5", 400),
        ("door/recordings?from=1&to=2&limit=3", 400),
    ],
)
def test_what_cannot_be_listed_is_a_problem(served, path, status):
    assert served.ask(f"/api/v1/cameras/{path}").status == status


def test_a_node_that_keeps_nothing_says_so():
    with serving(make_node()) as served:
        answer = served.ask("/api/v1/cameras/door/recordings?from=1&to=2")
        assert answer.json == {"kept": False, "recordings": []}


def test_of_what_is_yet_to_come_there_is_no_video(tmp_path):
    """Nor of a time after the last picture of a file that is still being written."""
    archive = make_archive(tmp_path)
    film = write_video(tmp_path / "film.mp4", 40, fps=10, options={"g": "10", "bf": "0"})
    packets, _ = read_source(film)
    write_mp4(tmp_path / "a.mp4", packets)
    began_s = time.time() - 100
    put(archive, "a.mp4", began_s, None)
    with serving(make_node(archive=archive, export=Exporter(archive).export)) as served:
        for from_s, status in ((began_s + 1, 200), (began_s + 50, 404), (began_s + 9000, 404)):
            path = f"/api/v1/cameras/door/clip.mp4?from={from_s}&to={from_s + 60}"
            assert served.ask(path).status == status


@pytest.mark.parametrize(
    ("spans", "joined"),
    [
        ([], []),
        ([(1, 5)], [(10, 10)]),
        ([(1, 12), (11, 13), (12.5, 20), (23, 40)], [(10, 20), (23, 30)]),
        ([(15, 15), (16, 14)], []),
        ([(28, 29), (29.5, 99)], [(28, 30)]),
    ],
)
def test_spans_are_joined_within_the_range(spans, joined):
    expected = [Recording(*span) for span in joined if span[1] > span[0]]
    assert list(join_spans(spans, 10, 30)) == expected


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with showing(tmp_path_factory.mktemp("recorded")) as served:
        yield f"http://127.0.0.1:{served.port}/"


@needs_chromium
def test_a_time_that_is_chosen_plays_goes_on_by_itself_and_leads_back_to_live(browser, address):
    with looking(browser, f"{address}#/live/door") as seen:
        slider = seen.page.get_by_label("Time of the recording of door")
        slider.wait_for()
        wanted_s = time.time() - 170
        slider.evaluate(
            f"(at) => {{ at.value = {wanted_s}; at.dispatchEvent(new Event('change')) }}"
        )
        seen.wait_until(f"{PLAYING} > 0.5")
        assert not seen.page.locator("canvas").is_visible()
        first = seen.page.evaluate("document.querySelector('.replay video').src")
        began_s = seen.page.evaluate(
            "Date.parse(document.querySelector('.replay .state').innerText)"
        )
        assert began_s / 1000 == pytest.approx(wanted_s, abs=5)
        assert "not recorded" not in slider.get_attribute("aria-valuetext")
        seen.page.evaluate("document.querySelector('.replay video').playbackRate = 4")
        seen.wait_until(f"document.querySelector('.replay video').src !== '{first}'")
        seen.wait_until(f"{PLAYING} > 0.5")
        assert find_faults(seen.page) == []
        seen.page.get_by_role("button", name="Back to live").click()
        seen.page.locator("canvas").wait_for()
        seen.wait_until("document.querySelector('.stage').dataset.captured")
        assert seen.complaints == []


@needs_chromium
def test_the_line_is_used_by_keyboard_and_tells_where_nothing_was_recorded(browser, address):
    with looking(browser, f"{address}#/live/yard", viewport={"width": 390, "height": 800}) as seen:
        slider = seen.page.get_by_label("Time of the recording of yard")
        slider.focus()
        seen.page.keyboard.press("End")
        assert "not recorded" in slider.get_attribute("aria-valuetext")
        seen.page.get_by_text("Nothing was recorded then").wait_for()
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        seen.page.get_by_role("button", name="Previous event").click()
        seen.wait_until(f"{PLAYING} > 0.2")
        seen.page.get_by_label("Shown").select_option("Hour")
        seen.page.get_by_role("button", name="Earlier").click()
        seen.page.locator(".recorded .hint").wait_for()
        seen.page.get_by_role("button", name="Pause").click()
        seen.page.get_by_role("button", name="Play").wait_for()
        assert seen.complaints == []


@needs_chromium
def test_events_before_and_after_are_those_of_now_while_it_is_live(browser, address):
    """Not of the time at which the page was opened; and one that goes on is not called over."""
    script = "const now = Date.now; globalThis.ago = 2e6; Date.now = () => now() - ago;"
    with looking(browser, f"{address}#/live/door", script) as seen:
        seen.page.get_by_label("Time of the recording of door").wait_for()
        seen.page.evaluate("ago = 0")
        seen.page.get_by_role("button", name="Next event").click()
        seen.page.get_by_text("No later event is shown").wait_for()
        seen.page.get_by_role("button", name="Previous event").click()
        seen.page.get_by_text("This event is still going on").wait_for()
        shown_s = seen.page.evaluate(
            "Date.parse(document.querySelector('.replay .state').innerText) / 1000"
        )
        assert time.time() - 120 < shown_s < time.time()


@needs_chromium
def test_recorded_video_of_a_camera_that_hides_says_that_nothing_is_hidden_in_it(browser, tmp_path):
    archive = make_archive(tmp_path)
    began_s = time.time() - 60
    put(archive, "a.mp4", began_s, began_s + mp4.repair(write_video(tmp_path / "a.mp4")))
    node = make_node(
        archive=archive, export=Exporter(archive).export, get_latest=make_latest,
        list_cameras=lambda: [make_sight(hide=["person"])],
    )  # fmt: skip
    with (
        serving(node) as served,
        looking(browser, f"http://127.0.0.1:{served.port}/#/live/door") as seen,
    ):
        seen.page.get_by_text("Each person is made unrecognizable").wait_for()
        slider = seen.page.get_by_label("Time of the recording of door")
        slider.evaluate(
            f"(at) => {{ at.value = {began_s}; at.dispatchEvent(new Event('change')) }}"
        )
        seen.page.get_by_text("no person is hidden in it").wait_for()
        assert not seen.page.get_by_text("made unrecognizable").is_visible()
        seen.page.get_by_role("button", name="Back to live").click()
        seen.page.get_by_text("Each person is made unrecognizable").wait_for()


@needs_chromium
@pytest.mark.parametrize("has_sound", [True, False])
def test_sound_is_offered_where_it_was_recorded(browser, tmp_path, has_sound):
    archive = make_archive(tmp_path)
    write = write_talkie if has_sound else write_video
    lasts_s = mp4.repair(write(tmp_path / "a.mp4"))
    began_s = time.time() - 60
    put(archive, "a.mp4", began_s, began_s + lasts_s)
    node = make_node(archive=archive, export=Exporter(archive).export, get_latest=make_latest)
    with (
        serving(node) as served,
        looking(browser, f"http://127.0.0.1:{served.port}/#/live/door") as seen,
    ):
        slider = seen.page.get_by_label("Time of the recording of door")
        slider.wait_for()
        slider.evaluate(
            f"(at) => {{ at.value = {began_s}; at.dispatchEvent(new Event('change')) }}"
        )
        seen.wait_until(f"{PLAYING} > 0.1")
        assert seen.page.get_by_label("Sound").is_visible() is has_sound
