"""How long a detector that gives NaN goes unnoticed, and what the other figures are: five runs."""

import json
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.support.models import constant_model
from tests.support.node import CONFIG, running_node


def ask(http, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.proof
def test_a_model_that_gives_nan_is_noticed_within_five_seconds(tmp_path, monkeypatch, keep):
    blind = constant_model("detect", {"detections": np.full((1, 6), np.nan, "f4")}, ("person",))
    (tmp_path / "blind.onnx").write_bytes(blind)
    config = CONFIG.replace("zoo:detect-nano", str(tmp_path / "blind.onnx"))
    monkeypatch.setattr("tests.support.node.CONFIG", config)
    for run in range(5):
        with running_node(tmp_path) as (_, http):
            ready_s = time.monotonic()
            while True:
                status, body = ask(http, "/readyz")
                if json.loads(body)["broken_models"]:
                    break
                time.sleep(0.02)
            noticed_s = time.monotonic() - ready_s
            _, metrics = ask(http, "/metrics")
        print(f"\n{run}: noticed {noticed_s:.2f} s after the start", end="", flush=True)
        keep("blind", noticed_s)
        assert status == 503
        assert 'edge_model_up{task="detect"} 0.0' in metrics
