"""Pictures of main streams for faces: the moment of a frame, with more pixels."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from edge.errors import SourceError
from edge.recording.ring import PacketRing
from edge.sources._picture import to_picture
from edge.types import CodedPacket, FrameResult, Picture, RgbPicture, StreamFormat
from edge.vision.resize import resize_to_rgb


def create_decoder(form: StreamFormat) -> VideoCodecContext:
    """A decoder of a stream, in the thread that calls it."""
    decoder = cast(VideoCodecContext, av.CodecContext.create(form.codec, "r"))
    decoder.thread_count = 1
    if form.header:
        decoder.extradata = form.header
    return decoder


def to_packet(coded: CodedPacket) -> Packet[Stream]:
    """A packet as a decoder takes it."""
    packet: Packet[Stream] = Packet(coded.data)
    packet.pts, packet.dts = coded.pts, coded.dts
    return packet


class MainPictures:
    """Decodes the main stream of one camera where it is asked to, and goes on from there.

    The first picture costs the group of pictures up to it, those soon after it what lies between.

    Args:
        ring: The stream's packets.
    """

    def __init__(self, ring: PacketRing) -> None:
        self._ring = ring
        self._decoder: VideoCodecContext | None = None
        self._first: CodedPacket | None = None  # of the group that is being decoded
        self._decoded = 0  # packets of it
        self._frame: VideoFrame | None = None

    def find(self, at_s: float) -> Picture | None:
        """The picture that was captured nearest to a Unix time.

        None where its packets are gone, have not come, or cannot be decoded.
        """
        packets = self._ring.read_up_to(at_s)
        if not packets:
            return None
        if packets[0] is not self._first or len(packets) < self._decoded:
            self._begin(packets[0])
        self._decode(packets[self._decoded :])
        self._decoded = len(packets)
        if self._frame is None:
            return None
        with contextlib.suppress(SourceError):
            return to_picture(self._frame)
        return None

    def _begin(self, first: CodedPacket) -> None:
        self._decoder, self._first = create_decoder(first.format), first
        self._decoded, self._frame = 0, None

    def _decode(self, packets: Sequence[CodedPacket]) -> None:
        assert self._decoder  # noqa: S101 - for mypy
        for coded in packets:
            with contextlib.suppress(FFmpegError):
                for frame in self._decoder.decode(to_packet(coded)):
                    self._frame = frame


@dataclass(slots=True)
class Enlarger:
    """Puts results into the pixels of a main stream, for whoever looks at faces.

    Where the picture of a moment cannot be had, that of the frame is enlarged to the same size, so
    that faces stay where they were.

    Attributes:
        pictures: Of the camera's main stream.
    """

    pictures: MainPictures
    _size_wh: tuple[int, int] | None = None

    def enlarge(self, result: FrameResult) -> FrameResult:
        """The same result in the pixels of the main stream; as it is before its first picture."""
        if not len(result.faces):
            return result
        frame = result.frame
        picture = self.pictures.find(frame.captured_s)
        if picture is None and self._size_wh is None:
            return result
        if picture is None:
            picture = RgbPicture(
                resize_to_rgb(frame.picture, cast("tuple[int, int]", self._size_wh))
            )
        self._size_wh = picture.size_wh
        scale = np.divide(picture.size_wh, frame.size_wh).astype(np.float32)
        corners = np.tile(scale, 2)
        return replace(
            result,
            frame=replace(frame, picture=picture),
            tracks=replace(result.tracks, xyxy=result.tracks.xyxy * corners),
            faces=replace(
                result.faces,
                xyxy=result.faces.xyxy * corners,
                landmarks=result.faces.landmarks * scale,
            ),
        )


def restore(result: FrameResult, looked: FrameResult) -> FrameResult:
    """What was decided about an enlarged result, in the pixels of the frame."""
    return replace(
        result,
        faces=replace(result.faces, quality=looked.faces.quality),
        decisions=looked.decisions,
        decided=looked.decided,
    )
