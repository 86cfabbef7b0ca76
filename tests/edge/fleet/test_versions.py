"""A box installs the version that the hub wants, once, and else the one before again."""

import contextlib
import http.server
import socket
import threading

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.errors import ConfigError, EdgeError
from edge.fleet.box_agent import BoxAgent
from edge.fleet.node_control import LOADED, NodeControl
from edge.fleet.records import Desired, Outcome
from edge.fleet.settings import FleetSettings, check_version, read_settings
from edge.fleet.store import Revision
from edge.wire.nats_connection import NatsServers
from tests.support.nats_server import nats_server

NOWHERE = NatsServers(("nats://127.0.0.1:1",))
CONFIG = """
[models]
detector = "zoo:detect-nano"
[[cameras]]
name = "{camera}"
source = {{ kind = "synthetic" }}
[http]
port = {port}
"""


class FakeNode(http.server.ThreadingHTTPServer):
    """Answers as the version that was installed when it was started last.

    `install` and `restart` are commands; versions that hold "bad" never become ready, one that is
    called "liar" says that it is another one, and nothing is ready with a camera called broken.
    """

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.folder, self.port = folder, self.server_address[1]
        for name in ("installed", "running"):
            (folder / name).write_text("1.0")
        self.configuration = folder / "gate.toml"
        self.configuration.write_text(self.text("a"))
        restart = f"cp {folder}/installed {folder}/running; cp {folder}/gate.toml {folder}/loaded"
        install = (
            f"echo {{version}} >> {folder}/tried; "
            "[ {version} != absent ] || { echo no such package >&2; exit 3; }; "
            f"printf %s {{version}} > {folder}/installed"
        )
        self.restart, self.install = ["sh", "-c", restart], ["sh", "-c", install]

    def text(self, camera):
        return CONFIG.format(camera=camera, port=self.port)

    @property
    def tried(self):
        """Versions in the order in which they were installed."""
        path = self.folder / "tried"
        return path.read_text().split() if path.exists() else []

    @property
    def runs(self):
        """The version that runs, and the camera it was started with."""
        text = (self.folder / "loaded").read_text()
        return (self.folder / "running").read_text(), text.split('name = "')[1].split('"')[0]


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        folder = self.server.folder
        version = (folder / "running").read_text()
        loaded = folder / "loaded"
        is_broken = loaded.exists() and "broken" in loaded.read_text()
        status = 200
        if self.path == "/readyz" and ("bad" in version or is_broken):
            status = 503
        self.send_response(status)
        self.end_headers()
        stated = "9.9" if version == "liar" else version
        self.wfile.write(f'edge_build_info{{version="{stated}"}} 1.0\n'.encode())

    def log_message(self, *_):
        pass


class QuickControl(NodeControl):
    """The node of a box, whose configurations are not tried out."""

    def check(self, candidate):
        return "it has mistakes" if "mistake" in candidate.read_text() else ""

    def was_replaced(self):
        return False


@pytest.fixture
def node(tmp_path):
    with FakeNode(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def agent_of(node, install=None, control=QuickControl, servers=NOWHERE):
    command = node.install if install is None else install
    return BoxAgent(
        "gate", servers, control(node.configuration, ["false"], node.restart, 1, command),
        lambda: False,
    )  # fmt: skip


def wanted(node, number, version, camera="a"):
    return Revision(number, Desired(node.text(camera), "ann", 0.0, version))


def outcome(agent):
    report = agent.describe()
    return report.revision, report.outcome, report.problem


def test_a_version_is_installed_and_the_node_started_with_it_once(node):
    agent = agent_of(node)
    agent.take(wanted(node, 1, "2.0"))
    agent.take(wanted(node, 1, "2.0"))
    assert outcome(agent) == (1, Outcome.APPLIED, "")
    assert (node.tried, node.runs) == (["2.0"], ("2.0", "a"))
    agent.take(wanted(node, 2, "2.0"))  # it is there
    assert outcome(agent) == (2, Outcome.APPLIED, "")
    assert node.tried == ["2.0"]


def test_a_text_is_tried_by_the_version_it_is_for(node):
    agent = agent_of(node)
    agent.take(wanted(node, 1, "2.0", "b"))
    assert outcome(agent) == (1, Outcome.APPLIED, "")
    assert node.runs == ("2.0", "b")


@pytest.mark.parametrize(
    ("version", "said"),
    [("2.0bad", "version 2.0bad: the node was not ready within 1 s"),
     ("liar", "version liar: the node says that it is version 9.9, and not liar"),
     ("absent", "ended with 3: no such package")],
)  # fmt: skip
def test_the_version_before_is_installed_where_the_new_one_does_not_work(node, version, said):
    agent = agent_of(node)
    agent.take(wanted(node, 1, version, "b"))
    agent.take(wanted(node, 1, version, "b"))
    number, became, problem = outcome(agent)
    assert (number, became) == (1, Outcome.ROLLED_BACK)
    assert said in problem
    assert (node.tried, node.runs) == ([version, "1.0"], ("1.0", "a"))
    assert node.configuration.read_text() == node.text("a")


@pytest.mark.parametrize(("camera", "said"), [("mistake", "it has mistakes"),
                                              ("broken", "was not ready")])  # fmt: skip
def test_the_version_before_comes_back_with_the_text_before(node, camera, said):
    agent = agent_of(node)
    agent.take(wanted(node, 1, "2.0", camera))
    assert outcome(agent)[1] is Outcome.ROLLED_BACK
    assert said in outcome(agent)[2]
    assert node.runs == ("1.0", "a")


@pytest.mark.parametrize(
    ("install", "version", "said"),
    [((), "2.0", "no command that installs it"), (None, "2.0;reboot", "is no version")],
)
def test_a_box_that_cannot_says_why_and_changes_nothing(node, install, version, said):
    agent = agent_of(node, install)
    agent.take(wanted(node, 1, version, "b"))
    assert outcome(agent)[1] is Outcome.REFUSED
    assert said in outcome(agent)[2]
    assert node.tried == []
    assert node.configuration.read_text() == node.text("a")


def test_a_box_without_command_takes_a_text_of_the_version_that_it_has(node):
    agent = agent_of(node, ())
    agent.take(wanted(node, 1, "1.0", "b"))
    assert outcome(agent) == (1, Outcome.APPLIED, "")


class KilledControl(QuickControl):
    """Ends the agent as a kill would: before or after the step that is named."""

    step = ""

    def install(self, version):
        return self._end("install", lambda: super(KilledControl, self).install(version))

    def start_as(self, version):
        return self._end("start", lambda: super(KilledControl, self).start_as(version))

    def load(self):
        return self._end("load", super().load)

    def _end(self, name, act):
        if self.step == f"before {name}":
            raise KeyboardInterrupt
        result = act()
        if self.step == f"after {name}":
            raise KeyboardInterrupt
        return result


@pytest.mark.parametrize(
    ("version", "step", "runs"),
    [
        ("2.0", "before install", ("1.0", "a")),  # tried once, and it was not to be
        ("2.0", "after install", ("2.0", "b")),  # as where the package restarts the agent
        ("2.0", "before start", ("2.0", "b")),
        ("2.0", "after start", ("2.0", "b")),
        ("2.0", "before load", ("2.0", "b")),
        ("2.0", "after load", ("2.0", "b")),
        ("2.0bad", "after install", ("1.0", "a")),
        ("2.0bad", "after start", ("1.0", "a")),
    ],
)
def test_an_agent_that_was_killed_goes_on_and_tries_nothing_twice(
    node, monkeypatch, version, step, runs
):
    monkeypatch.setattr(KilledControl, "step", step)
    with pytest.raises(KeyboardInterrupt):
        agent_of(node, control=KilledControl).take(wanted(node, 1, version, "b"))
    monkeypatch.setattr(KilledControl, "step", "")
    agent = agent_of(node, control=KilledControl)
    agent.recover()
    agent.take(wanted(node, 1, version, "b"))
    assert node.runs == runs
    assert node.tried.count(version) <= 1
    assert outcome(agent)[1] is (Outcome.APPLIED if runs[0] == "2.0" else Outcome.ROLLED_BACK)


def test_an_agent_that_was_killed_while_it_went_back_goes_back(node, monkeypatch):
    class Killed(KilledControl):
        def install(self, version):
            result = super().install(version)
            if version == "1.0" and self.step:
                raise KeyboardInterrupt
            return result

    monkeypatch.setattr(Killed, "step", "going back")
    with pytest.raises(KeyboardInterrupt):
        agent_of(node, control=Killed).take(wanted(node, 1, "2.0bad", "b"))
    monkeypatch.setattr(Killed, "step", "")
    agent = agent_of(node, control=Killed)
    agent.recover()
    assert outcome(agent)[1] is Outcome.ROLLED_BACK
    assert (node.runs, node.tried.count("2.0bad")) == (("1.0", "a"), 1)


@pytest.mark.parametrize("version", ["", "-x", "1 0", "1;reboot", "$(x)", "a/b", "x" * 65])
def test_what_is_no_version_never_becomes_a_word_of_a_command(version):
    with pytest.raises(ConfigError, match="is no version"):
        check_version(version)


def test_a_command_without_a_place_for_the_version_is_refused():
    table = {"box": "gate", "servers": ["nats://127.0.0.1"], "configuration": "c",
             "reload": ["true"], "restart": ["true"]}  # fmt: skip
    with pytest.raises(ValueError, match=r"must hold \{version\}"):
        FleetSettings.model_validate(table | {"upgrade": ["apt-get", "upgrade"]})


# --- from the hub -----------------------------------------------------------------------------


def edge(*arguments):
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(each) for each in arguments])
    return done.exit_code, done.output


class ReplacedControl(QuickControl):
    """A node whose agent is of the package that was installed."""

    def was_replaced(self):
        return True


class Running:
    """An agent in a thread, and what ended it."""

    def __init__(self, agent):
        self.error = None
        self._agent = agent
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self._agent.run()
        except EdgeError as error:
            self.error = error


def test_the_hub_has_versions_installed_and_an_agent_of_the_version_before_ends(node, tmp_path):
    (tmp_path / "gate-b.toml").write_text(node.text("b"))
    with nats_server(tmp_path / "nats") as server:
        hub = ["--server", server.url]
        assert edge("hub", "upgrade", "gate", "--version", "2.0", *hub)[0] == 1  # nothing is known
        servers = NatsServers((server.url,))
        for command, status, said, runs in (
            (["apply", tmp_path / "gate-b.toml", "gate", "--version", "2.0"], 0, "1 box runs",
             ("2.0", "b")),
            (["upgrade", "gate", "--version", "3.0bad"], 1, "rolled back: version 3.0bad",
             ("2.0", "b")),
            (["upgrade", "gate", "--version", "3.0"], 0, "1 box runs", ("3.0", "b")),
            (["rollback", "gate"], 1, "rolled back: version 3.0bad", ("3.0", "b")),
        ):  # fmt: skip
            running = Running(agent_of(node, control=ReplacedControl, servers=servers))
            running.thread.start()
            done, told = edge("hub", *command, "--wait", 60, *hub)
            running.thread.join(30)
            assert (done, said in told, node.runs) == (status, True, runs), told
            assert "start it anew" in str(running.error)


def test_a_version_that_is_none_is_refused_at_the_hub(tmp_path):
    status, said = edge(
        "hub", "upgrade", "gate", "--version", "1;x", "--server", "nats://127.0.0.1:1"
    )
    assert (status, "is no version" in said) == (78, True)


def test_joining_writes_the_command(tmp_path):
    file = tmp_path / "fleet.toml"
    command = "systemd-run --wait apt-get install edgewatch={version}"
    arguments = ["--server", "nats://127.0.0.1", "--file", file, "--upgrade", command]
    assert edge("fleet", "join", "gate", *arguments)[0] == 0
    assert read_settings(file).upgrade == tuple(command.split())


def test_a_program_that_was_replaced_is_noticed(node, monkeypatch):
    control = NodeControl(node.configuration, ["true"], ["true"], 1)
    assert not control.was_replaced()
    monkeypatch.setattr("edge.fleet.node_control.__version__", "0.0.1")
    assert control.was_replaced()


@pytest.mark.parametrize(
    ("said", "is_ready"),
    [
        (b'INFO {"server_id":"x"}\r\n', False),
        (f"HTTP/1.1 200 OK\r\n\r\n{LOADED} nonsense\n".encode(), True),
    ],
)
def test_another_program_at_the_port_of_the_node_is_no_node(tmp_path, said, is_ready):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            with contextlib.suppress(OSError):  # it is closed at the end
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        peer.recv(4096)
                        peer.sendall(said)

        threading.Thread(target=answer, daemon=True).start()
        file = tmp_path / "gate.toml"
        file.write_text(CONFIG.format(camera="a", port=listener.getsockname()[1]))
        control = NodeControl(file, ("true",), ("true",), 1)
        assert control.read_version() is None
        assert bool(control.load()) is not is_ready
