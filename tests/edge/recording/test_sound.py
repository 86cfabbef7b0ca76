"""Sound beside the pictures: as the camera codes it, when it was heard."""

import contextlib
import io
import itertools
import threading
import time
from dataclasses import replace
from fractions import Fraction

import av
import pytest

from edge import plugins
from edge.recording.mp4 import Mp4Writer, Part, finish, join, repair
from edge.recording.ring import PacketRing
from edge.types import CodedPacket, SoundFormat, SoundPacket
from tests.support.rtsp_server import rtsp_server
from tests.support.videos import write_talkie, write_video

CODECS = {"aac": ("aac", "mp4"), "adts": ("aac", "ts"), "opus": ("libopus", "mp4")}
TIMEOUT_S = 60


def read_source(path, *, sound=True):
    """The packets of a recording, and what was said of its sound."""
    source = plugins.create(
        "sources", {"kind": "video_file", "path": str(path), "every_frame": True}
    )
    packets, said = [], []
    source.tap = packets.append
    if sound:
        source.on_sound = said.append
    with source.connect(threading.Event()) as captures:
        for _ in captures:
            pass
    return packets, said


def split(packets):
    pictures = [packet for packet in packets if isinstance(packet, CodedPacket)]
    return pictures, [packet for packet in packets if isinstance(packet, SoundPacket)]


def write_mp4(path, packets):
    pictures, _ = split(packets)
    with path.open("wb") as file:
        writer = Mp4Writer(file, pictures[0], sound=pictures[-1].format.sound)
        for packet in packets[packets.index(pictures[0]) :]:
            if isinstance(packet, SoundPacket):
                writer.write_sound(packet)
            else:
                writer.write(packet)
        writer.close()
    return writer


def read_sound(path):
    """When each packet of a file is heard, in seconds, and its bytes."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        return [
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        ]


def read_pictures(path):
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def listen(path):
    """How long there is sound that can be decoded, in seconds."""
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@pytest.fixture(params=CODECS, scope="module")
def talkie(request, tmp_path_factory):
    codec, ending = CODECS[request.param]
    return write_talkie(tmp_path_factory.mktemp("talkie") / f"a.{ending}", sound=codec)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return read_source(write_talkie(tmp_path_factory.mktemp("plain") / "a.mp4"))[0]


def strip_adts(data):
    return data[7:] if data[:2] in (b"\xff\xf1", b"\xff\xf9") else data


def test_sound_is_recorded_as_it_was_coded_when_it_was_heard(talkie, tmp_path):
    packets, said = read_source(talkie)
    assert said == [""]
    packets = start_with_sound(packets)
    pictures, heard = split(packets)
    original = dict.fromkeys(strip_adts(data) for _, data in read_sound(talkie))
    assert [packet.data for packet in heard if packet.data not in original] == []
    path = tmp_path / "a.mp4"
    write_mp4(path, packets)
    for _ in range(2):
        written = read_sound(path)
        expected = [p for p in heard if p.captured_s >= pictures[0].captured_s - 0.0005]
        assert [data for _, data in written] == [packet.data for packet in expected]
        times = [packet.captured_s - pictures[0].captured_s for packet in expected]
        assert [at_s for at_s, _ in written] == pytest.approx(times, abs=0.02)
        shown = [packet.captured_s - pictures[0].captured_s for packet in pictures]
        assert read_pictures(path) == pytest.approx(shown, abs=0.001)
        lasts_s = heard[-1].captured_s - heard[0].captured_s
        assert listen(path) == pytest.approx(lasts_s, abs=0.3)
        finish(path)


def start_with_sound(packets):
    """From the first key frame on that says how the sound is coded."""
    first = next(row for row, packet in enumerate(packets) if packet.is_key and packet.format.sound)
    return packets[first:]


def test_nothing_is_handed_on_where_nobody_asks_for_sound(talkie):
    packets, said = read_source(talkie, sound=False)
    assert split(packets)[1] == []
    assert {packet.format.sound for packet in packets} == {None}
    assert said == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(
            lambda folder: write_video(folder / "a.mp4", 20),
            "the camera sends none: switch it on in the camera",
            id="no sound",
        ),
        pytest.param(
            lambda folder: write_talkie(folder / "a.mov", sound="pcm_alaw"),
            "MP4 cannot hold pcm_alaw: set the camera to AAC",
            id="G.711",
        ),
        pytest.param(
            lambda folder: write_talkie(folder / "a.mov", sound="pcm_mulaw"),
            "MP4 cannot hold pcm_mulaw: set the camera to AAC",
            id="G.711 of the other kind",
        ),
    ],
)
def test_pictures_are_recorded_where_there_is_no_sound_that_fits(make, said, tmp_path):
    packets, words = read_source(make(tmp_path))
    assert words == [said]
    assert split(packets)[1] == []
    write_mp4(tmp_path / "b.mp4", packets)
    finish(tmp_path / "b.mp4")
    assert read_sound(tmp_path / "b.mp4") is None
    assert len(read_pictures(tmp_path / "b.mp4")) == len(packets)


def test_sound_that_begins_late_stays_with_its_pictures(tmp_path):
    packets, _ = read_source(write_talkie(tmp_path / "a.mp4", seconds=5, begins_s=2.5))
    pictures, heard = split(packets)
    assert heard[0].captured_s - pictures[0].captured_s > 2.4
    path = tmp_path / "b.mp4"
    write_mp4(path, packets)
    for _ in range(2):
        times = [packet.captured_s - pictures[0].captured_s for packet in heard]
        assert [at_s for at_s, _ in read_sound(path)] == pytest.approx(times, abs=0.064)
        assert len(read_pictures(path)) == len(pictures)
        finish(path)


def test_a_gap_stays_a_gap(plain, tmp_path):
    began_s = plain[0].captured_s
    packets = [
        p for p in plain
        if not isinstance(p, SoundPacket) or not 1 <= p.captured_s - began_s <= 2
    ]  # fmt: skip
    path = tmp_path / "a.mp4"
    write_mp4(path, packets)
    for _ in range(2):
        times = [at_s for at_s, _ in read_sound(path)]
        steps_s = [later - at_s for at_s, later in itertools.pairwise(times)]
        assert max(steps_s) == pytest.approx(1.0, abs=0.13)
        assert times[-1] == pytest.approx(split(plain)[1][-1].captured_s - began_s, abs=0.07)
        finish(path)


def restamp(heard, stamps):
    return [replace(packet, pts=pts) for packet, pts in zip(heard, stamps, strict=True)]


@pytest.mark.parametrize(
    "stamp",
    [
        pytest.param(lambda n: None, id="no stamps"),
        pytest.param(lambda n: 5000, id="stamps stand still"),
        pytest.param(lambda n: 10**9 + 1024 * n, id="another origin"),
        pytest.param(lambda n: 1024 * (n - n % 9), id="stamps come in steps"),
        pytest.param(lambda n: 1024 * n - 3000 * (n % 7 == 3), id="stamps step back"),
        pytest.param(lambda n: 1024 * n + (10**8 if n > 30 else 0), id="stamps jump"),
    ],
)
def test_broken_stamps_of_sound_harm_neither_it_nor_the_pictures(plain, stamp, tmp_path):
    pictures, heard = split(plain)
    stamped = iter(restamp(heard, map(stamp, range(len(heard)))))
    packets = [next(stamped) if isinstance(p, SoundPacket) else p for p in plain]
    path = tmp_path / "a.mp4"
    write_mp4(path, packets)
    finish(path)
    shown = [packet.captured_s - pictures[0].captured_s for packet in pictures]
    assert read_pictures(path) == pytest.approx(shown, abs=0.001)
    written = read_sound(path)
    assert len(written) >= 0.9 * len(heard)
    clock = {packet.data: packet.captured_s - pictures[0].captured_s for packet in heard}
    assert max(abs(at_s - clock[data]) for at_s, data in written) < 2.2
    assert [at_s for at_s, _ in written] == sorted({at_s for at_s, _ in written})


def test_sound_follows_pictures_whose_stamps_begin_again(plain, tmp_path):
    """As at another connection, of which sound and pictures share the clock."""
    later, ahead_s = [], plain[-1].monotonic_s - plain[0].monotonic_s + 0.1
    for packet in plain:
        shift = round(500 / packet.format.time_base)
        moved = replace(
            packet, pts=packet.pts + shift, captured_s=packet.captured_s + ahead_s,
            monotonic_s=packet.monotonic_s + ahead_s,
        )  # fmt: skip
        if isinstance(packet, CodedPacket):
            moved = replace(moved, dts=packet.dts + shift)
        later.append(moved)
    path = tmp_path / "a.mp4"
    write_mp4(path, plain + later)
    _, heard = split(plain + later)
    times = [packet.captured_s - plain[0].captured_s for packet in heard]
    written = [at_s for at_s, _ in read_sound(path)]
    assert written[1:] == pytest.approx(times[-len(written) :][1:], abs=0.13)


def test_of_a_file_that_a_crash_cut_off_sound_and_pictures_play_up_to_there(plain, tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path, plain)
    whole = path.read_bytes()
    for share in (0.5, 0.7, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        lasts_s = repair(path)
        assert read_pictures(path)[-1] == pytest.approx(lasts_s, abs=0.21)
        assert read_sound(path)[-1][0] == pytest.approx(lasts_s, abs=1.1)
        finish(path)
        assert listen(path) == pytest.approx(lasts_s, abs=1.2)


def test_sound_is_cut_and_joined_with_its_pictures(plain, tmp_path):
    pictures, heard = split(plain)
    middle = plain.index([packet for packet in pictures if packet.is_key][2])
    began_s = plain[0].captured_s
    wanted, parts = (began_s + 1.2, began_s + 3.2), []
    for row, part in enumerate((plain[:middle], plain[middle:])):
        writer = write_mp4(tmp_path / f"{row}.mp4", part)
        parts.append(Part(tmp_path / f"{row}.mp4", writer.began_s, *wanted))
    pieces = io.BytesIO()
    joined_s = join(parts, pieces)
    (tmp_path / "streamed.mp4").write_bytes(pieces.getvalue())
    assert join(parts, tmp_path / "whole.mp4") == joined_s
    for name in ("streamed.mp4", "whole.mp4"):
        written = read_sound(tmp_path / name)
        expected = [p for p in heard if joined_s <= p.captured_s < wanted[1]]
        assert [data for _, data in written] == [packet.data for packet in expected]
        times = [packet.captured_s - joined_s for packet in expected]
        assert [at_s for at_s, _ in written] == pytest.approx(times, abs=0.02)


def test_a_file_without_sound_among_others_is_joined_all_the_same(plain, tmp_path):
    pictures, _ = split(plain)
    keys = [packet for packet in pictures if packet.is_key]
    first, last = plain.index(keys[1]), plain.index(keys[3])
    parts = []
    for row, part in enumerate((pictures[:10], plain[first:last], pictures[30:])):
        silent = [replace(p, format=replace(p.format, sound=None)) for p in part] if row != 1 else 0
        writer = write_mp4(tmp_path / f"{row}.mp4", silent or part)
        parts.append(Part(tmp_path / f"{row}.mp4", writer.began_s))
    join(parts, tmp_path / "joined.mp4")
    assert len(read_pictures(tmp_path / "joined.mp4")) == len(pictures)
    times = [at_s for at_s, _ in read_sound(tmp_path / "joined.mp4")]
    assert times[0] == pytest.approx(1, abs=0.07)
    assert times[-1] == pytest.approx(3, abs=0.14)


def test_announced_sound_that_never_comes_holds_no_picture_back(plain, tmp_path):
    pictures, _ = split(plain)
    longer = [
        replace(
            packet, pts=packet.pts + n * 40960, dts=packet.dts + n * 40960,
            captured_s=packet.captured_s + 4 * n, monotonic_s=packet.monotonic_s + 4 * n,
        )
        for n in range(4)
        for packet in pictures
    ]  # fmt: skip
    assert pictures[0].format.time_base == Fraction(1, 10240)
    with (tmp_path / "a.mp4").open("wb") as file:
        writer = Mp4Writer(file, longer[0], sound=pictures[-1].format.sound)
        for packet in longer:
            writer.write(packet)
        file.flush()
        (tmp_path / "crash.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
        writer.close()
    assert repair(tmp_path / "crash.mp4") > 16 - 4
    assert len(read_pictures(tmp_path / "a.mp4")) == len(longer)


def test_the_ring_counts_sound_and_gives_pictures_alone_to_decoders(plain):
    ring = PacketRing(60, max_bytes=10**6)
    for packet in plain:
        ring.put(packet)
    assert ring.subscribe(0).take() == start_with_sound(plain)
    group = ring.read(plain[-1].captured_s)
    assert group
    assert all(isinstance(packet, CodedPacket) for packet in group)
    form = SoundFormat("aac", b"\x14\x08", Fraction(1, 16000), 16000, 1)
    small = PacketRing(60, max_bytes=4000)
    first = split(plain)[0][0]
    small.put(replace(first, data=first.data[:1000]))
    for row in range(40):
        small.put(SoundPacket(form, bytes(100), row * 1024, 0.0, row * 0.064))
        assert sum(len(packet.data) for packet in small.subscribe(0).take()) <= 4000


def record_rtsp(url, seconds, *, sound=True):
    source = plugins.create("sources", {"kind": "rtsp", "url": url})
    packets, said, stop = [], [], threading.Event()
    source.tap = packets.append
    if sound:
        source.on_sound = said.append
    until_s = time.monotonic() + TIMEOUT_S
    with source.connect(stop) as captures:
        for _ in captures:
            pictures, _ = split(packets)
            lasts_s = pictures[-1].monotonic_s - pictures[0].monotonic_s if pictures else 0
            if lasts_s > seconds or time.monotonic() > until_s:
                stop.set()
    return packets, said


def test_a_camera_that_sends_aac_over_rtsp_is_recorded_with_it(tmp_path):
    video = write_talkie(tmp_path / "a.mp4")
    sent = {data for _, data in read_sound(video)}
    with rtsp_server(video, sound=True) as server:
        packets, said = record_rtsp(server.url, 3)
        silent, _ = record_rtsp(server.url, 1, sound=False)
    assert said == [""]
    assert split(silent)[1] == []
    packets = start_with_sound(packets)
    path = tmp_path / "b.mp4"
    write_mp4(path, packets)
    finish(path)
    written = read_sound(path)
    assert len(written) > 20
    assert {data for _, data in written} <= sent
    pictures, heard = split(packets)
    clock = {p.pts: p.monotonic_s - pictures[0].monotonic_s for p in heard}
    assert written[-1][0] == pytest.approx(max(clock.values()), abs=0.5)  # as it came
    assert listen(path) == pytest.approx(read_pictures(path)[-1], abs=0.6)


def test_a_camera_that_sends_g711_over_rtsp_is_recorded_without_it(tmp_path):
    video = write_talkie(tmp_path / "a.mov", sound="pcm_alaw")
    with rtsp_server(video, sound=True) as server:
        packets, said = record_rtsp(server.url, 1)
    assert said == ["MP4 cannot hold pcm_alaw: set the camera to AAC"]
    assert split(packets)[1] == []


def test_a_camera_without_sound_is_recorded_though_sound_is_asked_for(tmp_path):
    with rtsp_server() as server, contextlib.suppress(StopIteration):
        packets, said = record_rtsp(server.url, 1)
    assert said == ["the camera sends none: switch it on in the camera"]
    assert len(packets) > 8
