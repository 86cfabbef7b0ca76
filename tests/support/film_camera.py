"""A camera that plays a film in a loop: its coded packets, and what is found in each picture."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from edge.recording.ring import PacketRing
from edge.types import CodedPacket, Frame, RgbPicture, StreamFormat
from edge.web.ports import LatestPicture

_TICKS = 90_000  # a second
_FORMAT = StreamFormat("h264", b"", Fraction(1, _TICKS))
_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "profile": "main", "tune": "zerolatency"}


@dataclass(frozen=True)
class Scene:
    """A picture, ``(H, W, 3)`` RGB, and what is found in it: ``(N, 4)`` boxes, with N classes and
    names."""

    rgb: np.ndarray
    xyxy: np.ndarray
    labels: tuple[str, ...] = ("person",)
    names: tuple[str, ...] = ("",)


def encode_film(
    pictures: Sequence[np.ndarray], fps: int, gop: int, kind: str = "h264"
) -> list[tuple[bytes, bool]]:
    """The pictures as H.264 or `hevc`, one packet each with whether it is a key frame."""
    encoder = {"h264": "libx264", "hevc": "libx265"}[kind]
    buffer = io.BytesIO()
    height, width = pictures[0].shape[:2]
    with av.open(buffer, "w", format=kind) as output:
        stream = output.add_stream(encoder, rate=fps, options=_OPTIONS | {"g": str(gop)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for rgb in pictures:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        output.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer, format=kind) as film:
        packets = [(bytes(p), p.is_keyframe) for p in film.demux() if p.size]
    assert len(packets) == len(pictures)
    return packets


@dataclass
class FilmCamera:
    """Plays scenes in a loop, in a thread.

    Attributes:
        look: It looks at every how many-th picture.
        hide: What must not be recognizable.
        ring: Its packets.
        newest_s: Unix time of the newest picture.
    """

    name: str
    scenes: Sequence[Scene]
    fps: int = 10
    gop: int = 10
    look: int = 1
    hide: tuple[str, ...] = ()
    ring: PacketRing = field(default_factory=lambda: PacketRing(5.0))
    newest_s: float = 0.0
    _latest: LatestPicture | None = None

    def __post_init__(self) -> None:
        self._packets = encode_film([scene.rgb for scene in self.scenes], self.fps, self.gop)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, name=f"film {self.name}")

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        """Play meanwhile."""
        self._thread.start()
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """End; returns when its thread has ended."""
        self._over.set()
        self._thread.join()

    def get_latest(self) -> LatestPicture | None:
        """What was found last."""
        return self._latest

    def make_packets(self, began_s: float) -> list[CodedPacket]:
        """The whole film once, as if it had begun at a Unix time."""
        times = [number / self.fps for number in range(len(self._packets))]
        return [
            CodedPacket(_FORMAT, data, round(at_s * _TICKS), round(at_s * _TICKS), is_key,
                        began_s + at_s, at_s)
            for at_s, (data, is_key) in zip(times, self._packets, strict=True)
        ]  # fmt: skip

    def _play(self) -> None:
        begin_s, begin_wall_s, number = time.monotonic(), time.time(), 0
        while not self._over.wait(max(0.0, begin_s + number / self.fps - time.monotonic())):
            row = number % len(self.scenes)
            data, is_key = self._packets[row]
            captured_s, stamp = begin_wall_s + number / self.fps, number * _TICKS // self.fps
            moment_s = begin_s + number / self.fps
            self.ring.put(CodedPacket(_FORMAT, data, stamp, stamp, is_key, captured_s, moment_s))
            self.newest_s = captured_s
            if number % self.look == 0:
                self._latest = self._find(self.scenes[row], number, captured_s, moment_s)
            number += 1

    def _find(self, scene: Scene, number: int, captured_s: float, moment_s: float) -> LatestPicture:
        frame = Frame(self.name, 1, number, captured_s, moment_s, RgbPicture(scene.rgb))
        tracks = tuple(range(1, len(scene.xyxy) + 1))
        nothing = np.zeros((0, 4), np.float32)
        return LatestPicture(
            frame, scene.xyxy, scene.labels, tracks, scene.names, nothing, self.hide
        )


def pick_latest(cameras: Sequence[FilmCamera]) -> Callable[[str], LatestPicture | None]:
    """What `Node.get_latest` is of these cameras."""
    known = {camera.name: camera for camera in cameras}
    return lambda name: known[name].get_latest() if name in known else None
