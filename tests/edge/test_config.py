"""Configurations: what is right is read, what is wrong is named with its remedy."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge import config_file, plugins
from edge.cli import app
from edge.cli.check import _check_sink
from edge.cli.options import EMBEDDER
from edge.config import Config
from edge.errors import ConfigError
from edge.sinks import zeromq
from tests.support.models import (
    NOBODY,
    NOTHING,
    brightness_classifier,
    constant_model,
    without_manifest,
)

EXIT = 78
PASSWORD = "hunter2"
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+ info ")  # `edge run` also says what it does


# --- a configuration that works ---------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with models, good and bad, a video, and a configuration's other files."""
    folder = tmp_path_factory.mktemp("shelf")
    detector = constant_model("detect", {"detections": NOTHING}, ("person", "car"))
    (folder / "detector.onnx").write_bytes(detector)
    faces = constant_model("faces", {"detections": NOTHING, "landmarks": NOBODY})
    (folder / "faces.onnx").write_bytes(faces)
    (folder / "truncated.onnx").write_bytes(detector[: len(detector) // 2])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("this is no model\n")
    (folder / "lacking.onnx").write_bytes(constant_model("faces", {"detections": NOTHING}))
    (folder / "light.onnx").write_bytes(brightness_classifier(("dark", "bright")))
    (folder / "labels.onnx").write_bytes(brightness_classifier(("vest", "cap"), independent=True))
    (folder / "foreign.onnx").write_bytes(without_manifest(detector))
    (folder / "a-folder").mkdir()
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for grey in (0, 80, 160):
        video.write(np.full((48, 64, 3), grey, np.uint8))
    video.release()
    return folder


@dataclass(frozen=True)
class Toml:
    """A configuration that works, in pieces that a test replaces."""

    top: str = 'node = "gate-1"'
    models: str = '[models]\ndetector = "detector.onnx"\nfaces = "faces.onnx"'
    runtime: str = '[runtime]\nkind = "onnx"\nthreads = 1'
    camera: str = 'name = "door"'
    source: str = 'source = { kind = "video_file", path = "SHELF/clip.avi" }'
    more: str = ""
    sinks: str = '[[sinks]]\nkind = "zeromq"\nbind = "inproc://test-config"'
    http: str = "[http]\nport = 0"

    def write(self, folder: Path) -> Path:
        camera = f"[[cameras]]\n{self.camera}\n{self.source}" * bool(self.camera or self.source)
        pieces = (self.top, self.models, self.runtime, camera, self.more, self.sinks, self.http)
        text = "\n\n".join(pieces)
        path = folder / "edge.toml"
        path.write_text(text.replace("SHELF", str(folder)), encoding="utf-8")
        return path


def check(path, command="check"):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, [command, str(path)])


def test_a_whole_configuration_passes_the_check(shelf):
    result = check(Toml().write(shelf))
    assert result.exit_code == 0, result.output
    assert "64x48" in result.stdout


def test_check_opens_the_cameras_too(shelf):
    toml = Toml(source='source = { kind = "video_file", path = "SHELF/nowhere.mp4" }')
    result = check(toml.write(shelf))
    assert result.exit_code == EXIT
    assert "nowhere.mp4" in result.stdout.replace("\n", "")


def test_defaults_are_filled_in(shelf):
    settings = config_file.load(Toml(top="", http="").write(shelf))
    assert (settings.node, settings.http.port, settings.cameras[0].fps) == ("edge", 9470, 10)


def test_attributes_and_states_pass_the_check_and_are_named(shelf):
    more = f"""
[[cameras.states]]
name = "gate"
{LIGHT}
[[cameras.events]]
when = ["state:gate=bright", "state", "attribute:labels.vest=no", "attribute:light"]
[[attributes]]
model = "light.onnx"
[[attributes]]
model = {{ path = "labels.onnx" }}
of = ["person", "car"]
"""
    path = Toml(more=more).write(shelf)
    result = check(path)
    assert result.exit_code == 0, result.output
    assert "attributes.light" in result.stdout
    assert "cameras.door.states.gate" in result.stdout
    settings = config_file.load(path)
    assert [each.name for each in settings.attributes] == ["light", "labels"]
    assert settings.attributes[0].of == ("person",)


def test_recognition_describes_faces_with_what_enrollment_uses(shelf):
    toml = Toml(more='[recognition]\ngallery = "people.db"\nkey_file = "people.key"')
    settings = config_file.load(toml.write(shelf))
    assert settings.recognition is not None
    assert settings.recognition.embedder.path == EMBEDDER


# --- fifty that do not ------------------------------------------------------------------------


@dataclass(frozen=True)
class Broken:
    """A configuration that cannot be used: where the message must point and what it advises."""

    name: str
    toml: Toml
    key: str
    says: str
    remedy: str
    late: bool = field(default=False)  # only found by opening things
    passing: bool = field(default=False)  # time may mend it: the daemon starts and tries again


CORNER = "polygon = [[0, 0], [0.5, 0], [0.5, 0.5]]"
LIGHT = f'model = "light.onnx"\n{CORNER}'
ZONE = '[[cameras.zones]]\nname = "entrance"\npolygon = [[0, 0], [1, 0], [1, 1]]'
LINE = '[[cameras.lines]]\nname = "sill"\na = [0, 0]\nb = [1, 1]'
RTSP = f'source = {{ kind = "rtsp", user = "me", password = "{PASSWORD}" '


def camera(lines: str) -> Toml:
    return Toml(camera=f'name = "door"\n{lines}')


def attribute(lines: str, when: str = "") -> Toml:
    """A camera with an event and an attribute, whose table ends with ``lines``."""
    event = f'[[cameras.events]]\nwhen = ["{when}"]\n' if when else ""
    return Toml(more=f'{event}[[attributes]]\nmodel = "light.onnx"\n{lines}')


def state(lines: str, when: str = "state:gate=bright", model: str = "light.onnx") -> Toml:
    """A camera with an event and a place, whose table ends with ``lines``."""
    place = f'[[cameras.states]]\nname = "gate"\nmodel = "{model}"\n{lines}'
    return Toml(more=f'[[cameras.events]]\nwhen = ["{when}"]\n{place}')


def source(table: str) -> Toml:
    return Toml(source=f"source = {{ {table} }}")


def detector(table: str) -> Toml:
    return Toml(models=f"[models]\ndetector = {table}")


BROKEN = [
    # unknown keys, one a level
    Broken("top_key", Toml(top="colour = 1"), "colour", "unknown key", "remove it"),
    Broken(
        "models_key",
        Toml(models='[models]\ndetector = "detector.onnx"\nembeder = "x"'),
        "models.embeder", "unknown key", "spelling",
    ),
    Broken(
        "detector_key", detector('{ path = "detector.onnx", sha = "00" }'),
        "models.detector.sha", "unknown key", "spelling",
    ),
    Broken("runtime_key", Toml(runtime='[runtime]\nkind = "onnx"\nthread = 2'),
           "runtime.thread", "unknown key", "spelling"),
    Broken("camera_key", camera("fsp = 5"), "cameras[0].fsp", "unknown key", "spelling"),
    Broken("source_key", source('kind = "video_file", path = "x", lop = true'),
           "cameras[0].source.lop", "unknown key", "spelling"),
    Broken("zone_key", Toml(more=f"{ZONE}\ndwell = 3"),
           "cameras[0].zones[0].dwell", "unknown key", "spelling"),
    Broken("line_key", Toml(more=f"{LINE}\nc = 3"),
           "cameras[0].lines[0].c", "unknown key", "spelling"),
    Broken("tracking_key", camera("tracking = { iou = 0.5 }"),
           "cameras[0].tracking.iou", "unknown key", "spelling"),
    Broken("sink_key", Toml(sinks='[[sinks]]\nkind = "zeromq"\nport = 5555'),
           "sinks[0].port", "unknown key", "spelling"),
    Broken("batching_key", Toml(more="[batching]\nsize = 4"),
           "batching.size", "unknown key", "spelling"),
    Broken("http_key", Toml(http="[http]\nadress = 'x'"), "http.adress", "unknown key", "spelling"),
    Broken("log_key", Toml(more="[log]\nfile = 'x'"), "log.file", "unknown key", "spelling"),
    # wrong types and values
    Broken("node_is_a_number", Toml(top="node = 5"), "node", "string", "change it"),
    Broken("node_with_a_slash", Toml(top='node = "a/b"'), "node", "letters, digits", "change it"),
    Broken("fps_is_text", camera('fps = "fast"'), "cameras[0].fps", "number", "remove the quotes"),
    Broken("fps_is_zero", camera("fps = 0"),
           "cameras[0].fps", "greater than or equal to 0.001", "change it"),
    Broken("fps_is_nan", camera("fps = nan"), "cameras[0].fps", "", "change it"),
    Broken("fps_is_endless", camera("fps = inf"), "cameras[0].fps", "", "change it"),
    Broken("labels_is_text", camera('labels = "person"'), "cameras[0].labels", "", "change it"),
    Broken("score_above_one", camera("min_score = { person = 1.5 }"),
           "cameras[0].min_score.person", "less than or equal to 1", "change it"),
    Broken("cameras_is_a_table", Toml(top='cameras = { name = "door" }', camera="", source=""),
           "cameras", "tuple", "change it"),
    Broken("source_is_text", Toml(source='source = "clip.avi"'),
           "cameras[0].source", "dictionary", "change it"),
    Broken("threads_is_negative", Toml(runtime='[runtime]\nkind = "onnx"\nthreads = -1'),
           "runtime.threads", "greater than or equal to 0", "change it"),
    Broken("port_too_large", Toml(http="[http]\nport = 99999"),
           "http.port", "65535", "change it"),
    Broken("log_level", Toml(more='[log]\nlevel = "loud"'), "log.level", "'debug'", "change it"),
    Broken("motion_is_no_table", camera("motion = false"),
           "cameras[0].motion", "must be a table", "in braces"),
    Broken("motion_enabled_is_text", camera('motion.enabled = "yes"'),
           "cameras[0].motion.enabled", "must be true or false", "change it"),
    Broken("motion_mask_has_no_area", camera("motion.masks = [[[0, 0], [0.5, 0.5], [1, 1]]]"),
           "cameras[0].motion.masks[0]", "on one line", "contains nothing"),
    Broken("look_every_is_a_year", camera("motion.look_every_s = 3e7"),
           "cameras[0].motion.look_every_s", "less than or equal to 604800", "change it"),
    Broken("min_change_is_nan", camera("motion.min_change = nan"),
           "cameras[0].motion.min_change", "finite", "change it"),
    Broken("zoom_is_a_number", camera("zoom = 1"),
           "cameras[0].zoom", "must be true or false", "change it"),
    Broken("one_tile", camera('tiles = "1x1"'), "cameras[0].tiles", "is the whole picture",
           "remove it"),
    Broken("tiles_and_zoom", camera('tiles = "2x1"\nzoom = true'), "cameras[0]",
           "zoom looks closer where something moves, tiles everywhere", "remove one of the two"),
    Broken("no_tiles", camera('tiles = "0x1"'), "cameras[0].tiles", "columns and rows", "such as"),
    # names
    Broken("camera_twice", Toml(
        more='[[cameras]]\nname = "door"\nsource = { kind = "video_file", path = "x" }'),
        "cameras", "'door' is defined twice", "give each its own name"),
    Broken("zone_twice", Toml(more=f"{ZONE}\n{ZONE}"),
           "cameras[0]", "'entrance' is defined twice", "give each its own name"),
    Broken("camera_without_name", Toml(camera=""), "cameras[0].name", "is missing", "add it"),
    Broken("camera_without_source", Toml(source=""), "cameras[0].source", "is missing", "add it"),
    # places
    Broken("polygon_with_two_points",
           camera('zones = [{ name = "z", polygon = [[0, 0], [1, 1]] }]'),
           "cameras[0].zones[0].polygon", "2 entries", "at least 3"),
    Broken("polygon_outside", camera("masks = [[[0, 0], [1, 0], [1, 1.5]]]"),
           "cameras[0].masks[0][2]", "0..1", "[1.0, 1.5]"),
    Broken("point_of_three", camera('lines = [{ name = "l", a = [0, 0, 0], b = [1, 1] }]'),
           "cameras[0].lines[0].a", "more than 2 entries", "remove some"),
    Broken("line_without_length", camera('lines = [{ name = "l", a = [0, 0], b = [0, 0] }]'),
           "cameras[0].lines[0]", "must differ", "a and b"),
    # kinds and their options
    Broken("unknown_source", source('kind = "carrier-pigeon"'),
           "cameras[0].source.kind", "'carrier-pigeon'", "use one of"),
    Broken("unknown_runtime", Toml(runtime='[runtime]\nkind = "abacus"'),
           "runtime.kind", "'abacus'", "use one of onnx"),
    Broken("unknown_sink", Toml(sinks='[[sinks]]\nkind = "fax"'),
           "sinks[0].kind", "'fax'", "use one of jsonl"),
    Broken("source_without_kind", source('url = "rtsp://cam/stream"'),
           "cameras[0].source", "needs a kind", "one of"),
    Broken("foreign_kind_not_installed", source('kind = "acme.cams:Options"'),
           "cameras[0].source.kind", "cannot be imported", "install it"),
    Broken("kind_without_a_module", source('kind = ":Options"'),
           "cameras[0].source.kind", "cannot be imported", "install it"),
    Broken("kind_of_a_parent", source('kind = "..x:Options"'),
           "cameras[0].source.kind", "cannot be imported", "install it"),
    Broken("kind_that_is_a_function", source('kind = "edge.sources.rtsp:build"'),
           "cameras[0].source.kind", "is not a plug-in", "options class"),
    Broken("rtsp_without_url", Toml(source=RTSP + "}"),
           "cameras[0].source.url", "is missing", "add it"),
    Broken("rtsp_url_of_the_web",
           Toml(source=RTSP + f', url = "http://me:{PASSWORD}@cam/stream" }}'),
           "cameras[0].source.url", "must begin", "rtsp://"),
    Broken("password_twice",
           Toml(source=RTSP + ', url = "rtsp://cam/s", password_file = "/run/x" }'),
           "cameras[0].source", "not both", "password or password_file"),
    Broken("unknown_provider",
           Toml(runtime='[runtime]\nkind = "onnx"\nproviders = ["NoSuchProvider"]'),
           "runtime.providers", "NoSuchProvider", "use", late=True),
    Broken("bind_without_port", Toml(sinks='[[sinks]]\nkind = "zeromq"\nbind = "127.0.0.1"'),
           "sinks[0].bind", "cannot be bound", "use tcp://HOST:PORT"),
    Broken("bind_to_the_network",
           Toml(sinks='[[sinks]]\nkind = "zeromq"\nbind = "tcp://0.0.0.0:5555"'),
           "sinks[0].bind", "network", "insecure = true"),
    Broken("tls_half_given", Toml(http='[http]\nport = 0\ntls_cert = "cert.pem"'),
           "http", "belong together", "set both or none"),
    # parts missing
    Broken("no_cameras", Toml(top="cameras = []", camera="", source=""),
           "cameras", "0 entries", "needs at least 1"),
    Broken("cameras_forgotten", Toml(camera="", source=""), "cameras", "is missing", "add it"),
    Broken("no_detector", Toml(models="[models]"), "models.detector", "is missing", "add it"),
    Broken("no_models", Toml(models=""), "models", "is missing", "add it"),
    # models
    Broken("model_missing", detector('"nowhere.onnx"'),
           "models.detector", "nowhere.onnx", "check the path", late=True),
    Broken("model_is_a_folder", detector('"a-folder"'),
           "models.detector", "a-folder", "check the path", late=True),
    Broken("model_empty", detector('"empty.onnx"'),
           "models.detector", "is empty", "copy or export it again", late=True),
    Broken("model_truncated", detector('"truncated.onnx"'),
           "models.detector", "truncated.onnx", "export it again", late=True),
    Broken("model_is_text", detector('"text.onnx"'),
           "models.detector", "is not an ONNX model", "export it again", late=True),
    Broken("model_of_the_wrong_task", detector('"faces.onnx"'),
           "models.detector", "is a faces model", "expected one for detect", late=True),
    Broken("model_not_adopted", detector('"foreign.onnx"'),
           "models.detector", "edge.manifest", "edge-deploy adopt", late=True),
    Broken("faces_lack_landmarks",
           Toml(models='[models]\ndetector = "detector.onnx"\nfaces = "lacking.onnx"'),
           "models.faces", "'landmarks'", "adopt it again", late=True),
    Broken("model_with_a_wrong_hash",
           detector(f'{{ path = "detector.onnx", sha256 = "{"0" * 64}" }}'),
           "models.detector", "has sha256", "restore the file, or pin", late=True),
    Broken("hash_too_short", detector('{ path = "detector.onnx", sha256 = "abc" }'),
           "models.detector.sha256", "64 hexadecimal digits", "change it"),
    Broken("not_in_the_zoo", detector('"zoo:unicorn"'),
           "models.detector", "zoo:unicorn", "use one of zoo:", late=True),
    # classifiers
    Broken("attribute_of_another_task", Toml(more='[[attributes]]\nmodel = "detector.onnx"'),
           "attributes[0].model", "is a detect model", "expected one for classify: name another",
           late=True),
    Broken("state_of_another_task", state(CORNER, model="faces.onnx", when="state"),
           "cameras[0].states[0].model", "is a faces model", "name another", late=True),
    Broken("attribute_of_an_unknown_label", attribute('of = ["unicorn"]'),
           "attributes[0].of", "'unicorn'", "use one of person, car", late=True),
    Broken("attribute_of_nothing", attribute("of = []"),
           "attributes[0].of", "0 entries", "needs at least 1"),
    Broken("attribute_without_a_model", Toml(more='[[attributes]]\nname = "vest"'),
           "attributes[0].model", "is missing", 'model = "vest.onnx"'),
    Broken("attribute_twice", attribute('[[attributes]]\nmodel = "light.onnx"'),
           "attributes", "attribute 'light' is defined twice", "its own name"),
    Broken("attribute_of_no_name", attribute('name = "a b"'),
           "attributes[0].name", "letters, digits", "change it"),
    Broken("attribute_without_votes", attribute("min_votes = 0"),
           "attributes[0].min_votes", "greater than or equal to 1", "change it"),
    Broken("attribute_of_more_votes_than_count", attribute("min_votes = 16"),
           "attributes[0].min_votes", "less than or equal to 15", "change it"),
    Broken("attribute_without_a_budget", attribute("max_looks_per_frame = 0"),
           "attributes[0].max_looks_per_frame", "greater than or equal to 1", "change it"),
    Broken("trigger_of_an_attribute_that_is_not_there", attribute("", when="attribute:vest=no"),
           "cameras", "'attribute:vest=no' of door names", "[[attributes]] has light"),
    Broken("trigger_of_a_class_that_is_not_there", attribute("", when="attribute:light=loud"),
           "cameras[0].events[0].when", "'attribute:light=loud' never comes",
           "use one of attribute:light=dark, attribute:light=bright", late=True),
    Broken("state_beside_the_picture", state("polygon = [[0, 0], [1.1, 0], [1, 1]]"),
           "cameras[0].states[0].polygon[1]", "must lie within the image", "0..1"),
    Broken("state_of_a_line", state("polygon = [[0, 0], [0.5, 0.5], [1, 1]]"),
           "cameras[0].states[0].polygon", "on one line", "contains nothing"),
    Broken("state_without_a_polygon", state(""),
           "cameras[0].states[0].polygon", "is missing", "add it"),
    Broken("state_twice", state(f'{CORNER}\n[[cameras.states]]\nname = "gate"\n{LIGHT}'),
           "cameras[0]", "state 'gate' is defined twice", "its own name"),
    Broken("trigger_of_a_state_that_is_not_there", state(CORNER, when="state:door=bright"),
           "cameras[0]", "names a state that the camera does not have", "it has gate"),
    Broken("trigger_of_a_label_that_is_not_there",
           state(CORNER, when="state:gate.hat=yes", model="labels.onnx"),
           "cameras[0].events[0].when", "never comes", "state:gate.cap=yes", late=True),
    # labels the model does not know
    Broken("zone_label", Toml(more=f'{ZONE}\nlabels = ["unicorn"]'),
           "cameras[0].zones[0].labels", "'unicorn'", "use one of person, car", late=True),
    Broken("camera_label", camera('labels = ["unicorn"]'),
           "cameras[0].labels", "'unicorn'", "use one of person, car", late=True),
    Broken("score_label", camera("min_score = { unicorn = 0.5 }"),
           "cameras[0].min_score", "'unicorn'", "use one of person, car", late=True),
    Broken("limit_label", camera("tracking = { max_missed_s = { unicorn = 5 } }"),
           "cameras[0].tracking.max_missed_s", "'unicorn'", "use one of person, car", late=True),
    # values that were taken and did harm, or nothing
    Broken("fps_in_quotes", camera('fps = "10"'), "cameras[0].fps", "number", "remove the quotes"),
    Broken("score_in_quotes", camera('min_score = { person = "0.5" }'),
           "cameras[0].min_score", "number", "remove the quotes"),
    Broken("port_is_true", Toml(http="[http]\nport = true"), "http.port", "number", "change it"),
    Broken("loop_in_quotes", source('kind = "video_file", path = "x", loop = "no"'),
           "cameras[0].source.loop", "true or false", "change it"),
    Broken("fps_next_to_nothing", camera("fps = 1e-300"),
           "cameras[0].fps", "greater than or equal to 0.001", "change it"),
    Broken("frozen_after_ages", camera("frozen_after_s = inf"),
           "cameras[0].frozen_after_s", "finite", "change it"),
    Broken("dwell_for_ever", Toml(more=f"{ZONE}\ndwell_s = inf"),
           "cameras[0].zones[0].dwell_s", "finite", "change it"),
    Broken("missed_for_ever", camera("tracking = { max_missed_s = inf }"),
           "cameras[0].tracking.max_missed_s", "finite", "change it"),
    Broken("tracks_that_never_begin",
           camera("tracking = { confirm_frames = 99999999999999999999 }"),
           "cameras[0].tracking.confirm_frames", "1000", "change it"),
    Broken("low_above_high", camera("tracking = { low_score = 0.9, high_score = 0.1 }"),
           "cameras[0].tracking", "low_score must not be above high_score", "change it"),
    Broken("zone_without_area",
           camera('zones = [{ name = "z", polygon = [[0, 0], [0.5, 0.5], [1, 1]] }]'),
           "cameras[0].zones[0].polygon", "on one line", "contains nothing"),
    Broken("mask_of_one_point", camera("masks = [[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]"),
           "cameras[0].masks[0]", "on one line", "contains nothing"),
    Broken("host_is_empty", Toml(http='[http]\nhost = ""'), "http.host", "at least 1", "change it"),
    Broken("host_of_everybody", Toml(http='[http]\nhost = "0.0.0.0"'),
           "http", "to the network", "insecure = true"),
    Broken("host_of_everybody_in_ipv6", Toml(http='[http]\nhost = "::"'),
           "http", "to the network", "insecure = true"),
    Broken("nul_in_a_host", Toml(http='[http]\nhost = "a\\u0000"'),
           "http.host", "control character", "remove it"),
    Broken("nul_in_a_sink", Toml(sinks='[[sinks]]\nkind = "jsonl"\npath = "a\\u0000b"'),
           "sinks[0].path", "control character", "remove it"),
    Broken("two_sinks_in_one_file",
           Toml(sinks=2 * '[[sinks]]\nkind = "jsonl"\npath = "a"\n'),
           "sinks", "two sinks write to", "its own path"),
    Broken("two_sinks_at_one_address",
           Toml(sinks='[[sinks]]\nkind = "zeromq"\n[[sinks]]\nkind = "zeromq"\nsndhwm = 5\n'),
           "sinks[1].bind", "sinks[0] has this address already", "its own"),
    Broken("gpu_without_an_end", Toml(runtime='[runtime]\nkind = "onnx"\ndevice = 99999999999'),
           "runtime.device", "255", "change it"),
    Broken("aspect_of_a_sliver", camera("aspect = 0.001"),
           "cameras[0].aspect", "between 0.1 and 10", "change it"),
    Broken("synthetic_too_large", source('kind = "synthetic", size_wh = [100000, 720]'),
           "cameras[0].source.size_wh[0]", "7680", "change it"),
    Broken("synthetic_of_one_pixel", source('kind = "synthetic", size_wh = [1280, 1]'),
           "cameras[0].source.size_wh[1]", "16", "change it"),
    Broken("speed_of_a_glacier", source('kind = "video_file", path = "x", speed = 1e-9'),
           "cameras[0].source.speed", "0.01", "change it"),
    Broken("nul_in_a_model", detector('"a\\u0000b"'),
           "models.detector", "control character", "remove it"),
    Broken("nul_in_a_kind", source('kind = "a\\u0000:b"'),
           "cameras[0].source.kind", "control character", "remove it"),
    Broken("escape_in_a_label", camera('labels = ["per\\u001b[31mson"]'),
           "cameras[0].labels[0]", "control character", "remove it"),
    Broken("return_in_a_url", source('kind = "rtsp", url = "rtsp://127.0.0.1/x\\r\\nEvil: 1"'),
           "cameras[0].source.url", "control character", "remove it"),
    Broken("home_of_nobody", detector('"~nobodyhere/x.onnx"'),
           "models.detector", "no such user", "write the whole path", late=True),
    Broken("model_is_a_device", detector('"/dev/full"'),
           "models.detector", "/dev/full", "check the path", late=True),
    # the machine
    Broken("sink_folder_missing",
           Toml(sinks='[[sinks]]\nkind = "jsonl"\npath = "SHELF/nowhere/out.jsonl"'),
           "sinks[0]", "nowhere", "check path", late=True, passing=True),
    Broken("host_of_another_machine", Toml(http='[http]\nhost = "203.0.113.7"\ninsecure = true'),
           "http.port", "203.0.113.7", "choose another host or port", late=True, passing=True),
]  # fmt: skip


def test_there_are_fifty_and_no_two_alike():
    assert len(BROKEN) >= 50
    assert len({case.name for case in BROKEN}) == len({case.toml for case in BROKEN})
    assert len({case.name for case in BROKEN}) == len(BROKEN)


def explained(result, path, key, says, remedy):
    """One message on standard error; it names the file, the key path and what to do."""
    said = result.stderr.strip().splitlines()
    message = "\n".join(line for line in said if not LOG_LINE.match(line))
    assert result.exit_code == EXIT, result.output
    assert len(message.splitlines()) == 1, message
    assert message.count(str(path)) == 1
    assert f": {key}: " in message
    assert says in message
    assert remedy in message
    assert "Traceback" not in result.output
    assert PASSWORD not in result.output
    assert "pydantic" not in message.lower()


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_configuration_is_explained_in_one_message(case, shelf):
    path = case.toml.write(shelf)
    explained(check(path), path, case.key, case.says, case.remedy)


@pytest.fixture
def signals_kept():
    """`edge run` takes over signals; give them back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


FINAL = [case for case in BROKEN if case.late and not case.passing]


@pytest.mark.parametrize("case", FINAL, ids=lambda case: case.name)
def test_run_explains_what_only_opening_shows(case, shelf, signals_kept):
    path = case.toml.write(shelf)
    explained(check(path, "run"), path, case.key, case.says, case.remedy)


# --- not even a configuration -----------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("content", "says", "remedy"),
    [
        (b"[models\ndetector = 1", ":1: is not valid TOML", "fix the syntax"),
        (b'node = "a"\nnode = "b"\n', ":2: is not valid TOML", "fix the syntax"),
        (b'node = "caf\xe9"\n', "is not UTF-8 text", "is it a TOML file?"),
        (b"\x08\x07edge.manifest\x00\xff", "is not UTF-8 text", "is it a TOML file?"),
        (b"", "models: is missing", "add it"),
    ],
    ids=["syntax", "key_twice", "latin_1", "a_model", "empty"],
)
def test_a_file_that_is_none_is_named(command, content, says, remedy, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_bytes(content)
    result = check(path, command)
    assert result.exit_code == EXIT
    assert all(line.count(str(path)) == 1 for line in result.stderr.strip().splitlines())
    assert says in result.stderr
    assert remedy in result.stderr


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", ["nowhere.toml", "a-folder"])
def test_a_path_that_leads_nowhere_is_named(command, name, shelf):
    result = check(shelf / name, command)
    assert result.exit_code == EXIT
    assert len(result.stderr.strip().splitlines()) == 1
    assert f"{shelf / name}: " in result.stderr
    assert "check the path" in result.stderr


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def find_row(result, part):
    """The finding of one part, as `--json` prints it."""
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return next(row for row in rows if row["part"] == part)


def test_check_tells_a_port_in_use_and_goes_on(shelf, taken_port):
    """A running node uses it itself, and that is when its cameras are to be checked."""
    sink = f'[[sinks]]\nkind = "zeromq"\nbind = "tcp://127.0.0.1:{taken_port}"'
    path = Toml(http=f"[http]\nport = {taken_port}", sinks=sink).write(shelf)
    result = CliRunner().invoke(app, ["check", str(path), "--json"])
    assert result.exit_code == EXIT
    for part in ("http", "sinks[0]"):
        row = find_row(result, part)
        assert not row["ok"]
        assert str(taken_port) in row["detail"]
        assert "a running node uses it itself" in row["detail"]
    assert find_row(result, "cameras.door")["ok"]
    result = CliRunner().invoke(app, ["check", str(path), "--json", "--running"])
    assert result.exit_code == 0
    assert "a running node uses it itself" in find_row(result, "http")["detail"]


@pytest.mark.parametrize("command", ["check", "run"])
def test_without_a_driver_a_node_that_wants_engines_ends_with_78(
    command, shelf, signals_kept, no_driver
):
    path = Toml(runtime='[runtime]\nkind = "tensorrt"\nfallback = "none"').write(shelf)
    explained(check(path, command), path, "runtime", "no NVIDIA driver answers", "install")


def test_without_a_driver_a_node_that_may_runs_on_the_processor(shelf, no_driver):
    path = Toml(runtime='[runtime]\nkind = "tensorrt"').write(shelf)
    done = subprocess.run(
        [sys.executable, "-m", "edge", "check", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "no NVIDIA driver answers" in line
    assert "Models run on the processor until then" in line


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555", True),
        ("tcp://127.0.0.1:5555", "tcp://localhost:05555", True),
        ("tcp://127.0.0.1:5555", "tcp://0.0.0.0:5555", True),
        ("tcp://*:5555", "tcp://10.0.0.1:5555", True),
        ("tcp://[::1]:5555", "tcp://[::1]:5555", True),
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.2:5555", False),
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556", False),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", False),  # each gets a free one
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", False),
        ("tcp://127.0.0.1:5555", "tcp://[::1]:5555", False),
        ("ipc:///tmp/bus", "ipc:///tmp/./bus", True),
        ("ipc:///tmp/bus", "ipc:///tmp/bus2", False),
        ("ipc:///bus", "inproc:///bus", False),
        ("inproc://bus", "inproc://bus", True),
    ],
)
def test_two_sinks_collide_where_both_would_bind_one_address(one, other, collide):
    one, other = (zeromq.Options(bind=bind, insecure=True) for bind in (one, other))
    assert one.collides_with(other) is other.collides_with(one) is collide


def test_a_file_system_that_does_not_answer_is_told_and_not_waited_for(shelf, monkeypatch):
    answers, real = threading.Event(), os.path.realpath

    def realpath(path):
        return real(path) if "away" not in str(path) else answers.wait(20)

    monkeypatch.setattr("edge.config.os.path.realpath", realpath)
    monkeypatch.setattr("edge.config.FILE_SYSTEM_S", 0.2)
    sinks = [{"kind": "jsonl", "path": name} for name in ("here", "/away/events.jsonl")]
    with pytest.raises(ValueError, match=r"'/away/events\.jsonl' did not answer within"):
        Config(sinks=sinks, cameras=[{"name": "a", "source": {"kind": "synthetic"}}],
               models={"detector": "x"})  # fmt: skip
    answers.set()


def test_check_does_not_wait_for_a_sink_that_does_not_open(monkeypatch):
    released = threading.Event()

    class Hung:
        @contextlib.contextmanager
        def open(self):
            released.wait(20)
            yield

    monkeypatch.setattr("edge.plugins.create", lambda folder, table: Hung())
    finding = _check_sink("sinks[0]", {"kind": "jsonl"}, timeout_s=0.2)
    released.set()
    assert not finding.ok
    assert "did not open within 0.2 s" in finding.detail


def test_several_problems_are_a_line_each_with_the_line_in_the_file(shelf):
    path = Toml(top="colour = 1", http="[http]\nport = 99999").write(shelf)
    lines = check(path).stderr.strip().splitlines()
    last = len(path.read_text().splitlines())
    assert len(lines) == 2
    assert any(f"{path}:1: colour: unknown key" in line for line in lines)
    assert any(f"{path}:{last}: http.port: " in line for line in lines)


def test_the_line_is_that_of_the_second_camera(shelf):
    more = '[[cameras]]\nname = "yard"\nfps = 0\nsource = { kind = "video_file", path = "x" }'
    path = Toml(more=more).write(shelf)
    line = path.read_text().splitlines().index("fps = 0") + 1
    assert f"{path}:{line}: cameras[1].fps: " in check(path).stderr


# --- what would never end, or end in a traceback ----------------------------------------------


HOSTILE = {
    "brackets": "labels = " + "[" * 500,
    "more_brackets": "labels = " + "[" * 50_000,
    "closed_brackets": "labels = " + "[" * 100 + "]" * 100,
    "deep_header": "[" + ".".join("a" * 3000) + "]",
    "deep_key": ".".join("a" * 3000) + " = 1",
    "inline_tables": "a = " + "{ a = " * 90 + "1" + " }" * 90,
    "digits": f"fps = {'9' * 5000}",
    "hexadecimal": f"fps = 0x{'f' * 5000}",
    "exponent": "fps = 1e999999999",
    "cameras": '[[cameras]]\nname = "a"\n' * 20_000,
    "zones": "[[cameras]]\n" + "[[cameras.zones]]\nx = 1\n" * 20_000,
    "sinks": '[[sinks]]\nkind = "fax"\n' * 20_000,
    "nearly_too_many": "[[cameras]]\n" + "[[cameras.zones]]\nx = 1\n" * 900,
    "corners": f"masks = [[{'[0, 0],' * 50_000}]]",
    "labels": "[[cameras]]\nlabels = [" + '"a",' * 100_000 + "]",
    "keys": "".join(f"k{n} = 1\n" for n in range(50_000)),
    "megabytes": "# " + "x" * (1 << 20),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_is_too_much(name, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(HOSTILE[name])
    started_s = time.process_time()
    with pytest.raises(ConfigError) as caught:
        config_file.load(path)
    assert time.process_time() - started_s < 5
    assert len(str(caught.value).splitlines()) <= config_file.MAX_PROBLEMS
    assert len(str(caught.value)) < 20_000
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "key", "meant"),
    [
        (Toml(top="nod = 'a'"), "nod", "node"),
        (camera("fsp = 5"), "cameras[0].fsp", "fps"),
        (camera(ZONE.replace("polygon", "polgon")), "cameras[0].zones[0].polgon", "polygon"),
        (camera("[cameras.tracking]\nmin_uio = 1"), "cameras[0].tracking.min_uio", "min_iou"),
        (source('kind = "rtsp", ulr = "rtsp://a/b"'), "cameras[0].source.ulr", "url"),
        (detector('{ path = "a.onnx", sha265 = "" }'), "models.detector.sha265", "sha256"),
        (Toml(sinks='[[sinks]]\nkind = "zeromq"\nbnd = "x"'), "sinks[0].bnd", "bind"),
        (Toml(runtime='[runtime]\nkind = "onnx"\nthread = 1'), "runtime.thread", "threads"),
        (Toml(http="[htpp]\nport = 0"), "htpp", "http"),
        (Toml(top="colour = 1"), "colour", ""),
    ],
)
def test_a_misspelled_key_is_told_with_the_one_that_was_meant(toml, key, meant, shelf):
    toml = replace(toml, source="") if "tracking" in toml.camera or "zones" in toml.camera else toml
    with pytest.raises(ConfigError) as caught:
        config_file.load(toml.write(shelf))
    guess = f"did you mean {meant}? Correct" if meant else "correct"
    assert f": {key}: unknown key: {guess} its spelling or remove it" in str(caught.value)


def test_what_is_missing_is_told_with_lines_that_can_be_added(tmp_path):
    path = tmp_path / "edge.toml"
    path.touch()
    with pytest.raises(ConfigError) as caught:
        config_file.load(path)
    for line in str(caught.value).splitlines():
        assert ": is missing: add it, for example the lines " in line
        added = line.partition("the lines ")[2].replace(" and ", ", ").split(", ")
        path.write_text("\n".join([path.read_text(), *added]))
    assert config_file.load(path).cameras[0].name == "door"


def test_a_device_or_fifo_is_no_configuration(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (Path("/dev/zero"), Path("/dev/full"), fifo):
        with pytest.raises(ConfigError, match=f"{path}: .*check the path"):
            config_file.load(path)


def test_a_configuration_saved_with_a_byte_order_mark_is_read(shelf):
    path = Toml().write(shelf)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert config_file.load(path).node == "gate-1"


@pytest.mark.parametrize("command", ["check", "run"])
def test_all_mistakes_are_told_at_once(command, shelf):
    path = Toml(
        models='[models]\ndetector = "detector.onnx"\nfaces = "nowhere.onnx"',
        source='source = { kind = "carrier-pigeon" }\nlabels = ["unicorn"]',
        more='[[cameras.zones]]\nname = "z"\npolygon = [[0, 0], [1, 1]]\nlabels = ["dragon"]',
        sinks='[[sinks]]\nkind = "zeromq"\nbind = "127.0.0.1"',
    ).write(shelf)
    lines = path.read_text().splitlines()
    told = check(path, command).stderr.strip().splitlines()
    expected = {
        "cameras[0].zones[0].polygon: has 2 entries": "polygon =",
        "cameras[0].source.kind: unknown kind 'carrier-pigeon'": "source =",
        "sinks[0].bind: '127.0.0.1' cannot be bound": "bind =",
        "models.faces: ": "faces =",
        "cameras[0].labels: the model does not know the label 'unicorn'": 'labels = ["unicorn"]',
        "cameras[0].zones[0].labels: the model does not know the label 'dragon'": "dragon",
    }
    assert len(told) == len(expected), told
    for problem, at in expected.items():
        number = next(n for n, line in enumerate(lines, 1) if at in line)
        assert any(f"{path}:{number}: {problem}" in line for line in told), (problem, told)


# --- keys of earlier versions -----------------------------------------------------------------


RENAMED = [
    ("[batching]\nmost = 4", "most", lambda c: c.batching.max_batch_size == 4),
    ("[batching]\npatience_ms = 4", "patience_ms", lambda c: c.batching.max_queue_delay_ms == 4),
    (
        '[recognition]\ngallery = "g"\nkey_file = "k"\nbudget = 7',
        "budget",
        lambda c: c.recognition.max_faces_per_batch == 7,
    ),
    (
        '[recognition]\ngallery = "g"\nkey_file = "k"\nmin_share = 0.7',
        "min_share",
        lambda c: c.recognition.min_vote_ratio == 0.7,
    ),
]
RUNTIMES = [
    ("onnx", "lanes", "workers", 2),
    ("tensorrt", "lanes", "workers", 2),
    ("tensorrt", "usual_batch", "opt_batch", 2),
    ("triton", "lanes", "workers", 2),
    ("triton", "patience_s", "retry_s", 2.0),
    ("triton", "connect_s", "connect_timeout_s", 2.0),
]


@pytest.mark.parametrize(("kind", "old", "new", "value"), RUNTIMES)
def test_an_option_of_a_runtime_is_read_under_its_former_name(kind, old, new, value, caplog):
    plugin = plugins.load("runtimes", kind)
    assert getattr(plugins.validate(plugin, {"kind": kind, old: value}), new) == value
    assert f"{old} is now called {new}" in caplog.text


@pytest.mark.parametrize(("toml", "old", "is_read"), RENAMED)
def test_a_key_of_an_earlier_version_is_read_with_one_warning(toml, old, is_read, shelf, caplog):
    models = '[models]\ndetector = "detector.onnx"\nfaces = "faces.onnx"'
    settings = config_file.load(Toml(models=models, more=toml).write(shelf))
    assert is_read(settings)
    (record,) = caplog.records
    assert f"{old} is now called" in record.getMessage()


def test_a_key_that_never_had_an_effect_is_accepted_with_a_warning(shelf, caplog):
    config_file.load(Toml(top='state_dir = "/nowhere"').write(shelf))
    (record,) = caplog.records
    assert "state_dir has no effect" in record.getMessage()


def test_a_key_given_under_both_names_is_refused(shelf):
    path = Toml(more="[batching]\nmost = 4\nmax_batch_size = 8").write(shelf)
    assert "most is the former name of max_batch_size: remove most" in check(path).stderr


STORAGE = """
[models]
detector = "zoo:detect-nano"
[[cameras]]
name = "door"
source = {{ kind = "synthetic" }}
[storage]
folder = "kept"
max_bytes = {}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5_000", 5000),
        ('"200GB"', 200 * 10**9),
        ('"1.5 TB"', 1_500_000_000_000),
        ('"300 MB"', 300 * 10**6),
        ('"12KB"', 12_000),
        ('"900"', 900),
        ('"900B"', 900),
    ],
)
def test_bytes_may_be_written_with_their_unit(text, expected, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(STORAGE.format(text))
    assert config_file.load(path).storage.max_bytes == expected


@pytest.mark.parametrize("text", ['"much"', '"-5GB"', '"5 GiB"', "-1", "1e30", '"1e3GB"', "true"])
def test_bytes_that_are_none_are_refused_with_the_key(text, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(STORAGE.format(text))
    with pytest.raises(ConfigError, match=r"storage\.max_bytes"):
        config_file.load(path)


RULE = """
[models]
detector = "zoo:detect-nano"
[[cameras]]
name = "door"
source = {{ kind = "synthetic" }}
zones = [{{ name = "entrance", polygon = [[0, 0], [1, 0], [1, 1]] }}]
lines = [{{ name = "gate", a = [0, 0], b = [1, 1] }}]
[[cameras.events]]
when = [{}]
"""


@pytest.mark.parametrize(
    "when", ['"entered:entrance"', '"left"', '"crossed:gate"', '"began", "known", "offline"']
)
def test_rules_of_events_are_taken(when, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(RULE.format(when))
    [camera] = config_file.load(path).cameras
    assert f'"{camera.events[0].when[0]}"' in when


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ('"entered:yard"', "names a zone that the camera does not have: it has entrance"),
        ('"crossed:entrance"', "names a line that the camera does not have: it has gate"),
        ('"vanished"', "is no trigger: use one of entered:NAME"),
        ('"began:entrance"', "is no trigger"),
        ('"entered:"', "is no trigger"),
        ("", "at least 1"),
    ],
)
def test_rules_that_cannot_apply_are_refused_with_what_there_is(when, says, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(RULE.format(when))
    with pytest.raises(ConfigError, match=says):
        config_file.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "{}.a = 1",
        "[{}.a]",
        "[[{}.a]]",
        "x = {{ y = 1, {}.a = 1 }}",
        '{}."a.b" = 1',
    ],
)
@pytest.mark.parametrize("part", ["a", '"b"', "'c'", r'"\""', "a \t"])
def test_a_key_of_very_many_parts_is_refused_before_it_takes_all_memory(text, part):
    hostile = "node = 1\n" + text.format(".".join([part] * 100_000))
    with pytest.raises(ConfigError, match="has a key of more than 24 parts") as caught:
        config_file.read_tree(hostile)
    assert caught.value.line == 2


def test_dots_in_values_and_comments_are_no_key():
    text = "# " + "a." * 99 + '\nx = ["' + "a." * 99 + '", 1]\n' + ".".join("abcdefgh") + " = 1"
    assert config_file.read_tree(text)["x"][1] == 1
