"""JPEG pictures: found in a stream by their own markers, and decoded with PyAV.

Boundaries and lengths of multipart streams are wrong in many cameras; the pictures are not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from edge.errors import SourceError
from edge.sources._picture import to_picture
from edge.types import Picture

MAX_JPEG_BYTES = 24 << 20  # a buffer that grows may be there twice for a moment
_MAX_BETWEEN_BYTES = 1 << 20  # of headers and padding between two pictures
_START, _END = 0xD8, 0xD9
# markers that are neither stuffing, padding, nor alone in the coded data
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]", re.DOTALL)


class JpegSplitter:
    """Cuts a stream of bytes into JPEG pictures, whatever stands between them.

    Args:
        read: Gives the next bytes; none at the end.
        address: Where they come from, as it may be shown.

    Attributes:
        began_s: Unix and monotonic time when the last picture's first bytes arrived.
    """

    def __init__(self, read: Callable[[], bytes], address: str) -> None:
        self.began_s = (0.0, 0.0)
        self._read = read
        self._address = address
        self._buffer = bytearray()
        self._filled_s = (0.0, 0.0)

    def next(self) -> bytes | None:
        """The next whole picture; None at the end of the stream.

        Raises:
            SourceError: There is none where one should be, or it has no end.
        """
        if not self._skip_to_start():
            return None
        at = 2
        while True:
            marker = _MARKER.search(self._buffer, at)
            if marker is None or (marker.end() + 2 > len(self._buffer) and marker[0][1] != _END):
                at = max(at, len(self._buffer) - 1) if marker is None else marker.start()
                if not self._fill():
                    return None
            elif marker[0][1] == _END:
                with memoryview(self._buffer) as whole:
                    picture = bytes(whole[: marker.end()])
                del self._buffer[: marker.end()]
                return picture
            elif marker[0][1] == _START:  # the last picture was cut off
                del self._buffer[: marker.start()]
                at = 2
            else:  # a segment, with its length
                length = self._buffer[marker.end() : marker.end() + 2]
                at = marker.end() + max(int.from_bytes(length, "big"), 2)

    def _skip_to_start(self) -> bool:
        skipped = 0
        while (start := self._buffer.find(b"\xff\xd8\xff")) < 0:
            passed = max(len(self._buffer) - 2, 0)
            skipped += passed
            del self._buffer[:passed]
            if skipped > _MAX_BETWEEN_BYTES:
                raise SourceError(
                    f"{self._address} sends no JPEG pictures: check the address and the kind"
                )
            if not self._fill():
                return False
        del self._buffer[:start]
        self.began_s = self._filled_s
        return True

    def _fill(self) -> bool:
        if len(self._buffer) > MAX_JPEG_BYTES:
            raise SourceError(
                f"{self._address} sends a picture of more than {MAX_JPEG_BYTES >> 20} MiB"
            )
        part = self._read()
        self._filled_s = time.time(), time.monotonic()
        self._buffer += part
        return bool(part)


class JpegDecoder:
    """Decodes JPEG pictures, without conversion of their planes."""

    def __init__(self) -> None:
        self._context = VideoCodecContext.create("mjpeg", "r")
        self._context.thread_count = 1
        self._context.options = {"max_pixels": str(8192 * 8192)}

    def decode(self, jpeg: bytes) -> Picture | None:
        """The picture; None when it cannot be decoded whole."""
        try:
            frames = self._context.decode(Packet(jpeg))
        except FFmpegError:
            return None
        if not frames or frames[-1].is_corrupt:
            return None
        return to_picture(frames[-1])
