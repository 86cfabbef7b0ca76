"""The promises that proofs measure, told at the end."""

import pytest

from tests.proof.promises import Ledger

LEDGER = Ledger()


@pytest.fixture
def keep():
    """`keep(name, figure)` measures a promise; it fails where the figure falls short."""
    return LEDGER.note


def pytest_terminal_summary(terminalreporter):
    if LEDGER.figures:
        terminalreporter.section("promises")
        terminalreporter.write_line("\n".join(LEDGER.render()))
        LEDGER.save()
