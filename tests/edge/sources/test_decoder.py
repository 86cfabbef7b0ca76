"""The decoder of a stream: key frames alone, without loop filter, and everything again."""

import re

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType

from edge.sources._decoder import StreamDecoder
from edge.types import Decoding
from tests.support.videos import write_video

GOP, FRAMES = 10, 60
ALL, ROUGH, KEYS = Decoding.ALL, Decoding.NO_LOOP_FILTER, Decoding.KEY_FRAMES


def write_scene(path, forced=(), **options):
    """A coarsely coded scene, in which something moves, so that blocks show."""
    rng = np.random.default_rng(1)
    scene = cv2.GaussianBlur(rng.integers(0, 255, (120, 160, 3), np.uint8), (0, 0), 3)
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)
    options = {"g": str(GOP), "bf": "0", "crf": "38", "sc_threshold": "0", **options}
    with av.open(str(path), "w") as container:
        codec = options.pop("codec", "libx264")
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for row in range(FRAMES):
            image = np.roll(scene, row, 1) + rng.integers(0, 12, scene.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if row in forced:
                frame.pict_type = PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode(path, wanted, *, is_hardware=False):
    """The frames of a film, ``wanted(packet number)`` of it decoded; and the decoder."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = StreamDecoder(stream.codec_context, {}, is_hardware=is_hardware)
        for number, packet in enumerate(container.demux(stream)):
            frames += decoder.decode(packet, wanted(number))
    return frames, decoder


def numbers(frames):
    return [round(frame.time * 10) for frame in frames]


def differ(one, other):
    """Numbers of the frames that are not the same, of two ways to decode a film."""
    return [
        number
        for number, (a, b) in enumerate(zip(one, other, strict=True))
        if (a.to_ndarray() != b.to_ndarray()).any()
    ]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("films") / "a.mp4")


@pytest.fixture(scope="module")
def whole(scene):
    return decode(scene, lambda n: ALL)[0]


def test_only_key_frames_are_decoded_once_two_were_seen(scene):
    frames, decoder = decode(scene, lambda n: KEYS)
    assert numbers(frames) == [*range(GOP + 1), 20, 30, 40, 50]
    assert decoder.undecoded == FRAMES - len(frames)
    assert decoder.damaged == 0


def test_who_wakes_at_a_key_frame_misses_no_picture(scene, whole):
    frames, decoder = decode(scene, lambda n: KEYS if n <= 30 else ALL)
    assert numbers(frames) == [*range(GOP + 1), 20, *range(30, FRAMES)]
    assert not differ(frames, [whole[n] for n in numbers(frames)])
    assert decoder.damaged == 0


def test_who_wakes_between_key_frames_waits_for_the_next_one(scene, whole):
    frames, decoder = decode(scene, lambda n: KEYS if n <= 33 else ALL)
    assert numbers(frames) == [*range(GOP + 1), 20, 30, *range(40, FRAMES)]
    assert not differ(frames, [whole[n] for n in numbers(frames)])
    assert decoder.damaged == 0


def test_what_was_passed_over_is_waited_for(scene):
    with av.open(str(scene)) as container:
        stream = container.streams.video[0]
        decoder = StreamDecoder(stream.codec_context, {}, is_hardware=False)
        frames = []
        for number, packet in enumerate(container.demux(stream)):
            if number == 4:
                decoder.skip()
            else:
                frames += decoder.decode(packet, ALL)
    assert numbers(frames) == [*range(4), *range(10, FRAMES)]
    assert decoder.damaged == 0


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_without_loop_filter_blocks_show_from_key_frame_to_key_frame(codec, tmp_path):
    options = {"codec": codec}
    if codec == "libx265":
        options["x265-params"] = f"log-level=none:keyint={GOP}:bframes=0:scenecut=0:no-open-gop=1"
    scene = write_scene(tmp_path / "a.mp4", **options)
    whole, _ = decode(scene, lambda n: ALL)
    frames, decoder = decode(scene, lambda n: ROUGH if 14 <= n < 36 else ALL)
    assert numbers(frames) == [*range(FRAMES)]
    assert decoder.damaged == 0
    assert {20, 39} <= set(differ(frames, whole)) <= {*range(20, 40)}


def test_pictures_that_come_late_from_a_decoder_are_not_lost(tmp_path):
    scene = write_scene(tmp_path / "b.mp4", bf="2")
    frames, decoder = decode(scene, lambda n: ROUGH if 14 <= n < 36 else ALL)
    assert numbers(frames) == [*range(FRAMES)]
    assert decoder.damaged == 0


def test_a_hardware_decoder_keeps_its_loop_filter(scene, whole):
    frames, _ = decode(scene, lambda n: ROUGH, is_hardware=True)
    assert not differ(frames, whole)


def test_a_picture_that_is_turned_stays_turned(tmp_path):
    film = write_video(tmp_path / "a.mp4", 40, rotation=90, options={"g": "10", "bf": "0"})
    frames, _ = decode(film, lambda n: ROUGH)
    assert {frame.rotation for frame in frames} == {90}
    assert len(frames) == 40


def test_key_frames_that_do_not_stand_alone_are_none(tmp_path):
    """Intra refresh: pictures recover bit by bit from where a stream can be joined."""
    options = {"x264-params": "intra-refresh=1:keyint=10", "forced-idr": "1"}
    film = write_scene(tmp_path / "a.ts", forced=(20,), **options)
    frames, decoder = decode(film, lambda n: KEYS)
    assert sum(frame.key_frame for frame in frames) == 2
    assert len(frames) == FRAMES
    assert decoder.undecoded == 0


def test_parameters_that_come_once_keep_the_first_decoder(tmp_path):
    film = write_scene(tmp_path / "a.h264")
    units = re.split(b"\0\0\0?\1", film.read_bytes())[1:]
    kept = [unit for n, unit in enumerate(units) if n < 4 or unit[0] & 31 not in (7, 8)]
    assert len(kept) < len(units)
    film.write_bytes(b"".join(b"\0\0\0\1" + unit for unit in kept))
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.codec_context.extradata = None
        decoder = StreamDecoder(stream.codec_context, {}, is_hardware=False)
        frames = [f for packet in container.demux(stream) for f in decoder.decode(packet, ROUGH)]
    assert len(frames) == FRAMES
    assert decoder.damaged == 0
