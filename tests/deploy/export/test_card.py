"""Engines on a real card: run where an NVIDIA driver is found."""

import numpy as np
import pytest

from edge import plugins
from edge.engines.cuda import open_cuda
from edge.engines.parity import ParityCheck
from edge.engines.synthetic_images import draw_synthetic_images
from edge.errors import ConfigError
from edge.manifest import KEY, Manifest
from edge.models.paths import get_zoo_folder, list_zoo, resolve_model
from tests.support.fake_tensorrt import runtime_of_this_box

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    try:
        open_cuda()
    except ConfigError as error:
        pytest.skip(f"needs an NVIDIA driver: {error}")
    return runtime_of_this_box(tmp_path_factory.mktemp("engines"))


@pytest.mark.parametrize("name", list_zoo())
@pytest.mark.parametrize("count", [1, 8, 32])
def test_an_engine_finds_what_onnx_runtime_finds(runtime, name, count):
    model = resolve_model(f"zoo:{name}", get_zoo_folder()).read_bytes()
    engine = runtime.load(model, name)
    reference = plugins.create("runtimes", {"kind": "onnx"}).load(model, name)
    manifest = Manifest.model_validate_json(reference.metadata[KEY])
    width, height = manifest.input_wh
    clip = (manifest.crops,) if manifest.task == "liveness" else ()
    batch = draw_synthetic_images((*clip, height, width, 3), count)
    tally = ParityCheck(manifest)
    for _ in range(2):
        tally.add(reference.infer(batch), engine.infer(batch))
    assert not tally.problem
    engine.close()


def test_rows_do_not_depend_on_the_batch_they_come_in(runtime):
    model = resolve_model("zoo:faces-nano", get_zoo_folder()).read_bytes()
    engine = runtime.load(model, "faces-nano")
    width, height = Manifest.model_validate_json(engine.metadata[KEY]).input_wh
    batch = draw_synthetic_images((height, width, 3), 21)
    together = engine.infer(batch)["detections"]
    for row in (0, 7, 20):
        alone = engine.infer(batch[row : row + 1])["detections"]
        np.testing.assert_allclose(alone[0], together[row], atol=0.01)
    engine.close()
