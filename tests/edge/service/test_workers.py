"""Workers report their death and their pulse; backoff; systemd; logs."""

import json
import logging
import queue
import random
import socket

import pytest

from edge.config import Log
from edge.service.backoff import Backoff
from edge.service.log_format import JsonFormatter, TextFormatter, set_up_logging
from edge.service.systemd import Notifier
from edge.service.workers import Worker


def test_a_worker_that_raises_reports_its_death():
    dead: queue.Queue[Worker] = queue.Queue()
    worker = Worker("w", lambda w: 1 / 0, dead.put)
    worker.start()
    assert dead.get(timeout=5) is worker
    assert worker.join(5)
    assert not worker.is_alive()


def test_a_worker_that_returns_early_reports_its_death():
    dead: queue.Queue[Worker] = queue.Queue()
    Worker("w", lambda w: None, dead.put).start()
    assert dead.get(timeout=5).name == "w"


def test_a_worker_that_was_stopped_or_has_finished_is_not_dead():
    dead: queue.Queue[Worker] = queue.Queue()
    stopped = Worker("w", lambda w: w.stop.wait(), dead.put)
    finished = Worker("f", lambda w: w.finish(), dead.put)
    stopped.start()
    finished.start()
    stopped.stop.set()
    assert stopped.join(5)
    assert finished.join(5)
    assert finished.is_alive()
    assert dead.empty()


def test_a_worker_without_a_pulse_is_not_alive():
    now = [0.0]
    worker = Worker("w", lambda w: w.stop.wait(), lambda w: None, 5, lambda: now[0])
    worker.start()
    assert worker.is_alive()
    now[0] = 6
    assert not worker.is_alive()
    worker.mark_progress()
    assert worker.is_alive()
    worker.stop.set()
    assert worker.join(5)


def test_short_delays_stay_short_and_growing_ones_end_at_thirty_seconds():
    backoff = Backoff(random.Random(1))
    assert all(0.6 <= backoff.short() <= 1 for _ in range(100))
    grown = [backoff.growing() for _ in range(20)]
    assert grown[0] < 1
    assert 24 <= grown[-1] <= 36
    backoff.reset()
    assert backoff.growing() < 1


def test_notifier_sends_to_the_socket_and_is_silent_without_one(tmp_path):
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        notifier = Notifier({"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "3000000"})
        notifier.send("READY=1")
        assert manager.recv(100) == b"READY=1"
        assert notifier.watchdog_s == 3
    notifier.send("READY=1")  # nobody listens any more
    Notifier({}).send("READY=1")


def record(message: str, **extra: str) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelname": "WARNING", "name": "edge"})
    for key, value in extra.items():
        setattr(made, key, value)
    return made


def test_a_log_line_names_the_camera_and_hides_the_password():
    made = record("cannot open rtsp://admin:p@ss/word@cam/stream\nagain", camera="door")
    line = TextFormatter().format(made)
    assert "door: " in line
    assert "rtsp://cam/stream | again" in line
    assert "ss/word" not in line
    assert "\n" not in line


def test_a_json_log_line_is_one_object_without_a_password():
    made = record("rtsp://u:secret@h/s", camera="door")
    entry = json.loads(JsonFormatter().format(made))
    assert entry["camera"] == "door"
    assert entry["level"] == "warning"
    assert "secret" not in entry["message"]


@pytest.mark.parametrize(
    ("message", "secret"),
    [
        ("http://cam/stream?token=abc123", "abc123"),
        ("rtspsrc location=rtsp://cam user-pw=hunter2 ! decodebin", "hunter2"),
        ("http://cam/cgi?usr=a&pwd=hunter2&channel=1", "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_not_logged(message, secret):
    for formatter in (TextFormatter(), JsonFormatter()):
        assert secret not in formatter.format(record(message))


def test_an_exception_is_logged_on_one_line():
    try:
        raise ValueError("rtsp://u:secret@h/s")
    except ValueError as error:
        made = logging.LogRecord("n", 40, "p", 1, "broken", (), (type(error), error, None))
    for formatter in (TextFormatter(), JsonFormatter()):
        line = formatter.format(made)
        assert "\n" not in line
        assert "ValueError" in line
        assert "secret" not in line


def test_set_up_sends_everything_to_one_handler():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging(Log(level="warning", format="json"))
        assert len(root.handlers) == 1
        assert root.level == logging.WARNING
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
