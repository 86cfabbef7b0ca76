"""Make the pictures of the page for the documents: python docs/make_screenshots.py [VIEW ...].

Everything in them is drawn (tests/support/drawn_scenes.py); for the view ``explain`` a classifier
learns drawn discs and crosses, and its report is shown. Needs Debian's chromium and the
packages of the tests.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from edge.web.schema import Role  # noqa: E402
from edge.web.users import Users, write_users  # noqa: E402
from tests.support.browser import Look, looking, open_browser  # noqa: E402
from tests.support.shown_node import showing  # noqa: E402

IMAGES = ROOT / "docs" / "images"
MAX_BYTES = 60_000
MAX_REPORT_BYTES = 250_000
COLOURS = 256
SIZES = {"desktop": {"width": 1280, "height": 760}, "phone": {"width": 390, "height": 760}}


@dataclass(frozen=True)
class View:
    """A view of the page.

    Attributes:
        path: What follows ``#/``.
        sign: Text that is there once it is shown.
        prepare: What is done before the picture is taken.
    """

    path: str
    sign: str
    prepare: Callable[[Look], object] = Look.wait_until_loaded


def _play(look: Look) -> None:
    look.wait_until("document.querySelector('.stage')?.dataset.objects")


def _replay(look: Look) -> None:
    slider = look.page.get_by_label("Time of the recording of door")
    at = f"at.value = {time.time() - 168}; at.dispatchEvent(new Event('change'))"
    slider.evaluate(f"(at) => {{ {at} }}")
    look.wait_until("document.querySelector('.replay video').currentTime > 0.2")
    look.page.get_by_role("button", name="Pause").click()
    look.page.evaluate("document.activeElement.blur(); scrollTo(0, 1e6)")


def _show_clip(look: Look) -> None:
    look.wait_until("document.querySelector('video').readyState > 0")
    look.page.evaluate("document.querySelector('video').currentTime = 8.5")
    look.wait_until("!document.querySelector('video').seeking")


def _choose_zone(look: Look) -> None:
    look.page.get_by_role("button", name="Zone entrance", exact=True).click()
    look.page.evaluate("scrollTo(0, 0); document.activeElement.blur()")


VIEWS = {
    "live": View("live", "garage"),
    "camera": View("live/door", "Boxes and zones", _play),
    "recorded": View("live/door", "Next event", _replay),
    "events": View("events", "crossed gate"),
    "event": View("events/2k0006", "Download the clip", _show_clip),
    "people": View("people", "Enroll somebody"),
    "health": View("health", "Processor load"),
    "places": View("places/door", "Zone entrance", _choose_zone),
}


def main(wanted: list[str]) -> None:
    """Take all pictures, or those of some views."""
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        folder = Path(name)
        (folder / "shown").mkdir()
        users = folder / "users.toml"
        write_users(users, Users().put_user("ada", Role.ADMIN, "only for the picture"))
        if views := {k: v for k, v in VIEWS.items() if k in wanted}:
            with showing(folder / "shown") as served:
                _take_all(browser, served.port, views)
        if "explain" in wanted:
            _explain(browser, folder)
        if "login" in wanted:
            (folder / "login").mkdir()
            with showing(folder / "login", users_file=str(users)) as served:
                _take_all(browser, served.port, {"login": View("live", "Password")})


def _explain(browser: Any, folder: Path) -> None:
    """The report of `edge-train explain` about a classifier of discs and crosses."""
    from trainers.classifier import ClassifierJob, train_classifier
    from trainers.data.class_data import read_class_data
    from trainers.explanation.explain import explain_run
    from trainers.networks.config import ClassifierConfig
    from trainers.run.settings import Settings

    rows = []
    for number in range(160):
        _draw_shape(folder / f"{number}.png", number)
        part = "val" if number % 10 < 2 else "train"
        rows.append(f"{number}.png,{('disc', 'cross')[number % 2]},{part}")
    table = folder / "shapes.csv"
    table.write_text("\n".join(["file,class,part", *rows]))
    config = ClassifierConfig(
        ("a", "b"), (64, 64), norm="none", dropout=0.0, margin=0.0, cut="backbone_dark4_m1_add"
    )
    settings = Settings(epochs=40, batch=8, learning_rate=3e-3, strength=0.0, validate_every=5)
    job = ClassifierJob(data=(table,), out=folder / "run", config=config, settings=settings)
    run = train_classifier(job)
    report = folder / "explain.html"
    html = explain_run(run, read_class_data(table), Path(table.name))
    report.write_text(html.replace(str(run.path), "runs/shapes"))
    with looking(browser, report.as_uri(), viewport={"width": 1100, "height": 1000}) as look:
        look.wait_until_loaded()
        _write(look.page.screenshot(), IMAGES / "explain.png", MAX_REPORT_BYTES)


def _draw_shape(path: Path, number: int) -> None:
    """A disc or a cross somewhere on a shaded ground."""
    rng = np.random.default_rng(number)
    shade = np.linspace(*rng.integers(60, 140, 2), 64)[:, None, None]
    rgb = np.broadcast_to(shade, (64, 64, 3)).astype(np.uint8)
    at, color = rng.integers(14, 50, 2).tolist(), rng.integers(180, 255, 3).tolist()
    if number % 2 == 0:
        cv2.circle(rgb, at, 10, color, -1, cv2.LINE_AA)
    else:
        cv2.drawMarker(rgb, at, color, cv2.MARKER_CROSS, 22, 4)
    cv2.imwrite(str(path), rgb)


def _take_all(browser: Any, port: int, views: dict[str, View]) -> None:
    for scheme in ("light", "dark"):
        for size, viewport in SIZES.items():
            address = f"http://127.0.0.1:{port}/"
            options = {"viewport": viewport, "color_scheme": scheme, "locale": "en-GB"}
            with looking(browser, address, timezone_id="UTC", **options) as look:
                for name, view in views.items():
                    look.page.goto(f"{address}#/{view.path}")
                    look.page.get_by_text(view.sign).first.wait_for()
                    look.page.wait_for_timeout(1200)  # stills come once a second
                    view.prepare(look)
                    png = look.page.screenshot()
                    _write(png, IMAGES / f"page-{name}-{scheme}-{size}.png")


def _write(png: bytes, path: Path, most: int = MAX_BYTES) -> None:
    """Write a picture with few colours."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    small = picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    assert path.stat().st_size <= most, f"{path.name} has {path.stat().st_size} bytes"


if __name__ == "__main__":
    main(sys.argv[1:] or [*VIEWS, "login", "explain"])
