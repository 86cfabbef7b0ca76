"""Commands import what they need, when they are called: starting costs no library too many."""

import subprocess
import sys

import pytest
from typer.main import get_command

from edge.cli import app
from edge.cli.later import Later

HEAVY = {"numpy", "av", "cv2", "onnxruntime", "pydantic", "zmq", "prometheus_client", "uvicorn"}
PICTURES = {"numpy", "cv2", "pydantic"}
DAEMON = {*PICTURES, "av", "prometheus_client", "uvicorn"}
NEEDED = {
    "": set(),
    "setup": DAEMON,
    "run": DAEMON,
    "check": DAEMON,
    "demo": {*DAEMON, "zmq"},
    "doctor": PICTURES,
    "watch": {"pydantic", "zmq"},
    "detect": PICTURES,
    "classify": PICTURES,
    "explain": PICTURES,
    "bench": {*DAEMON, "zmq"},
    "enroll": PICTURES,
    "people": PICTURES,
    "keys": {"pydantic"},
    "open": {"pydantic"},
    "users": {"pydantic"},
    "events": {"pydantic", "av", "numpy", "zmq"},
    "fleet": {"pydantic", "numpy"},
    "hub": {"pydantic", "numpy"},
    "models": PICTURES,
}


def list_groups(command, name=""):
    if hasattr(command, "later"):
        yield name, command
        for word, inner in command.commands.items():
            yield from list_groups(inner, f"{name} {word}".lstrip())


GROUPS = dict(list_groups(get_command(app)))
LATER = [(group, word) for group, command in GROUPS.items() for word in command.later]


def loaded_by(arguments):
    """The heavy libraries that a run of `edge` imported."""
    program = (
        "import sys\n"
        "from edge.__main__ import main\n"
        "try: main()\n"
        f"finally: print(*(m for m in {sorted(HEAVY)!r} if m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("command", NEEDED)
def test_help_imports_only_what_the_command_needs(command):
    assert loaded_by([*command.split(), "--help"]) <= NEEDED[command]


def test_the_version_costs_no_library():
    assert loaded_by(["--version"]) == set()


def test_the_needs_of_every_command_are_known():
    assert set(NEEDED) - {""} == set(get_command(app).commands)


@pytest.mark.parametrize(("group", "word"), LATER)
def test_the_list_of_commands_says_what_the_help_of_each_says(group, word):
    summary, command = GROUPS[group].later[word].summary, GROUPS[group].commands[word]
    assert summary == command.help.partition("\n\n")[0]


@pytest.mark.parametrize(("group", "word"), LATER)
def test_a_command_that_needs_opencv_says_so(group, word):
    later = GROUPS[group].later[word]
    program = f"import sys, {later.target.partition(':')[0]}; print('cv2' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert later.opencv or done.stdout == "False\n"


def test_a_command_is_imported_once():
    commands = get_command(app).commands
    assert isinstance(commands.data["keys"], Later)
    assert commands["keys"] is commands["keys"] is commands.get("keys")
    assert not isinstance(commands.data["keys"], Later)


def test_a_mistyped_command_is_told():
    done = subprocess.run(
        [sys.executable, "-m", "edge", "wach"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "No such command 'wach'" in done.stderr
