"""The sound of a file that is written: coded packets beside the pictures, at the times of these."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from edge.errors import StorageError
from edge.types import SoundFormat, SoundPacket

MAX_OFF_S = 2.0  # of stamps against the clock; more is a broken stamp or another connection
_PERIODS = {"aac": 1024, "opus": 960}  # samples of a packet, where its stamp does not say
_LAYOUTS = {1: "mono", 2: "stereo"}


class SoundTrack:
    """Writes packets of sound to a container that has its pictures already.

    Args:
        container: Where to.
        format: How the sound is coded; nothing else is taken.

    Raises:
        StorageError: It cannot be in the container.
    """

    def __init__(self, container: OutputContainer, format: SoundFormat) -> None:  # noqa: A002
        self._format, self._container = format, container
        self._unit = Fraction(1, format.sample_rate)
        with _model(format) as template:
            self._stream = container.add_stream_from_template(template, opaque=True)
        self._stream.codec_context.extradata = format.header
        self._stream.time_base = self._unit
        self._last = -1
        self._picture_offset_s = self._offset_s = Fraction(0)

    def write(self, packet: SoundPacket, offset_s: Fraction, clock_s: float) -> None:
        """Append a packet.

        Args:
            packet: The packet.
            offset_s: From the stamps of the pictures to the time of the file, in seconds.
            clock_s: When it came, in seconds from the beginning of the file.
        """
        if packet.format != self._format:
            return
        at = self._place(packet, offset_s, clock_s)
        if at is None:
            return
        copy: Packet[Stream] = Packet(packet.data)
        copy.dts = copy.pts = self._last = at
        copy.time_base, copy.is_keyframe = self._unit, True
        copy.duration = _PERIODS[self._format.codec]
        copy.stream = self._stream
        self._container.mux_one(copy)

    def _place(self, packet: SoundPacket, offset_s: Fraction, clock_s: float) -> int | None:
        """When it is heard, in samples; None where it is too early or too much.

        Its own stamps count, which those of the pictures go with, unless they are far from the
        clock; those that stand still or step back are replaced.
        """
        if offset_s != self._picture_offset_s:
            self._picture_offset_s = self._offset_s = offset_s
        clock = Fraction(clock_s)
        if packet.pts is None:
            at_s = (self._last + _PERIODS[self._format.codec]) * self._unit
            if self._last < 0 or abs(at_s - clock) > MAX_OFF_S:
                at_s = clock
        else:
            stamp_s = packet.pts * packet.format.time_base
            offsets_s = self._offset_s, offset_s, clock - stamp_s
            self._offset_s = next(o for o in offsets_s if abs(stamp_s + o - clock) <= MAX_OFF_S)
            at_s = stamp_s + self._offset_s
        at = round(at_s / self._unit)
        if at <= self._last:
            at = self._last + _PERIODS[self._format.codec]
            if at * self._unit - clock > MAX_OFF_S:
                return None
        return at if at >= 0 else None


@contextlib.contextmanager
def _model(form: SoundFormat) -> Iterator[AudioStream]:
    """A stream that a track can be modelled on: that of silence, coded in the same way."""
    buffer = io.BytesIO()
    name, container = ("libopus", "ogg") if form.codec == "opus" else ("aac", "adts")
    try:
        with av.open(buffer, "w", format=container) as output:
            layout = _LAYOUTS[form.channels]
            stream = cast(
                AudioStream, output.add_stream(name, rate=form.sample_rate, layout=layout)
            )
            frame = av.AudioFrame(stream.format.name, layout, _PERIODS[form.codec])
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate = form.sample_rate
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        buffer.seek(0)
        model = av.open(buffer, format={"adts": "aac"}.get(container, container))
    except (FFmpegError, ValueError) as error:
        raise StorageError(f"sound cannot be recorded: {error}") from error
    with model:
        yield model.streams.audio[0]
