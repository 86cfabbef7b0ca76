"""The embedder: aligned faces (M, 112, 112, 3) to unit vectors (M, D)."""

from __future__ import annotations

import numpy as np

from edge.manifest import Manifest
from edge.models.batches import infer_rows
from edge.models.output_check import OutputCheck, RefusalReason
from edge.ports import Session
from edge.types import F32, U8, Resampling

MAX_STRETCH = 0.01  # of a length of 1, by arithmetic in 16 bits
DEFAULT_THRESHOLD = 0.4  # cautious, for a model without one


class ContractEmbedder:
    """Describes faces with a contract model.

    Attributes:
        threshold: Cosine from which two faces are one person's, measured for comparing two
            pictures (1:1); searching many people needs a calibrated threshold.
        resampling: How pictures are resized where its faces are aligned.
        check: Tells whether what it gives can be true.
    """

    def __init__(self, session: Session, manifest: Manifest, sha256: str, dimension: int) -> None:
        self.name = manifest.name
        self.sha256 = sha256
        self.dimension = dimension
        self.threshold = manifest.metrics.get("threshold", DEFAULT_THRESHOLD)
        self.resampling: Resampling = manifest.resampling
        self.check = OutputCheck(f"the embed model {manifest.name}")
        self._session = session

    def embed(self, faces: U8) -> F32:
        """``(M, 112, 112, 3)`` uint8 RGB, aligned -> ``(M, D)`` float32 of unit length.

        What the model gives of another length becomes NaN, which resembles nobody.
        """
        if not len(faces):
            return np.zeros((0, self.dimension), np.float32)
        embeddings = infer_rows(self._session, faces, "embeddings")
        length = np.sqrt(np.einsum("md,md->m", embeddings, embeddings))
        unit = np.abs(length - 1) <= MAX_STRETCH  # NaN is not
        self.check.record_rows(unit, np.isfinite(length), RefusalReason.LENGTH)
        if not unit.all():
            embeddings = np.where(unit[:, None], embeddings, np.float32(np.nan))
        return embeddings
