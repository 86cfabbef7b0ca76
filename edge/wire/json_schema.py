"""The JSON Schema of the messages, made from their types.

``python -m edge.wire.json_schema`` writes it anew to ``edge-1.schema.json`` beside this file.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from edge.wire import schema, topics
from edge.wire.schema import BODIES, SCHEMA

PATH = Path(__file__).with_name("edge-1.schema.json")


def generate() -> dict[str, Any]:
    """The schema as a tree; ``topics`` says which definition belongs to which topic."""
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
    """The schema as it lies in the file."""
    return json.dumps(generate(), indent=2) + "\n"


def _describe(definition: dict[str, Any], struct: type) -> None:
    """Take the docstring apart: its head for the struct, its attributes for the fields."""
    definition["description"] = _parts(struct)[0]
    for base in reversed(struct.__mro__):
        for name, said in _parts(base)[1].items():
            if name in definition["properties"]:
                definition["properties"][name].setdefault("description", said)


def _parts(struct: type) -> tuple[str, dict[str, str]]:
    head, _, attributes = inspect.cleandoc(struct.__doc__ or "").partition("\n\nAttributes:\n")
    said = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE)
    return head, {name: re.sub(r"\s+", " ", text) for name, text in said}


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
