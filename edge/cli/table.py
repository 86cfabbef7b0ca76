"""Tables for terminals of any width: nothing is cut off, no word is broken but a very long one.

Where a table does not fit, its lines are left out; where that is not enough, each row becomes a
block with one line per column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table
from rich.text import Text

from edge.printable import escape_controls

LONG_WORD = 16  # characters; an address or a path may be folded beyond
LONG_NAME = 28  # the same for the first column, which names the row


class FoldingTable(Table):
    """A table that adapts to the width of the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it with lines, without lines, or row by row."""
        widths = [
            _measure(column, LONG_WORD if number else LONG_NAME)
            for number, column in enumerate(self.columns)
        ]
        if _sum_of_least(widths) + self._frame_width > options.max_width:
            self.box, self.pad_edge = None, False
        spare = options.max_width - _sum_of_least(widths) - self._frame_width
        if spare < 0 and self.row_count:
            yield from self._draw_blocks()
            return
        for column, width in zip(self.columns, _share_out(widths, spare), strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    @property
    def _frame_width(self) -> int:
        """Lines and padding."""
        return self._extra_width + sum(map(self._get_padding_width, range(len(self.columns))))

    def _draw_blocks(self) -> RenderResult:
        if self.title:
            yield self.title
        for number, row in enumerate(zip(*(column.cells for column in self.columns), strict=True)):
            if number:
                yield ""
            block = Table.grid(Column(), Column(overflow="fold"), padding=(0, 2, 0, 0))
            for column, cell in zip(self.columns, row, strict=True):
                block.add_row(column.header, cell)
            yield block
        if self.caption:
            yield self.caption


def make_table(
    *headings: str, title: str = "", right: Sequence[str] = (), lines: bool = True
) -> FoldingTable:
    """Create a table.

    Args:
        *headings: A heading for each column.
        title: A line above it.
        right: The headings of the columns that are aligned to the right.
        lines: Draw lines between the cells if there is room.
    """
    columns = (make_column(heading, right=heading in right) for heading in headings)
    table = FoldingTable(*columns, title=to_cell(title) if title else None)
    if not lines:
        table.box, table.pad_edge = None, False
    return table


def make_column(heading: str, *, right: bool = False, min_width: int = 0) -> Column:
    """Create a column."""
    return Column(
        heading, justify="right" if right else "left", overflow="fold", min_width=min_width
    )


def to_cell(text: str) -> Text:
    """Text that is neither markup nor for the terminal to obey; it may have several lines."""
    return Text(escape_controls(text, keep="\n"))


@dataclass(frozen=True, slots=True)
class Width:
    """Of a column, in characters: with every word whole but very long ones, and on one line."""

    least: int
    natural: int


def _measure(column: Column, long_word: int) -> Width:
    cells = (column.header, *column.cells)
    texts = [
        cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain
        for cell in cells
    ]
    words = [min(cell_len(word), long_word) for text in texts for word in text.split()]
    lines = [cell_len(line) for text in texts for line in text.splitlines()]
    least = max(column.min_width or 0, *words, 0)
    return Width(least, max(least, *lines, 0))


def _sum_of_least(widths: Sequence[Width]) -> int:
    return sum(width.least for width in widths)


def _share_out(widths: Sequence[Width], spare: int) -> list[int]:
    """Widths that share the spare room; what needs little comes first."""
    shared = [width.least for width in widths]
    wants = sorted((width.natural - width.least, row) for row, width in enumerate(widths))
    for turn, (want, row) in enumerate(wants):
        given = max(min(want, spare, max(spare // (len(wants) - turn), 4)), 0)
        shared[row] += given
        spare -= given
    return shared
