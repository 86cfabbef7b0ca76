"""The send queue: bounded, never blocking, flushed at the end, reopened after a failure."""

import contextlib
import random
import threading

from edge.errors import SinkError
from edge.service.backoff import Backoff
from edge.service.send_queue import SendQueue
from edge.service.workers import Worker
from edge.types import CameraState, CameraStatus, StatusReason
from edge.wire.message_builder import MessageBuilder


def messages(count):
    builder = MessageBuilder("n", "b", ("person",), "m", "0" * 64)
    status = CameraStatus("door", 1, CameraState.ONLINE, "delivers", StatusReason.DELIVERS, 1.0)
    return [builder.build_status(status) for _ in range(count)]


class FunctionSink:
    """Calls a function with what it is sent."""

    def __init__(self, send, opens=lambda: None):
        self.send = send
        self._opens = opens

    @contextlib.contextmanager
    def open(self):
        self._opens()
        yield

    def idle(self):
        pass


def make_send_queue(sink, max_messages=1000):
    sent, dropped, up = [], [], []
    send_queue = SendQueue(
        "sink", sink, Backoff(random.Random(1), short_s=0.01), sent.extend,
        lambda count, reason: dropped.append((count, reason)), up.append,
        max_messages=max_messages,
    )  # fmt: skip
    worker = Worker("sink", send_queue.run, lambda dead: None)
    return send_queue, worker, sent, dropped, up


def end(worker):
    worker.stop.set()
    assert worker.join(5)


def test_messages_arrive_in_order_with_their_age():
    send_queue, worker, sent, dropped, _ = make_send_queue(FunctionSink(lambda batch: None))
    worker.start()
    send_queue.put(messages(5))
    end(worker)
    assert [message.body.seq for message in sent] == [1, 2, 3, 4, 5]
    assert all(message.body.age_s >= 0 for message in sent)
    assert all(message.body.published_at > 0 for message in sent)
    assert not dropped


def test_the_oldest_are_dropped_and_counted_when_the_sink_is_slow():
    send_queue, _, _, dropped, _ = make_send_queue(FunctionSink(lambda batch: None), max_messages=3)
    send_queue.put(messages(5))
    assert dropped == [(2, "outbox_full")]


def test_a_failing_sink_is_reopened_and_its_losses_are_counted():
    arrived, opened = threading.Event(), []

    def send(batch):
        if len(opened) == 1:
            raise SinkError("disk full")
        arrived.set()

    send_queue, worker, sent, dropped, up = make_send_queue(
        FunctionSink(send, lambda: opened.append(1))
    )
    worker.start()
    send_queue.put(messages(1))
    while not dropped:
        worker.stop.wait(0.01)
    send_queue.put(messages(2))
    assert arrived.wait(5)
    end(worker)
    assert dropped == [(1, "sink_failed")]
    assert len(sent) == 2
    assert up == ["it is not open yet", "", "disk full", ""]


def test_what_waits_is_flushed_at_the_end():
    release = threading.Event()
    received = []

    def send(batch):
        release.wait(5)
        received.extend(batch)

    send_queue, worker, _, _, _ = make_send_queue(FunctionSink(send))
    worker.start()
    for message in messages(50):
        send_queue.put([message])
    worker.stop.set()
    release.set()
    assert worker.join(5)
    assert len(received) == 50


def test_a_failure_that_repeats_is_told_once(caplog):
    def send(batch):
        raise SinkError("disk full")

    send_queue, worker, _, dropped, up = make_send_queue(FunctionSink(send))
    worker.start()
    while len(dropped) < 20:
        send_queue.put(messages(1))
        worker.stop.wait(0.005)
    end(worker)
    assert caplog.text.count("disk full") == 1
    assert caplog.text.count("is open") <= 1
    assert up == ["it is not open yet", "", "disk full"], "it does not flicker"


def test_a_sink_that_cannot_be_opened_yet_is_tried_until_it_can(caplog):
    tries, arrived = [], threading.Event()

    def opens():
        tries.append(1)
        if len(tries) < 5:
            raise SinkError("no such folder")

    sink = FunctionSink(lambda batch: arrived.set(), opens)
    send_queue, worker, _, _, up = make_send_queue(sink)
    worker.start()
    send_queue.put(messages(1))
    assert arrived.wait(5)
    end(worker)
    assert up == ["it is not open yet", "no such folder", ""]
    assert caplog.text.count("no such folder") == 1
