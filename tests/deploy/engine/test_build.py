"""Engines built for real: TensorRT-RTX needs no GPU for that. What is not built says why."""

import dataclasses
import json
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from deploy.adopt.adopt import Adoption
from deploy.adopt.minifasnet import adopt_minifasnet
from deploy.commands.app import app
from deploy.engine.build import BuildRequest, build, prepare_for_tensorrt
from deploy.engine.builder import BuildSpec, build_engine
from deploy.quantize.fp16 import convert_to_fp16
from edge.engines.cache import DEFAULT, EngineCache, EngineKey, EngineTarget
from edge.engines.library import find_library
from edge.errors import ConfigError, ModelError
from edge.models.paths import get_zoo_folder, list_zoo, resolve_model
from tests.support.models import summing_model
from trainers.data.coco import COCO

CARDS = ("sm80", "sm86", "sm89", "sm120")
ADOPTED = {
    "yolox": ("yolox_nano.onnx", Adoption("yolox", "yolox-nano", COCO)),
    "arcface": ("mobilefacenet_128d_112x112.onnx", Adoption("arcface", "mobilefacenet", ())),
}
LIVE = ("minifasnet_live_1.onnx", "minifasnet_live_2.onnx")


@pytest.fixture(scope="module")
def library():
    try:
        return find_library("tensorrt_rtx")
    except ConfigError as error:
        pytest.skip(f"TensorRT-RTX is not here: {error}")


@pytest.fixture
def model(request, shared_data, adopt_file, adopted_yunet):
    """The bytes of a model by its name."""
    name = request.param
    if name in ADOPTED:
        return adopt_file(*ADOPTED[name]).read_bytes()
    if name == "minifasnet":
        return adopt_minifasnet(
            [(shared_data / "models" / file).read_bytes() for file in LIVE], name
        )
    return adopted_yunet.read_bytes() if name == "yunet" else zoo(name)


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path)


def zoo(name):
    return resolve_model(f"zoo:{name}", get_zoo_folder()).read_bytes()


def told(what, share):
    assert what
    assert 0 <= share <= 1


# --- every task, every card --------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "model", [*list_zoo(), "yolox", "yunet", "arcface", "minifasnet"], indirect=True
)
def test_every_model_is_parsed_and_built_for_every_card(model, precision, library, cache):
    if precision == "fp16":
        model = convert_to_fp16(onnx.load_model_from_string(model)).SerializeToString()
    graph = prepare_for_tensorrt(model, DEFAULT)
    engine = build_engine(graph, BuildSpec("tensorrt_rtx", DEFAULT, CARDS), library, told)
    assert (DEFAULT.opt_batch, DEFAULT.max_batch) == (8, 16)
    key = EngineKey.for_model(
        model, EngineTarget(library.name, library.version, "", CARDS), DEFAULT
    )
    assert key.precision == precision
    entry = cache.store(key, "m", engine, 1.0, 1.0)
    wanted = dataclasses.replace(key, gpu="Some card", capabilities=("sm89",))
    assert cache.find(wanted) == [entry]
    assert cache.load(entry) == engine
    assert len(engine) > 100_000


# --- the cache ---------------------------------------------------------------------------------


TINY = summing_model()
AHEAD = BuildRequest(ahead=("sm86",), timeout_s=120)


def test_the_second_build_is_a_hit_and_a_changed_byte_is_built_again(cache, library):
    shares = []
    first = build(TINY, "sum.onnx", AHEAD, cache, lambda what, share: shares.append(share))
    assert first.is_new
    assert shares == sorted(shares)
    assert first.entry.key.capabilities == ("sm86",)
    assert first.entry.key.version == library.version
    again = build(TINY, "sum.onnx", AHEAD, cache, told)
    assert (again.is_new, again.entry) == (False, first.entry)
    content = bytearray(first.entry.path.read_bytes())
    content[-1] ^= 1
    first.entry.path.write_bytes(content)
    assert build(TINY, "sum.onnx", AHEAD, cache, told).is_new
    assert cache.is_own(first.entry)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(AHEAD, ahead=("sm89",)),
        dataclasses.replace(AHEAD, options=dataclasses.replace(DEFAULT, max_batch=4, opt_batch=2)),
    ],
    ids=["card", "batch"],
)
def test_another_order_is_another_engine(cache, library, other):
    entries = {build(TINY, "sum.onnx", order, cache, told).entry.path for order in (AHEAD, other)}
    assert len(entries) == 2


# --- what goes wrong ---------------------------------------------------------------------------


def unbuildable(*operators):
    """Nodes that TensorRT does not know, one after the other."""
    value = helper.make_tensor_value_info
    names = ["x", *(f"v{n}" for n in range(1, len(operators))), "y"]
    nodes = [
        helper.make_node(kind, [names[n]], [names[n + 1]], name=f"node-{n}", domain="acme")
        for n, kind in enumerate(operators)
    ]
    graph = helper.make_graph(
        nodes,
        "bad",
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, ["n", 4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def test_a_parser_error_names_node_operator_and_reason(cache, library):
    with pytest.raises(ModelError) as caught:
        build(unbuildable("Warp", "Drive"), "bad.onnx", AHEAD, cache, told)
    text = str(caught.value)
    assert text.startswith("bad.onnx: tensorrt_rtx cannot parse it:")
    assert re.search(r"^  Warp node-0: .*Plugin not found", text, re.M), text
    assert re.search(r"^  Drive node-1: .*Plugin not found", text, re.M), text
    assert not list(cache.entries())


def test_a_card_that_the_library_does_not_know_is_named(cache, library):
    with pytest.raises(ModelError, match="does not build for sm42, but for sm75"):
        build(TINY, "sum.onnx", dataclasses.replace(AHEAD, ahead=("sm42",)), cache, told)


def test_a_build_that_takes_too_long_is_given_up(cache, library):
    with pytest.raises(ModelError, match=r"not built in 0\.01 s: raise --timeout"):
        build(TINY, "sum.onnx", dataclasses.replace(AHEAD, timeout_s=0.01), cache, told)
    assert not list(cache.entries())


def test_what_is_no_model_is_refused_by_name(cache, library):
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        build(b"Once upon a time", "broken.onnx", AHEAD, cache, told)


def test_the_builder_of_the_card_itself_cannot_build_ahead(cache):
    with pytest.raises(ConfigError):
        build(TINY, "sum.onnx", dataclasses.replace(AHEAD, library="tensorrt"), cache, told)


# --- the commands ------------------------------------------------------------------------------


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "sum.onnx"
    path.write_bytes(TINY)
    return path


def test_build_list_and_prune(tiny, tmp_path, library):
    folder = ("--cache", tmp_path / "cache")
    done = invoke("build", tiny, "--for", "sm86,sm120", "--max-batch", 4, *folder)
    assert done.exit_code == 0, done.output
    assert "sm86+sm120" in done.stdout
    assert "batch 1 to 4" in done.stdout
    assert "built in" in done.stdout
    assert (
        "was there"
        in invoke("build", tiny, "--for", "sm120,sm86", "--max-batch", 4, *folder).stdout
    )
    (entry,) = map(json.loads, invoke("engines", "list", "--json", *folder).stdout.splitlines())
    assert (entry["name"], entry["loads"], entry["why"]) == ("sum", None, "")  # it was not tried
    shown = " ".join(invoke("engines", "list", *folder).stdout.split())
    assert "not tried" in shown
    assert "yes" not in shown
    assert "removed 0 files" in invoke("engines", "prune", *folder).stdout

    cache = EngineCache(tmp_path / "cache")  # as a library of yesterday left it
    key = dataclasses.replace(cache.entries()[0].key, version="0.1")
    cache.store(key, "sum", b"stale", 1.0, 1.0)
    why = [
        json.loads(x)["why"]
        for x in invoke("engines", "list", "--json", *folder).stdout.splitlines()
    ]
    assert why == ["", f"tensorrt_rtx is now {library.version}"]
    assert "removed 1 file," in invoke("engines", "prune", *folder).stdout
    assert "removed 1 file," in invoke("engines", "prune", "--all", *folder).stdout
    assert not cache.entries()


def test_an_engine_of_another_machine_is_taken(tiny, tmp_path, library):
    built = invoke("build", tiny, "--for", "sm86", "--cache", tmp_path / "there")
    file = built.stdout.splitlines()[-1]
    assert invoke("engines", "take", file, "--cache", tmp_path / "here").exit_code == 0
    cache = EngineCache(tmp_path / "here")
    assert [cache.is_own(entry) for entry in cache.entries()] == [True]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--for", "sm86,ampere"], "ampere is not a compute capability"),
        (["--library", "openvino"], "use one of auto, tensorrt, tensorrt_rtx"),
        (["--sha256", "0" * 64], "pins"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(tiny, tmp_path, words, says):
    done = invoke("build", tiny, "--cache", tmp_path, *words)
    assert done.exit_code == ConfigError.exit_code
    assert says in done.output


def test_without_a_driver_build_says_what_to_do(tiny, tmp_path, library, no_driver):
    done = invoke("build", tiny, "--cache", tmp_path)
    assert done.exit_code == ConfigError.exit_code
    assert "no NVIDIA driver answers" in done.output
    assert "--for builds ahead" in done.output
    assert "Traceback" not in done.output


def test_pictures_survive_what_the_graph_is_rewritten_for():
    from tests.support.tiny_networks import run

    batch = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), np.uint8)
    want = run(TINY, batch)["live"]
    np.testing.assert_array_equal(run(prepare_for_tensorrt(TINY, DEFAULT), batch)["live"], want)
