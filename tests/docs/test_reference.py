"""The reference pages are those that the code generates, and they leave nothing out."""

import importlib.util
import re
from pathlib import Path

import pytest
from prometheus_client import Counter

from edge import config, plugins
from edge.docstrings import parse_docstring
from edge.service.metrics import Metrics
from edge.wire import json_schema

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)


def page(name):
    return (generate.FOLDER / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_page_is_what_the_code_generates(name):
    assert page(name) == generate.HEAD + generate.PAGES[name](), "run make reference"


def test_there_are_no_other_pages():
    assert {path.stem for path in generate.FOLDER.glob("*.md")} == set(generate.PAGES)


def tables():
    yield config.Config
    yield from (table for table, _ in generate._walk(config.Config))
    for folder in generate.PLUGINS:
        yield from (plugins.load(folder, kind).options for kind in plugins.kinds(folder))


@pytest.mark.parametrize("table", list(tables()), ids=lambda table: table.__module__)
def test_every_configuration_key_is_described_and_no_other(table):
    """Names, in the docstring that the reference is generated from."""
    assert set(parse_docstring(table)[1]) == set(table.model_fields)
    for key in table.model_fields:
        assert f"| `{key}` |" in page("configuration")


@pytest.mark.parametrize(
    ("value", "toml"),
    [
        (True, "true"),
        ("a", '"a"'),
        (1.0, "1"),
        (0.25, "0.25"),
        ((), "[]"),
        (None, ""),
        ({"kind": "onnx"}, '{ kind = "onnx" }'),
        (({"kind": "zeromq"},), '[{ kind = "zeromq" }]'),
    ],
)
def test_a_default_is_shown_as_toml(value, toml):
    assert generate.format_default(value) == toml


def test_every_command_and_option_is_described():
    text = page("commands")
    for name, command in generate.list_commands():
        assert f"### {name}\n" in text
        assert command.help, f"{name} has no help"
        section = text.partition(f"### {name}\n")[2].partition("\n### ")[0]
        for parameter in command.params:
            assert parameter.help or parameter.hidden or parameter.name == "help", (
                f"{name} {parameter.name} has no help"
            )
            for option in getattr(parameter, "opts", ()):
                if option.startswith("--") and option != "--help" and not parameter.hidden:
                    assert f"`{option}`" in section


def test_help_begins_with_an_imperative_and_ends_with_a_period():
    """`edge --help` reads as one list."""
    for name, command in generate.list_commands():
        sentence = " ".join(command.help.split("\n\n")[0].split())
        verb = sentence.split()[0]
        assert re.fullmatch(r"[A-Z][a-z]+", verb), name
        assert not verb.endswith("s") or verb in ("Process", "Discuss"), name
        assert sentence.endswith("."), name


def test_every_metric_is_described():
    metrics = Metrics()
    text = page("metrics")
    exposed = {
        f"{collector._name}{'_total' if isinstance(collector, Counter) else ''}"
        for collector in metrics.registry._collector_to_names
        if hasattr(collector, "_name")
    }
    named = {family.name.removesuffix("_info") for family in metrics.families}
    assert {name.removesuffix("_info") for name in exposed} == named
    assert all(f"| `{family.name}` |" in text for family in metrics.families)


def test_every_message_field_is_described():
    text = page("messages")
    for name, definition in json_schema.generate()["$defs"].items():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert all(f"| `{field}` |" in section for field in definition["properties"]), name


def test_the_commands_page_tells_defaults_of_arguments_and_what_a_former_name_is_now():
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    assert "edge watch [OPTIONS] [ENDPOINT]\n" in page
    assert "| `[ENDPOINT]` | `tcp://127.0.0.1:5555` |" in page
    take = page.partition("### edge-deploy engines take")[2].partition("### ")[0]
    assert "`edge-deploy engines trust`" in take
