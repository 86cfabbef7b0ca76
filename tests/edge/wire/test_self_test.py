"""A publisher that sends and does not deliver is noticed, and a process that stood still is not."""

import contextlib

import pytest
import zmq

from edge.errors import SinkError
from edge.wire.self_test import SelfTest


@contextlib.contextmanager
def publisher_and_test(clock):
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.linger = 0
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        endpoint = f"tcp://127.0.0.1:{port}"
        with SelfTest(context, endpoint, b"token", lambda: clock[0]) as test:
            while not test._socket.poll(20):
                publisher.send_multipart([b"v1/heartbeat/", b"{}"])
            yield publisher, test


def test_who_is_heard_is_not_accused():
    clock = [0.0]
    with publisher_and_test(clock) as (publisher, test):
        for _ in range(10):
            publisher.send_multipart([b"v1/heartbeat/", b"{}"])
            test.expect()
            assert test._socket.poll(5000)
            test.check()
            clock[0] += 1


def test_three_heartbeats_in_three_seconds_that_nobody_hears_are_an_error():
    clock = [0.0]
    with publisher_and_test(clock) as (_, test):
        test.check()
        for _ in range(3):
            test.expect()
            test.check()
            clock[0] += 1
        with pytest.raises(SinkError, match=r"does not deliver: .* own heartbeat for 3 s"):
            test.check()


def test_a_process_that_stood_still_accuses_nobody():
    clock = [0.0]
    with publisher_and_test(clock) as (_, test):
        test.check()
        test.expect()
        clock[0] += 60
        test.expect()
        test.check()
