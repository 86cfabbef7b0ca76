"""A camera on this machine, through OpenCV: a V4L2 device or a GStreamer pipeline.

OpenCV's calls cannot be interrupted, so a capture thread makes them. One that hangs in the driver
is abandoned; until it returns, the device is not opened again.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from pydantic import ConfigDict, Field, PositiveInt, model_validator

from edge.compat import Self
from edge.config import Table
from edge.errors import SourceError
from edge.redaction import show_address
from edge.sources._av import Deadline
from edge.sources._capture_thread import CaptureThread
from edge.types import Capture, RgbPicture

log = logging.getLogger(__name__)


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
        self._thread: CaptureThread[Capture] | None = None

    @property
    def address(self) -> str:
        """The device, or the first element of the pipeline: its properties may be secrets."""
        if self._options.device:
            return self._options.device
        element = re.match(r"[a-z0-9]+", self._options.pipeline.strip())
        return f"the pipeline of {element[0]}" if element else "the pipeline"

    @contextlib.contextmanager
    def connect(self, stop: threading.Event) -> Iterator[Iterator[Capture]]:
        """Open the camera; iterate captures until ``stop``.

        Raises:
            SourceError: It cannot be opened, went silent or changed its picture size.
        """
        if self._thread is not None and self._thread.is_alive():
            raise SourceError(
                f"{self.address}: the previous capture is still blocked in the driver; "
                "unplug the device"
            )
        self._thread = CaptureThread(self.address, self._grab_all)
        with (
            self._thread.running() as thread,
            contextlib.closing(self._captures(thread, stop)) as captures,
        ):
            yield captures

    def _captures(
        self, thread: CaptureThread[Capture], stop: threading.Event
    ) -> Generator[Capture]:
        deadline = Deadline.to_open(self._options.open_timeout_s)
        size_wh = None
        while (capture := thread.next(deadline, stop)) is not None:
            if size_wh not in (None, capture.picture.size_wh):
                size_wh = capture.picture.size_wh
                raise SourceError(f"{self.address}: the picture size changed to {size_wh}")
            size_wh = capture.picture.size_wh
            deadline = Deadline.to_read(self._options.read_timeout_s)
            yield capture

    # --- in the thread --------------------------------------------------------------------------

    def _grab_all(self, store: Callable[[Capture], None], closing: threading.Event) -> None:
        try:
            with contextlib.ExitStack() as stack:
                grabber = self._opener(self._options)
                stack.callback(grabber.release)
                self._grab(grabber, store, closing)
        except cv2.error as error:
            log.debug("%s: OpenCV error %d", self.address, error.code)
            code = error.code
        else:
            return
        raise SourceError(f"{self.address}: OpenCV error {code}")

    def _grab(
        self, grabber: Grabber, store: Callable[[Capture], None], closing: threading.Event
    ) -> None:
        while not closing.is_set():
            if not grabber.grab():
                raise SourceError(f"{self.address} ended the stream")
            captured_s, monotonic_s = time.time(), time.monotonic()
            ok, bgr = grabber.retrieve()
            if ok and bgr is not None:
                rgb = np.asarray(cv2.cvtColor(bgr, _TO_RGB[bgr.ndim]), np.uint8)
                store(Capture(RgbPicture(rgb), captured_s, monotonic_s))


_TO_RGB = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB}


def open_capture(options: Options) -> Grabber:
    """Open a camera with OpenCV.

    Raises:
        SourceError: There is none, or this OpenCV cannot open it.
    """
    # Its warnings would show the pipeline and its password. OpenCV 4 has the former, 5 the latter.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)
    if options.pipeline:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise SourceError(
                "this OpenCV was built without GStreamer: use one that has it (JetPack's, or "
                'Debian\'s python3-opencv), kind = "rtsp", or device = "/dev/v4l/by-id/..."'
            )
        capture = cv2.VideoCapture(options.pipeline, cv2.CAP_GSTREAMER)
    else:
        if not Path(options.device).exists():
            raise SourceError(
                f"{show_address(options.device)}: there is no such device: is it plugged in?"
            )
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
