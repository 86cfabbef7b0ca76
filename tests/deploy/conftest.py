"""A run folder as training leaves it."""

import pytest

from tests.support.tiny_networks import NANO, untrained
from trainers.run.folder import RunFolder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run folder as training leaves it."""
    config = {
        "task": "detect",
        "network": NANO.to_json(),
        "data": {"paths": ["/home/somebody/gate"], "start": "/elsewhere/base.onnx"},
    }
    about = {"data_sha256": "ab" * 32, "pictures": 12}
    folder = RunFolder.begin(
        tmp_path_factory.mktemp("runs") / "my run", config, about, resume=False
    )
    folder.write("metrics.json", {"epoch": 3, "ap50": 0.5, "ap": None})
    untrained(NANO).save(folder.best)
    return folder
