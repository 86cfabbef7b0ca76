"""Coded packets in MP4 files."""

import io
import random
import threading
from dataclasses import replace
from fractions import Fraction

import av
import pytest
from av.bitstream import BitStreamFilterContext

from edge import plugins
from edge.errors import StorageError
from edge.recording.mp4 import Mp4Writer, Part, finish, join, repair
from tests.support.videos import encode_packets, write_video

CODED = {
    "h264": ("a.mp4", {"codec": "libx264", "options": {"g": "10", "bf": "0"}}),
    "h264 with B-frames": ("a.mp4", {"codec": "libx264", "options": {"g": "10", "bf": "2"}}),
    "h264 without stamps": ("a.h264", {"codec": "libx264", "options": {"g": "10", "bf": "0"}}),
    "hevc": ("a.mp4", {"codec": "libx265", "options": {"x265-params": "keyint=10:log-level=none"}}),
    "mjpeg": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
}


def read_source(path):
    """The packets and the times of the captures of a recording."""
    source = plugins.create(
        "sources", {"kind": "video_file", "path": str(path), "every_frame": True}
    )
    packets = []
    source.tap = packets.append
    with source.connect(threading.Event()) as captures:
        times = [capture.captured_s for capture in captures]
    return packets, times


def write_mp4(path, packets, fragment="second"):
    with path.open("wb") as file:
        writer = Mp4Writer(file, packets[0], fragment)
        for packet in packets:
            writer.write(packet)
        writer.close()
    return writer


def decode_times(path):
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def read_bytes(path):
    """What is coded, with start codes, as in a stream of bytes."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        if stream.codec_context.name == "mjpeg":
            return [bytes(packet) for packet in packets]
        convert = BitStreamFilterContext(f"{stream.codec_context.name}_mp4toannexb", stream)
        return [bytes(part) for packet in packets for part in convert.filter(packet)]


def list_units(data):
    """NAL units without start codes and the zeros before them."""
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]


@pytest.fixture(params=CODED, scope="module")
def coded(request, tmp_path_factory):
    name, how = CODED[request.param]
    video = write_video(tmp_path_factory.mktemp("coded") / name, 40, **how)
    return read_source(video)


def test_every_picture_is_shown_at_the_time_at_which_it_was_captured(coded, tmp_path):
    packets, times = coded
    writer = write_mp4(tmp_path / "a.mp4", packets)
    finish(tmp_path / "a.mp4")
    shown = [writer.began_s + at_s for at_s in decode_times(tmp_path / "a.mp4")]
    assert shown == pytest.approx(times, abs=0.001)
    assert writer.ended_s == pytest.approx(times[-1] + times[1] - times[0], abs=0.001)


def test_what_is_coded_stays_as_it_was(coded, tmp_path):
    packets, _ = coded
    write_mp4(tmp_path / "a.mp4", packets)
    finish(tmp_path / "a.mp4")
    written = read_bytes(tmp_path / "a.mp4")
    if packets[0].format.codec == "mjpeg":
        assert written == [packet.data for packet in packets]
    else:
        for packet, data in zip(packets, written, strict=True):
            assert list_units(packet.data)[-1] == list_units(data)[-1]


def test_of_a_file_that_was_cut_anywhere_all_but_the_last_fragment_plays(coded, tmp_path):
    packets, times = coded
    path = tmp_path / "a.mp4"
    write_mp4(path, packets)
    whole = path.read_bytes()
    for cut in random.Random(1).sample(range(len(whole) // 2, len(whole)), 12):
        path.write_bytes(whole[:cut])
        lasts_s = repair(path)
        played = decode_times(path)
        assert played == pytest.approx(
            [t - times[0] + played[0] for t in times[: len(played)]], abs=1e-4
        )
        assert lasts_s == pytest.approx(played[-1], abs=0.25)
    path.write_bytes(whole[:900])
    assert repair(path) is None


def test_a_time_is_put_together_from_several_files(coded, tmp_path):
    packets, times = coded
    keys = [row for row, packet in enumerate(packets) if packet.is_key]
    middle = keys[len(keys) // 2]
    parts = [packets[:middle], packets[middle:]]
    lasts_s = times[-1] - times[0]
    wanted = times[0] + 0.4 * lasts_s, times[0] + 0.8 * lasts_s
    stretches = []
    for row, part in enumerate(parts):
        writer = write_mp4(tmp_path / f"{row}.mp4", part)
        stretches.append(Part(tmp_path / f"{row}.mp4", writer.began_s, *wanted))
    began_s = join(stretches, tmp_path / "joined.mp4")
    shown = [began_s + at_s for at_s in decode_times(tmp_path / "joined.mp4")]
    assert wanted[0] - 1.05 <= shown[0] <= wanted[0] + 0.01
    assert (
        wanted[1] - 0.31 <= shown[-1] <= wanted[1] + 0.51
    )  # decoded before pictures that are shown earlier
    first = min(range(len(times)), key=lambda row: abs(times[row] - shown[0]))
    # where pictures refer to later ones, those between the last two may be missing
    assert shown[:-1] == pytest.approx(times[first : first + len(shown) - 1], abs=0.002)


def test_what_is_still_being_written_can_be_put_together_as_far_as_it_is_there(coded, tmp_path):
    packets, times = coded
    path = tmp_path / "a.mp4"
    writer = write_mp4(path, packets)
    for cut in (0.6, 0.75, 0.9):
        path.with_suffix(".cut").write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
        pieces = io.BytesIO()
        join([Part(path.with_suffix(".cut"), writer.began_s)], pieces)
        (tmp_path / "out.mp4").write_bytes(pieces.getvalue())
        shown = decode_times(tmp_path / "out.mp4")
        assert len(shown) >= 0.4 * len(times)


def test_nothing_of_a_time_is_an_error(coded, tmp_path):
    packets, times = coded
    writer = write_mp4(tmp_path / "a.mp4", packets)
    part = Part(tmp_path / "a.mp4", writer.began_s, times[0] - 20, times[0] - 10)
    with pytest.raises(StorageError, match="nothing of that time"):
        join([part], tmp_path / "b.mp4")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    video = write_video(
        tmp_path_factory.mktemp("plain") / "a.mp4", 40, options={"g": "10", "bf": "0"}
    )
    return read_source(video)[0]


def restamp(packets, begin, step=1024):
    return [replace(p, pts=begin + step * n, dts=begin + step * n) for n, p in enumerate(packets)]


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(lambda p: restamp(p, 0), id="stamps begin again"),
        pytest.param(lambda p: restamp(p, 10**9), id="stamps jump ahead"),
        pytest.param(lambda p: restamp(p, 0, 0), id="stamps stand still"),
        pytest.param(lambda p: [replace(x, pts=None, dts=None) for x in p], id="no stamps"),
        pytest.param(
            lambda p: restamp([replace(x, format=replace(x.format, header=b"")) for x in p], 7),
            id="another connection",
        ),
    ],
)
def test_broken_stamps_are_replaced_by_the_clock(plain, later, tmp_path):
    packets = plain[:20] + later(plain[20:])
    writer = write_mp4(tmp_path / "a.mp4", packets)
    expected = [packet.captured_s - packets[0].captured_s for packet in packets]
    assert decode_times(tmp_path / "a.mp4") == pytest.approx(expected, abs=0.11)
    assert writer.fits(packets[20])


def test_a_pause_before_the_last_picture_does_not_make_it_last_longer(tmp_path):
    packets = encode_packets("libx264", g="10", bf="0")  # 3 s, 10 a second
    again = replace(packets[0], format=replace(packets[0].format), monotonic_s=55.3)
    writer = write_mp4(tmp_path / "a.mp4", [*packets, again])
    assert decode_times(tmp_path / "a.mp4")[-1] == pytest.approx(5.3, abs=0.001)
    assert writer.ended_s - writer.began_s == pytest.approx(5.4, abs=0.001)


def test_pictures_of_another_size_do_not_fit(plain, tmp_path):
    other = write_video(tmp_path / "b.mp4", 2, size_wh=(320, 240), options={"bf": "0"})
    writer = Mp4Writer(io.BytesIO(), plain[0])
    assert not writer.fits(read_source(other)[0][0])


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_size_that_changes_within_a_connection_does_not_fit(codec):
    small, large = (encode_packets(codec, 12, size, g="4") for size in ((320, 240), (640, 480)))
    later = [replace(packet, format=small[0].format) for packet in large]  # one connection
    writer = Mp4Writer(io.BytesIO(), small[0])
    for packet in small:
        assert writer.fits(packet)
        writer.write(packet)
    assert not writer.fits(later[0])
    writer.close()
    writer.close()


def test_what_mp4_cannot_contain_is_refused_by_name(plain):
    vp9 = replace(plain[0], format=replace(plain[0].format, codec="vp9", time_base=Fraction(1, 90)))
    with pytest.raises(StorageError, match=r"vp9 cannot be recorded: set the camera to H.264"):
        Mp4Writer(io.BytesIO(), vp9)
    with pytest.raises(StorageError, match="a key frame cannot be read"):
        Mp4Writer(io.BytesIO(), replace(plain[0], data=b"nothing"))


@pytest.mark.parametrize(
    ("whole", "damaged"), [(b"\0\0\0", b"mmm"), (b"avc1\0", b"\0\0\0\0\0")], ids=["box", "codec"]
)
def test_a_damaged_file_is_told_as_such(whole, damaged, tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path, encode_packets("libx264", 6, (64, 48), g="3"))
    content = path.read_bytes()
    at = content.rindex(whole, 0, content.index(b"moof")) if damaged[0] == 0 else 0
    path.write_bytes(content[:at] + damaged + content[at + len(damaged) :])
    with pytest.raises(StorageError, match="cannot be put together"):
        join([Part(path, 0.0)], tmp_path / "b.mp4")


def test_a_file_with_a_broken_name_of_its_format_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    write_mp4(path, encode_packets("libx264", 6, (64, 48), g="3"))
    content = path.read_bytes()
    path.write_bytes(content[:8] + b"\x80" + content[9:])  # FFmpeg makes it a tag, which is no text
    assert repair(path) is None
