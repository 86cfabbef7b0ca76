"""Docstrings as data: what schemas and reference pages are generated from."""

from __future__ import annotations

import inspect
import re


def parse_docstring(thing: type) -> tuple[str, dict[str, str]]:
    """The head of a class's docstring, and its ``Attributes:`` by name, each on one line."""
    head, _, attributes = inspect.cleandoc(thing.__doc__ or "").partition("\n\nAttributes:\n")
    pairs = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE)
    return head, {name: re.sub(r"\s+", " ", text) for name, text in pairs}
