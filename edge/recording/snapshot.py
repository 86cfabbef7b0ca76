"""Pictures of events: the whole frame, and a thumbnail of what matters in it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import cast

import cv2
import numpy as np
from av.error import FFmpegError

from edge.event import BestView
from edge.recording.main_pictures import create_decoder, to_packet
from edge.recording.ring import PacketRing
from edge.types import U8, CodedPacket, FrameResult
from edge.vision.pixelate import choose_hidden, pixelate
from edge.vision.resize import to_rgb

QUALITY = 85  # of a JPEG
THUMBNAIL_PX = 320  # its longest side
MARGIN = 0.4  # of the object's size, around it in a thumbnail


def take_snapshot(
    result: FrameResult, main: PacketRing | None, hide: Collection[str], classes: Sequence[str]
) -> U8:
    """The picture of a frame, ``(H, W, 3)`` RGB, with faces or people pixelated where they must be.

    Args:
        result: The frame and what was found in it.
        main: The main stream's packets, from which the picture of the same moment is taken.
        hide: What must not be recognized, any of ``face`` and ``person``.
        classes: Class names by class_id.
    """
    rgb = decode_at(main, result.frame.captured_s) if main else None
    if rgb is None:
        rgb = to_rgb(result.frame.picture)
    if not hide:
        return rgb
    scale = np.divide(rgb.shape[1::-1], result.frame.size_wh)
    labels = [classes[class_id] for class_id in result.tracks.class_id.tolist()]
    hidden = choose_hidden(hide, result.tracks.xyxy, labels, result.faces.xyxy)
    return pixelate(rgb, hidden * np.tile(scale, 2).astype(np.float32))


def decode_at(ring: PacketRing, at_s: float) -> U8 | None:
    """The picture of a stream that was captured nearest to a Unix time, ``(H, W, 3)`` RGB.

    None where its packets are gone, have not come, or cannot be decoded.
    """
    packets = ring.read_up_to(at_s)
    return _decode_last(packets) if packets else None


def _decode_last(packets: Sequence[CodedPacket]) -> U8 | None:
    """The last picture of packets that begin with a key frame."""
    decoder, last = create_decoder(packets[0].format), None
    with contextlib.suppress(FFmpegError):
        for packet in (*map(to_packet, packets), None):
            for frame in decoder.decode(packet):
                last = frame
    return None if last is None else cast(U8, last.to_ndarray(format="rgb24"))


def cut_thumbnail(rgb: U8, best: BestView) -> U8:
    """The object with what is around it, ``THUMBNAIL_PX`` on its longest side, ``(h, w, 3)``."""
    height, width = rgb.shape[:2]
    scale = np.array([width / best.size_wh[0], height / best.size_wh[1]] * 2)
    x1, y1, x2, y2 = np.array(best.xyxy) * scale
    side_x, side_y = (1 + 2 * MARGIN) * (x2 - x1), (1 + 2 * MARGIN) * (y2 - y1)
    side_x, side_y = max(side_x, side_y * 4 / 3), max(side_y, side_x * 3 / 4)
    side_x, side_y = min(side_x, width), min(side_y, height)
    left = int(np.clip((x1 + x2 - side_x) / 2, 0, width - side_x))
    top = int(np.clip((y1 + y2 - side_y) / 2, 0, height - side_y))
    crop = rgb[top : top + max(round(side_y), 1), left : left + max(round(side_x), 1)]
    shrink = min(THUMBNAIL_PX / max(crop.shape[:2]), 1.0)
    size_wh = max(round(crop.shape[1] * shrink), 1), max(round(crop.shape[0] * shrink), 1)
    return cast(U8, cv2.resize(crop, size_wh, interpolation=cv2.INTER_AREA))


def encode_jpeg(rgb: U8) -> bytes:
    """A picture, ``(H, W, 3)`` RGB, as JPEG."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
