"""The table of promises is the one that the proofs hold, and every promise has its proof."""

from pathlib import Path

import pytest

from tests.proof.promises import (
    DOCUMENT,
    PROMISES,
    Ledger,
    Promise,
    read_rows,
    render_document,
)

PROOFS = Path(__file__).with_name("proof")


def test_the_document_has_every_promise_with_its_target():
    rows = read_rows(DOCUMENT.read_text())
    told = [(row["words"], row["proof"], row["target"]) for row in rows.values()]
    assert told == [(each.words, each.proof, each.target) for each in PROMISES.values()]


@pytest.mark.parametrize("name", PROMISES)
def test_every_promise_is_measured_by_the_proof_that_it_names(name):
    proof = PROMISES[name].proof
    folder = PROOFS.with_name(proof)
    files = folder.glob("*.py") if folder.is_dir() else [PROOFS / f"{proof}.py"]
    assert any(f'keep("{name}", ' in file.read_text() for file in files)


@pytest.mark.parametrize("figure", [5.1, float("nan"), float("inf")])
def test_a_figure_that_falls_short_fails_and_is_told(figure):
    ledger = Ledger()
    with pytest.raises(AssertionError, match="at most 5 s"):
        ledger.note("stop", figure)
    assert ledger.render()[0].startswith("BROKEN")


def test_the_worst_of_several_figures_is_told(tmp_path):
    ledger = Ledger()
    for figure in (1.0, 3.0, 2.0):
        ledger.note("stop", figure)
    for figure in (0.97, 0.99):
        ledger.note("bus rate", figure)
    assert ledger.figures == {"stop": 3.0, "bus rate": 0.97}
    broken = Ledger()
    for figure in (0.68, 0.52, 0.6):  # those that fall short, too
        with pytest.raises(AssertionError):
            broken.note("heads", figure)
    assert broken.figures == {"heads": 0.52}
    ledger.save(tmp_path / "measured.json")
    other = Ledger()
    other.note("stop", 1.0)
    other.save(tmp_path / "measured.json")
    assert '"bus rate"' in (tmp_path / "measured.json").read_text()


def test_figures_that_were_not_measured_again_stay_in_the_document():
    first = render_document({"stop": [1.5, "2026-01-01"]}, "")
    second = render_document({"held": [7.0, "2026-01-02"]}, first)
    rows = read_rows(second)
    assert rows[PROMISES["stop"].words]["figure"] == "1.5 s"
    assert rows[PROMISES["held"].words]["figure"] == "**7 s**"
    assert rows[PROMISES["blind"].words]["figure"] == "not measured"


def test_nan_keeps_no_promise():
    assert not Promise("x", "y", 1).holds(float("nan"))
    assert not Promise("x", "y", 1, is_most=False).holds(float("nan"))
