"""The embedder: aligned faces (M, 112, 112, 3) to unit vectors (M, D)."""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.ports import Session
from edge.types import F32, U8

MAX_BATCH = 32  # faces: larger batches gain nothing and cost memory
DEFAULT_THRESHOLD = 0.4  # cautious, for a model without one


class ContractEmbedder:
    """Describes faces with a contract model.

    Attributes:
        threshold: Cosine from which two faces are one person's, measured for comparing two
            pictures (1:1); searching many people needs a calibrated threshold.
    """

    def __init__(self, session: Session, manifest: Manifest, sha256: str, dimension: int) -> None:
        self.name = manifest.name
        self.sha256 = sha256
        self.dimension = dimension
        self.threshold = manifest.metrics.get("threshold", DEFAULT_THRESHOLD)
        self._session = session

    def embed(self, faces: U8) -> F32:
        """``(M, 112, 112, 3)`` uint8 RGB, aligned -> ``(M, D)`` float32 of unit length."""
        parts = [
            self._session.infer(faces[row : row + MAX_BATCH])["embeddings"]
            for row in range(0, len(faces), MAX_BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32)
