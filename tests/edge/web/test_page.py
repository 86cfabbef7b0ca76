"""The page in a real browser: nothing from elsewhere, nothing that its policy refuses, little to
load, and no name that becomes markup."""

import contextlib
import shutil
import threading

import cv2
import numpy as np
import pytest

from edge.event import EventChange, KnownPerson
from edge.recording.records import EventRecord, FileKind
from edge.recording.ring import PacketRing
from edge.web.changes import ChangeFeed
from edge.web.live_ring import open_ring
from edge.web.schema import Role
from edge.web.sessions import write_invitation
from edge.web.users import Users, read_users, write_users
from tests.support.videos import encode_packets as encode
from tests.support.web_node import (
    make_archive,
    make_event,
    make_latest,
    make_node,
    make_sight,
    serving,
    store,
)

CHROMIUM = shutil.which("chromium")
FIRST_PAGE_BYTES = 150_000
EVE = KnownPerson("p2", "<img src=x onerror=document.title='owned'>")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def looking(browser, address):
    """Opens an address; yields the page, its complaints and its answers."""
    context = browser.new_context()
    page = context.new_page()
    complaints, answers = [], []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: answers.append(answer))
    page.goto(address)
    try:
        yield page, complaints, answers
    finally:
        context.close()


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
        with looking(browser, address) as (page, complaints, answers):
            page.get_by_text("yard").first.wait_for()
            page.get_by_role("img").first.wait_for()
            loaded = [each for each in answers if "/api/" not in each.url]
            assert sum(len(each.body()) for each in loaded) <= FIRST_PAGE_BYTES
            page.goto(f"{address}#/events")
            page.get_by_text(EVE.name).first.wait_for()
            feed.add_event(
                EventChange.BEGUN, EventRecord(make_event(2, triggers=("crossed:gate",)))
            )
            page.get_by_text("crossed gate").first.wait_for()
            assert all(each.url.startswith((address, "data:")) for each in answers)
            assert "owned" not in page.evaluate("document.title")
            assert complaints == []


def test_who_has_no_session_logs_in_and_a_one_time_address_does(browser, tmp_path):
    file = tmp_path / "users.toml"
    write_users(file, Users().put_user("ada", Role.ADMIN, "long enough"))
    node = make_node(get_latest=make_latest, archive=make_archive(tmp_path))
    with serving(node, users_file=str(file)) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, address) as (page, _, _):
            page.get_by_label("Name").fill("ada")
            page.get_by_label("Password").fill("long enough")
            page.get_by_role("button", name="Log in").click()
            page.get_by_text("door").first.wait_for()
            (cookie,) = page.context.cookies()
            assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
            assert page.evaluate("document.cookie") == ""
        token = write_invitation(read_users(file).key, Role.VIEWER)
        with looking(browser, f"{address}#token={token}") as (page, _, _):
            page.get_by_text("door").first.wait_for()
            assert "token" not in page.url


PLAY = """async (camera) => {
  const video = document.createElement("video");
  video.muted = true;
  document.body.append(video);
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise((done) => source.addEventListener("sourceopen", done, { once: true }));
  const socket = new WebSocket(`ws://${location.host}/api/v1/cameras/${camera}/live`);
  socket.binaryType = "arraybuffer";
  const waiting = [];
  let buffer = null, offset_s = null;
  const append = () => {
    if (buffer && !buffer.updating && waiting.length) buffer.appendBuffer(waiting.shift());
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") {
      buffer = source.addSourceBuffer(JSON.parse(data).mime);
      buffer.addEventListener("updateend", append);
      return;
    }
    const head = new DataView(data);
    if (!(head.getUint8(16) & 2)) offset_s = head.getFloat64(0) - head.getFloat64(8);
    waiting.push(new Uint8Array(data, 17));
    append();
  };
  await new Promise((done) => video.addEventListener("loadeddata", done, { once: true }));
  video.currentTime = video.buffered.start(0);
  await video.play();
  const from_s = video.currentTime;
  while (video.currentTime < from_s + 1) await new Promise((done) => setTimeout(done, 50));
  return [from_s, video.currentTime, offset_s, video.videoWidth];
}"""


def test_the_live_stream_plays_in_a_browser_and_tells_when_each_picture_was_taken(browser):
    packets = encode("libx264", count=100, g="10", bf="0", profile="main")
    ring, over = PacketRing(5.0), threading.Event()

    def feed():
        for packet in packets:
            ring.put(packet)
            if over.wait(0.05):
                return

    node = make_node(open_live=lambda camera: open_ring(ring))
    feeder = threading.Thread(target=feed)
    with serving(node) as served:
        address = f"http://127.0.0.1:{served.port}/"
        with looking(browser, address) as (page, _, _):
            feeder.start()
            try:
                from_s, to_s, offset_s, width = page.evaluate(PLAY, "door")
            finally:
                over.set()
                feeder.join()
    assert to_s >= from_s + 1
    assert offset_s == pytest.approx(1000, abs=0.01)
    assert width == 320
