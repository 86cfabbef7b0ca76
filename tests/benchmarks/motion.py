"""What the motion gate costs: `python -m tests.benchmarks.motion [ROUNDS]`.

Gate, OpenCV's MOG2 on the same cells, and the network take turns picture by picture, so that each
finds the cache as the network leaves it, as in the daemon. Pictures are a photograph under a
sensor's noise. Figures are milliseconds of CPU, medians of the rounds, and their share of one call
of the detector that is shipped for 16:9, on one thread.

Goal: a share of at most 0.04 at 1080p.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge.manifest import read_model
from edge.models.paths import resolve_model
from edge.runtimes.onnx import Options, build
from edge.types import YuvPicture
from edge.vision.motion import MotionDetector, shrink
from tests.support.quiet_scenes import find_photographs

DETECTOR = "zoo:detect-nano-wide"
INPUT_WH = (416, 256)
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
STEP_S, NOISE = 0.2, 2.0  # levels
PICTURES = 6  # of a size, in turn
WARM_UP, ROUNDS = 20, 200


def draw(width: int, height: int) -> list[YuvPicture]:
    """Pictures of the same place."""
    rng = np.random.default_rng(1)
    photo = cv2.imread(str(find_photographs()[3]), cv2.IMREAD_GRAYSCALE)
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    gray = np.full((height // 2, width // 2), 128, np.uint8)
    pictures = []
    for _ in range(PICTURES):
        noise = rng.standard_normal(photo.shape, np.float32) * NOISE
        luma = np.clip(photo + noise, 0, 255).astype(np.uint8)
        pictures.append(YuvPicture(luma, gray, gray.copy(), False, True))
    return pictures


def make_gate() -> Callable[[YuvPicture], object]:
    """The motion gate of one camera."""
    detector, turn = MotionDetector(), iter(range(1 << 30))
    return lambda picture: detector.update(picture, next(turn) * STEP_S)


def make_subtractor() -> Callable[[YuvPicture], object]:
    """OpenCV's Gaussian mixture on the gate's cells."""
    mixture = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
    return lambda picture: mixture.apply(shrink(picture).astype(np.uint8))


def make_network() -> Callable[[YuvPicture], object]:
    """The bare network, on one picture."""
    file = resolve_model(DETECTOR, Path())
    session = build(Options(workers=1, threads=1)).load(read_model(file), str(file))
    batch = np.random.default_rng(1).integers(0, 256, (1, *INPUT_WH[::-1], 3), np.uint8)
    return lambda _: session.infer(batch)


def measure(ways: dict[str, Callable], pictures: list[YuvPicture], rounds: int) -> dict[str, float]:
    """Milliseconds of CPU a picture, the median of each way."""
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(WARM_UP + rounds):
        for way, take in ways.items():
            began_s = time.process_time()
            take(pictures[turn % len(pictures)])
            spent[way].append(1e3 * (time.process_time() - began_s))
    return {way: float(np.median(took[WARM_UP:])) for way, took in spent.items()}


def main(rounds: int = ROUNDS) -> None:
    """Print a line for each size of picture."""
    cv2.setNumThreads(1)
    network = make_network()
    print(f"CPU ms a picture, medians of {rounds}; share of one call of {DETECTOR}")
    print(f"{'':6}{'network':>9}{'cells alone':>18}{'gate':>18}{'MOG2':>18}")
    for name, (width, height) in SIZES.items():
        ways = {"network": network, "cells": shrink, "gate": make_gate(), "MOG2": make_subtractor()}
        took = measure(ways, draw(width, height), rounds)
        whole = took.pop("network")
        columns = "".join(f"{ms:>10.3f} ({ms / whole:.3f})" for ms in took.values())
        print(f"{name:6}{whole:9.2f}{columns}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
