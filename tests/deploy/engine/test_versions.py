"""The builder by the recorded interfaces of TensorRT 10.3, 10.16 and 11, and of TensorRT-RTX.

One test for each difference that concerns it; that the calls exist in all of them is shown by every
build here.
"""

import json
from contextlib import closing

import numpy as np
import onnx
import pytest

from deploy.engine.build import prepare_for_tensorrt
from deploy.engine.builder import BuildSpec, build_engine
from deploy.quantize.fp16 import convert_to_fp16
from edge.engines.cache import DEFAULT, BuildOptions
from edge.engines.cuda import Cuda
from edge.engines.library import TensorRtEngine
from edge.engines.session import EngineSession
from edge.errors import ConfigError, ModelError
from edge.models.paths import get_zoo_folder, resolve_model
from edge.onnxfile import precision_of
from tests.deploy.engine.test_build import unbuildable
from tests.deploy.quantize.test_int8 import small
from tests.support.fake_tensorrt import fake_library
from tests.support.gpu import FakeGpu
from tests.support.models import summing_model
from tests.support.quantizable_networks import network
from tests.support.tensorrt_interface import RTX, TENSORRT, load
from tests.support.tiny_networks import run

TENS, ELEVENS = TENSORRT[:2], TENSORRT[2:]
ALL = (*TENSORRT, RTX)
OPTIONS = BuildOptions(opt_batch=2, max_batch=4, workspace_mib=64)
SUM = summing_model()


def spec_for(version, options=OPTIONS):
    rtx = version == RTX
    return BuildSpec("tensorrt_rtx" if rtx else "tensorrt", options, ("sm86",) if rtx else ())


def build(version, model=SUM, options=OPTIONS, **behaviour):
    """The plan of a model, and what the fake was told to build it with."""
    library = fake_library(FakeGpu(), version, **behaviour)
    plan = build_engine(model, spec_for(version, options), library, lambda what, share: None)
    return plan, json.loads(plan.partition(b"\n")[0])


def enum(version, name):
    return load(version)["enums"].get(name, {})


def has(version, cls, member):
    recorded = load(version)["classes"].get(cls, {"methods": (), "properties": ()})
    return member in {*recorded["methods"], *recorded["properties"]}


# --- every version -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ALL)
def test_a_model_is_built_loaded_and_run(version):
    model = resolve_model("zoo:detect-nano", get_zoo_folder()).read_bytes()
    plan, _ = build(version, prepare_for_tensorrt(model, OPTIONS))
    gpu = FakeGpu()
    engine = TensorRtEngine(fake_library(gpu, version), plan, "m.onnx")
    assert engine.max_batch == 4
    batch = np.random.default_rng(0).integers(0, 255, (5, *engine.input.shape), np.uint8)
    with closing(EngineSession(Cuda(gpu.api), engine, {}, "m.onnx")) as session:
        found = session.infer(batch)
    for name, rows in run(model, batch).items():
        np.testing.assert_allclose(found[name], rows, atol=1e-3)


@pytest.mark.parametrize("version", ALL)
def test_profile_and_workspace_are_those_of_the_options(version):
    _, told = build(version)
    assert told["shapes"] == {"faces": [[n, 8, 8, 3] for n in (1, 2, 4)]}
    assert told["pools"] == {"WORKSPACE": 64 * 2**20}


@pytest.mark.parametrize("version", ALL)
def test_progress_goes_up_to_the_end(version):
    shares = []
    library = fake_library(FakeGpu(), version)
    build_engine(SUM, spec_for(version), library, lambda what, share: shares.append(share))
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


@pytest.mark.parametrize("version", ALL)
def test_a_parser_error_names_node_operator_and_reason(version):
    with pytest.raises(ModelError) as caught:
        build(version, unbuildable("Warp", "Drive"))
    assert str(caught.value).splitlines()[1:] == [
        "  Warp node-0: Plugin not found (UNSUPPORTED_NODE)",
        "  Drive node-1: Plugin not found (UNSUPPORTED_NODE)",
    ]


@pytest.mark.parametrize("version", ALL)
def test_what_the_builder_logs_is_in_the_refusal(version):
    with pytest.raises(ModelError, match="cannot build it:\nno implementation for node Warp"):
        build(version, unbuildable="no implementation for node Warp")


@pytest.mark.parametrize("version", ALL)
def test_a_builder_that_cannot_use_the_driver_says_so_with_the_remedy(version):
    with pytest.raises(ConfigError, match=r"cannot start \(error: 35\): update NVIDIA's driver"):
        build(version, fails="error: 35")


# --- differences -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ALL)
def test_networks_are_strongly_typed_whatever_number_the_flag_has(version):
    """1 in TensorRT 10, where it must be set; 0 in 11, where 1 makes plug-ins of Python."""
    numbers = enum(version, "NetworkDefinitionCreationFlag")
    assert numbers["STRONGLY_TYPED"] == (1 if version in TENS else 0)
    assert build(version)[1]["network_flags"] == 1 << numbers["STRONGLY_TYPED"]


@pytest.mark.parametrize("version", ALL)
def test_the_flag_of_explicit_batches_which_11_removed_is_not_used(version):
    numbers = enum(version, "NetworkDefinitionCreationFlag")
    assert ("EXPLICIT_BATCH" in numbers) == (version in TENS)
    if version in TENS:
        assert not build(version)[1]["network_flags"] & 1 << numbers["EXPLICIT_BATCH"]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_precision_is_in_the_graph_for_11_has_no_flags_of_it(version, precision):
    flags = {"FP16", "BF16", "INT8", "FP8", "INT4", "OBEY_PRECISION_CONSTRAINTS"}
    assert flags & {*enum(version, "BuilderFlag")} == (flags if version in TENS else set())
    model = network()
    if precision == "fp16":
        model = convert_to_fp16(onnx.load_model_from_string(model)).SerializeToString()
    elif precision == "int8":
        model = small(model, target="tensorrt")[0].SerializeToString()
    plan, told = build(version, model)
    assert set(told["flags"]) <= {"REQUIRE_USER_ALLOCATION"}  # nor TF32
    assert precision_of(plan.partition(b"\n")[2]) == precision


@pytest.mark.parametrize("version", ALL)
def test_int8_needs_no_calibrator_which_11_removed(version):
    for member in ("int8_calibrator", "set_calibration_profile", "set_quantization_flag"):
        assert has(version, "IBuilderConfig", member) == (version in TENS)
    assert build(version, small(network(), target="tensorrt")[0].SerializeToString())


@pytest.mark.parametrize("version", ALL)
def test_types_are_read_from_the_model_for_11_lets_nobody_set_them(version):
    _, writable = load(version)["classes"]["ITensor"]["properties"]["dtype"]
    assert writable == (version in TENS)
    assert has(version, "ITensor", "set_dynamic_range") == (version in TENS)
    assert build(version)


@pytest.mark.parametrize("version", ALL)
def test_nobody_asks_what_the_gpu_is_fast_at_for_11_does_not_say(version):
    for member in ("platform_has_fast_fp16", "platform_has_fast_int8"):
        assert has(version, "Builder", member) == (version in TENS)
    assert build(version)


@pytest.mark.parametrize("version", ALL)
def test_only_the_first_form_of_building_is_used_for_10_3_has_no_other(version):
    forms = load(version)["classes"]["Builder"]["methods"]["build_serialized_network"]
    assert forms[0] == "(network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory"
    assert has(version, "Builder", "build_serialized_network_to_stream") == (version != "10.3.0")
    assert build(version)


@pytest.mark.parametrize("version", ALL)
def test_only_rtx_is_told_compute_capabilities(version):
    assert has(version, "IBuilderConfig", "set_compute_capability") == (version == RTX)
    assert build(version)[1]["capabilities"] == ({"0": "SM86"} if version == RTX else {})


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("sweeps", [0, 16])
def test_only_rtx_is_told_to_leave_allocation_to_us_and_only_for_graphs(version, sweeps):
    assert ("REQUIRE_USER_ALLOCATION" in enum(version, "BuilderFlag")) == (version == RTX)
    _, told = build(version, options=BuildOptions(2, 4, 64, sweeps))
    assert told["flags"] == (["REQUIRE_USER_ALLOCATION"] if version == RTX and sweeps else [])


def test_a_compute_capability_that_rtx_does_not_know_is_named():
    library = fake_library(FakeGpu(), RTX)
    spec = BuildSpec("tensorrt_rtx", DEFAULT, ("sm42",))
    with pytest.raises(ConfigError, match="does not build for sm42, but for sm75"):
        build_engine(SUM, spec, library, lambda what, share: None)
