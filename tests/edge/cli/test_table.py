"""Tables: nothing is lost or broken, however narrow the terminal."""

import io

import pytest
from rich.console import Console

from edge.cli.models import list_models
from edge.cli.report import show_report
from edge.cli.table import make_table, to_cell
from edge.cli.watch import Board
from edge.diagnostics.finding import Finding

WIDTHS = [40, 60, 80, 120]
ROWS = [
    ("zoo:detect-nano-wide", "detect", "LicenseRef-research-only", "not pulled"),
    ("catalog:ultraface-rfb-320", "faces", "MIT", "shipped with a long explanation of why it is"),
]


def render(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_name_is_whole_and_nothing_is_cut_off(width, lines):
    table = make_table("model", "task", "license", "state", title="/the/folder", lines=lines)
    for row in ROWS:
        table.add_row(*row)
    shown = render(table, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    for row in ROWS:
        assert row[0] in shown
        for word in " ".join(row).split():
            assert word in shown or word == "LicenseRef-research-only"
    assert "/the/folder" in shown


def test_a_table_with_room_for_it_has_lines_and_one_line_per_row():
    table = make_table("name", "state")
    table.add_row("door", "online")
    assert [line.strip() for line in render(table, 60).splitlines()][-2] == "│ door │ online │"


def test_a_word_that_is_longer_than_a_narrow_terminal_is_folded():
    word = "x" * 90
    table = make_table("part", "detail")
    table.add_row("python", to_cell(word))
    shown = render(table, 40)
    assert shown.count("x") == 90
    assert max(map(len, shown.splitlines())) <= 40


@pytest.mark.parametrize("width", WIDTHS)
def test_reports_and_listings_and_live_tables_hold_to_it(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    show_report([Finding("python", False, "3.11 at " + "/a/b" * 9, "run systemd-timesyncd")], False)
    list_models()
    shown = capsys.readouterr().out
    assert "catalog:ultraface-rfb-320" in shown
    assert shown.count("/a/b") + shown.replace("\n", "").count("/a") >= 9
    board = Board("tcp://127.0.0.1:5555")
    row = board._row("entrance-north")
    row.state, row.reason = "offline", "rtsp://192.168.100.102:8554/main: Connection refused"
    shown += render(board.table(silent=True), width)
    assert "entrance-north" in shown
    assert "Connection" in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
