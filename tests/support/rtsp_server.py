"""A real RTSP server for tests: Debian's gst-rtsp-server in a child of the system's Python.

    with rtsp_server(video, user="u", password="p") as server:
        open(server.url)
        server.stop()      # the camera drops
        server.start()     # it is back, on the same port
        server.freeze()    # connections stay open, nothing comes
        server.thaw()

A file is served in a loop and not transcoded: the coded pictures are read once with PyAV and
pushed at the file's pace, and its sound with them where that is asked for. Each client begins at
the first picture. Loopback only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
)
_UNIT = struct.Struct("<dI")  # seconds until the next unit, bytes of this one
_SOUNDS = {  # of the file, by FFmpeg's name of the codec: caps, payloader
    "aac": ("audio/mpeg,mpegversion=4,stream-format=raw", "rtpmp4gpay"),
    "pcm_alaw": ("audio/x-alaw", "rtppcmapay"),
}


class RtspServer:
    """A server that can be stopped, started again on its port, frozen and thawed."""

    def __init__(
        self,
        units: Path,
        codec: str,
        user: str = "",
        password: str = "",
        host: str = "127.0.0.1",
        sent: Path | None = None,
        sound: dict[str, str] | None = None,
    ) -> None:
        self._sound = sound
        self.user, self.password = user, password
        self._host, self._port = host, _free_port(host)
        self._units, self._codec, self._sent = units, codec, sent
        self._child: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Its address without user and password."""
        return f"rtsp://{self._host}:{self._port}/live"

    def start(self) -> None:
        """Serve; returns when it listens."""
        self._child = subprocess.Popen(
            [SYSTEM_PYTHON, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert self._child.stdin
        assert self._child.stdout
        task = {
            "units": str(self._units), "codec": self._codec, "user": self.user,
            "password": self.password, "host": self._host, "port": self._port,
            "sent": str(self._sent or ""), "sound": self._sound,
        }  # fmt: skip
        self._child.stdin.write(json.dumps(task) + "\n")
        self._child.stdin.flush()
        ready, _, _ = select.select([self._child.stdout], [], [], 10)
        if not ready or self._child.stdout.readline() != "ready\n":
            self.stop()
            raise RuntimeError("the RTSP server did not start within 10 s")

    def stop(self) -> None:
        """Drop every client and stop listening; may be called twice."""
        if self._child is None:
            return
        child, self._child = self._child, None
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()

    def freeze(self) -> None:
        """Say nothing more, with every connection left open."""
        assert self._child
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        assert self._child
        self._child.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def rtsp_server(
    path: Path | None = None,
    *,
    user: str = "",
    password: str = "",
    size_wh: tuple[int, int] = (320, 240),
    fps: int = 10,
    gop: int = 10,
    sent: Path | None = None,
    sound: bool = False,
) -> Iterator[RtspServer]:
    """Serve a video file (H.264 or H.265), or a moving test pattern when there is none.

    A file ``sent`` gets a line when a picture is sent: the time, on the monotonic clock. Of several
    clients the last one counts.

    Skips the calling test where Debian's packages are missing.
    """
    if missing := why_missing():
        import pytest

        pytest.skip(missing)
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "pattern.mp4"
            write_pattern(path, size_wh, fps, gop)
        units = Path(folder) / "units"
        codec = _write_units(path, units)
        heard = _write_sound(path, Path(folder) / "sound") if sound else None
        server = RtspServer(units, codec, user, password, sent=sent, sound=heard)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@lru_cache
def why_missing() -> str:
    """One line that says what to install, empty when all is there."""
    line = f"no RTSP server here: apt-get install {PACKAGES}"
    if not Path(SYSTEM_PYTHON).exists():
        return line
    probe = subprocess.run([SYSTEM_PYTHON, __file__, "probe"], capture_output=True, check=False)
    return line if probe.returncode else ""


def write_pattern(path: Path, size_wh: tuple[int, int], fps: int, gop: int) -> None:
    """Encode two seconds of a moving gradient as H.264, without B-frames."""
    import av
    import numpy as np

    width, height = size_wh
    ramp = np.add.outer(np.arange(height), np.arange(width))
    with av.open(str(path), "w") as container:
        options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "g": str(gop),
            "x264-params": "sliced-threads=0",
        }
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for row in range(2 * fps):
            image = np.stack([ramp + 8 * row, ramp // 2, ramp + 90], -1).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _write_units(path: Path, units: Path) -> str:
    """Write the coded pictures of a video one after the other; return the codec's name."""
    import av
    from av.bitstream import BitStreamFilterContext

    with av.open(str(path)) as container, units.open("wb") as out:
        stream = container.streams.video[0]
        codec = stream.codec_context.name
        annex_b = BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
        pause_s = float(1 / (stream.average_rate or 25))
        for packet in container.demux(stream):
            for part in annex_b.filter(packet if packet.size else None):
                data = bytes(part)
                out.write(_UNIT.pack(pause_s, len(data)) + data)
    return codec


def _write_sound(path: Path, units: Path) -> dict[str, str]:
    """Write the coded sound of a file, a packet after the other; where it is, and what."""
    import av

    with av.open(str(path)) as container, units.open("wb") as out:
        stream = container.streams.audio[0]
        for packet in container.demux(stream):
            if packet.size:
                pause_s = float((packet.duration or 0) * packet.time_base)
                out.write(_UNIT.pack(pause_s, packet.size) + bytes(packet))
        context = stream.codec_context
        caps, payloader = _SOUNDS[context.name]
        caps += f",rate={stream.rate},channels={context.channels}"
        if context.extradata:
            caps += f",codec_data=(buffer){context.extradata.hex()}"
    return {"units": str(units), "caps": caps, "payloader": payloader}


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])


# --- the child, run by the system's Python --------------------------------------------------------


def _serve() -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    gi.require_version("GstRtsp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstApp, GstRtspServer

    Gst.init(None)
    for element in ("appsrc", "h264parse", "h265parse", "rtph264pay", "rtph265pay", "rtpbin"):
        if Gst.ElementFactory.find(element) is None:
            sys.exit(f"no {element}")
    assert GstApp  # appsrc's signals
    if "probe" in sys.argv:
        return
    task = json.loads(sys.stdin.readline())
    units = list(_read_units(Path(task["units"])))
    number = {"h264": "264", "hevc": "265"}[task["codec"]]
    loop = GLib.MainLoop()

    server = GstRtspServer.RTSPServer()
    server.set_address(task["host"])
    server.set_service(str(task["port"]))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( appsrc name=units is-live=true format=time do-timestamp=true "
        f"caps=video/x-h{number},stream-format=byte-stream,alignment=au ! h{number}parse "
        f"! rtph{number}pay name=pay0 pt=96 config-interval=0 "
        + _describe_sound(task["sound"])
        + ")"
    )
    heard = list(_read_units(Path(task["sound"]["units"]))) if task["sound"] else []

    def configure(_factory: object, media: object) -> None:
        _push(media, "units", units, task["sent"])
        if heard:
            _push(media, "heard", heard, "")

    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/live", factory)
    if task["user"]:
        _demand_login(server, factory, task["user"], task["password"])
    if not server.attach(None):
        sys.exit("cannot listen")
    GLib.io_add_watch(0, GLib.IO_HUP, lambda *_: loop.quit())  # the test went away
    print("ready", flush=True)
    loop.run()


def _describe_sound(sound: dict[str, str] | None) -> str:
    if not sound:
        return ""
    caps, payloader = sound["caps"], sound["payloader"]
    return f"appsrc name=heard is-live=true format=time do-timestamp=true caps={caps} ! " + (
        f"{payloader} name=pay1 " + ("pt=97 " if payloader == "rtpmp4gpay" else "pt=8 ")
    )


def _push(media: object, name: str, units: list[tuple[float, bytes]], sent: str) -> None:
    """Give one client its pictures, or sound, at their pace, from the first one on."""
    from gi.repository import GLib, Gst

    source = media.get_element().get_by_name(name)  # type: ignore[attr-defined]
    endless = itertools.cycle(units)
    times = Path(sent).open("w", buffering=1) if sent else None  # noqa: SIM115 - as long as we live

    def push() -> bool:
        pause_s, data = next(endless)
        if times:
            times.write(f"{time.monotonic()}\n")
        if source.emit("push-buffer", Gst.Buffer.new_wrapped(data)) == Gst.FlowReturn.OK:
            GLib.timeout_add(max(1, round(pause_s * 1000)), push)
        return False

    def begin(_source: object, _bytes: int) -> None:
        source.disconnect(handler)
        GLib.idle_add(push)

    handler = source.connect("need-data", begin)


def _demand_login(server: object, factory: object, user: str, password: str) -> None:
    from gi.repository import GstRtsp, GstRtspServer

    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    auth.add_digest(user, password, token)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)
    server.set_auth(auth)


def _read_units(path: Path) -> Iterator[tuple[float, bytes]]:
    data = path.read_bytes()
    at = 0
    while at < len(data):
        pause_s, size = _UNIT.unpack_from(data, at)
        at += _UNIT.size
        yield pause_s, data[at : at + size]
        at += size


if __name__ == "__main__":
    _serve()
