"""TensorRT-RTX parses and builds what `edge-deploy quantize` writes for it, strongly typed."""

import pytest

from deploy.graph.trunk import simplify
from deploy.quantize.fp16 import convert_to_fp16
from tests.deploy.quantize.test_int8 import small
from tests.support.quantizable_networks import network

trt = pytest.importorskip("tensorrt_rtx")


def engine_size(model):
    """Bytes of an engine for compute capability 8.6, batch 1 to 4; what the parser says if none."""
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(1 << int(typed) if typed is not None else 0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse(model), [parser.get_error(n).desc() for n in range(parser.num_errors)]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    source = network.get_input(0)
    shapes = [(count, *tuple(source.shape)[1:]) for count in (1, 2, 4)]
    profile.set_shape(source.name, *shapes)
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config).nbytes


def test_int8_for_tensorrt_builds():
    proto, _ = small(network(), target="tensorrt")
    assert engine_size(proto.SerializeToString()) > 0


def test_halves_build():
    assert engine_size(convert_to_fp16(simplify(network())).SerializeToString()) > 0


def test_int8_for_a_processor_is_not_what_tensorrt_takes():
    proto, _ = small(network(), target="cpu")
    with pytest.raises(AssertionError):
        engine_size(proto.SerializeToString())
