"""A server elsewhere: what it must be, and what happens while it is away."""

import threading
import time
from contextlib import closing

import numpy as np
import onnx
import pytest

from edge.errors import ConfigError, EdgeError, ModelError
from edge.models.contract import load_model
from edge.models.paths import resolve_model
from edge.runtimes import onnx as local
from edge.runtimes.triton import Options, build
from tests.support.models import constant_model, echo_model, without_manifest
from tests.support.triton_server import Service, serving

ECHO = echo_model()
PICTURE = np.full((1, 32, 32, 3), 9, np.uint8)


def runtime(port, **options):
    return build(Options(url=f"127.0.0.1:{port}", **options))


def test_a_real_detector_finds_the_same_on_the_server_as_here(tmp_path):
    path = resolve_model("zoo:detect-nano", tmp_path)
    pictures = np.random.default_rng(3).integers(0, 255, (3, 416, 416, 3), np.uint8)
    with serving(Service({"detect-nano": path.read_bytes()}, max_batch=2)) as port:
        with closing(runtime(port, timeout_s=60).load(path.read_bytes(), "detect-nano")) as there:
            found = there.infer(pictures)["detections"]
        assert load_model("detect", runtime(port, timeout_s=60), path).classes[0] == "person"
    here = local.build(local.Options()).load(path.read_bytes(), "detect-nano")
    np.testing.assert_allclose(found, here.infer(pictures)["detections"], atol=1e-3)


def test_a_batch_is_cut_to_what_the_server_takes():
    service = Service({"echo": ECHO}, max_batch=4)
    with (
        serving(service) as port,
        closing(runtime(port).load(ECHO, "echo.onnx")) as session,
    ):
        assert session.infer(np.repeat(PICTURE, 10, 0))["detections"].shape == (10, 1, 6)
    assert service.batches == [4, 4, 2]


def test_a_restarted_server_is_found_again():
    service = Service({"echo": ECHO})
    with serving(service) as port:
        session = runtime(port, retry_s=20).load(ECHO, "echo.onnx")
        session.infer(PICTURE)
    with closing(session):
        found = []
        waiting = threading.Thread(target=lambda: found.append(session.infer(PICTURE)))
        waiting.start()
        time.sleep(0.3)  # it is asked meanwhile, and away
        with serving(service, port):
            waiting.join(timeout=20)
    assert found[0]["detections"][0, 0, 0] == 9


def test_a_server_that_stays_away_is_an_error_that_names_it():
    service = Service({"echo": ECHO})
    with serving(service) as port:
        session = runtime(port, retry_s=0.3).load(ECHO, "echo.onnx")
    with closing(session), pytest.raises(EdgeError, match=f"127.0.0.1:{port}") as caught:
        session.infer(PICTURE)
    assert not isinstance(caught.value, ConfigError)  # systemd starts the process again


def test_a_server_that_hangs_is_given_up_at_the_deadline():
    class Hanging(Service):
        def ModelInfer(self, request, context):
            release.wait(30)
            return super().ModelInfer(request, context)

    release = threading.Event()
    with serving(Hanging({"echo": ECHO})) as port:
        session = runtime(port, timeout_s=0.2, retry_s=0.5).load(ECHO, "echo.onnx")
        with closing(session), pytest.raises(EdgeError, match="DEADLINE_EXCEEDED"):
            session.infer(PICTURE)
        release.set()


def test_nobody_at_the_address_is_an_error_that_can_pass():
    with pytest.raises(EdgeError, match="start the server") as caught:
        build(Options(url="127.0.0.1:9", connect_timeout_s=0.2)).load(ECHO, "echo.onnx")
    assert not isinstance(caught.value, ConfigError)


def test_a_server_without_the_address_is_refused_at_once():
    with pytest.raises(ConfigError, match=r"runtime\.url"):
        build(Options())


def test_a_file_that_does_not_exist_is_refused_at_once():
    with pytest.raises(ConfigError, match=r"runtime\.ca_file"):
        build(Options(url="127.0.0.1:9", tls=True, ca_file="/nowhere/ca.pem"))


@pytest.mark.parametrize("known", ["", "ab" * 32], ids=["does not say", "says another"])
def test_a_server_that_runs_another_file_is_refused(known):
    service = Service({"echo": ECHO})
    service.hashes["echo"] = known
    with serving(service) as port:
        with pytest.raises(ModelError, match="edge-deploy triton"):
            runtime(port).load(ECHO, "echo.onnx")
        runtime(port, pin=False).load(ECHO, "echo.onnx").close()


def test_a_server_with_a_model_of_another_size_is_refused():
    other = constant_model("detect", {"detections": np.zeros((1, 6))}, ["x"], input_wh=(64, 48))
    service = Service({"echo": other})
    with serving(service) as port, pytest.raises(ModelError, match=r"\(N, 32, 32, 3\)"):
        runtime(port, pin=False).load(ECHO, "echo.onnx")


def test_a_batch_of_another_size_is_refused_with_the_servers_reason():
    with (
        serving(Service({"echo": ECHO})) as port,
        closing(runtime(port).load(ECHO, "echo.onnx")) as session,
        pytest.raises(ModelError, match="refuses the batch"),
    ):
        session.infer(np.zeros((1, 9, 9, 3), np.uint8))


def test_a_file_without_a_manifest_is_refused():
    with pytest.raises(ModelError, match="adopt it first"):
        build(Options(url="127.0.0.1:9")).load(without_manifest(ECHO), "foreign.onnx")
    assert onnx.load_model_from_string(ECHO).metadata_props
