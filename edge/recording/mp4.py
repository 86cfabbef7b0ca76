"""Coded packets in MP4 files, without coding them again.

A file is fragmented while it is written, so that a crash costs its last fragment; `finish` makes it
one that every player can seek in.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import math
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from edge.errors import StorageError
from edge.recording.kept_file import create_file, open_kept
from edge.recording.sound_track import SoundTrack
from edge.types import CodedPacket, SoundFormat, SoundPacket

log = logging.getLogger(__name__)

RAW_FORMATS: Final = {"h264": "h264", "hevc": "hevc", "mjpeg": "mjpeg"}  # by codec
MAX_STEP_S = 10.0  # of stamps against the clock; more is a broken stamp or another connection
_FRAGMENTS = {
    "second": {
        "movflags": "frag_keyframe+empty_moov+default_base_moof",
        "frag_duration": "1000000",
    },
    "picture": {"movflags": "frag_every_frame+empty_moov+default_base_moof"},
}
# the track of sound may begin later than the file does; one whose packets stay away is waited for
# a second
_WITH_SOUND = {
    "avoid_negative_ts": "make_non_negative",
    "use_editlist": "0",
    "max_interleave_delta": "1000000",
}
_SETTLES_S = 1.0  # how much later than its pictures sound may lie in a file
_START_CODE = re.compile(rb"\x00\x00\x00?\x01")
_SETS_BYTES = 4096  # of a key frame, in which they are looked for
_PARAMETER_SETS = {"h264": (0x1F, 0, {7, 8}), "hevc": (0x3F, 1, {32, 33, 34})}  # ITU-T H.264, H.265
_WHOLE = {"movflags": "faststart"}
_UNREADABLE = (OSError, FFmpegError, IndexError, ValueError)  # of what is no video
_HEVC_TAG = "hvc1"  # the one of the two that all players know


class Mp4Writer:
    """Writes packets to a file, from a key frame on.

    Args:
        file: Where to; only its ``write`` is used.
        first: The key frame that it begins with.
        fragment: How much is lost in a crash: a second, or one picture.
        sound: How the sound is coded that comes as well; None leaves sound out.

    Attributes:
        began_s: Unix time of the first picture.
        ended_s: Unix time of the end of the last one.

    Raises:
        StorageError: MP4 cannot contain the codec, or the key frame is broken.
    """

    def __init__(
        self,
        file: BinaryIO,
        first: CodedPacket,
        fragment: Literal["second", "picture"] = "second",
        sound: SoundFormat | None = None,
    ) -> None:
        self.began_s = self.ended_s = first.captured_s
        self._first = self._last = first
        self._unit = first.format.time_base
        self._sets = _find_sets(first)
        self._period = max(round(Fraction(1, 25) / self._unit), 1)
        self._origin: int | None = None
        self._dts = -1
        with _reading(first) as template, _translating():
            options = {**_FRAGMENTS[fragment], "flush_packets": "1"}
            if sound:
                options = _allow_sound(options)
            self._container = av.open(file, "w", format="mp4", options=options)
            self._stream = self._container.add_stream_from_template(template, opaque=True)
            self._stream.time_base = self._unit
            if first.format.codec == "hevc":
                self._stream.codec_context.codec_tag = _HEVC_TAG
            self._sound = _add_track(self._container, sound)

    def fits(self, packet: CodedPacket) -> bool:
        """Whether a packet can follow in the same file: it is coded in the same way."""
        if not packet.is_key:
            return packet.format is self._last.format
        if packet.format is self._last.format and _find_sets(packet) in ((), self._sets):
            return True
        fits = (
            packet.format.codec == self._first.format.codec
            and packet.format.time_base == self._unit
            and _read_parameters(packet) == _read_parameters(self._first)
        )
        if fits:
            self._sets = _find_sets(packet)
        return fits

    def write(self, packet: CodedPacket) -> None:
        """Append a packet.

        Raises:
            OSError: The file cannot be written.
            StorageError: The packet cannot be.
        """
        stamp = packet.pts if packet.dts is None else packet.dts
        passed = round((packet.monotonic_s - self._last.monotonic_s) / self._unit)
        if self._origin is None:
            self._origin, dts = stamp or 0, 0
        else:
            dts = self._dts + max(passed, 1) if stamp is None else stamp - self._origin
            off = abs(dts - self._dts - passed) > MAX_STEP_S / self._unit
            if dts <= self._dts or off or packet.format is not self._last.format:
                dts = self._dts + (max(passed, 1) if 0 < passed < MAX_STEP_S / self._unit
                                   else self._period)  # fmt: skip
                self._origin = (stamp or 0) - dts
            else:  # a pause between two connections is not how long a picture lasts
                self._period = dts - self._dts
        copy: Packet[Stream] = Packet(packet.data)
        copy.dts, copy.time_base, copy.is_keyframe = dts, self._unit, packet.is_key
        shift = 0 if packet.pts is None or packet.dts is None else packet.pts - packet.dts
        pts = copy.pts = dts + max(shift, 0)
        copy.stream = self._stream
        with _translating():
            self._container.mux_one(copy)
        self._last, self._dts = packet, dts
        end_s = self.began_s + float((pts + self._period) * self._unit)
        self.ended_s = max(self.ended_s, end_s)

    def write_sound(self, packet: SoundPacket) -> None:
        """Append a packet of sound, where it fits and is not before the first picture.

        Raises:
            OSError: The file cannot be written.
            StorageError: The packet cannot be.
        """
        if self._sound is None or self._origin is None:
            return
        passed_s = packet.monotonic_s - self._last.monotonic_s
        with _translating():
            self._sound.write(
                packet, -self._origin * self._unit, float(self._dts * self._unit) + passed_s
            )

    def close(self) -> None:
        """Write what is left; the file stays open.

        Raises:
            OSError: The file cannot be written.
            StorageError: What is left cannot be.
        """
        with _translating():
            self._container.close()


def _add_track(container: OutputContainer, sound: SoundFormat | None) -> SoundTrack | None:
    """A track of sound; none where it cannot be, for pictures are recorded all the same."""
    if sound is None:
        return None
    try:
        return SoundTrack(container, sound)
    except StorageError as error:
        log.warning("recorded without sound: %s", error)
        return None


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file.

    Attributes:
        file_began_s: Unix time at which the file begins.
        began_s: Unix time from which on it is wanted; it begins at a key frame before.
        ended_s: Unix time up to which it is wanted.
        folder: The storage folder that it is a file of: no link below it is followed.
    """

    path: Path
    file_began_s: float
    began_s: float = -math.inf
    ended_s: float = math.inf
    folder: Path | None = None


def finish(path: Path) -> None:
    """Turn a file that was closed into one that every player can seek in, in its place.

    Raises:
        OSError: It cannot be written.
        StorageError: It cannot be read.
    """
    whole = path.with_suffix(".whole")
    whole.unlink(missing_ok=True)
    try:
        create_file(whole).close()  # FFmpeg would let others read it
        join([Part(path, 0.0)], whole)
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)


Skip = Callable[[Part, Exception], None]


def join(parts: Sequence[Part], to: Path | BinaryIO, skip: Skip | None = None) -> float:
    """Copy parts of one camera's files, in order, into one.

    Args:
        parts: What is wanted.
        to: A new file that every player can seek in, or where a fragmented one is written to as
            it comes, by ``write`` alone.
        skip: Told of each part that cannot be read, or not to its end, and why, once; the others
            are put together all the same. Without it such a part is an error.

    Returns:
        The Unix time at which it begins; the file's comment says it, too. It ends where a part is
        coded in another way.

    Raises:
        OSError: It cannot be written.
        StorageError: Nothing of that time can be read.
    """
    began_s: float | None = None
    try:
        with contextlib.ExitStack() as stack:
            sound = _find_sound(parts, stack)
            target, options = (
                (str(to), _WHOLE) if isinstance(to, Path) else (to, _FRAGMENTS["second"])
            )
            if sound and target is to:
                options = _allow_sound(options)
            output = stack.enter_context(av.open(target, "w", format="mp4", options=options))
            joint = _Joint(output, sound)
            for part in parts:
                with _reading_part(part, skip) as container:
                    if container and not joint.add(container, part, skip):
                        break
            began_s = joint.began_s
    except (FFmpegError, IndexError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        raise StorageError(f"video cannot be put together: {error}") from error
    if began_s is None:
        raise StorageError("nothing of that time is there")
    return began_s


class _Joint:
    """Files that are put together.

    Args:
        output: Where to.
        sound: What the track of sound is modelled on; None writes none.

    Attributes:
        began_s: Unix time of the first picture; None before it.
    """

    def __init__(self, output: OutputContainer, sound: AudioStream | None) -> None:
        self.began_s: float | None = None
        self._output, self._model = output, sound
        self._pictures: VideoStream | None = None
        self._sound: AudioStream | None = None
        self._last = self._last_heard = -1

    def add(self, container: InputContainer, part: Part, skip: Skip | None) -> bool:
        """Append what is wanted of a file; False where it is coded in another way."""
        source, sound = container.streams.video[0], _get_sound(container)
        if sound and not (self._model and _sounds_alike(sound, self._model)):
            sound = None
        streams = [source, sound] if sound else [source]
        packets = _read(container.demux(*streams), part, skip)
        wanted = _select(packets, part, has_sound=bool(sound))
        first = next(wanted, None)
        if first is None:
            return True  # how it is coded says nothing about the others
        if self._pictures is None:
            self._pictures = self._output.add_stream_from_template(source, opaque=True)
            if self._model:
                self._sound = self._output.add_stream_from_template(self._model, opaque=True)
        elif not _is_coded_alike(source, self._pictures):
            return False
        for packet in itertools.chain([first], wanted):
            if packet.stream.type == "video":
                self._add_picture(packet, part, self._pictures)
            elif self._sound:
                self._add_sound(packet, part, self._sound)
        return True

    def _add_picture(self, packet: Packet[Stream], part: Part, track: VideoStream) -> None:
        unit = packet.time_base
        stamp, shift = cast(int, packet.dts), (packet.pts or 0) - (packet.dts or 0)
        if self.began_s is None:
            self.began_s = part.file_began_s + float(stamp * unit)
            if self.began_s > 0:  # a file that is only made whole does not say
                self._output.metadata["comment"] = f"began_s={self.began_s:.3f}"
        at_s = part.file_began_s - self.began_s + float(stamp * unit)
        self._last = max(round(at_s / unit), self._last + 1)
        packet.dts, packet.pts, packet.stream = self._last, self._last + shift, track
        self._output.mux_one(packet)

    def _add_sound(self, packet: Packet[Stream], part: Part, track: AudioStream) -> None:
        if self.began_s is None:
            return
        unit = packet.time_base
        at_s = part.file_began_s - self.began_s + float(cast(int, packet.dts) * unit)
        if at_s < 0 or at_s < self._last_heard * unit - _SETTLES_S:
            return
        self._last_heard = max(round(at_s / unit), self._last_heard + 1)
        packet.dts = packet.pts = self._last_heard
        packet.stream = track
        self._output.mux_one(packet)


def _allow_sound(options: Mapping[str, str]) -> dict[str, str]:
    """Options for fragments with a track of sound."""
    movflags = f"{options['movflags']}+frag_discont"
    return {**options, "movflags": movflags, **_WITH_SOUND}


@contextlib.contextmanager
def _reading_part(part: Part, skip: Skip | None = None) -> Iterator[InputContainer | None]:
    """A part, opened; None where it is no video, which is told."""
    with contextlib.ExitStack() as stack:
        container: InputContainer | None = None
        try:
            file = stack.enter_context(_open(part))
            whole = cast(BinaryIO, _WholeFragments(file))
            container = stack.enter_context(av.open(whole, "r", format="mp4"))
            container.streams.video[0]
        except _UNREADABLE as error:
            if skip is None:
                raise
            skip(part, error)
            container = None
        yield container


def _open(part: Part) -> BinaryIO:
    if part.folder is None:
        return part.path.open("rb")
    return open_kept(part.folder, part.path.relative_to(part.folder).as_posix())


def _read(
    packets: Iterator[Packet[Stream]], part: Part, skip: Skip | None
) -> Iterator[Packet[Stream]]:
    """The packets of a part as far as they can be read."""
    try:
        yield from packets
    except _UNREADABLE as error:
        if skip is None:
            raise
        skip(part, error)


def _get_sound(container: InputContainer) -> AudioStream | None:
    return next(iter(container.streams.audio), None)


def _find_sound(parts: Sequence[Part], stack: contextlib.ExitStack) -> AudioStream | None:
    """The sound of the first part that has some, open as long as the stack is."""
    for part in parts:
        with contextlib.ExitStack() as trial:
            # whoever copies it says what is wrong
            container = trial.enter_context(_reading_part(part, skip=lambda *_: None))
            if container and (sound := _get_sound(container)):
                stack.push(trial.pop_all())
                return sound
    return None


class _WholeFragments:
    """A file up to the end of its last whole fragment, for one that is still being written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._end = file, _find_end(file)
        file.seek(0)

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end."""
        return self._file.read(max(min(size, self._end - self._file.tell()), 0))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; the end is that of the last fragment."""
        if whence == os.SEEK_END:
            return self._file.seek(max(self._end + offset, 0))
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()


def _is_coded_alike(one: VideoStream, other: VideoStream) -> bool:
    contexts = one.codec_context, other.codec_context
    return len({(c.name, c.extradata, c.width, c.height) for c in contexts}) == 1


def _sounds_alike(one: AudioStream, other: AudioStream) -> bool:
    contexts = one.codec_context, other.codec_context
    return len({(c.name, c.extradata, c.sample_rate) for c in contexts}) == 1


def _select(
    packets: Iterator[Packet[Stream]], part: Part, *, has_sound: bool
) -> Iterator[Packet[Stream]]:
    """The packets of a part; the group that it begins in is whole, and begins with a key frame."""
    group: list[tuple[float, Packet[Stream]]] = []
    are_pictures_over = False
    for packet in packets:
        if packet.dts is None or not packet.size:
            continue
        at_s = part.file_began_s + float(packet.dts * packet.time_base)
        is_picture = packet.stream.type == "video"
        if at_s >= part.ended_s:
            are_pictures_over |= is_picture
            is_late = not is_picture or at_s >= part.ended_s + _SETTLES_S
            if are_pictures_over and (is_late or not has_sound):
                break
            continue
        if is_picture and packet.is_keyframe and at_s <= part.began_s:
            group = [(heard_s, p) for heard_s, p in group
                     if p.stream.type != "video" and heard_s >= at_s]  # fmt: skip
        group.append((at_s, packet))
        if is_picture and at_s >= part.began_s:
            yield from _sort_group(group)
            group = []
    if _reaches(group, part):
        yield from _sort_group(group)


def _reaches(group: Sequence[tuple[float, Packet[Stream]]], part: Part) -> bool:
    """Whether the last picture of a group is still shown when the part begins."""
    pictures = [packet for _, packet in group if packet.stream.type == "video"]
    if not pictures:
        return bool(group)
    ends = ((p.pts or p.dts or 0) + (p.duration or 0) for p in pictures)  # shown after decoded
    return part.file_began_s + float(max(ends) * pictures[0].time_base) > part.began_s


def _sort_group(group: Sequence[tuple[float, Packet[Stream]]]) -> Iterator[Packet[Stream]]:
    """Pictures, then what is heard with them."""
    yield from (packet for _, packet in group if packet.stream.type == "video")
    yield from (packet for _, packet in group if packet.stream.type != "video")


def repair(path: Path) -> float | None:
    """Cut off what a crash has left half written; the seconds that it lasts, None if nothing does.

    Raises:
        OSError: It cannot be read or written.
    """
    with path.open("r+b") as file:
        file.truncate(_find_end(file))
    try:
        with av.open(str(path), format="mp4") as container:
            stream = container.streams.video[0]
            unit = cast(Fraction, stream.time_base)
            packets = (p for p in container.demux(stream) if p.size)
            ends = [((p.dts or 0) + (p.duration or 0)) * unit for p in packets]
    except (FFmpegError, IndexError, ValueError):
        return None
    return float(max(ends)) if ends else None


def _find_end(file: BinaryIO) -> int:
    """Where the last whole fragment ends, or the header where there is none (ISO/IEC 14496-12)."""
    size, at, end = file.seek(0, os.SEEK_END), 0, 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0]
        if length < 8 or at + length > size:
            break
        at += length
        if kind != b"moof":
            end = at
    return end


def _find_sets(packet: CodedPacket) -> tuple[bytes, ...]:
    """The parameter sets that a key frame brings along; none where the stream names them once.

    A camera may change its size without a new connection: then they differ.
    """
    kinds = _PARAMETER_SETS.get(packet.format.codec)
    if kinds is None:
        return ()
    mask, shift, wanted = kinds
    units = _START_CODE.split(packet.data[:_SETS_BYTES])
    return tuple(unit for unit in units if unit and unit[0] >> shift & mask in wanted)


def _read_parameters(packet: CodedPacket) -> bytes:
    """What a decoder must know before the picture of a key frame; empty for codecs without."""
    try:
        with _reading(packet) as stream:
            return stream.codec_context.extradata or b""
    except StorageError:
        return b"?"


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    """Errors of FFmpeg that are none of the file become ours."""
    try:
        yield
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise StorageError(f"video cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _reading(packet: CodedPacket) -> Iterator[VideoStream]:
    """A key frame as a stream that a file can be modelled on."""
    name = RAW_FORMATS.get(packet.format.codec)
    if name is None:
        raise StorageError(f"{packet.format.codec} cannot be recorded: set the camera to H.264")
    try:
        container = av.open(io.BytesIO(packet.format.header + packet.data), format=name)
    except FFmpegError as error:
        raise StorageError(f"a key frame cannot be read: {error.strerror}") from error
    with container:
        yield container.streams.video[0]
