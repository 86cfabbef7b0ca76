"""The manifest of a model: a `ModelError` of one line, or a manifest within its bounds."""

import json

from edge.errors import ModelError
from edge.manifest import KEY, Manifest
from tests.support.fuzzing import expect, fuzz, mutate

WHOLE = Manifest(
    task="detect", name="net", input_wh=(320, 320), classes=("person", "car"), max_rows=100,
    license="Apache-2.0", metrics={"ap50": 0.5},
).to_metadata()[KEY]  # fmt: skip
KEYS = tuple(f'"{name}":'.encode() for name in json.loads(WHOLE))


@fuzz(300, content=mutate([WHOLE.encode()], (*KEYS, b"1e308", b"8192", b'"liveness"', b"256")))
def test_a_manifest(content):
    with expect(ModelError):
        manifest = Manifest.from_metadata({KEY: content.decode(errors="replace")}, "net.onnx")
        assert manifest.crops * 3 * manifest.input_wh[0] * manifest.input_wh[1] <= 64 << 20
