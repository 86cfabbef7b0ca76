"""Swapping an engine in and out under load, and its trial on live frames."""

import logging
import threading
import time
from itertools import count

import numpy as np

from edge import plugins
from edge.engines.hot_swap import SwappableSession
from edge.engines.parity import ParityCheck
from edge.manifest import Manifest
from tests.support import engines as fake
from tests.support.models import constant_model

ROWS = np.float32([[1, 2, 30, 31, 0.9, 0], [4, 5, 20, 27, 0.8, 0]])
MODEL = constant_model("detect", {"detections": ROWS}, ["person"])
BATCH = np.zeros((2, 32, 32, 3), np.uint8)


def detections(session):
    return session.infer(BATCH)["detections"]


def until(condition, timeout_s=20):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


class Counting:
    """A session whose rows tell which picture they are of."""

    metadata = {}

    def __init__(self, sign):
        self.sign = sign
        self.closed = False
        self.running = 0

    def infer(self, batch):
        assert not self.closed
        self.running += 1
        time.sleep(0.0005)
        rows = batch.reshape(len(batch), -1).sum(axis=1, dtype=np.float32) * self.sign
        self.running -= 1
        assert not self.closed
        return {"live": rows}

    def close(self):
        assert not self.running
        self.closed = True


def test_no_batch_is_lost_and_no_row_is_anothers_while_engines_come_and_go():
    session = SwappableSession(Counting(1), "m")
    stop, numbers, wrong = threading.Event(), count(), []

    def work():
        while not stop.is_set():
            start = next(numbers)
            batch = np.full((3, 2, 2, 3), 0, np.uint8)
            batch[:] = np.arange(start, start + 3).reshape(3, 1, 1, 1) % 250
            rows = session.infer(batch)["live"]
            want = batch.reshape(3, -1).sum(axis=1, dtype=np.float32)
            if not (np.array_equal(rows, want) or np.array_equal(rows, -want)):
                wrong.append((rows, want))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for thread in workers:
        thread.start()
    installed = []
    for _ in range(30):
        installed.append(Counting(-1))
        session.install(installed[-1])
        time.sleep(0.01)
    stop.set()
    for thread in workers:
        thread.join()
    assert not wrong
    assert next(numbers) > 100
    assert all(engine.closed for engine in installed[:-1])
    assert not installed[-1].closed


def test_an_engine_is_refused_when_live_frames_show_that_it_finds_less(caplog, monkeypatch):
    reference = plugins.create("runtimes", {"kind": "onnx"}).load(MODEL, "m")
    other = plugins.create("runtimes", {"kind": "onnx"}).load(fake.shifted(MODEL), "m")
    manifest = Manifest.model_validate_json(reference.metadata["edge.manifest"])
    session = SwappableSession(reference, "m")
    session.install(other, ParityCheck(manifest))
    np.testing.assert_array_equal(detections(session)[0], ROWS)
    assert not session.has_engine
    assert "on live frames 8 of 8 findings have no counterpart" in caplog.text


def test_an_engine_is_proven_once_enough_live_findings_agree(caplog):
    caplog.set_level(logging.INFO)
    load = plugins.create("runtimes", {"kind": "onnx"}).load
    reference = load(MODEL, "m")
    manifest = Manifest.model_validate_json(reference.metadata["edge.manifest"])
    session = SwappableSession(reference, "m")
    session.install(load(MODEL, "m"), ParityCheck(manifest))
    until(lambda: len(detections(session)) and "trusted" in caplog.text)
    assert session.has_engine


def test_a_slow_reference_is_rarely_asked_while_an_engine_is_on_trial():
    reference, asked = plugins.create("runtimes", {"kind": "onnx"}).load(MODEL, "m"), []

    class Slow:
        metadata = reference.metadata

        def infer(self, batch):
            asked.append(len(batch))
            time.sleep(0.2)
            return reference.infer(batch)

    manifest = Manifest.model_validate_json(reference.metadata["edge.manifest"])
    session = SwappableSession(Slow(), "m")
    session.install(reference, ParityCheck(manifest))
    stop_s = time.monotonic() + 1  # the second comparison is due after four
    while time.monotonic() < stop_s:
        session.infer(BATCH)
    assert len(asked) == 1
