"""Galleries to test with: made-up faces, a key, an embedder, a clock that stands still."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.people.gallery.encryption import MasterKey
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.metadata import EmbedderId

KEY = MasterKey(bytes(range(32)))
EMBEDDER = EmbedderId("made-up", "ab" * 32, 16)
OTHER_EMBEDDER = EmbedderId("another", "cd" * 32, 16)
NOON_S = 1_800_000_000.0  # 2027-01-15 08:00 UTC


@dataclass
class Clock:
    now_s: float = NOON_S

    def __call__(self) -> float:
        return self.now_s


def faces(count: int, seed: int = 0, dimension: int = 16) -> np.ndarray:
    """Random unit vectors ``(count, dimension)`` float32."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def open_new(path: Path, **options: object) -> Gallery:
    """A gallery at ``path``, made where there is none."""
    return Gallery(path, KEY, EMBEDDER, create=True, **options)


def tamper(path: Path, statement: str, *values: object) -> None:
    """Change a gallery behind its back."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def fetch(path: Path, query: str) -> list[tuple]:
    """Read a gallery behind its back."""
    connection = sqlite3.connect(path)
    rows = connection.execute(query).fetchall()
    connection.close()
    return rows
