"""The project's own papers: what they promise is there."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from typer.main import get_command

import edge
from edge import config_file

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ["runtime", "dev"]
APPS = {
    "edge": "edge.cli", "edge-train": "trainers.commands.app", "edge-deploy": "deploy.commands.app"
}  # fmt: skip


def blocks(language):
    """Code blocks of the README."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def named_commands():
    """``edge run`` and the like, wherever the README shows code."""
    code = re.findall(r"`([^`\n]+)`", README) + "\n".join(blocks("sh")).splitlines()
    calls = [re.findall(r"(?:^|[\s/])(edge(?:-\w+)?) ([a-z]+)\b", text) for text in code]
    return sorted({call for found in calls for call in found})


@pytest.mark.parametrize(("program", "command"), named_commands())
def test_a_command_in_the_readme_exists(program, command):
    app = importlib.import_module(APPS[program]).app
    assert command in get_command(app).commands


def test_every_command_of_edge_is_in_the_readme():
    from edge.cli import app

    named = {command for program, command in named_commands() if program == "edge"}
    assert named == set(get_command(app).commands)


@pytest.mark.parametrize("target", re.findall(r"\bmake ([a-z]+)\b", "\n".join(blocks("sh"))))
def test_a_make_target_in_the_readme_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_configuration_in_the_readme_is_right():
    (example,) = blocks("toml")
    settings = config_file.parse(tomllib.loads(example))
    assert [camera.name for camera in settings.cameras] == ["door", "yard"]


def test_the_message_in_the_readme_follows_the_schema():
    (example,) = blocks("json")
    schema = json.loads((ROOT / "edge/wire/edge-1.schema.json").read_text(encoding="utf-8"))
    definitions = {"$defs": schema["$defs"], "$ref": "#/$defs/DetectionsMessage"}
    jsonschema.validate(json.loads(example), definitions)


def test_what_the_client_example_imports_exists():
    (example,) = blocks("python")
    exec(compile(example.split("\n\n")[0], "README.md", "exec"), {})
    compile(example, "README.md", "exec")


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert released[0] == edge.__version__


# --- locks ------------------------------------------------------------------------------------


def pinned(lock):
    """Name -> version."""
    text = (ROOT / ".ci" / f"{lock}.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$", text, re.MULTILINE))


def wanted(lock):
    extras = PROJECT["optional-dependencies"]
    chosen = ["demo"] if lock == "runtime" else [name for name in extras if name != "tensorrt"]
    lines = [*PROJECT["dependencies"], *(line for extra in chosen for line in extras[extra])]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_covers_what_the_project_needs(lock):
    versions = {name: Version(version) for name, version in pinned(lock).items()}
    for requirement in wanted(lock):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not locked: run make lock"
        assert versions[name] in requirement.specifier, f"{name} is locked too old: run make lock"
    assert "setuptools" in versions, "the build backend is locked too"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_packages_and_hashes_and_nothing_else(lock):
    text = (ROOT / ".ci" / f"{lock}.lock").read_text(encoding="utf-8")
    for line in text.splitlines():
        pin = re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.+!]* \\", line)
        digest = re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        assert pin or digest or not line or line.startswith("# The following packages"), line


def test_the_runtime_does_not_pull_the_trainer():
    assert not {"tensorflow", "keras", "pytest", "onnx"} & set(pinned("runtime"))


def test_both_locks_agree():
    small, large = pinned("runtime"), pinned("dev")
    assert {name: large.get(name) for name in small} == small
