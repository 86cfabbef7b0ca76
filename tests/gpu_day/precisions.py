"""Models in FP16 and INT8, made on the processor.

INT8 is calibrated on synthetic pictures: good enough to time it, not to watch with.
"""

import hashlib

import onnx

from deploy.graph.trunk import find_trunk, simplify
from deploy.quantize.fp16 import convert_to_fp16
from deploy.quantize.int8 import Int8Options, quantize_trunk
from deploy.quantize.ranges import observe_ranges
from tests.gpu_day.day import read_manifest

CALIBRATION = 8  # pictures


def measure(day):
    for name, precision in day.precisions():
        if precision != "fp32":
            path = day.path(name, precision)
            with day.attempt(f"{name} {precision}"):
                path.write_bytes(convert(day, day.path(name, "fp32"), precision))
                day.results.measured(f"{name} {precision}", path.stat().st_size / 1e6, "MB")


def convert(day, source, precision):
    model, manifest = source.read_bytes(), read_manifest(source)
    proto = simplify(model)
    if precision == "fp16":
        converted = convert_to_fp16(proto)
    else:
        trunk = find_trunk(proto.graph)
        inputs = day.inputs(manifest, 2 if day.is_quick else CALIBRATION)
        ranges = observe_ranges(proto, trunk, [inputs])
        converted = quantize_trunk(proto, ranges, Int8Options("tensorrt"))
    fields = {"precision": precision, "source_sha256": hashlib.sha256(model).hexdigest()}
    del converted.metadata_props[:]
    onnx.helper.set_model_props(converted, manifest.model_copy(update=fields).to_metadata())
    return converted.SerializeToString()
