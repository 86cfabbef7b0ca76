"""A session on a card made of functions: the rows of ONNX Runtime, whatever the card does."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from edge.engines.cuda import Cuda
from edge.engines.session import EngineSession, prepared_sizes, split_batch
from edge.errors import ConfigError, EngineError, GpuLostError, GpuMemoryError, ModelError
from tests.support.gpu import (
    ILLEGAL_ADDRESS,
    INSUFFICIENT_DRIVER,
    OUT_OF_MEMORY,
    FakeEngine,
    FakeGpu,
)
from tests.support.models import summing_model

MODEL = summing_model()


def pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, 8, 8, 3), np.uint8)


def expected(batch):
    return batch.sum(axis=(1, 2, 3), dtype=np.float32)


def rows(session, batch):
    return session.infer(batch)["live"]


@pytest.fixture
def gpu():
    return FakeGpu()


def start(gpu, max_batch=16, graphs=True, **engine):
    made = FakeEngine(gpu, MODEL, max_batch, **engine)
    return made, EngineSession(Cuda(gpu.api), made, {}, "m.onnx", graphs=graphs)


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 16, 17, 40])
def test_every_batch_gives_its_own_rows_in_order(gpu, count, graphs):
    _, session = start(gpu, graphs=graphs)
    with closing(session):
        for seed in range(2):
            batch = pictures(count, seed)
            np.testing.assert_array_equal(rows(session, batch), expected(batch))


def test_outputs_belong_to_the_caller(gpu):
    _, session = start(gpu)
    first = rows(session, pictures(3))
    kept = first.copy()
    rows(session, pictures(3, seed=1))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("max_batch", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])]
)
def test_sizes_that_are_prepared(max_batch, expected):
    assert prepared_sizes(max_batch) == expected


@pytest.mark.parametrize(
    ("count", "max_batch", "parts"),
    [
        (0, 16, []),
        (5, 16, [5]),
        (8, 16, [4, 4]),  # the second half is copied while the first is computed
        (17, 16, [8, 9]),
        (5, 2, [1, 2, 2]),
    ],
)
def test_batches_are_cut_evenly(count, max_batch, parts):
    assert [last - first for first, last in split_batch(count, max_batch)] == parts


def test_each_size_is_recorded_once_and_then_only_launched(gpu):
    engine, session = start(gpu, max_batch=4)
    assert gpu.calls["cudaStreamBeginCapture"] == 2 * 3  # two lanes; sizes 1, 2, 4
    engine.ran.clear()
    rows(session, pictures(3))
    assert engine.ran == [4]
    assert gpu.calls["cudaGraphLaunch"] == 1


def test_what_cannot_be_recorded_runs_without_a_graph(gpu):
    _, session = start(gpu, capturable=False)
    batch = pictures(4)
    np.testing.assert_array_equal(rows(session, batch), expected(batch))
    assert not gpu.calls["cudaStreamBeginCapture"]


def test_a_recording_that_fails_is_no_reason_to_stop(gpu):
    gpu.fails["cudaStreamEndCapture"] = 901
    _, session = start(gpu)
    batch = pictures(4)
    np.testing.assert_array_equal(rows(session, batch), expected(batch))
    assert not gpu.calls["cudaGraphLaunch"]


def test_nothing_is_allocated_after_the_start(gpu):
    _, session = start(gpu)
    before = dict(gpu.calls)
    for count in (1, 5, 16, 33):
        rows(session, pictures(count))
    for name in ("cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags"):
        assert gpu.calls[name] == before[name]


def test_an_output_is_copied_only_for_the_rows_that_are_asked_for(gpu):
    _, session = start(gpu)
    before = gpu.calls["cudaMemcpyAsync"]
    rows(session, pictures(5))
    assert gpu.calls["cudaMemcpyAsync"] - before == 2  # pictures in, rows out


def test_close_frees_everything(gpu):
    _, session = start(gpu)
    assert gpu.held
    assert gpu.pinned
    session.close()
    assert not gpu.held
    assert not gpu.pinned
    assert not gpu.graphs


def test_a_thread_that_is_alone_copies_one_half_while_the_other_is_computed(gpu):
    engine, session = start(gpu)
    engine.ran.clear()
    before = gpu.calls["cudaStreamSynchronize"]
    gpu.waited = []
    rows(session, pictures(16))
    assert engine.ran == [8, 8]
    assert gpu.calls["cudaStreamSynchronize"] - before == 2
    assert gpu.waited[0] == 2, "the first half was waited for before the second was begun"


@pytest.mark.parametrize("memory_bytes", [2**40, 30_000])
def test_several_threads_get_their_own_rows(gpu, memory_bytes):
    gpu.memory_bytes = memory_bytes
    _, session = start(gpu)

    def work(seed):
        for turn in range(30):
            batch = pictures(1 + (seed * 7 + turn) % 19, seed * 100 + turn)
            np.testing.assert_array_equal(rows(session, batch), expected(batch))
            if seed == 0 and turn == 10:
                gpu.full.add("cudaGraphLaunch")
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [True] * 4
    assert session.max_batch < 16


# --- what goes wrong ---------------------------------------------------------------------------


def test_a_small_card_gets_smaller_batches(gpu):
    gpu.memory_bytes = 13_000  # two lanes of 4, each picture takes 1,196 bytes
    _, session = start(gpu)
    assert session.max_batch == 4
    batch = pictures(16)
    np.testing.assert_array_equal(rows(session, batch), expected(batch))


def test_a_card_that_holds_not_one_picture_says_so_and_keeps_nothing(gpu):
    gpu.memory_bytes = 1_500
    with pytest.raises(GpuMemoryError, match="not even one picture"):
        start(gpu)
    assert not gpu.held
    assert not gpu.pinned


def test_memory_that_runs_out_later_halves_the_batch_and_loses_no_row(gpu):
    _, session = start(gpu)
    gpu.full.add("cudaGraphLaunch")  # somebody else took it
    batch = pictures(16)
    np.testing.assert_array_equal(rows(session, batch), expected(batch))
    assert session.max_batch == 8


def test_memory_that_is_gone_for_good_is_said_to_every_thread(gpu):
    _, session = start(gpu, max_batch=2)
    gpu.fails.update(dict.fromkeys(["cudaGraphLaunch", "cudaMalloc"], OUT_OF_MEMORY))
    for _ in range(3):
        with pytest.raises(GpuMemoryError, match="not even one picture"):
            rows(session, pictures(1))
    assert not gpu.held
    session.close()


def test_channels_that_cannot_be_opened_again_leave_nobody_waiting(gpu):
    _, session = start(gpu)
    gpu.full.add("cudaGraphLaunch")
    gpu.fails["cudaMalloc"] = 1
    with pytest.raises(EngineError):
        rows(session, pictures(2))
    answers = []

    def lane():
        with pytest.raises(EngineError):
            rows(session, pictures(2))
        answers.append(True)

    thread = threading.Thread(target=lane, daemon=True)
    thread.start()
    thread.join(10)
    assert answers == [True]
    gpu.fails.clear()
    np.testing.assert_array_equal(rows(session, pictures(2)), expected(pictures(2)))
    session.close()


def test_an_error_that_spoils_the_context_ends_the_process_with_a_status_of_its_own(gpu):
    _, session = start(gpu)
    gpu.fails["cudaStreamSynchronize"] = ILLEGAL_ADDRESS
    with pytest.raises(GpuLostError, match="cudaErrorIllegalAddress") as caught:
        rows(session, pictures(2))
    assert caught.value.exit_code == 75
    gpu.fails.update(dict.fromkeys(["cudaSetDevice", "cudaFree"], ILLEGAL_ADDRESS))
    session.close()  # says nothing more


def test_a_refusal_of_tensorrt_becomes_what_cuda_says(gpu):
    engine, session = start(gpu, graphs=False)
    engine.refuses = True
    gpu.last_error = ILLEGAL_ADDRESS
    with pytest.raises(GpuLostError):
        rows(session, pictures(1))
    gpu.last_error = 0
    with pytest.raises(EngineError, match="without a CUDA error"):
        rows(session, pictures(1))


def test_an_engine_that_fails_at_its_first_batch_leaves_nothing_behind(gpu):
    gpu.fails["cudaStreamSynchronize"] = 1
    with pytest.raises(EngineError, match="cudaErrorInvalidValue"):
        start(gpu)
    assert not gpu.held
    assert not gpu.pinned


def test_any_other_error_is_the_engines_own(gpu):
    _, session = start(gpu)
    gpu.fails["cudaMemcpyAsync"] = 1
    with pytest.raises(EngineError, match="cudaErrorInvalidValue in cudaMemcpyAsync"):
        rows(session, pictures(1))


def test_pictures_of_another_size_are_refused(gpu):
    _, session = start(gpu)
    with pytest.raises(ModelError, match=r"m\.onnx cannot be run on uint8 \(1, 9, 9, 3\)"):
        session.infer(np.zeros((1, 9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("gpu", "says"),
    [
        (FakeGpu(fails={"cudaGetDeviceCount": INSUFFICIENT_DRIVER}), "no NVIDIA driver answers"),
        (FakeGpu(cards=0), "no NVIDIA driver answers"),
        (FakeGpu(cards=1), "this machine has 1"),
    ],
)
def test_without_driver_or_card_one_sentence_says_so(gpu, says):
    with pytest.raises(ConfigError, match=says):
        Cuda(gpu.api, device=1)


def test_a_card_is_called_what_its_driver_calls_it(gpu):
    card = Cuda(gpu.api).get_gpu()
    assert (card.name, card.capability) == ("Fake 1000", "sm86")
