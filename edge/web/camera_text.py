"""The text of a camera in a configuration, and changes of the zones, lines and masks in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edge.web.toml_edits import TomlEdits, write_value
from edge.web.toml_syntax import Item, Key, Statement, Value

Tree = dict[str, Any]
Pair = tuple[int | None, Tree | None]  # row of a table before, and what it becomes; None for none


def find_camera(statements: Sequence[Statement], row: int) -> CameraText:
    """Where a camera stands, below a header or in a list of inline tables."""
    count, own = -1, list[Statement]()
    for statement in statements:
        path = statement.table + statement.key
        if path == ("cameras",) and statement.value:
            items = statement.value.items or ()
            return CameraText((), items[row])
        count += statement.is_array and statement.table == ("cameras",)
        if count == row and path[0] == "cameras":
            own.append(statement)
    return CameraText(own, None)


@dataclass(frozen=True, slots=True)
class Place:
    """A value with the statement or the inline table that it stands in."""

    value: Value
    owner: Statement | Value
    row: int = 0  # in an inline table


@dataclass(frozen=True, slots=True)
class CameraText:
    """The text of a camera: its statements, or the inline table that it is."""

    statements: Sequence[Statement]
    inline: Item | None

    def line(self, text: str) -> int:
        """The number of its first line."""
        start = self.inline.start if self.inline else self.statements[0].start
        return text.count("\n", 0, start) + 1

    def change_tables(
        self, edits: TomlEdits, kind: str, former: Sequence[Tree], pairs: Sequence[Pair]
    ) -> None:
        """Write what became of zones or lines."""
        new = [table for row, table in pairs if row is None and table is not None]
        old = [(former[row], table, row) for row, table in pairs if row is not None]
        place = self._find((kind,))
        if place:
            items = place.value.items or ()
            for before, after, row in old:
                if after is not None:
                    _change_entries(edits, items[row].value, before, after)
            _change_rows(edits, place, {row for _, after, row in old if after is None}, new)
            return
        blocks = self._list_blocks(kind)
        for before, after, row in old:
            if after is None:
                edits.remove_lines(blocks[row][0].start, blocks[row][-1].end)
            else:
                _change_assignments(edits, blocks[row], before, after)
        if new and self.inline:
            self._add(edits, (), f"{kind} = {write_value(new)}")
        elif new:
            offset = blocks[-1][-1].end if blocks else self.statements[-1].end
            for table in new:
                lines = "".join(f"{key} = {write_value(value)}\n" for key, value in table.items())
                edits.insert_table(offset, f"[[cameras.{kind}]]\n{lines}")

    def change_masks(
        self, edits: TomlEdits, path: Key, former: list[Any], masks: list[Any]
    ) -> None:
        """Write other masks."""
        place = self._find(path)
        if former == masks:
            return
        if place is None:
            self._add(edits, path[:-1], f"masks = {write_value(masks)}")
        elif masks:
            edits.change_value(place.value, former, masks)
        else:
            _change_rows(edits, place, range(len(former)), [])

    def _find(self, path: Key) -> Place | None:
        """Where something of the camera is assigned."""
        if self.inline:
            return _find_entry(self.inline.value, path)
        for statement in self.statements:
            own = (*statement.table[1:], *statement.key)
            if statement.value and path[: len(own)] == own:
                if own == path:
                    return Place(statement.value, statement)
                if found := _find_entry(statement.value, path[len(own) :]):
                    return found
        return None

    def _list_blocks(self, kind: str) -> list[list[Statement]]:
        """The statements of each table ``[[cameras.zones]]`` or ``[[cameras.lines]]``."""
        blocks, block = list[list[Statement]](), list[Statement]()
        for statement in self.statements:
            if statement.value is None:
                block = []
                if statement.table == ("cameras", kind):
                    blocks.append(block)
            block.append(statement)
        return blocks

    def _add(self, edits: TomlEdits, table: Key, line: str) -> None:
        """Add an assignment to the camera, or to a table of it that there may not be yet."""
        if table:
            inner = self._find(table)
            if inner:
                edits.insert_items(inner.value, [line], len(inner.value.items or ()) - 1)
                return
        if self.inline:
            items = self.inline.value.items or ()
            if any(table and item.key[: len(table)] == table for item in items):
                line = f"{'.'.join(table)}.{line}"
            elif table:
                line = f"{'.'.join(table)} = {{ {line} }}"
            edits.insert_items(self.inline.value, [line], len(items) - 1)
            return
        there = [each for each in self.statements if each.table == ("cameras", *table)]
        dotted = [
            each for each in self.statements if table and each.table[1:] + each.key[:-1] == table
        ]
        if there:
            edits.insert_line(there[-1], line)
        elif dotted:
            edits.insert_line(dotted[-1], f"{'.'.join(table)}.{line}")
        else:
            edits.insert_table(
                self.statements[-1].end, f"[{'.'.join(('cameras', *table))}]\n{line}\n"
            )


def _find_entry(value: Value, path: Key) -> Place | None:
    """Where something is in an inline table, or in one of those in it."""
    for row, item in enumerate(value.items or ()):
        if item.key and item.key == path[: len(item.key)]:
            if item.key == path:
                return Place(item.value, value, row)
            return _find_entry(item.value, path[len(item.key) :])
    return None


def _change_entries(edits: TomlEdits, table: Value, before: Tree, after: Tree) -> None:
    """Change an inline table."""
    for key, value in _list_changes(before, after):
        if place := _find_entry(table, (key,)):
            edits.change_value(place.value, before[key], value)
    new = [f"{key} = {write_value(value)}" for key, value in after.items() if key not in before]
    if new:
        edits.insert_items(table, new, len(table.items or ()) - 1)


def _change_assignments(
    edits: TomlEdits, block: Sequence[Statement], before: Tree, after: Tree
) -> None:
    """Change a table below a header."""
    for key, value in _list_changes(before, after):
        for statement in block:
            if statement.key == (key,) and statement.value:
                edits.change_value(statement.value, before[key], value)
    for key, value in after.items():
        if key not in before:
            edits.insert_line(block[-1], f"{key} = {write_value(value)}")


def _list_changes(before: Tree, after: Tree) -> Iterator[tuple[str, object]]:
    return ((key, value) for key, value in after.items() if key in before)


def _change_rows(edits: TomlEdits, place: Place, gone: Iterable[int], new: Sequence[Tree]) -> None:
    """Remove elements of an array and add others at its end; an array without any goes as well."""
    gone = set(gone)
    kept = [row for row in range(len(place.value.items or ())) if row not in gone]
    if kept or new or edits.has_comments(place.value):
        edits.remove_items(place.value, gone)
        if new:
            edits.insert_items(
                place.value, [write_value(each) for each in new], max(kept, default=-1)
            )
    elif gone and isinstance(place.owner, Value):
        edits.remove_items(place.owner, {place.row})
    elif gone and isinstance(place.owner, Statement):
        edits.remove_lines(place.owner.start, place.owner.end)
