"""How busy GPUs are, as the driver's tool tells."""

import pytest

from edge.service.gpu_meter import ASKED_S, GpuMeter, parse_figures

MIB = 1 << 20


@pytest.mark.parametrize(
    ("answer", "figures"),
    [
        ("", {}),
        (
            "17, 1521, 8192\n",
            {
                "gpu_load_ratio": 0.17,
                "gpu_memory_used_bytes": 1521 * MIB,
                "gpu_memory_total_bytes": 8192 * MIB,
            },
        ),
        ("[N/A], [N/A], 16384\n", {"gpu_memory_total_bytes": 16384 * MIB}),
        (
            "0, 1, 2\n100, 3, 4\n",
            {
                "gpu_load_ratio": 0.0,
                "gpu_memory_used_bytes": MIB,
                "gpu_memory_total_bytes": 2 * MIB,
                "gpu1_load_ratio": 1.0,
                "gpu1_memory_used_bytes": 3 * MIB,
                "gpu1_memory_total_bytes": 4 * MIB,
            },
        ),
        ("NVIDIA-SMI has failed because it could not communicate with the driver\n", {}),
    ],
)
def test_what_the_driver_says_becomes_figures(answer, figures):
    assert parse_figures(answer) == pytest.approx(figures)


def test_the_driver_is_not_asked_more_often_than_that_however_many_pages_are_open():
    now_s, asked = [0.0], []

    def ask():
        asked.append(now_s[0])
        return f"{len(asked)}, 1, 2"

    meter = GpuMeter(ask, lambda: now_s[0])
    for _ in range(3):
        assert meter.measure()["gpu_load_ratio"] == pytest.approx(0.01)
    now_s[0] = ASKED_S
    assert meter.measure()["gpu_load_ratio"] == pytest.approx(0.02)
    assert asked == [0.0, ASKED_S]
