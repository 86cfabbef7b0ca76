"""What a camera costs where nothing happens: `python -m tests.benchmarks.quiet_street [PART ...]`.

Parts, by default all: `decode` (the decoder alone, the ways in turn), `detect` (what is found in
pictures without loop filter) and `node` (`edge run` on RTSP cameras, all ways at the same time).
Figures are CPU time, so that a busy machine disturbs them little; the ratios are what counts.

Films are H.264 as cameras send it: a key frame every 2 s, no B-frames, of a photograph under a
sensor's noise. They have 2 Mbit/s; a sub-stream of 5 fps has that, too, which is generous, or a
fifth of it, so that its pictures have as many bytes as those of 25 fps.
"""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import av
import cv2
import numpy as np

from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.runtimes.onnx import Options, build
from edge.sources._decoder import StreamDecoder
from edge.sources._picture import to_picture
from edge.types import Decoding, Frame
from edge.vision.boxes import iou
from tests.support.quiet_scenes import find_photographs
from tests.support.rtsp_server import rtsp_server
from tests.support.videos import WALKING

BIT_RATE, GOP_S, NOISE = 2_000_000, 2, 2.0  # levels
SECONDS, ROUNDS = 20, 5
SETTLE_S, MEASURE_S = 60, 40  # within a minute the gate learns how coarsely a camera codes
STREAMS = {  # width, height, fps, bits a second
    "720p25": (1280, 720, 25, BIT_RATE),
    "1080p25": (1920, 1080, 25, BIT_RATE),
    "720p5": (1280, 720, 5, BIT_RATE),
    "720p5 low": (1280, 720, 5, BIT_RATE // 5),
}
WAYS = {
    "gate off": "enabled = false, decode_asleep = 'all'",
    "gate on": "decode_asleep = 'all'",
    "no-loop-filter": "decode_asleep = 'no-loop-filter'",
    "keyframes": "decode_asleep = 'keyframes'",
}
DECODINGS = (Decoding.ALL, Decoding.NO_LOOP_FILTER, Decoding.KEY_FRAMES)
RTSP = 'kind = "rtsp", url = "{url}"'
FILE = 'kind = "video_file", path = "{path}"'
NODE = """
[models]
detector = "zoo:detect-nano-wide"
[[cameras]]
name = "street"
fps = 5
source = {{ {source} }}
motion = {{ {motion} }}
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:*"
[http]
port = 0
"""


def write_film(path: Path, images, fps: int, bit_rate: int = BIT_RATE) -> Path:
    """Code pictures, BGR, as a camera does."""
    with av.open(str(path), "w") as container:
        rate = bit_rate // 1000
        options = {
            "preset": "veryfast",
            "x264-params": f"keyint={GOP_S * fps}:scenecut=0:bframes=0:sliced-threads=0:"
            f"vbv-maxrate={rate}:vbv-bufsize={rate}",
        }
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.bit_rate, stream.pix_fmt = bit_rate, "yuv420p"
        for image in images:
            if not stream.codec_context.is_open:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def still(width: int, height: int, fps: int):
    """A photograph under noise, picture by picture."""
    rng = np.random.default_rng(1)
    photo = cv2.imread(str(find_photographs()[3]))
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noise = np.round(rng.normal(0, NOISE, (height + 64, width + 64, 1))).astype(np.int16)
    for _ in range(SECONDS * fps):
        y, x = rng.integers(0, 64, 2)
        yield np.clip(photo + noise[y : y + height, x : x + width], 0, 255).astype(np.uint8)


def walk(width: int, height: int):
    """A film of people who walk."""
    with av.open(str(WALKING)) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(width, height, format="bgr24").to_ndarray()


def time_decoder(film: Path, decoding: Decoding) -> tuple[float, int]:
    """CPU seconds and pictures, from the third key frame on."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        decoder = StreamDecoder(stream.codec_context, {}, is_hardware=False)
        packets = list(container.demux(stream))
        begin = [n for n, packet in enumerate(packets) if packet.is_keyframe][2]
        for packet in packets[:begin]:
            decoder.decode(packet, decoding)
        began_s = time.thread_time()
        pictures = sum(len(decoder.decode(packet, decoding)) for packet in packets[begin:])
        return time.thread_time() - began_s, pictures


def compare_decoders(films: dict[str, Path]) -> None:
    """Print a line for each film and way."""
    print(f"decode: CPU, median of {ROUNDS} rounds in which the ways take turns")
    for name, film in films.items():
        spent: dict[Decoding, list[float]] = {way: [] for way in DECODINGS}
        pictures = dict.fromkeys(DECODINGS, 0)
        for _ in range(ROUNDS):
            for way in DECODINGS:
                cpu_s, pictures[way] = time_decoder(film, way)
                spent[way].append(cpu_s)
        for way in DECODINGS:
            ratios = np.divide(spent[way], spent[Decoding.ALL])
            print(
                f"{name:>9} {way:>15}: {1e3 * np.median(spent[way]) / pictures[Decoding.ALL]:6.2f} "
                f"ms a picture of the stream, {np.median(ratios):.3f} of all "
                f"({ratios.min():.3f} to {ratios.max():.3f}), {pictures[way]} pictures"
            )


def compare_detections(folder: Path, bit_rate: int) -> None:
    """Print what is found with and without loop filter."""
    film = write_film(folder / "walk.mp4", walk(1280, 720), 10, bit_rate)
    detector = load_model("detect", build(Options()), resolve_model("zoo:detect-nano-wide", Path()))
    found = {}
    for way in (Decoding.ALL, Decoding.NO_LOOP_FILTER):
        with av.open(str(film)) as container:
            stream = container.streams.video[0]
            decoder = StreamDecoder(stream.codec_context, {}, is_hardware=False)
            frames = [f for packet in container.demux(stream) for f in decoder.decode(packet, way)]
            pictures = [to_picture(frame) for frame in frames[2 * GOP_S * 10 :: 4]]
        found[way] = [
            detector.detect([Frame("a", 1, n, n, n, picture)])[0]
            for n, picture in enumerate(pictures)
        ]
    print(f"detect: detections of at least 0.5 at {bit_rate / 1e6:g} Mbit/s, every fourth picture")
    whole, rough = found.values()
    counts = [sum(int((d.score >= 0.5).sum()) for d in way) for way in (whole, rough)]
    matches, overlaps, changes = 0, [], []
    for a, b in zip(whole, rough, strict=True):
        kept = a.score >= 0.5
        if not kept.any() or not len(b.score):
            continue
        overlap = iou(a.xyxy[kept], b.xyxy)
        best = overlap.argmax(1)
        same = (overlap.max(1) >= 0.5) & (b.class_id[best] == a.class_id[kept])
        matches += int(same.sum())
        overlaps += overlap.max(1)[same].tolist()
        changes += (b.score[best] - a.score[kept])[same].tolist()
    print(
        f"{len(whole)} pictures, {counts[0]} detections with, {counts[1]} without loop filter; "
        f"of the former {matches} are found again at a score of any height, IoU median "
        f"{np.median(overlaps):.3f} (5 %: {np.quantile(overlaps, 0.05):.3f}), score "
        f"{np.mean(changes):+.4f} +- {np.std(changes):.4f}"
    )


def measure_cpu(process: subprocess.Popen) -> float:
    """CPU seconds of a process so far."""
    words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def compare_nodes(films: dict[str, Path], folder: Path) -> None:
    """Print what a node with one camera costs, all ways at the same time."""
    print(f"node: CPU of `edge run` with one camera, {MEASURE_S} s, all ways at the same time")
    print("(a node that is idle, whose recording has ended, is told as well and taken off)")
    ended = write_film(folder / "ended.mp4", itertools.islice(still(640, 360, 5), 5), 5)
    sources = dict.fromkeys(WAYS, RTSP) | {"idle": FILE.format(path=ended)}
    for name, film in films.items():
        with rtsp_server(film) as server, ExitStack() as stack:
            nodes = {}
            for number, (way, source) in enumerate(sources.items()):
                config = folder / f"{number}.toml"
                source, motion = source.format(url=server.url), WAYS.get(way, "")
                config.write_text(NODE.format(source=source, motion=motion))
                log = stack.enter_context((folder / f"{name}-{number}.log").open("wb"))
                node = subprocess.Popen([sys.executable, "-m", "edge", "run", config], stderr=log)
                nodes[way] = node
                stack.callback(node.wait)
                stack.callback(node.send_signal, signal.SIGTERM)
            time.sleep(SETTLE_S)
            before = {way: measure_cpu(node) for way, node in nodes.items()}
            time.sleep(MEASURE_S)
            spent = {way: measure_cpu(node) - before[way] for way, node in nodes.items()}
        idle_s = spent.pop("idle")
        print(f"{name:>9} {'idle':>15}: {1e3 * idle_s / MEASURE_S:5.0f} ms of CPU a second")
        for way, cpu_s in spent.items():
            own_s, whole_s = cpu_s - idle_s, spent["gate off"] - idle_s
            print(
                f"{name:>9} {way:>15}: {1e3 * own_s / MEASURE_S:5.0f} ms of CPU a second, "
                f"{own_s / whole_s:.3f} of gate off"
            )


def main(parts: list[str]) -> None:
    """Print the tables that were asked for."""
    parts = parts or ["decode", "detect", "node"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        films = {}
        if {"decode", "node"} & {*parts}:
            for name, (width, height, fps, bit_rate) in STREAMS.items():
                film = folder / f"{name}.mp4"
                films[name] = write_film(film, still(width, height, fps), fps, bit_rate)
        if "decode" in parts:
            compare_decoders(films)
        if "detect" in parts:
            for bit_rate in (BIT_RATE, BIT_RATE // 8):
                compare_detections(folder, bit_rate)
        if "node" in parts:
            compare_nodes(films, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
