"""Engines in the daemon: built by a child, verified, installed, removed again."""

import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge import config_file, plugins
from edge.client import Gap, Received, Subscriber
from edge.engines import hot_swap
from edge.errors import ConfigError, GpuLostError, GpuMemoryError, WorkerError
from edge.models.contract import load_model
from edge.service import engines
from edge.service.daemon import Daemon
from edge.service.engines import EngineManager
from edge.service.workers import Worker
from tests.support import engines as fake
from tests.support.fake_tensorrt import runtime_of_functions
from tests.support.models import brightness_classifier, constant_model
from tests.support.running_daemon import wait_until

ROWS = np.float32([[1, 2, 30, 31, 0.9, 0], [4, 5, 20, 27, 0.8, 0]])
MODEL = constant_model("detect", {"detections": ROWS}, ["person"])
BATCH = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    fake.ENGINES.clear()
    monkeypatch.setattr(hot_swap, "SAMPLE_S", 0.05)
    monkeypatch.setattr(engines, "FRAMES_S", 0.2)


@pytest.fixture
def manage(tmp_path):
    """Start a manager with one model in a worker; its session, and the worker."""
    (tmp_path / "m.onnx").write_bytes(MODEL)
    workers = []

    def start(**options):
        runtime = plugins.create(
            "runtimes",
            {"kind": "tests.support.engines:Options", "cache": tmp_path / "cache", **options},
        )
        reference = plugins.create("runtimes", {"kind": "onnx"})
        manager = EngineManager(runtime, reference, log_every_s=0.1)
        session = manager.load(MODEL, str(tmp_path / "m.onnx"))
        worker = Worker("engines", manager.run, lambda dead: None)
        worker.start()
        workers.append(worker)
        return manager, session, worker

    yield start
    for worker in workers:
        worker.stop.set()
        assert worker.join(5)


def until(condition, timeout_s=20):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def detections(session):
    return session.infer(BATCH)["detections"]


def test_a_model_runs_at_once_and_on_its_engine_when_that_is_built(manage, caplog):
    caplog.set_level(logging.INFO)
    manager, session, _ = manage()
    assert manager.is_ready
    np.testing.assert_array_equal(detections(session)[0], ROWS)
    assert not session.has_engine
    until(lambda: session.has_engine)
    np.testing.assert_array_equal(detections(session)[0], ROWS)
    assert fake.ENGINES[-1].batches > 0
    assert "building its engine for" in caplog.text
    assert "50% timing tactics" in caplog.text


def test_a_second_start_finds_the_engine_and_builds_nothing(manage):
    _, session, worker = manage()
    until(lambda: session.has_engine)
    worker.stop.set()
    _, again, _ = manage(builds="crash")
    until(lambda: again.has_engine)


def test_the_time_of_a_build_and_what_runs_are_told(manage):
    told = {"building": [], "using": []}
    manager, *_ = manage()
    manager.building = lambda task, value: told["building"].append((task, value))
    manager.using = lambda task, value: told["using"].append((task, value))
    until(lambda: ("detect", 1) in told["using"])
    seconds = [value for task, value in told["building"] if task == "detect"]
    assert seconds == sorted(seconds)
    assert seconds[-1] >= 0.3


@pytest.mark.parametrize(
    ("builds", "says"),
    [
        ("crash", "cannot be built: the builder ran out of luck"),
        ("nothing", "has no engine"),
        ("wrong", "refused: 16 of 16 findings have no counterpart"),
    ],
)
def test_a_build_that_fails_is_told_once_and_onnx_runtime_goes_on(manage, caplog, builds, says):
    _, session, _ = manage(builds=builds)
    until(lambda: "stays on ONNX Runtime" in caplog.text)
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert says in line
    np.testing.assert_array_equal(detections(session)[0], ROWS)
    assert not session.has_engine


def test_a_build_that_takes_too_long_is_killed(manage, caplog):
    manage(build_s=60, build_timeout_s=0.2)
    until(lambda: "was not built in" in caplog.text)
    assert not children()


def test_stopping_kills_the_builder(manage):
    _, _, worker = manage(build_s=60)
    until(children)
    worker.stop.set()
    assert worker.join(5)
    assert not children()


def children():
    """Builders that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if b"tests.support.engines" in words and state != "Z":
            found.append(folder)
    return found


def test_the_message_builderis_niced(manage):
    manage(build_s=2)
    until(children)
    until(lambda: any(nice(folder) >= engines.NICE for folder in children()))


def nice(folder):
    return int((folder / "stat").read_text().rpartition(")")[2].split()[16])


def test_an_engine_that_does_not_fit_is_built_smaller(manage):
    _, session, _ = manage(too_big=1)
    until(lambda: session.has_engine)
    cache = fake.EngineCache(fake.ENGINES[-1].options.cache)
    assert sorted(entry.key.batch[2] for entry in cache.entries()) == [4, 16]


def test_an_engine_that_fails_while_it_is_compared_is_closed(manage, caplog):
    _, session, _ = manage(memory_after=0)
    until(lambda: "stays on ONNX Runtime" in caplog.text)
    assert fake.ENGINES[-1].closed
    assert not session.has_engine


def test_one_that_never_fits_leaves_onnx_runtime(manage, caplog):
    _, session, _ = manage(too_big=99)
    until(lambda: "not even one picture fits" in caplog.text)
    np.testing.assert_array_equal(detections(session)[0], ROWS)


def test_by_configuration_nothing_runs_before_the_engine(manage):
    manager, session, _ = manage(waits=True)
    assert not manager.is_ready
    until(lambda: manager.is_ready)
    assert session.has_engine


def test_memory_that_ends_later_gives_the_model_back_without_losing_a_batch(manage, caplog):
    _, session, _ = manage(memory_after=3)
    until(lambda: session.has_engine)
    for _ in range(8):
        np.testing.assert_array_equal(detections(session)[0], ROWS)
    assert not session.has_engine
    assert "runs on ONNX Runtime again" in caplog.text
    assert fake.ENGINES[-1].closed


def test_a_message_builderthat_cannot_be_started_leaves_onnx_runtime(tmp_path, caplog):
    runtime = plugins.create(
        "runtimes", {"kind": "tests.support.engines:Options", "cache": tmp_path / "cache"}
    )
    runtime.build_command = lambda name, sha256: [str(tmp_path / "no-such-program")]
    manager = EngineManager(runtime, plugins.create("runtimes", {"kind": "onnx"}))
    session = manager.load(MODEL, "m.onnx")
    worker = Worker("engines", manager.run, lambda dead: None)
    worker.start()
    until(lambda: "stays on ONNX Runtime: its builder cannot be run" in caplog.text)
    np.testing.assert_array_equal(detections(session)[0], ROWS)
    worker.stop.set()
    assert worker.join(5)


def test_the_black_picture_that_a_model_is_checked_with_is_no_frame(tmp_path):
    (tmp_path / "m.onnx").write_bytes(MODEL)
    runtime = plugins.create(
        "runtimes",
        {"kind": "tests.support.engines:Options", "cache": tmp_path / "cache", "build_s": 60},
    )
    manager = EngineManager(runtime, plugins.create("runtimes", {"kind": "onnx"}))
    load_model("detect", manager, tmp_path / "m.onnx")
    session = manager._jobs[0].session
    assert session.samples
    worker = Worker("engines", manager.run, lambda dead: None)
    worker.start()
    until(children)
    assert not session.samples
    worker.stop.set()
    assert worker.join(5)


def test_missing_engines_are_named_before_anything_is_built(manage, tmp_path):
    runtime = plugins.create(
        "runtimes", {"kind": "tests.support.engines:Options", "cache": tmp_path / "empty"}
    )
    manager = EngineManager(runtime, plugins.create("runtimes", {"kind": "onnx"}))
    manager.load(MODEL, "m.onnx")
    assert list(manager.missing()) == [("m.onnx", "m.onnx has no engine")]


# --- the whole daemon ----------------------------------------------------------------------------


def write(folder, options, cameras=3):
    (folder / "m.onnx").write_bytes(MODEL)
    tables = "\n".join(
        f'[[cameras]]\nname = "c{n}"\nfps = 60\n'
        'source = { kind = "tests.support.plugins:Options" }'
        for n in range(cameras)
    )
    path = folder / "edge.toml"
    path.write_text(f"""
[models]
detector = "m.onnx"
[runtime]
kind = "tests.support.engines:Options"
cache = "{folder}/cache"
{options}
{tables}
[[sinks]]
kind = "zeromq"
bind = "ipc://{folder}/bus"
[http]
port = 0
""")
    return path


@pytest.fixture
def run(tmp_path):
    started = []

    def start(options=""):
        path = write(tmp_path, options)
        daemon = Daemon(config_file.load(path), path)
        thread = threading.Thread(target=go, args=[daemon])
        started.append((daemon, thread))
        thread.start()
        return daemon

    def go(daemon):
        try:
            daemon.run()
        except Exception as error:  # noqa: BLE001 - handed to the test
            daemon.error = error

    yield start
    for daemon, thread in started:
        daemon.stop()
        thread.join(10)
        assert not thread.is_alive()


def metric(daemon, name):
    return daemon.metrics.registry.get_sample_value(name, {"task": "detect"})


def test_the_daemon_swaps_under_load_without_losing_a_message(run, tmp_path):
    frames, gaps, before, after = {}, [], 0, 0
    with Subscriber(f"ipc://{tmp_path}/bus", topics=["v1/detections/"]) as subscriber:
        daemon = run("build_s = 1.5")
        deadline_s = time.monotonic() + 30
        while after < 60:
            assert time.monotonic() < deadline_s
            item = subscriber.receive(0.2)
            if isinstance(item, Gap):
                gaps.append(item)
            if not isinstance(item, Received):
                continue
            body = item.body
            assert body.frame > frames.get(body.camera, -1), "a frame twice, or out of order"
            frames[body.camera] = body.frame
            swapped = metric(daemon, "edge_engine_in_use") == 1
            before, after = before + (not swapped), after + swapped
        assert not gaps
    assert before > 10
    assert set(frames) == {"c0", "c1", "c2"}
    assert metric(daemon, "edge_engine_build_seconds") >= 1.5


def test_by_configuration_the_daemon_is_not_ready_before_the_engine_is(run):
    daemon = run("waits = true\nbuild_s = 1.5")
    until(lambda: len(daemon.health.states()) == 3)
    assert not daemon.health.is_ready()
    until(lambda: metric(daemon, "edge_engine_build_seconds"))
    assert not daemon.health.is_ready()
    until(daemon.health.is_ready)
    assert metric(daemon, "edge_engine_in_use") == 1


@pytest.mark.parametrize("waits", ["true", "false"])
def test_a_reload_exchanges_a_model_and_its_engine_under_load(run, tmp_path, waits):
    frames, gaps = {}, []
    other = constant_model("detect", {"detections": ROWS[:1]}, ["person"])
    (tmp_path / "other.onnx").write_bytes(other)
    with Subscriber(f"ipc://{tmp_path}/bus", topics=["v1/detections/"]) as subscriber:

        def read(last):
            """Read messages until one satisfies a function."""
            deadline_s = time.monotonic() + 30
            while True:
                assert time.monotonic() < deadline_s
                item = subscriber.receive(0.2)
                if isinstance(item, Gap):
                    gaps.append(item)
                if isinstance(item, Received):
                    frames.setdefault(item.body.camera, []).append(item.body.frame)
                    if last(item.body):
                        return

        daemon = run(f"waits = {waits}\nbuild_s = 1.0")
        read(lambda _: metric(daemon, "edge_engine_in_use") == 1)
        [former] = [engine for engine in fake.ENGINES if not engine.closed]
        was_ready, path = [], tmp_path / "edge.toml"
        path.write_text(path.read_text().replace("m.onnx", "other.onnx"))
        daemon.reload()

        def has_changed(body):
            was_ready.append(daemon.health.is_ready())
            return len(body.objects) == 1

        read(has_changed)
        if waits == "true":
            assert daemon._models.manager.is_ready
        read(lambda _: metric(daemon, "edge_engine_in_use") == 1)
        seen = len(frames["c0"])
        read(lambda _: len(frames["c0"]) > seen + 10)
    assert not gaps
    assert all(was_ready), "what runs goes on while an engine is built"
    assert all(numbers == sorted(set(numbers)) for numbers in frames.values())
    assert former.closed
    assert len([engine for engine in fake.ENGINES if not engine.closed]) == 1
    assert daemon.metrics.registry.get_sample_value("edge_config_last_reload_successful") == 1


def test_of_two_classifiers_the_one_that_stays_keeps_its_engine_over_a_reload(run, tmp_path):
    for name in ("vest", "cap"):
        (tmp_path / f"{name}.onnx").write_bytes(brightness_classifier(name=name))
    attributes = "".join(f'[[attributes]]\nmodel = "{name}.onnx"\n' for name in ("vest", "cap"))

    def count_running(*names):
        tasks = ["detect", *(f"classify:{name}" for name in names)]
        read = daemon.metrics.registry.get_sample_value
        return sum(read("edge_engine_in_use", {"task": task}) or 0 for task in tasks)

    daemon = run(attributes)
    wait_until(lambda: count_running("vest", "cap") == 3)
    before = [engine for engine in fake.ENGINES if not engine.closed]
    (tmp_path / "cap.onnx").write_bytes(brightness_classifier(name="hat"))
    daemon.reload()
    wait_until(lambda: count_running("vest", "hat") == 3)
    wait_until(lambda: sum(engine.closed for engine in before) == 1)
    assert len([engine for engine in fake.ENGINES if not engine.closed]) == 3
    assert 'task="classify:cap"' not in daemon.metrics.render().decode()


def test_a_model_whose_engine_cannot_be_built_is_refused_where_it_may_run_on_nothing_else(
    run, tmp_path, caplog
):
    daemon = run("waits = true\nbuild_s = 0.1")
    until(daemon.health.is_ready)
    runtime = daemon._models.manager._runtime
    runtime.options = runtime.options.model_copy(update={"builds": "crash"})
    (tmp_path / "other.onnx").write_bytes(
        constant_model("detect", {"detections": ROWS[:1]}, ["person"])
    )
    former, path = daemon._models, tmp_path / "edge.toml"
    path.write_text(path.read_text().replace("m.onnx", "other.onnx"))
    daemon.reload()
    until(lambda: "its engine cannot be built: the builder ran out of luck" in caplog.text)
    until(lambda: daemon.health.reload_problem)
    assert daemon._models is former
    assert daemon.health.is_ready()
    assert metric(daemon, "edge_engine_in_use") == 1


def test_an_engine_given_up_where_nothing_else_may_run_ends_the_daemon(run):
    daemon = run("waits = true\nmemory_after = 5")
    until(lambda: hasattr(daemon, "error"))
    assert isinstance(daemon.error, WorkerError)


def test_a_lost_gpu_ends_the_daemon_with_a_status_of_its_own(run):
    daemon = run("lost_after = 5")
    until(lambda: hasattr(daemon, "error"))
    assert isinstance(daemon.error, GpuLostError)
    assert daemon.error.exit_code == 75


def test_the_real_builders_last_words_are_in_the_log(tmp_path, no_driver, caplog):
    """The runtime's own command, run as it is: on a box without a GPU it can only fail."""
    (tmp_path / "m.onnx").write_bytes(MODEL)
    runtime = runtime_of_functions(tmp_path / "cache").runtime
    manager = EngineManager(runtime, plugins.create("runtimes", {"kind": "onnx"}))
    session = manager.load(MODEL, str(tmp_path / "m.onnx"))
    worker = Worker("engines", manager.run, lambda dead: None)
    worker.start()
    until(lambda: "stays on ONNX Runtime" in caplog.text, 60)
    worker.stop.set()
    assert worker.join(5)
    assert "cannot be built: python -m deploy: TensorRT cannot be used" in caplog.text
    assert "Traceback" not in caplog.text
    np.testing.assert_array_equal(detections(session)[0], ROWS)


def test_a_node_without_a_driver_says_one_thing_and_runs_on_the_processor(
    tmp_path, no_driver, caplog
):
    runtime = plugins.create("runtimes", {"kind": "tensorrt"})
    (line,) = [record.getMessage() for record in caplog.records]
    assert "no NVIDIA driver answers" in line
    np.testing.assert_array_equal(detections(runtime.load(MODEL, "m"))[0], ROWS)


@pytest.mark.parametrize("error", [GpuMemoryError("it is full"), GpuLostError("it hangs")])
def test_a_card_that_is_full_or_hangs_at_the_start_is_as_good_as_none(monkeypatch, error, caplog):
    def open_cuda(device):
        raise error

    monkeypatch.setattr("edge.runtimes.tensorrt.open_cuda", open_cuda)
    runtime = plugins.create("runtimes", {"kind": "tensorrt"})
    np.testing.assert_array_equal(detections(runtime.load(MODEL, "m"))[0], ROWS)
    assert str(error) in caplog.text
    with pytest.raises(type(error), match=f"runtime: {error}"):
        plugins.create("runtimes", {"kind": "tensorrt", "fallback": "none"})


def test_by_configuration_a_node_without_a_driver_does_not_start(no_driver):
    with pytest.raises(ConfigError, match="no NVIDIA driver answers") as caught:
        plugins.create("runtimes", {"kind": "tensorrt", "fallback": "none"})
    assert caught.value.exit_code == 78
