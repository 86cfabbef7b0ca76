"""Media files as frames; what cannot be read is skipped and reported."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from edge import plugins
from edge.errors import EdgeError, SourceError
from edge.ports import Source
from edge.types import Frame, Picture
from edge.vision.image_file import read_picture

PICTURES = frozenset({".avif", ".bmp", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEOS = frozenset(
    {".264", ".265", ".avi", ".gif", ".h264", ".h265", ".hevc", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


def find_media(paths: Sequence[Path]) -> tuple[list[Path], Counter[str]]:
    """List files as given, and all images and videos below folders, sorted.

    Returns:
        The files, and how many others lie below the folders, by suffix.
    """
    files, others = list[Path](), Counter[str]()
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        for inside in sorted(p for p in path.rglob("*") if p.is_file()):
            suffix = inside.suffix.lower()
            if suffix in PICTURES | VIDEOS:
                files.append(inside)
            else:
                others[suffix or inside.name] += 1
    return files, others


@dataclass(slots=True)
class Media:
    """Files read one after the other.

    Attributes:
        done: The number of files that were read to the end.
        frames: The number of images and video frames so far.
        skipped: The name of each file that could not be read to the end, and the reason.
    """

    files: Sequence[Path]
    done: int = 0
    frames: int = 0
    skipped: list[str] = field(default_factory=list)

    def read(self) -> Iterator[Frame]:
        """Frames of all files; ``camera`` is the path, ``seq`` counts from 0 in each file."""
        for path in self.files:
            try:
                for seq, picture in enumerate(_pictures(path)):
                    self.frames += 1
                    yield Frame(str(path), 0, seq, time.time(), time.monotonic(), picture)
            except EdgeError as error:
                reason = str(error)
                self.skipped.append(reason if str(path) in reason else f"{path}: {reason}")
            else:
                self.done += 1


def is_picture(path: Path) -> bool:
    """Decide by suffix, or by content where the suffix is unknown."""
    suffix = path.suffix.lower()
    return suffix in PICTURES or (suffix not in VIDEOS and cv2.haveImageReader(str(path)))


def _pictures(path: Path) -> Iterator[Picture]:
    if path.exists() and not path.is_file():
        raise SourceError("this is no regular file", file=path)  # a pipe would be waited for
    if is_picture(path):
        yield read_picture(path)
    else:
        yield from _read_video(path)


def _read_video(path: Path) -> Iterator[Picture]:
    table = {"kind": "video_file", "path": os.fspath(path), "every_frame": True}
    source: Source = plugins.create("sources", table)
    count, ended = 0, False
    while not ended:
        try:
            with source.connect(threading.Event()) as captures:
                for capture in captures:
                    yield capture.picture
                    count += 1
            ended = True
        except SourceError as error:
            # after a change of the picture size, the next connection resumes there
            if not count or getattr(error, "row", None) != count:
                raise
