"""Documents written by hand: what they name exists, what they show is right."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge import config_file, plugins
from edge.cli import app as edge
from edge.compat import tomllib
from edge.errors import ConfigError, SinkError
from edge.models.paths import list_zoo
from edge.service.daemon import Daemon
from edge.service.http import listen
from edge.wire.schema import encode
from tests.docs.test_reference import generate

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in path.parts),
]
COMMANDS = dict(generate.list_commands())
GROUPS = {name.rpartition(" ")[0] for name in COMMANDS}


def text_of(path):
    return path.read_text(encoding="utf-8")


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(path), re.MULTILINE | re.DOTALL)


def calls():
    """Each call of our programs that a document shows: document, command, options."""
    for path in DOCUMENTS:
        shell = "".join(blocks(path, "sh")).replace("\\\n", " ")
        lines = [*re.findall(r"`([^`\n]+)`", text_of(path)), *shell.splitlines()]
        for line in lines:
            line = re.sub(r"(^|\s)#.*", "", line)
            for call in re.findall(r"(?:^|[\s/(|])(?<!-u )(edge(?:-train|-deploy)? [^|&;]*)", line):
                words = call.split()
                name = " ".join(words[:3]) if " ".join(words[:2]) in GROUPS else " ".join(words[:2])
                options = re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", call)
                yield path.relative_to(ROOT), name, tuple(options)


@pytest.mark.parametrize(("document", "name", "options"), sorted(set(calls())))
def test_a_command_and_its_options_exist(document, name, options):
    if name in GROUPS or name.split()[-1] == "--help":
        return
    assert name in COMMANDS, f"{document} names {name}"
    known = {option for p in COMMANDS[name].params for option in getattr(p, "opts", ())}
    assert set(options) - {"--help"} <= known, f"{document} names {set(options) - known}"


def test_calls_are_found():
    """So that the test above cannot pass for want of calls."""
    assert len(set(calls())) > 40


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text_of(document)):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_make_targets_exist(document):
    makefile = text_of(ROOT / "Makefile")
    for targets in re.findall(r"(?:^|`)make ([a-z][a-z0-9 -]*)", text_of(document), re.MULTILINE):
        for target in targets.split():
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{document}: make {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_models_of_the_zoo_exist(document):
    for name in re.findall(r"\bzoo:([a-z][a-z0-9-]*)", text_of(document)):
        assert name in list_zoo()


def test_the_configuration_in_the_readme_is_right():
    (example,) = blocks(ROOT / "README.md", "toml")
    settings = config_file.parse(tomllib.loads(example))
    assert [camera.name for camera in settings.cameras] == ["door", "yard"]


def test_the_configuration_in_the_readme_passes_the_check_as_it_stands(tmp_path, default_ports):
    (example,) = blocks(ROOT / "README.md", "toml")
    path = tmp_path / "gate.toml"
    path.write_text(example)
    done = CliRunner(env={"COLUMNS": "300"}).invoke(edge, ["check", str(path)])
    assert done.exit_code == 0, done.output


def test_the_demo_prints_what_the_readme_shows(tmp_path, default_ports):
    """Line by line but for its table; times, ids and counts are any; there may be more events."""

    def simplify(text):
        lines = [line.strip() for line in text.splitlines() if line[:1] not in "┏┃┡│└ "]
        text = re.sub(r"\[\w+\]", "[ID]", "\n".join(dict.fromkeys(filter(None, lines))))
        return re.sub(r"\d\d:\d\d:\d\d", "TIME", text).splitlines()

    shown = next(text for text in blocks(ROOT / "README.md", "text") if "edge-demo.png" in text)
    done = subprocess.run(
        [sys.executable, "-m", "edge", "demo", "--seconds", "20"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    printed, expected = simplify(done.stdout), simplify(shown)
    assert set(expected) <= set(printed), done.stderr
    assert [line for line in printed if line in expected or "TIME" not in line] == expected


def test_no_command_of_a_page_writes_over_a_file_that_it_reads():
    for path in DOCUMENTS:
        sources = set(re.findall(r'path = "([^"]+)"', text_of(path)))
        for line in "".join(blocks(path, "sh")).splitlines():
            call = re.sub(r"\s#.*", "", line).split()
            if call[:3] == ["edge", "events", "export"]:
                assert call[-1] not in sources, (path, line)


def test_the_readme_fits_on_two_screens_and_says_once_what_is_not_measured():
    readme = text_of(ROOT / "README.md")
    assert len(readme.splitlines()) <= 130
    assert len(re.findall(r"not\s+been\s+measured|not measured", readme)) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_an_example_configuration_is_right(path):
    config_file.load(path)


def test_the_plug_in_of_the_how_to_works(tmp_path):
    (code,) = blocks(ROOT / "docs" / "how-to" / "plugins.md", "python")
    module = tmp_path / "acme_counts.py"
    module.write_text(code)
    spec = importlib.util.spec_from_file_location("acme_counts", module)
    sys.modules["acme_counts"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["acme_counts"])
    try:
        sink = plugins.create("sinks", {"kind": "acme_counts:Options", "folder": str(tmp_path)})
        golden = json.loads(text_of(ROOT / "tests" / "golden" / "detections.json"))
        from edge.wire.schema import Message, decode

        body = decode("v1/detections/door/", json.dumps(golden).encode())
        assert json.loads(encode(body)) == golden
        with sink.open():
            sink.send([Message("v1/detections/door/", body)])
        assert (tmp_path / golden["camera"]).read_text() == f"{len(golden['objects'])}\n"
    finally:
        del sys.modules["acme_counts"]


# --- subscribers ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endpoint():
    """A daemon that publishes."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    tree = {
        "models": {"detector": "zoo:detect-nano"},
        "cameras": [{"name": "door", "source": {"kind": "synthetic", "size_wh": [640, 360]}}],
        "sinks": [{"kind": "zeromq", "bind": endpoint}],
        "http": {"port": 0},
    }
    daemon = Daemon(config_file.parse(tree))
    thread = threading.Thread(target=daemon.run)
    thread.start()
    yield endpoint
    daemon.stop()
    thread.join(10)


def first_line(command, **options):
    """What a subscriber prints first about an object."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as program:
        watchdog = threading.Timer(30, program.kill)
        watchdog.start()
        try:
            for line in program.stdout:
                if "person" in line:
                    return line
        finally:
            watchdog.cancel()
            program.kill()
    return ""


def test_the_python_subscriber_prints_what_is_detected(endpoint):
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / "subscriber.py"), endpoint]
    assert "door" in first_line(command, env=environ)


def test_the_javascript_subscriber_prints_what_is_detected(endpoint, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js with npm")
    shutil.copy(ROOT / "examples" / "subscriber.mjs", tmp_path)
    install = ["npm", "install", "--no-audit", "--no-fund", "zeromq@6"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip("npm cannot install zeromq here")
    assert "door" in first_line(["node", "subscriber.mjs", endpoint], cwd=tmp_path)


def test_the_code_in_the_readme_prints_what_is_detected(endpoint, tmp_path):
    (code,) = blocks(ROOT / "README.md", "python")
    script = tmp_path / "readme.py"
    script.write_text(code.replace("tcp://127.0.0.1:5555", endpoint))
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    assert "door" in first_line([sys.executable, str(script)], env=environ)


def test_what_a_second_daemon_prints_is_documented_word_for_word():
    page = text_of(ROOT / "docs/how-to/troubleshoot.md")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as http:
            listen("127.0.0.1", port)
        sink = plugins.create("sinks", {"kind": "zeromq", "bind": f"tcp://127.0.0.1:{port}"})
        with pytest.raises(SinkError) as zeromq, sink.open():
            pass
    assert http.value.problem.replace(str(port), "9470") in page
    assert zeromq.value.problem.replace(str(port), "5555") in page
    tutorial = text_of(ROOT / "docs/tutorials/first-name.md")
    assert "troubleshoot.md#a-second-daemon-on-the-same-machine" in tutorial
