"""Media: files on disk as frames; what cannot be read is skipped and remembered."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge import plugins
from edge.errors import EdgeError, SourceError
from edge.ports import Source
from edge.types import Frame, Picture, RgbPicture

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEOS = frozenset(
    {".264", ".265", ".avi", ".gif", ".h264", ".h265", ".hevc", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


def find(paths: Sequence[Path]) -> list[Path]:
    """Files as given; of folders all pictures and videos below them, sorted."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob("*"))
            found += [p for p in inside if p.suffix.lower() in PICTURES | VIDEOS and p.is_file()]
        else:
            found.append(path)
    return found


@dataclass(slots=True)
class Media:
    """Files read one after the other.

    Attributes:
        files: pictures and videos.
        done: files that were read to their end.
        frames: pictures and video frames handed out.
        skipped: files that could not be read, or not to their end, and why.
    """

    files: Sequence[Path]
    done: int = 0
    frames: int = 0
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    def read(self) -> Iterator[Frame]:
        """Frames of all files; ``camera`` is the path, ``seq`` counts from 0 in each file."""
        for path in self.files:
            try:
                for seq, picture in enumerate(_pictures(path)):
                    self.frames += 1
                    yield Frame(str(path), 0, seq, time.time(), time.monotonic(), picture)
            except EdgeError as error:
                self.skipped.append((path, str(error)))
            else:
                self.done += 1


def is_picture(path: Path) -> bool:
    """By suffix, or by content where the suffix says nothing."""
    suffix = path.suffix.lower()
    return suffix in PICTURES or (suffix not in VIDEOS and cv2.haveImageReader(str(path)))


def _pictures(path: Path) -> Iterator[Picture]:
    if is_picture(path):
        yield read_picture(path)
    else:
        yield from _read_video(path)


def read_picture(path: Path) -> RgbPicture:
    """A picture, upright as EXIF says.

    Raises:
        SourceError: missing, or not a whole picture.
    """
    try:
        encoded = np.frombuffer(path.read_bytes(), np.uint8)
        bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except OSError as error:
        raise SourceError(f"{error.strerror}") from error
    except cv2.error as error:
        raise SourceError("too large a picture") from error
    if bgr is None:
        raise SourceError("not a picture, or cut off")
    return RgbPicture(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))  # type: ignore[arg-type]


def _read_video(path: Path) -> Iterator[Picture]:
    table = {"kind": "video_file", "path": os.fspath(path), "every_frame": True}
    source: Source = plugins.create("sources", table)
    count = 0
    try:
        with source.connect(threading.Event()) as captures:
            for capture in captures:
                yield capture.picture
                count += 1
    except SourceError as error:
        raise SourceError(f"{error} (after {count} frames)" if count else f"{error}") from error
    if not count:
        raise SourceError("no pictures in it")
