"""The JSON Schema of the messages, generated from their types.

``python -m edge.wire.json_schema`` writes ``edge-1.schema.json`` beside this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from edge.docstrings import parse_docstring
from edge.wire import schema, topics
from edge.wire.schema import BODIES, SCHEMA

PATH = Path(__file__).with_name("edge-1.schema.json")


def generate() -> dict[str, Any]:
    """The schema as a tree; ``topics`` maps each topic to its definition."""
    references, definitions = msgspec.json.schema_components(
        BODIES.values(), ref_template="#/$defs/{name}"
    )
    for name, definition in definitions.items():
        _describe(definition, getattr(schema, name))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Edgewatch messages, {SCHEMA}",
        "topics": {
            f"{topics.VERSION}{family}/": reference["$ref"]
            for family, reference in zip(BODIES, references, strict=True)
        },
        "anyOf": list(references),
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """The text of the schema file."""
    return json.dumps(generate(), indent=2) + "\n"


def _describe(definition: dict[str, Any], struct: type) -> None:
    """Describe a struct by the head of its docstring, its fields by the attributes."""
    definition["description"] = parse_docstring(struct)[0]
    for base in reversed(struct.__mro__):
        for name, text in parse_docstring(base)[1].items():
            if name in definition["properties"]:
                definition["properties"][name].setdefault("description", text)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
