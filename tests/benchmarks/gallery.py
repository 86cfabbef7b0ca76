"""What the gallery costs: matching one face, loading everybody, taking up a change.

Run: ``python -m tests.benchmarks.gallery [PEOPLE] [TEMPLATES] [DIMENSION]``. Goal: matching a
face against 10,000 people takes 2 ms (p50) on one core.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.people.gallery.gallery import Gallery
from edge.people.gallery.index import Index, IndexedPerson
from edge.people.gallery.metadata import EmbedderId
from tests.support.gallery import KEY, faces


def timed_ms(work: Callable[[], object], times: int) -> tuple[float, float]:
    """p50 and p95."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append((time.perf_counter() - begun) * 1e3)
    return float(np.percentile(took, 50)), float(np.percentile(took, 95))


def search(people: int, templates: int, dimension: int) -> None:
    """One face against an index in memory."""
    rows = np.split(faces(people * templates, 0, dimension), people)
    index = Index.build([IndexedPerson(str(row), str(row)) for row in range(people)], rows)
    query = faces(1, 1, dimension)
    p50, p95 = timed_ms(lambda: index.search(query), 200)
    what = f"{people} people x {templates} templates x {dimension}"
    print(f"search {what}: p50 {p50:.2f} ms, p95 {p95:.2f} ms")


def gallery(people: int, templates: int, dimension: int, folder: Path) -> None:
    """Enroll, load, notice."""
    embedder = EmbedderId("made-up", "ab" * 32, dimension)
    rows = np.split(faces(people * templates, 0, dimension), people)
    with (
        Gallery(folder / "gallery.db", KEY, embedder, create=True) as writer,
        Gallery(folder / "gallery.db", KEY, embedder) as reader,
    ):
        begun = time.perf_counter()
        for number, row in enumerate(rows):
            writer.enroll(f"person {number}", row, consent=True)
        each_ms = (time.perf_counter() - begun) / people * 1e3
        begun = time.perf_counter()
        reader.index()
        load_s = time.perf_counter() - begun
        writer.forget("person 0")
        begun = time.perf_counter()
        reader.index()
        again_s = time.perf_counter() - begun
        ask_ms = timed_ms(reader.changed, 1000)[0]
    print(f"gallery of {people}: enroll {each_ms:.1f} ms each, load {load_s:.2f} s,")
    print(f"  after a change {again_s:.3f} s, asking for changes {ask_ms * 1e3:.0f} us")


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    given = [int(value) for value in sys.argv[1:]]
    sizes = given + [10_000, 3, 128][len(given) :]
    search(*sizes)
    with tempfile.TemporaryDirectory() as temporary:
        gallery(*sizes, Path(temporary))
