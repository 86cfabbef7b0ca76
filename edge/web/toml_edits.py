"""Small changes of a TOML text: what is not changed stays as it is written, comments too."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from typing import Any

from edge.web.toml_syntax import Item, Statement, Value

_REST = re.compile(r"[ \t]*(?:#[^\n]*)?\n")  # of a line, behind a value


class TomlEdits:
    """Changes of a text that are gathered, and then made at once.

    Args:
        text: Valid TOML that ends with a line end.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._changes: list[tuple[int, int, str]] = []
        self._tables: dict[int, str] = {}

    def apply(self) -> str:
        """The text with its changes."""
        parts, at = list[str](), 0
        changes = list(self._changes)
        for offset, tables in self._tables.items():
            below = "\n" if self.text.startswith("[", offset) else ""
            changes.append((offset, offset, tables + below))
        for start, end, new in sorted(changes, key=lambda change: change[:2]):
            parts += [self.text[at:start], new]
            at = max(at, end)
        return "".join([*parts, self.text[at:]])

    # --- lines ------------------------------------------------------------------------------------

    def insert_line(self, after: Statement, line: str) -> None:
        """Write an assignment below another statement, as far to the right."""
        indent = self._indent(after.start)
        self._changes.append((after.end, after.end, f"{indent}{line}\n"))

    def insert_table(self, offset: int, lines: str) -> None:
        """Write a table with its header where another statement ends, between blank lines."""
        self._tables[offset] = self._tables.get(offset, "") + f"\n{lines}"

    def remove_lines(self, start: int, end: int) -> None:
        """Remove whole lines, and the blank line above them where one is below as well."""
        if self.text.endswith("\n\n", 0, start) and self.text[end : end + 1] in ("\n", ""):
            start -= 1
        self._changes.append((start, end, ""))

    # --- values -----------------------------------------------------------------------------------

    def change_value(self, value: Value, former: object, wanted: object) -> None:
        """Write another value; of an array only the elements that differ."""
        if former == wanted:
            return
        if value.items and isinstance(former, list) and isinstance(wanted, list):
            self._change_elements(value, value.items, former, wanted)
        elif value.items is not None and isinstance(wanted, list):
            self.insert_items(value, [write_value(each) for each in wanted])
        else:
            self._changes.append((value.start, value.end, write_value(wanted)))

    def _change_elements(
        self, value: Value, items: Sequence[Item], former: Sequence[Any], wanted: Sequence[Any]
    ) -> None:
        matcher = SequenceMatcher(None, _freeze(former), _freeze(wanted), autojunk=False)
        gone = set[int]()
        for _, begin, end, at, to in matcher.get_opcodes():
            for row, new in zip(range(begin, end), wanted[at:to], strict=False):
                self.change_value(items[row].value, former[row], new)
            paired = min(end - begin, to - at)
            gone |= set(range(begin + paired, end))
            if new_elements := wanted[at + paired : to]:
                texts = [write_value(each) for each in new_elements]
                self.insert_items(value, texts, begin + paired - 1)
        self.remove_items(value, gone)

    def insert_items(self, value: Value, new: Sequence[str], after: int = -1) -> None:
        """Write elements of an array or entries of an inline table.

        Args:
            value: The array or inline table.
            new: The texts.
            after: Row of the one that they follow, which stays; -1 if they come first, before
                those that stay.
        """
        items = value.items or ()
        if not items:
            self._fill(value, new)
        elif after >= 0:
            item = items[after]
            if self._is_alone(item):
                if item.end == item.value.end:
                    self._changes.append((item.end, item.end, ","))
                end, indent = self.text.index("\n", item.end) + 1, self._indent(item.start)
                self._changes.append((end, end, "".join(f"{indent}{each},\n" for each in new)))
            else:
                at = item.value.end
                self._changes.append((at, at, "".join(f", {each}" for each in new)))
        elif self._is_alone(items[0]):
            at, indent = value.start + 1, self._indent(items[0].start)
            self._changes.append((at, at, "".join(f"\n{indent}{each}," for each in new)))
        else:
            at = items[0].start
            self._changes.append((at, at, "".join(f"{each}, " for each in new)))

    def _fill(self, value: Value, new: Sequence[str]) -> None:
        """Write what is in brackets in which nothing is but comments."""
        inner = self.text[value.start + 1 : value.end - 1]
        if "\n" in inner:
            at = self.text.rindex("\n", 0, value.end) + 1
            self._changes.append((at, at, "".join(f"  {each},\n" for each in new)))
        else:
            space = " " if self.text[value.start] == "{" else ""
            text = f"{space}{', '.join(new)}{space}"
            self._changes.append((value.start + 1, value.end - 1, text))

    def remove_items(self, value: Value, rows: Collection[int]) -> None:
        """Remove elements of an array or entries of an inline table, and the lines of their own."""
        items = value.items or ()
        kept = [row for row in range(len(items)) if row not in rows]
        tail = kept[-1] + 1 if kept else len(items)
        if kept and tail < len(items):  # from the value before, so that no comma is left
            start, end = items[kept[-1]].value.end, items[-1].end
            if "\n" not in self.text[start:end]:
                self._changes.append((start, end, ""))
                rows = {row for row in rows if row < tail}
        for row in rows:
            item = items[row]
            start, end = item.start, item.end
            if self._is_alone(item):
                start, end = self._find_line(start), self.text.index("\n", end) + 1
            elif row + 1 < len(items) and not self.text[end : items[row + 1].start].strip(" \t"):
                end = items[row + 1].start
            self._changes.append((start, end, ""))

    def has_comments(self, value: Value) -> bool:
        """Whether there are comments in an array beside its elements, on lines of their own."""
        at, between = value.start, ""
        for item in value.items or ():
            between += self.text[at : item.start]
            at = self.text.find("\n", item.end) if self._is_alone(item) else item.end
        return "#" in between + self.text[at : value.end]

    # --- where things stand -----------------------------------------------------------------------

    def _find_line(self, offset: int) -> int:
        return self.text.rfind("\n", 0, offset) + 1

    def _indent(self, offset: int) -> str:
        line = self._find_line(offset)
        return self.text[line : len(self.text) - len(self.text[line:].lstrip(" \t"))]

    def _is_alone(self, item: Item) -> bool:
        """Whether nothing else is on the lines of an item."""
        before = self.text[self._find_line(item.start) : item.start]
        return not before.strip(" \t") and _REST.match(self.text, item.end) is not None


def _freeze(values: Sequence[Any]) -> list[Any]:
    """What can be compared by hash; 0 and 0.0 are the same."""
    return [tuple(_freeze(each)) if isinstance(each, list) else each for each in values]


def write_value(value: object) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(write_value, value))}]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key} = {write_value(each)}" for key, each in value.items()) + " }"
        )
    return repr(value)
