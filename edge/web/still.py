"""Stills: a picture as JPEG, smaller if wanted, with boxes, and with what must be hidden hidden."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from edge.types import F32, Picture
from edge.vision.draw import draw
from edge.vision.pixelate import choose_hidden, pixelate
from edge.vision.resize import resize_to_rgb
from edge.web.ports import LatestPicture

QUALITY = 80
KEPT = 64  # stills, so that fifty viewers cost one


def encode_still(
    picture: Picture,
    xyxy: F32,
    labels: Sequence[str],
    height: int = 0,
    hidden_xyxy: F32 | None = None,
) -> bytes:
    """A picture as JPEG, as wide as it is meant to be seen.

    Args:
        picture: Of any size.
        xyxy: ``(N, 4)`` boxes to draw, pixels of the picture.
        labels: What is written at each.
        height: Height in pixels, if the picture has more; 0 leaves it as it is.
        hidden_xyxy: ``(K, 4)`` boxes that are made unrecognizable, pixels of the picture.
    """
    source_w, source_h = picture.size_wh
    shown_h = min(height, source_h) if height else source_h
    shown_w = max(1, round(source_w * shown_h / source_h * picture.pixel_aspect))
    rgb = resize_to_rgb(picture, (shown_w, shown_h))
    scale = np.tile(np.array([shown_w / source_w, shown_h / source_h], np.float32), 2)
    if hidden_xyxy is not None and len(hidden_xyxy):
        rgb = pixelate(rgb, hidden_xyxy * scale)
    if len(xyxy):
        none = np.zeros((0, 4), np.float32)
        rgb = draw(rgb, xyxy * scale, labels, none, np.zeros((0, 5, 2), np.float32))
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return jpeg.tobytes()


Key = tuple[str, int, int, tuple[str, ...], bool, bool, int]


class StillCache:
    """The last stills: whoever wants the same one gets the same one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stills: OrderedDict[Key, bytes] = OrderedDict()

    def encode(self, latest: LatestPicture, *, boxes: bool, names: bool, height: int) -> bytes:
        """The still of a frame; what its camera hides is hidden."""
        frame = latest.frame
        key = (frame.camera, frame.epoch, frame.seq, latest.hide, boxes, names, height)
        with self._lock:  # two who want the same wait for one
            if (known := self._stills.get(key)) is not None:
                return known
            still = _draw_latest(latest, boxes=boxes, names=names, height=height)
            self._stills[key] = still
            while len(self._stills) > KEPT:
                self._stills.popitem(last=False)
        return still


def _draw_latest(latest: LatestPicture, *, boxes: bool, names: bool, height: int) -> bytes:
    hidden = choose_hidden(latest.hide, latest.xyxy, latest.labels, latest.faces_xyxy)
    said = latest.attributes or ({},) * len(latest.labels)
    captions = [
        _to_ascii(" ".join([label, *([name] if name and names else []), *_describe_values(values)]))
        for label, name, values in zip(latest.labels, latest.names, said, strict=True)
    ]
    shown = latest.xyxy if boxes else latest.xyxy[:0]
    return encode_still(latest.frame.picture, shown, captions if boxes else [], height, hidden)


def _describe_values(values: Mapping[str, str]) -> list[str]:
    """What was decided, in few words: ``vest: no``."""
    return [f"{name}: {value}" for name, value in values.items()]


def _to_ascii(name: str) -> str:
    """A text in the letters that OpenCV can draw."""
    return name.encode("ascii", "replace").decode()
