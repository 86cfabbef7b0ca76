"""People reach a box and are forgotten there, by what the document tells its reader to type."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from tests.support.documented import list_blocks
from tests.support.documented_fleet import DOCUMENT, DocumentedFleet
from tests.support.models import color_embedder, constant_model

POINTS = np.array([[[34, 38], [62, 38], [48, 54], [37, 70], [59, 70]]], np.float32)
FACE = np.array([[20, 16, 76, 84, 0.9, 0]], np.float32)
RED, PINK, BLUE = (60, 60, 200), (80, 70, 205), (200, 60, 60)


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """A hub and a box over TLS, models of faces, and photographs."""
    faces = constant_model(
        "faces", {"detections": FACE, "landmarks": POINTS}, ("face",), input_wh=(96, 96)
    )
    root = tmp_path / "fleet"
    for name, model in {"faces": faces, "embedder": color_embedder()}.items():
        (tmp_path / name).write_bytes(model)
        monkeypatch.setenv(f"EDGE_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("EDGE_GALLERY", str(root / "var/lib/edge/gallery.db"))
    monkeypatch.setenv("EDGE_GALLERY_KEY", str(root / "etc/edge/gallery.key"))
    monkeypatch.setenv("COLUMNS", "300")
    with DocumentedFleet(root) as made:
        (root / "var/lib/edge").mkdir(parents=True)
        for name, colour in {"ann1": RED, "ann2": PINK, "bob": BLUE}.items():
            grain = np.random.default_rng(0).normal(0, 30, (96, 96, 1))
            picture = np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)
            assert cv2.imwrite(str(root / f"{name}.jpg"), picture)
        yield made


@contextmanager
def agent(fleet):
    """The agent of the box, as its unit starts it."""
    credentials, settings = fleet.root / "agent", fleet.root / "etc/edge/fleet.toml"
    credentials.mkdir()
    shutil.copy(fleet.root / "etc/edge/credentials/gallery.key", credentials / "edge_gallery.key")
    text = settings.read_text()  # the reader's is the one of /etc
    assert '"/etc/edge/gate.toml"' in text
    settings.write_text(text.replace('"/etc/edge/', f'"{fleet.root}/etc/edge/'))
    more = {"CREDENTIALS_DIRECTORY": str(credentials), "STATE_DIRECTORY": str(credentials)}
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "fleet", "run", str(settings)], env={**os.environ, **more}
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.slow
def test_people_are_sent_and_forgotten_as_the_document_says(fleet):
    def type_in(text):
        text = text.replace("/var/lib/", f"{fleet.root}/var/lib/").replace(
            " --owner=edge --group=edge", ""
        )
        return fleet.type(text)

    at_hub, at_box, trust, run, others = list_blocks(DOCUMENT, "People", "sh")
    type_in(at_hub.splitlines()[0])
    type_in("edge enroll Bob bob.jpg --consent")
    hub_key = re.findall(r"^hub_\S+$", type_in("\n".join(at_hub.splitlines()[1:])), re.M)[0]
    said = type_in(at_box.replace("hub_...", hub_key))
    box_key = re.findall(r"edge hub trust gate (box_\S+)", said)[0]
    with agent(fleet):
        assert "2 people" in type_in(trust.replace("box_...", box_key))
        listed = (
            "edge people list --gallery /var/lib/edge/gate/gallery.db "
            "--key /etc/edge/credentials/gallery.key"
        )
        assert {"Ann", "Bob"} <= set(type_in(listed).split())
        forget, list_boxes, _, forget_box = others.splitlines()
        assert "gate: forgotten" in type_in(forget.replace(" Ann", " Ann --yes"))
        assert "1 person" in type_in(list_boxes)
        assert "Ann" not in type_in(listed).split()
        with start_hub(fleet, run):
            type_in("edge people scope Bob --boxes ''")
            deadline_s = time.monotonic() + 30
            while "Bob" in type_in(listed).split():
                assert time.monotonic() < deadline_s
    type_in("edge hub people renew")
    assert "gate is forgotten" in type_in(forget_box)


@contextmanager
def start_hub(fleet, command):
    """`edge hub run`, as the document has it, on any port."""
    for theirs in ("/var/lib/", "/etc/"):
        assert theirs in command
        command = command.replace(theirs, f"{fleet.root}{theirs}")
    more = {
        "EDGE_HUB": fleet.hub_url, "EDGE_HUB_CREDENTIALS": fleet.key, "EDGE_HUB_CA": fleet.ca,
        "PATH": f"{fleet.root}/bin{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    process = subprocess.Popen(
        [*command.split(), "--port", "0"], env={**os.environ, **more}, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline().startswith(b"http://127.0.0.1:")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
