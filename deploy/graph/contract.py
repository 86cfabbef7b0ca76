"""Finishing a contract model: its manifest, a check of the graph, and the proof that it batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from deploy.graph.model_proto import IR_VERSIONS, first_line
from deploy.graph.session import open_session
from edge import __version__
from edge.errors import ModelError
from edge.manifest import Manifest
from edge.runtimes.onnx import BROKEN


def finish_model(
    proto: onnx.ModelProto, manifest: Manifest, more: Mapping[str, str] | None = None
) -> bytes:
    """Write the manifest, check the whole model, prove that a batch equals single pictures.

    Other metadata of ``proto`` are replaced by ``more``.
    """
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, manifest.to_metadata() | dict(more or {}))
    proto.producer_name, proto.producer_version = "edgewatch", __version__
    proto.graph.name = manifest.name
    proto.ir_version = min(max(proto.ir_version, IR_VERSIONS[0]), IR_VERSIONS[-1])
    onnx.checker.check_model(proto)
    model: bytes = proto.SerializeToString()
    _prove_batches(model, manifest)
    return model


def _prove_batches(model: bytes, manifest: Manifest) -> None:
    """A batch of three must give what three single pictures give."""
    width, height = manifest.input_wh
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (3, height // 8 + 1, width // 8 + 1, 3), np.uint8)
    pictures = np.repeat(np.repeat(noise, 8, 1), 8, 2)[:, :height, :width]
    if manifest.task == "liveness":
        pictures = np.stack([pictures] * manifest.crops, axis=1)
    try:
        session = open_session(model)
        source = session.get_inputs()[0].name
        together = session.run(None, {source: pictures})
        singles = [session.run(None, {source: picture[None]}) for picture in pictures]
    except BROKEN as error:
        raise ModelError(
            f"the model cannot be run on a batch ({first_line(error)}): export it with a dynamic "
            "batch size"
        ) from error
    for batched, *single in zip(together, *singles, strict=True):
        if not np.allclose(batched, np.concatenate(single), atol=1e-2):
            raise ModelError(
                "the model returns other results in a batch: export it with a dynamic batch size"
            )
