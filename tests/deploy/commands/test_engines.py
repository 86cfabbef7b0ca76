"""`edge-deploy engines`: what is said of an engine was looked at."""

from pathlib import Path

import pytest

from deploy.commands.engines import reason_against_gpu
from edge.engines.cache import EngineEntry, EngineKey
from edge.engines.cuda import Gpu

GPU = Gpu("RTX A2000", "sm86")


@pytest.mark.parametrize(
    ("name", "capabilities", "why"),
    [
        ("RTX A2000", ("sm86",), ""),
        ("", ("sm80", "sm86"), ""),
        ("", ("sm120",), "the GPU is RTX A2000 (sm86)"),
        ("RTX 3090", ("sm86",), "the GPU is RTX A2000 (sm86)"),
    ],
)
def test_an_engine_for_another_gpu_is_told(name, capabilities, why):
    key = EngineKey("tensorrt_rtx", "1.7.1", name, capabilities, "0" * 64, "fp16", (1, 4, 8), ())
    entry = EngineEntry(Path("x.engine"), key, "sum", 0.0, 0.0, 1)
    assert reason_against_gpu(GPU, entry) == why
