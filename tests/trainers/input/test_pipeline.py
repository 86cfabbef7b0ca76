"""The input pipeline: deterministic, bounded, honest about failures."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ConfigError, WorkerError
from edge.types import RgbPicture
from edge.vision.preprocess import letterbox
from tests.support.drawn_data import (
    DOTS,
    drawn_dataset,
    face,
    find_dot,
    iterate_batches,
    write_example,
)
from trainers.augment import presets
from trainers.data.dataset import Dataset
from trainers.evaluation.throughput import measure_throughput
from trainers.input.pipeline import (
    ImageCache,
    build_batches,
    collate,
    default_rows,
    plan_epoch,
    select_largest,
    stream_batches,
)

SIZE = (96, 64)


def digest(made) -> list[str]:
    return [
        hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in b.values())).hexdigest()
        for b in made
    ]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return drawn_dataset(tmp_path / "images", 10)


def test_shapes_types_and_padding(dataset):
    (first, *_) = iterate_batches(dataset, SIZE, 4, rows=8)
    shapes = {key: (value.shape, value.dtype.name) for key, value in first.items()}
    assert shapes == {
        "images": ((4, 64, 96, 3), "uint8"),
        "boxes": ((4, 8, 4), "float32"),
        "class_id": ((4, 8), "int32"),
        "landmarks": ((4, 8, 5, 2), "float32"),
        "weight": ((4, 8), "float32"),
    }
    assert (first["class_id"][:, 1:] == -1).all()
    assert (first["boxes"][:, 1:] == 0).all()
    assert np.isnan(first["landmarks"][:, 1:]).all()
    assert (first["weight"] == [1, *[0] * 7]).all()


def test_labels_lie_where_the_network_sees_the_object(dataset):
    for batch in iterate_batches(dataset, (128, 128), 1, shuffle=False):
        for n, dot in enumerate(DOTS):
            point = batch["landmarks"][0, 0, n]
            assert np.abs(find_dot(batch["images"][0], dot) - point).max() < 1
            assert (point > batch["boxes"][0, 0, :2]).all()
            assert (point < batch["boxes"][0, 0, 2:]).all()


def test_without_augmentation_the_network_gets_what_the_daemon_would_give_it(dataset):
    for size in (SIZE, (64, 64), (300, 300)):
        (batch,) = iterate_batches(dataset, size, 16, shuffle=False)
        for image, example in zip(batch["images"], dataset.examples, strict=True):
            expected = np.empty_like(image)
            placed = letterbox(RgbPicture(example.load().image), expected)
            assert (image == expected).all()
            boxes = batch["boxes"][dataset.examples.index(example), :1]
            np.testing.assert_allclose(boxes, placed.to_network(example.xyxy), atol=1e-3)


def test_the_number_of_workers_and_the_cache_change_nothing(dataset, tmp_path):
    changes = presets.face_augments(64)
    plain = digest(iterate_batches(dataset, SIZE, 4, changes, workers=0, seed=7, epochs=2))
    assert len(set(plain)) == len(plain) == 4
    for workers in (1, 2, 5):
        assert digest(iterate_batches(dataset, SIZE, 4, changes, workers, 7, epochs=2)) == plain
    for _ in range(2):  # written, then read
        cached = iterate_batches(
            dataset, SIZE, 4, changes, 2, 7, epochs=2, cache=tmp_path / "cache"
        )
        assert digest(cached) == plain
    assert len(list((tmp_path / "cache").iterdir())) == 10
    starved = build_batches(dataset, SIZE, 4, changes, seed=7, ram_bytes=0)
    assert digest(stream_batches(starved, epochs=2)) == plain


def test_a_run_resumed_at_an_epoch_sees_what_it_would_have_seen(dataset):
    changes = presets.detector_augments()
    whole = digest(iterate_batches(dataset, SIZE, 4, changes, epochs=3))
    assert digest(iterate_batches(dataset, SIZE, 4, changes, epoch=1, epochs=2)) == whole[2:]
    assert digest(iterate_batches(dataset, SIZE, 4, changes, seed=1)) != whole[:2]


def test_every_picture_is_seen_once_when_not_shuffled():
    order = plan_epoch(10, 4, 0, 0, shuffle=False)
    assert [len(o) for o in order] == [4, 4, 2]
    assert np.concatenate(order).tolist() == list(range(10))


def test_shuffled_batches_are_full_and_orders_differ():
    first, second = (np.concatenate(plan_epoch(10, 4, 0, e, shuffle=True)) for e in (0, 1))
    assert len(first) == len(set(first.tolist())) == 8
    assert first.tolist() != second.tolist()
    (few,) = plan_epoch(3, 8, 0, 0, shuffle=True)
    assert len(few) == 8
    assert set(few.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_missing_picture_stops_the_stream_with_its_name(dataset, workers):
    dataset.examples[6].path.unlink()
    with pytest.raises(ConfigError, match=r"p006\.png"):
        list(iterate_batches(dataset, SIZE, 2, workers=workers, epochs=3))
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


@pytest.mark.parametrize("workers", [0, 3])
def test_a_failing_worker_is_one_clear_error_that_names_the_picture(dataset, workers):
    def broken(sample, rng):
        if sample.name == "p004":
            raise ZeroDivisionError("half of nothing")
        return sample

    with pytest.raises(WorkerError, match=r"p004\.png: ZeroDivisionError: half of nothing"):
        list(iterate_batches(dataset, SIZE, 2, [broken], workers=workers, epochs=2))


def test_an_empty_data_set_is_refused():
    with pytest.raises(ConfigError, match="holds no picture"):
        next(iterate_batches(Dataset(("a",), ()), SIZE, 4))


def test_a_consumer_that_stops_leaves_no_thread_behind(dataset):
    endless = iterate_batches(dataset, SIZE, 2, workers=3, epochs=None)
    for _ in range(12):
        next(endless)
    endless.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_workers_prepare_a_bounded_number_of_batches_ahead(dataset):
    made, lock = [], threading.Lock()

    def counted(batch):
        with lock:
            made.append(1)
        return batch

    endless = stream_batches(
        build_batches(dataset, SIZE, 2), workers=2, epochs=None, finish=counted
    )
    next(endless)
    time.sleep(0.2)
    assert len(made) <= 4
    endless.close()


def test_a_full_disk_turns_the_disk_cache_off_and_training_goes_on(dataset, tmp_path):
    in_the_way = tmp_path / "cache"
    in_the_way.write_text("a file where the folder should be")
    plain = digest(iterate_batches(dataset, SIZE, 4))
    assert digest(iterate_batches(dataset, SIZE, 4, cache=in_the_way)) == plain


def test_a_changed_picture_is_not_taken_from_the_disk_cache(dataset, tmp_path):
    folder = tmp_path / "cache"
    list(iterate_batches(dataset, SIZE, 4, cache=folder))
    before = ImageCache(SIZE, 1.0, folder).load(dataset.examples[0]).image
    changed = write_example(tmp_path / "images", "p000", face(99))
    after = ImageCache(SIZE, 1.0, folder).load(changed).image
    assert (before != after).any()


def test_a_cut_off_cache_file_is_made_again(dataset, tmp_path):
    folder = tmp_path / "cache"
    plain = digest(iterate_batches(dataset, SIZE, 4, cache=folder))
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert digest(iterate_batches(dataset, SIZE, 4, cache=folder)) == plain


def test_pictures_in_memory_are_no_larger_than_they_need_be(tmp_path):
    dataset = drawn_dataset(tmp_path, 2, (640, 480))
    kept = ImageCache((64, 64), 1.5).load(dataset.examples[0])
    assert kept.size_wh == (96, 72)
    np.testing.assert_allclose(kept.xyxy, dataset.examples[0].xyxy * 0.15, rtol=1e-5)
    small = ImageCache((1280, 1280), 1.5).load(dataset.examples[0])
    assert small.size_wh == (640, 480)


def test_too_many_labels_lose_the_smallest():
    sample = face(0)
    many = replace(
        sample, xyxy=np.float32([[0, 0, s, s] for s in (5, 50, 20, 40)]),
        class_id=np.arange(4, dtype=np.int32), landmarks=sample.landmarks.repeat(4, 0),
        weight=np.ones(4, np.float32),
    )  # fmt: skip
    assert select_largest(many, 2).class_id.tolist() == [1, 3]
    assert collate([many], SIZE, 2)["class_id"].tolist() == [[1, 3]]


def test_room_for_labels_grows_with_the_fullest_picture_and_with_mosaic(dataset):
    assert default_rows(dataset, []) == 8
    full = replace(
        dataset.examples[0], xyxy=dataset.examples[0].xyxy.repeat(9, 0),
        class_id=np.zeros(9, np.int32), landmarks=dataset.examples[0].landmarks.repeat(9, 0),
        weight=np.ones(9, np.float32),
    )  # fmt: skip
    fuller = Dataset(dataset.classes, (full,))
    assert default_rows(fuller, []) == 16
    assert default_rows(fuller, presets.detector_augments()) == 40


def test_fit_trains_on_the_loader_and_a_failure_keeps_its_cause(dataset):
    keras = pytest.importorskip("keras")
    from trainers.input.loader import Loader

    def finish(batch):
        return batch["images"].astype(np.float32) / 255, batch["weight"].sum(1)

    model = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    loader = Loader(build_batches(dataset, SIZE, 4), finish)
    assert len(loader) == 2
    history = model.fit(loader, epochs=3, verbose=0)
    loader.close()
    assert len(history.history["loss"]) == 3
    dataset.examples[0].path.unlink()
    failing = Loader(build_batches(dataset, SIZE, 10), finish)
    with pytest.raises(Exception, match="p000"):
        model.fit(failing, verbose=0)
    assert isinstance(failing.failure, ConfigError)


def test_benchmark_compares_the_loop_with_the_bare_step(dataset):
    now_s = itertools.count()  # a clock that ticks when it is read
    seen = []
    speed = measure_throughput(
        build_batches(dataset, SIZE, 2), lambda batch: seen.append(len(batch["images"])), steps=4,
        clock=lambda: float(next(now_s)),
    )  # fmt: skip
    assert (speed.bare, speed.loop, speed.pipeline) == (4, 8, 8)  # pictures between two ticks
    assert speed.ratio == 2
    assert "ratio 2.00 (goal 0.85: reached)" in str(speed)
    assert seen == [2] * 9  # one to trace, two halves of two, four of the loop
