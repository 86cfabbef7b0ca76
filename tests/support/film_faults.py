"""Cameras that play a real film over RTSP and fail in the midst of it, as servers on loopback."""

import contextlib
import itertools
import random
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache

import av
import cv2
import numpy as np

from tests.support.faulty_camera import SDP
from tests.support.film_camera import encode_film
from tests.support.hostile_rtsp import hostile_rtsp
from tests.support.videos import WALKING, shared

FPS = 10
SIZE_WH, OTHER_SIZE_WH = (320, 180), (480, 270)
_PICTURES = range(300, 360)  # of the film; people walk through them
_TICKS = 90_000
_MAX_PAYLOAD_BYTES = 1400
_START_CODE = re.compile(rb"\x00?\x00\x00\x01")
_NO_WAIT = struct.pack("ii", 1, 0)
_DENIED = 'WWW-Authenticate: Digest realm="camera", nonce="1f"\r\n'


@dataclass
class Stage:
    """What a camera remembers over its connections.

    Attributes:
        sent: Pictures that were sent.
        sent_s: When the last one was, on the monotonic clock.
        number: Connections that played.
        silent: Answers nothing while it is set, with every connection open.
    """

    sent: int = 0
    sent_s: float = 0.0
    number: int = 0
    silent: threading.Event = field(default_factory=threading.Event)

    def wait(self):
        """Return once it is not silent."""
        while self.silent.is_set():
            time.sleep(0.02)


@dataclass(frozen=True)
class Unit:
    """A coded picture, when it is sent, and its stamp; both in seconds of the connection."""

    data: bytes
    due_s: float
    stamp_s: float


@lru_cache
def read_pictures(size_wh=SIZE_WH):
    """Pictures of the film, ``(H, W, 3)`` RGB."""
    with av.open(str(shared(WALKING))) as film:
        frames = itertools.islice(film.decode(video=0), _PICTURES.start, _PICTURES.stop)
        return [cv2.resize(frame.to_ndarray(format="rgb24"), size_wh) for frame in frames]


@lru_cache
def code_film(size_wh=SIZE_WH, kind="h264"):
    """The film as H.264 or `hevc`, a key frame per second."""
    return [data for data, _ in encode_film(read_pictures(size_wh), FPS, FPS, kind)]


def pace(coded, fps=FPS, seconds=None):
    """Units in a loop, at their rate."""
    endless = enumerate(itertools.cycle(coded))
    units = (Unit(data, number / fps, number / fps) for number, data in endless)
    return units if seconds is None else itertools.islice(units, round(seconds * fps))


def play(exchange, stage, units, kind="h264"):
    """Send units when they are due."""
    begun_s, seq = time.monotonic(), 0
    divide = split if kind == "h264" else _split_units
    for unit in units:
        time.sleep(max(0.0, begun_s + unit.due_s - time.monotonic()))
        stage.wait()
        parts = list(divide(unit.data))
        for row, payload in enumerate(parts):
            stamp = round(unit.stamp_s * _TICKS) & 0xFFFFFFFF
            exchange.send_packet(payload, seq, stamp, is_last=row == len(parts) - 1)
            seq += 1
        stage.sent, stage.sent_s = stage.sent + 1, time.monotonic()


def _split_units(data):
    return filter(None, _START_CODE.split(data))


def split(data):
    """RTP payloads of an access unit of H.264 in Annex B, long ones as FU-A of RFC 6184."""
    for nal in _split_units(data):
        if len(nal) <= _MAX_PAYLOAD_BYTES:
            yield nal
            continue
        head, body = nal[0], nal[1:]
        for at in range(0, len(body), _MAX_PAYLOAD_BYTES):
            is_first, is_last = at == 0, at + _MAX_PAYLOAD_BYTES >= len(body)
            fragment = 0x80 * is_first | 0x40 * is_last | head & 0x1F
            yield bytes((head & 0xE0 | 28, fragment)) + body[at : at + _MAX_PAYLOAD_BYTES]


def hold(exchange):
    """Say nothing until the client leaves."""
    while exchange.connection.recv(4096):
        pass
    raise ConnectionError


# --- faults of the answer: (exchange) -------------------------------------------------------------


def deny(exchange):
    """401, whatever the login."""
    exchange.answer("401 Unauthorized", _DENIED)


def forbid(exchange):
    """403."""
    exchange.answer("403 Forbidden")


def miss(exchange):
    """404."""
    exchange.answer("404 Not Found")


def redirect(exchange):
    """To itself, without end."""
    exchange.answer("302 Found", f"Location: {exchange.url}\r\n")


def reset(exchange):
    """Reset the connection at the first request."""
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_WAIT)
    raise ConnectionResetError


# --- faults of the film: (exchange, stage) --------------------------------------------------------


def healthy(exchange, stage):
    """None."""
    play(exchange, stage, pace(code_film()))


def silence(exchange, stage):
    """Pictures for two seconds, then none."""
    play(exchange, stage, pace(code_film(), seconds=2))
    hold(exchange)


def reset_while_playing(exchange, stage):
    """Pictures for two seconds, then a reset."""
    play(exchange, stage, pace(code_film(), seconds=2))
    reset(exchange)


def flap(exchange, stage):
    """Three pictures, then the end."""
    play(exchange, stage, pace(code_film(), seconds=0.3))
    raise ConnectionError


def garbage_units(exchange, stage):
    """All but key frames are noise from their second quarter on, with stray units of any kind."""
    rng = random.Random(1)

    def spoil(data):
        kept = len(data) // 4
        noise = rng.randbytes(len(data) - kept)
        stray = bytes((rng.randrange(1, 24),)) + rng.randbytes(100)
        return data[:kept] + noise + b"\0\0\0\1" + stray

    coded = [data if row % FPS == 0 else spoil(data) for row, data in enumerate(code_film())]
    play(exchange, stage, pace(coded))


def truncated_units(exchange, stage):
    """All but key frames end after their first quarter."""
    whole = code_film()
    cut = [
        data if row % FPS == 0 else data[: max(12, len(data) // 4)]
        for row, data in enumerate(whole)
    ]
    play(exchange, stage, pace(cut))


def new_size(exchange, stage):
    """Another size after two seconds, and from then on."""
    if stage.number == 1:
        play(exchange, stage, pace(code_film(), seconds=2))
    play(exchange, stage, pace(code_film(OTHER_SIZE_WH)))


def new_codec(exchange, stage):
    """H.265 under the number of H.264 after two seconds; who connects again is told H.265."""
    if stage.number == 1:
        play(exchange, stage, pace(code_film(), seconds=2))
    play(exchange, stage, pace(code_film(kind="hevc")), "hevc")


def new_rate(exchange, stage):
    """10, 2 and 25 pictures a second, two seconds each."""
    coded = itertools.cycle(code_film())
    begin_s = 0.0
    units = []
    for fps in (FPS, 2, 25) * 20:
        units += [
            Unit(next(coded), at_s, at_s)
            for at_s in begin_s + np.arange(2 * fps, dtype=float) / fps
        ]
        begin_s += 2
    play(exchange, stage, units)


def jumping_stamps(exchange, stage):
    """Stamps that jump an hour ahead and back again, every two seconds."""
    for_s = lambda unit: unit.stamp_s + 3600 * (int(unit.due_s / 2) % 2)  # noqa: E731
    units = pace(code_film())
    play(exchange, stage, (Unit(unit.data, unit.due_s, for_s(unit)) for unit in units))


def frozen_stamps(exchange, stage):
    """Stamps that stand still after two seconds."""
    units = pace(code_film())
    play(exchange, stage, (Unit(u.data, u.due_s, min(u.stamp_s, 2)) for u in units))


def frozen_picture(exchange, stage):
    """The same picture, coded again and again."""
    coded = encode_film([read_pictures()[0]] * 6 * FPS, FPS, FPS)
    play(exchange, stage, pace([data for data, _ in coded]))


def black(exchange, stage):
    """A black picture."""
    coded = encode_film([np.zeros_like(read_pictures()[0])] * 6 * FPS, FPS, FPS)
    play(exchange, stage, pace([data for data, _ in coded]))


def burst(exchange, stage):
    """Two seconds of pictures at once, every two seconds."""
    units = pace(code_film())
    play(exchange, stage, (Unit(u.data, 2 * int(u.due_s / 2), u.stamp_s) for u in units))


ANSWERS = {"401": deny, "403": forbid, "404": miss, "redirect": redirect, "reset": reset}
FILMS = {
    function.__name__: function
    for function in (
        healthy, silence, reset_while_playing, flap, garbage_units, truncated_units, new_size,
        new_codec, new_rate, jumping_stamps, frozen_stamps, frozen_picture, black, burst,
    )
}  # fmt: skip


@contextlib.contextmanager
def film_fault(fault, login=""):
    """The URL of a camera with this fault, with a ``login`` of user and password, and its stage."""
    stage = Stage()
    if fault == "new_codec":
        code_film(kind="hevc")  # before anyone waits for it

    def respond(exchange):
        stage.wait()
        if fault in ANSWERS:
            ANSWERS[fault](exchange)
            return
        is_h265 = fault == "new_codec" and stage.number > 0
        exchange.proceed(SDP.replace(b"H264", b"H265") if is_h265 else SDP)
        if exchange.verb == "PLAY":
            stage.number += 1
            FILMS[fault](exchange, stage)

    with hostile_rtsp(respond) as url:
        try:
            yield url.replace("rtsp://", f"rtsp://{login}@" if login else "rtsp://"), stage
        finally:
            stage.silent.clear()
