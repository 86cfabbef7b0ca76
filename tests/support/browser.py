"""A real browser that looks at a page: Debian's chromium, driven by playwright."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Start the browser; it is ended at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Look:
    """A page that is looked at.

    Attributes:
        complaints: What it wrote to the console as errors, and what it threw.
        answers: What it got.
        sockets: Addresses of its WebSockets.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        page = self.page
        page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("response", lambda answer: self.answers.append(answer))
        page.on("websocket", lambda socket: self.sockets.append(socket.url))

    def wait_until(self, expression: str, patience_s: float = 20) -> Any:
        """What an expression becomes that is true; playwright's own waiting needs ``eval``, which
        the page's policy refuses."""
        deadline_s = time.monotonic() + patience_s
        while not (value := self.page.evaluate(expression)):
            assert time.monotonic() < deadline_s, (expression, self.complaints)
            self.page.wait_for_timeout(50)
        return value

    def wait_until_loaded(self) -> None:
        """Wait until every picture that is in sight is there."""
        self.wait_until(
            "[...document.images].every((image) => image.complete || image.loading === 'lazy')"
        )


@contextlib.contextmanager
def looking(browser: Any, address: str, script: str = "", **options: Any) -> Iterator[Look]:
    """Open an address in a window of its own.

    Args:
        browser: Of `open_browser`.
        address: Where to go.
        script: Runs before those of the page.
        options: Of playwright's ``new_context``, such as ``viewport`` and ``color_scheme``.
    """
    context = browser.new_context(**options)
    try:
        look = Look(context.new_page())
        look.page.set_default_timeout(20_000)
        if script:
            look.page.add_init_script(script)
        look.page.goto(address)
        yield look
    finally:
        context.close()
