"""The configuration over a real server: read, checked, written, and never half of it."""

import errno
import os
import stat

import pytest

from edge import config_file
from edge.web.ports import ConfigurationFile
from tests.support.web_node import make_node, make_sight, serving

TEXT = """# The gate.
[models]
detector = "zoo:detect-nano"

[[cameras]]
name = "door"
source = { kind = "rtsp", url = "rtsp://u:hunter2@10.0.0.7/stream1" }
fps = 5
"""
TRIANGLE = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]


def list_waiting(settings):
    """What a node that began with `TEXT` says."""
    return ["node"] if settings.node != "edge" else []


class Node:
    def __init__(self, folder):
        self.path = folder / "gate.toml"
        self.path.write_text(TEXT)
        self.path.chmod(0o640)
        self.reloads = 0
        file = ConfigurationFile(self.path, self.reload, ("person", "car"), list_waiting)
        self.node = make_node(configuration=file, list_cameras=lambda: [make_sight("door")])

    def reload(self):
        self.reloads += 1


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.fixture
def served(node):
    with serving(node.node) as served:
        yield served


def test_it_is_read_without_secrets_and_written_with_them(node, served):
    shown = served.ask("/api/v1/configuration").json
    assert "hunter2" not in shown["text"]
    text = shown["text"].replace("fps = 5", "fps = 8")
    answer = served.ask("/api/v1/configuration", "PUT", {"text": text}, if_match=shown["revision"])
    assert answer.status == 200, answer.body
    assert "hunter2" not in answer.body.decode()
    assert answer.json["revision"] != shown["revision"]
    assert node.path.read_text() == TEXT.replace("fps = 5", "fps = 8")
    assert stat.S_IMODE(node.path.stat().st_mode) == 0o640
    assert node.reloads == 1
    assert list(node.path.parent.iterdir()) == [node.path]


def test_what_waits_for_a_restart_is_told(node, served):
    shown = served.ask("/api/v1/configuration").json
    assert shown["needs_restart"] == []
    text = 'node = "porch"\n' + shown["text"].replace("fps = 5", "fps = 8")
    answer = served.ask("/api/v1/configuration", "PUT", {"text": text}, if_match=shown["revision"])
    assert answer.status == 200, answer.body
    assert answer.json["needs_restart"] == ["node"]


def test_a_check_tells_mistakes_with_line_and_key_and_the_difference(node, served):
    shown = served.ask("/api/v1/configuration").json["text"]
    text = shown.replace("fps = 5", "fsp = 5") + 'labels = ["cat"]\n'
    check = served.ask("/api/v1/configuration/check", "POST", {"text": text}).json
    assert [(each["line"], each["key"]) for each in check["mistakes"]] == [(8, "cameras[0].fsp")]
    assert "did you mean fps?" in check["mistakes"][0]["problem"]
    assert "-fps = 5\n+fsp = 5\n" in check["difference"]
    text = shown + 'labels = ["cat"]\n'
    check = served.ask("/api/v1/configuration/check", "POST", {"text": text}).json
    assert check["mistakes"][0]["key"] == "cameras[0].labels"
    assert "hunter2" not in str(check)
    assert served.ask("/api/v1/configuration/check", "POST", {"text": shown}).json == {
        "mistakes": [], "difference": "", "text": shown,
    }  # fmt: skip
    assert node.path.read_text() == TEXT
    assert node.reloads == 0


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda text: text.replace("fps = 5", 'fps = "5"'), 422),
        (lambda text: text.replace("fps = 5", "fps = "), 422),
        (lambda text: text.replace("10.0.0.7", "10.0.0.8"), 422),
        (lambda text: 'a = "' + text, 422),
        (lambda text: "", 422),
        (lambda text: "\0", 422),
        (lambda text: "x = " + "[" * 10_000, 422),
        (lambda text: "# " + "x" * (2 << 20), 413),
        (lambda text: "# " + "x" * (1 << 20), 400),
    ],
)
def test_what_does_not_check_is_not_written(node, served, change, status):
    shown = served.ask("/api/v1/configuration").json
    body = {"text": change(shown["text"])}
    answer = served.ask("/api/v1/configuration", "PUT", body, if_match=shown["revision"])
    assert answer.status == status
    assert "hunter2" not in answer.body.decode()
    if status == 422:
        assert answer.json["mistakes"]
    assert node.path.read_text() == TEXT
    assert node.reloads == 0


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(node, served):
    shown = served.ask("/api/v1/configuration").json
    node.path.write_text(TEXT + "# by hand\n")
    body = {"text": shown["text"]}
    answer = served.ask("/api/v1/configuration", "PUT", body, if_match=shown["revision"])
    assert answer.status == 412
    assert served.ask("/api/v1/configuration", "PUT", body).status == 428
    assert node.path.read_text().endswith("# by hand\n")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_save_where_the_node_may_not_write_says_how_to_allow_it(
    node, served, monkeypatch, number
):
    """As under the unit that is shipped, with a read-only /etc; checking works all the same."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("edge.web.configuration.replace_file", refuse)
    shown = served.ask("/api/v1/configuration").json
    body = {"text": shown["text"] + "# more\n"}
    assert "+# more" in served.ask("/api/v1/configuration/check", "POST", body).json["difference"]
    answer = served.ask("/api/v1/configuration", "PUT", body, if_match=shown["revision"])
    assert answer.status == 409
    assert f"may not write into {node.path.parent} ({os.strerror(number)})" in answer.json["detail"]
    assert "systemd.md" in answer.json["detail"]
    assert node.path.read_text() == TEXT


@pytest.mark.parametrize("content", [b"\xff\xfe", b'password = "hunter2\n', b"x" * (2 << 20)])
def test_a_file_that_cannot_be_understood_is_not_shown(node, served, content):
    node.path.write_bytes(content)
    answer = served.ask("/api/v1/configuration")
    assert answer.status == 409
    assert b"hunter2" not in answer.body


def test_a_file_that_is_gone_is_a_problem(node, served):
    node.path.unlink()
    assert served.ask("/api/v1/configuration").status == 409


# --- places -------------------------------------------------------------------------------------


def test_a_zone_is_drawn_tried_and_saved(node, served):
    shown = served.ask("/api/v1/cameras/door/places").json
    assert shown["places"] == {"zones": [], "lines": [], "masks": [], "motion_masks": []}
    places = shown["places"] | {"zones": [{"name": "entrance", "polygon": TRIANGLE}]}
    tried = served.ask("/api/v1/cameras/door/places?dry=true", "PUT", places).json
    assert tried["mistakes"] == []
    assert '+[[cameras.zones]]\n+name = "entrance"\n' in tried["difference"]
    assert "hunter2" not in str(tried)
    assert node.path.read_text() == TEXT
    revision = shown["revision"]
    saved = served.ask("/api/v1/cameras/door/places", "PUT", places, if_match=revision)
    assert saved.status == 200, saved.body
    (zone,) = config_file.load(node.path).cameras[0].zones
    assert zone.polygon == tuple(map(tuple, TRIANGLE))
    assert "hunter2" in node.path.read_text()
    assert node.reloads == 1
    again = served.ask("/api/v1/cameras/door/places", "PUT", places, if_match=revision)
    assert again.status == 412


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ends", [lambda line: "\r\n", lambda line: "\r\n" if line % 3 else "\n"])
def test_a_saved_file_keeps_its_line_ends(node, served, mark, ends):
    def write(text):
        lines = text.splitlines()
        return mark + "".join(line + ends(row) for row, line in enumerate(lines)).encode()

    node.path.write_bytes(write(TEXT))
    shown = served.ask("/api/v1/cameras/door/places").json
    places = shown["places"] | {"masks": [TRIANGLE]}
    saved = served.ask("/api/v1/cameras/door/places", "PUT", places, if_match=shown["revision"])
    assert saved.status == 200, saved.body
    assert node.path.read_bytes() == write(TEXT) + f"masks = [{TRIANGLE}]\r\n".encode()
    shown = served.ask("/api/v1/cameras/door/places").json
    tried = served.ask("/api/v1/cameras/door/places?dry=true", "PUT", shown["places"]).json
    assert tried["difference"] == ""


def test_motion_masks_go_into_an_inline_table(node, served):
    node.path.write_text(TEXT + "motion = { look_every_s = 5 }  # seldom\n")
    shown = served.ask("/api/v1/cameras/door/places").json
    places = shown["places"] | {"motion_masks": [TRIANGLE]}
    saved = served.ask("/api/v1/cameras/door/places", "PUT", places, if_match=shown["revision"])
    assert saved.status == 200, saved.body
    line = f"motion = {{ look_every_s = 5, masks = [{TRIANGLE}] }}  # seldom\n"
    assert node.path.read_text() == TEXT + line


def test_a_file_that_the_editor_cannot_change_is_named_with_the_key(node, served):
    node.path.write_text(TEXT + "zones = 1\n")
    answer = served.ask("/api/v1/cameras/door/places?dry=true", "PUT", {"masks": [TRIANGLE]})
    assert answer.status == 422
    assert answer.json["detail"].startswith("the editor cannot change this configuration")
    assert answer.json["mistakes"][0]["key"] == "cameras[0].zones"


@pytest.mark.parametrize(
    ("places", "status"),
    [
        ({"zones": [{"name": "a b", "polygon": TRIANGLE}]}, 422),
        ({"zones": [{"name": "a", "polygon": TRIANGLE[:2]}]}, 422),
        ({"zones": [{"name": "a", "polygon": [[0, 0], [2, 0], [1, 1]]}]}, 422),
        ({"zones": [{"name": "a", "polygon": TRIANGLE, "labels": ["cat"]}]}, 422),
        ({"zones": [{"name": "a", "polygon": TRIANGLE}] * 2}, 422),
        ({"lines": [{"name": "a", "a": [0, 0], "b": [0, 0]}]}, 422),
        ({"zones": [{"name": 'a"\n[http]\nhost = "0.0.0.0"\n#', "polygon": TRIANGLE}]}, 422),
        ({"zones": "all"}, 400),
        ({"zones": [{"polygon": TRIANGLE}]}, 400),
        ({"zones": [{"name": "a", "polygon": [[0]]}]}, 400),
        ({"masks": [[["0", "0"]]]}, 400),
    ],
)
def test_places_that_cannot_be_are_refused(node, served, places, status):
    revision = served.ask("/api/v1/cameras/door/places").json["revision"]
    answer = served.ask("/api/v1/cameras/door/places", "PUT", places, if_match=revision)
    assert answer.status == status, answer.body
    assert node.path.read_text() == TEXT


def test_places_of_nobody_are_not_found(served):
    assert served.ask("/api/v1/cameras/nobody/places").status == 404
    assert served.ask("/api/v1/cameras/nobody/places?dry=1", "PUT", {}).status == 404
