"""Quantization: a contract model in FP16 or INT8, as far as its accuracy allows.

INT8 is measured at each step: which layers are sensitive (one at a time in INT8, the error where
the trunk ends), how much accuracy is lost with ever more of them in float, and on a CPU whether the
first layers, with many pixels and few channels, are faster in float.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from deploy.graph.model_proto import first_line
from deploy.graph.session import open_infer, open_session
from deploy.graph.trunk import find_trunk, simplify
from deploy.quantize.accuracy import AccuracyCheck, Figures
from deploy.quantize.fp16 import convert_to_fp16
from deploy.quantize.int8 import Int8Options, Target, quantize_trunk
from deploy.quantize.ranges import Ranges, observe_ranges, with_outputs
from edge.errors import ModelError
from edge.manifest import Manifest
from edge.types import F32, U8
from trainers.evaluation.timing import Times, time_in_turn

KEPT_SHARES = (0.02, 0.04, 0.08, 0.15, 0.3)  # of the layers to try in float
FIRST_LAYERS = (0, 1, 3)  # left in float where that is faster
WORTHWHILE = 0.97  # of the time; a smaller gain does not justify another float layer
PROBES = 4  # inputs on which sensitivity is measured
ROUNDS = 15
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A quantized model and its accuracy.

    Attributes:
        model: The bytes of the ONNX file.
        float_layers: Layers left in float, by name.
        figures: Results of the accuracy check, percent.
        loss: Percentage points that the worst figure lost; NaN where one is NaN.
    """

    model: bytes
    float_layers: tuple[str, ...]
    figures: Figures
    loss: float


class Quantizer:
    """Makes smaller models of one contract model in FP32.

    Attributes:
        layers: The number of layers with weights.
        before: Figures of the float model, percent.
        max_loss: Percentage points that a figure may lose.

    Raises:
        ModelError: The model has no weights, or is quantized already.
    """

    def __init__(self, model: bytes, manifest: Manifest, check: AccuracyCheck) -> None:
        if manifest.precision != "fp32":
            raise ModelError(
                f"the model is {manifest.precision} already: start from the FP32 model"
            )
        self._model, self._manifest, self._check = model, manifest, check
        self._proto = simplify(model)
        self._trunk = find_trunk(self._proto.graph)
        self.max_loss = check.max_loss
        self.layers = len(self._trunk.layers)
        self.before = self._figures(model)

    def to_fp16(self) -> Trial:
        """The model in FP16."""
        return self._trial(convert_to_fp16(self._proto), "fp16", ())

    def observe_ranges(self, inputs: U8, advance: Advance) -> Ranges:
        """Ranges of the trunk's values on real inputs ``(P, ...)``."""
        batches = (inputs[n : n + 1] for n in range(len(inputs)))
        return observe_ranges(self._proto, self._trunk, batches, advance)

    def measure_sensitivity(
        self, ranges: Ranges, options: Int8Options, inputs: U8, advance: Advance
    ) -> dict[str, float]:
        """Error of the trunk's exits when one layer alone is INT8, by layer, largest first.

        The error is squared, over the variance of the exit, and the worst exit counts.
        """
        probes = inputs[:: max(1, len(inputs) // PROBES)][:PROBES]
        truth = self._exits(self._proto, probes)
        errors = {}
        for layer in self._trunk.layers:
            others = tuple(name for name in self._trunk.layers if name != layer)
            alone = replace(options, kept=others, flowing=frozenset())
            given = self._exits(quantize_trunk(self._proto, ranges, alone), probes)
            errors[layer] = max(map(_relative_error, truth, given))
            advance(1)
        return dict(sorted(errors.items(), key=lambda item: -item[1]))

    def find_first_float_layers(
        self, ranges: Ranges, options: Int8Options, inputs: U8
    ) -> tuple[str, ...]:
        """First layers that a CPU runs faster in float than in INT8."""
        choices = [self._trunk.layers[:count] for count in FIRST_LAYERS if count < self.layers]
        models = [
            quantize_trunk(self._proto, ranges, replace(options, kept=kept)).SerializeToString()
            for kept in choices
        ]
        times = time_models(models, inputs[:1], 1)
        seconds = [times.median_s(n) for n in range(len(models))]
        best = 0
        for n, this in enumerate(seconds):
            best = n if this < WORTHWHILE * seconds[best] else best
        return choices[best]

    def trial(self, ranges: Ranges, options: Int8Options, sensitive: Sequence[str] = ()) -> Trial:
        """The model in INT8, its sensitive layers in float beside those that ``options`` keep."""
        kept = tuple(dict.fromkeys([*options.kept, *sensitive]))
        return self._trial(
            quantize_trunk(self._proto, ranges, replace(options, kept=kept)), "int8", kept
        )

    def _trial(self, proto: onnx.ModelProto, precision: str, kept: tuple[str, ...]) -> Trial:
        digest = hashlib.sha256(self._model).hexdigest()
        fields = {"precision": precision, "source_sha256": digest}
        manifest = self._manifest.model_copy(update=fields)
        del proto.metadata_props[:]
        onnx.helper.set_model_props(proto, manifest.to_metadata())
        try:
            onnx.checker.check_model(proto)
        except onnx.checker.ValidationError as error:
            raise ModelError(
                f"the model cannot be converted to {precision}: {first_line(error)}"
            ) from error
        model: bytes = proto.SerializeToString()
        figures = self._figures(model)
        loss = float(np.max([self.before[name] - value for name, value in figures.items()]))
        return Trial(model, kept, figures, loss)

    def _figures(self, model: bytes) -> Figures:
        return self._check.score(self._check.run(open_infer(model)))

    def _exits(self, proto: onnx.ModelProto, inputs: U8) -> list[F32]:
        """Each exit's values for all inputs."""
        session = open_session(with_outputs(proto, self._trunk.exits))
        source = session.get_inputs()[0].name
        parts = [session.run(None, {source: one[None]}) for one in inputs]
        return [np.concatenate(values) for values in zip(*parts, strict=True)]


def get_int8_options(target: Target, *, seven_bits: bool) -> Int8Options:
    """The options that a search begins with."""
    return Int8Options(target, weight_steps=63 if seven_bits else 127)


def time_models(models: Sequence[bytes], batch: U8, threads: int) -> Times:
    """How long ONNX Runtime takes for a batch, the models in turn.

    On one thread CPU time counts, which others on the machine hardly change; on more, the clock.
    """
    calls = [partial(open_infer(model, threads), batch) for model in models]
    clock = time.thread_time if threads == 1 else time.perf_counter
    return time_in_turn(calls, ROUNDS, clock)


def _relative_error(truth: F32, given: F32) -> float:
    return float(np.square(truth - given).mean() / max(float(truth.var()), 1e-12))
