"""A camera on this machine, through OpenCV: a V4L2 device or a GStreamer pipeline.

OpenCV's calls cannot be interrupted, so a capture thread makes them. One that hangs in the driver
is abandoned; until it returns, the device is not opened again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol, Self

import cv2
import numpy as np
from pydantic import ConfigDict, Field, PositiveInt, model_validator

from edge.config import Table
from edge.errors import SourceError
from edge.redaction import redact
from edge.types import Capture, RgbPicture

log = logging.getLogger(__name__)

_POLL_S = 0.5  # interval at which the stop flag is checked
_CLOSE_TIMEOUT_S = 1.0


class Options(Table):
    """A camera on this machine: either `device` or `pipeline`.

    Attributes:
        device: V4L2 device; a path in /dev/v4l/by-id keeps its name when others are plugged in.
        pipeline: GStreamer pipeline that ends in an appsink and delivers BGR.
        width: Width to request from the device, in pixels; it may choose another.
        height: Height to request from the device, in pixels.
        fps: Frame rate to request from the device.
        open_timeout_s: Timeout for the device and its first picture, in seconds.
        read_timeout_s: Timeout for any other picture, in seconds.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    device: str = ""
    pipeline: str = Field(default="", repr=False)
    width: PositiveInt | None = None
    height: PositiveInt | None = None
    fps: float | None = Field(default=None, gt=0, le=1000)
    open_timeout_s: float = Field(default=5, gt=0, le=60)
    read_timeout_s: float = Field(default=3, gt=0, le=60)

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        if bool(self.device) == bool(self.pipeline):
            raise ValueError("give either device or pipeline")
        if self.pipeline and (self.width or self.height or self.fps):
            raise ValueError("set width, height and fps as caps in the pipeline")
        return self


class Grabber(Protocol):
    """The part of cv2.VideoCapture that is used here."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether the camera is open."""

    def grab(self) -> bool:
        """Wait for the next picture."""

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        """Decode it: ``(H, W, 3)`` BGR."""

    def release(self) -> None:
        """Close the camera."""


class LocalCamera:
    """A camera on this machine.

    Args:
        options: The camera.
        opener: Opens the camera; for tests.
    """

    every_frame = False

    def __init__(
        self, options: Options, opener: Callable[[Options], Grabber] | None = None
    ) -> None:
        self._options = options
        self._opener = opener or open_capture
        self._capture_thread: _CaptureThread | None = None

    @property
    def address(self) -> str:
        """The device, or the pipeline without secrets."""
        return self._options.device or redact(self._options.pipeline)

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Open the camera; iterate captures until ``stop``.

        Raises:
            SourceError: It cannot be opened, went silent or changed its picture size.
        """
        if self._capture_thread is not None and self._capture_thread.thread.is_alive():
            raise SourceError(
                f"{self.address}: the previous capture is still blocked in the driver; "
                "unplug the device"
            )
        self._capture_thread = _CaptureThread(self._options, self._opener, self.address)
        try:
            self._capture_thread.thread.start()
            with contextlib.closing(self._captures(self._capture_thread, stop)) as captures:
                yield captures
        finally:
            self._capture_thread.close()

    def _captures(self, thread: _CaptureThread, stop: threading.Event) -> Generator[Capture]:
        timeout_s = self._options.open_timeout_s
        size_wh = None
        while not stop.is_set():
            capture = thread.next(timeout_s, stop)
            if capture is None:
                return
            if size_wh not in (None, capture.picture.size_wh):
                size_wh = capture.picture.size_wh
                raise SourceError(f"{self.address}: the picture size changed to {size_wh}")
            size_wh, timeout_s = capture.picture.size_wh, self._options.read_timeout_s
            yield capture


class _CaptureThread:
    """Opens a camera in a thread and keeps its latest picture, or the problem."""

    def __init__(
        self, options: Options, opener: Callable[[Options], Grabber], address: str
    ) -> None:
        self._options, self._opener, self._address = options, opener, address
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._latest: Capture | None = None
        self._problem = ""
        self.thread = threading.Thread(target=self._run, name=f"camera {address}", daemon=True)

    def next(self, timeout_s: float, stop: threading.Event) -> Capture | None:
        """Wait for the next picture; None when ``stop`` was set.

        Raises:
            SourceError: None came within ``timeout_s``, or the camera failed.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not stop.is_set():
                if (latest := self._latest) is not None:
                    self._latest = None
                    return latest
                if self._problem:
                    raise SourceError(self._problem)
                if (rest_s := deadline_s - time.monotonic()) <= 0:
                    raise SourceError(f"{self._address} was silent for {timeout_s:g} s")
                self._changed.wait(min(rest_s, _POLL_S))
        return None

    def close(self) -> None:
        """Ask the thread to end and wait for it briefly."""
        self._closing.set()
        self.thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        try:
            grabber = self._opener(self._options)
            try:
                self._grab(grabber)
            finally:
                grabber.release()
        except SourceError as error:
            self._store(problem=str(error))
        except cv2.error as error:
            log.debug("%s: OpenCV error %d", self._address, error.code)
            self._store(problem=f"{self._address}: OpenCV error {error.code}")

    def _grab(self, grabber: Grabber) -> None:
        while not self._closing.is_set():
            if not grabber.grab():
                raise SourceError(f"{self._address} ended the stream")
            captured_s, monotonic_s = time.time(), time.monotonic()
            ok, bgr = grabber.retrieve()
            if ok and bgr is not None:
                rgb = np.asarray(cv2.cvtColor(bgr, _TO_RGB[bgr.ndim]), np.uint8)
                self._store(Capture(RgbPicture(rgb), captured_s, monotonic_s))

    def _store(self, latest: Capture | None = None, problem: str = "") -> None:
        with self._changed:
            self._latest, self._problem = latest or self._latest, problem
            self._changed.notify_all()


_TO_RGB = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB}


def open_capture(options: Options) -> Grabber:
    """Open a camera with OpenCV.

    Raises:
        SourceError: There is none, or this OpenCV cannot open it.
    """
    cv2.utils.logging.setLogLevel(0)  # warnings would show the pipeline and its password
    if options.pipeline:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise SourceError(
                "this OpenCV was built without GStreamer: use one that has it (JetPack's, or "
                'Debian\'s python3-opencv), kind = "rtsp", or device = "/dev/v4l/by-id/..."'
            )
        capture = cv2.VideoCapture(options.pipeline, cv2.CAP_GSTREAMER)
    else:
        if not Path(options.device).exists():
            raise SourceError(f"{options.device}: there is no such device: is it plugged in?")
        capture = cv2.VideoCapture(options.device, cv2.CAP_V4L2, _requested_properties(options))
    if not capture.isOpened():
        capture.release()
        raise SourceError(
            f"{options.device or 'the pipeline'} cannot be opened: check permissions (group "
            "video) and that no other program uses it"
        )
    return capture


def _requested_properties(options: Options) -> list[int]:
    requested = {
        cv2.CAP_PROP_FRAME_WIDTH: options.width,
        cv2.CAP_PROP_FRAME_HEIGHT: options.height,
        cv2.CAP_PROP_FPS: options.fps,
    }
    return [int(item) for key, value in requested.items() if value for item in (key, value)]


def build(options: Options) -> LocalCamera:
    """Create the source that options describe."""
    return LocalCamera(options)
