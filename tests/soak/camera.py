"""A camera whose fault changes while it is watched: a real film over RTSP, on loopback."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tests.support.faulty_camera import SDP
from tests.support.film_faults import (
    ANSWERS,
    FILMS,
    OTHER_SIZE_WH,
    Stage,
    code_film,
)
from tests.support.hostile_rtsp import Exchange, hostile_rtsp

HEALTHY = "healthy"
MUTE, STALL = "mute", "stall"
FAULTS = tuple(fault for fault in (*ANSWERS, *FILMS, MUTE, STALL) if fault != HEALTHY)


class _Spell(Stage):
    """What a camera remembers while it has one fault; its connections end with it."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.is_over = False

    def wait(self) -> None:
        """Go on, unless it is over.

        Raises:
            ConnectionResetError: It is.
        """
        if self.is_over:
            raise ConnectionResetError

    def hold(self) -> None:
        """Say nothing until it is over, and hang up then."""
        while True:
            self.wait()
            time.sleep(0.1)


class ChangingCamera:
    """A camera that is healthy until it gets a fault.

    Attributes:
        url: Where it is, with its login.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._spell = _Spell(HEALTHY)

    def change(self, fault: str) -> None:
        """Get a fault, or none, and hang up on whoever is connected."""
        spell, self._spell = self._spell, _Spell(fault)
        spell.is_over = True

    def respond(self, exchange: Exchange) -> None:
        """Answer one request."""
        spell = self._spell
        if spell.fault == MUTE:
            spell.hold()
        if spell.fault in ANSWERS:
            ANSWERS[spell.fault](exchange)
            return
        is_h265 = spell.fault == "new_codec" and spell.number > 0
        exchange.proceed(SDP.replace(b"H264", b"H265") if is_h265 else SDP)
        if exchange.verb == "PLAY":
            spell.number += 1
            if spell.fault == STALL:
                spell.hold()
            FILMS[spell.fault](exchange, spell)


@contextlib.contextmanager
def changing_camera(login: str) -> Iterator[ChangingCamera]:
    """One of user and password ``login``."""
    cameras: list[ChangingCamera] = []
    with hostile_rtsp(lambda exchange: cameras[0].respond(exchange)) as url:
        cameras.append(ChangingCamera(url.replace("rtsp://", f"rtsp://{login}@")))
        try:
            yield cameras[0]
        finally:
            cameras[0].change(HEALTHY)
            cameras[0]._spell.is_over = True


def code_films() -> None:
    """Code what the faults play, before anyone waits for it."""
    code_film()
    code_film(OTHER_SIZE_WH)
    code_film(kind="hevc")
