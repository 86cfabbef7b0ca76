"""Batches: rows of any number, through a session a few at a time."""

from __future__ import annotations

import numpy as np

from edge.ports import Session
from edge.types import F32, U8

MAX_BATCH = 32  # rows: larger batches gain nothing and cost memory


def infer_rows(session: Session, rows: U8, output: str) -> F32:
    """One output for all rows ``(N, ...)``; none for none, ``(0,)``."""
    parts = [
        session.infer(rows[row : row + MAX_BATCH])[output] for row in range(0, len(rows), MAX_BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
