"""The embedder: aligned faces (M, 112, 112, 3) to unit vectors (M, D)."""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.ports import Session
from edge.types import F32, U8

MOST = 32  # faces a batch: more gain nothing and cost memory
CAUTIOUS = 0.4  # threshold of a model that does not know its own


class ContractEmbedder:
    """Describes faces with a contract model.

    Args:
        session: the loaded model.
        manifest: what it promises.
        sha256: hash of its bytes.
        dimension: D.

    Attributes:
        threshold: similarity from which on two faces are one person's, measured for comparing
            two pictures (1:1); searching many people needs a calibrated one.
    """

    def __init__(self, session: Session, manifest: Manifest, sha256: str, dimension: int) -> None:
        self.name = manifest.name
        self.sha256 = sha256
        self.dimension = dimension
        self.threshold = manifest.metrics.get("threshold", CAUTIOUS)
        self._session = session

    def embed(self, faces: U8) -> F32:
        """``(M, 112, 112, 3)`` uint8 RGB, aligned -> ``(M, D)`` float32 of unit length."""
        parts = [
            self._session.infer(faces[row : row + MOST])["embeddings"]
            for row in range(0, len(faces), MOST)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32)
