"""The report of a run: one page that stands by itself, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from edge import __version__
from tests.proof.promises import PROMISES, Ledger
from tests.soak.chart import Line, draw_chart, draw_marks
from tests.soak.outcome import SETTLED_S, Outcome
from tests.soak.trend import Trend
from tests.soak.usage import Usage

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 900px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem .2rem 0;
text-align: left; vertical-align: top } td.n, th.n { text-align: right }
figure { margin: 1.5rem 0 } figure p { margin: 0 } svg { width: 100% }
svg text { font-size: 12px; fill: currentColor } .grid { stroke: #8884 }
.broken { color: #d1242f; font-weight: 600 } code { font-size: 13px }
"""


def write_report(folder: Path, outcome: Outcome, ledger: Ledger) -> Path:
    """Write both; where the page is."""
    folder.mkdir(parents=True, exist_ok=True)
    content = asdict(outcome) | {
        "version": __version__,
        "promises": {
            name: {"figure": figure, "target": PROMISES[name].target,
                   "holds": PROMISES[name].holds(figure)}
            for name, figure in ledger.figures.items()
        },
    }  # fmt: skip
    (folder / "soak.json").write_text(json.dumps(content, indent=1, default=_jsonable) + "\n")
    page = folder / "soak.html"
    page.write_text(render_page(outcome, ledger))
    return page


def _jsonable(value: object) -> object:
    return dict(value) if hasattr(value, "keys") else list(value)


def render_page(outcome: Outcome, ledger: Ledger) -> str:
    """The page."""
    title = f"Soak, seed {outcome.seed}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>",
        f"<style>{_STYLE}</style><h1>{title}</h1>",
        f"<p>{escape(describe(outcome))}</p>",
        *_render_verdicts(ledger),
        *_render_charts(outcome),
        *_render_messages(outcome),
        *_render_kept(outcome),
        *_render_log(outcome),
        "</html>\n",
    ]
    return "\n".join(parts)


def describe(outcome: Outcome) -> str:
    """How it went, in a sentence."""
    minutes, planned = outcome.lasted_s / 60, outcome.planned_s / 60
    end = f"{minutes:.0f} minutes"
    if not outcome.is_whole:
        end = f"ENDED EARLY, after {minutes:.1f} of {planned:.0f} minutes: {outcome.end}"
    return (
        f"Edgewatch {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores; "
        f"{len(outcome.done)} acts drawn from seed {outcome.seed}; {end}."
    )


def _render_verdicts(ledger: Ledger) -> Iterator[str]:
    rows = []
    for name, promise in PROMISES.items():
        if promise.proof != "soak":
            continue
        figure = ledger.figures.get(name)
        shown, word, kind = "not measured", "", ""
        if figure is not None:
            holds = promise.holds(figure)
            shown, word = promise.show(figure), "kept" if holds else "BROKEN"
            kind = "" if holds else "broken"
        rows.append((promise.words, promise.target, shown, f'<span class="{kind}">{word}</span>'))
    yield _table(("promise", "target", "measured", ""), rows, raw=(3,))


def _render_charts(outcome: Outcome) -> Iterator[str]:
    hours = max(outcome.lasted_s, 60) / 3600
    usages = outcome.usages

    def line(name: str, field: str, unit: float = 1) -> Line:
        return Line(name, [(u.at_s / 3600, getattr(u, field) / unit) for u in usages])

    def through(field: str, unit: float = 1) -> list[Line]:
        trend = outcome.trends.get(field)
        if trend is None:
            return []
        ends = ((at_h, (trend.begin + trend.slope * at_h) / unit)
                for at_h in (SETTLED_S / 3600, hours))  # fmt: skip
        return [Line(_tell_slope(trend, unit), list(ends), is_dashed=True)]

    yield draw_chart(
        "Memory, MB", [line("anonymous", "anonymous_bytes", 1e6),
                       *through("anonymous_bytes", 1e6),
                       line("resident (RSS)", "resident_bytes", 1e6),
                       line("proportional (PSS)", "proportional_bytes", 1e6)], hours,
    )  # fmt: skip
    yield draw_chart("Anonymous memory, MB, its scale cut off",
                     [line("anonymous", "anonymous_bytes", 1e6), *through("anonymous_bytes", 1e6)],
                     hours, from_zero=False)  # fmt: skip
    for title, field in (("Threads", "threads"), ("File descriptors", "files")):
        yield draw_chart(title, [line(title.lower(), field), *through(field)], hours)
    yield draw_chart("CPU, cores", [Line("cores in use", list(_find_cores(usages)))], hours)
    yield draw_chart("Disk, MB", [line("the node's folder", "disk_bytes", 1e6)], hours)
    yield draw_chart("Messages that wait for NATS", [line("in the spool", "waiting")], hours)
    rows = {
        family: [
            (done.at_s / 3600, f"{done.name}, {done.lasts_s:.0f} s")
            for done in outcome.done if done.family == family
        ]
        for family in dict.fromkeys(done.family for done in outcome.done)
    }  # fmt: skip
    yield "<h2>What happened</h2>" + draw_marks(rows, hours)
    counts = Counter((done.family, done.name) for done in outcome.done)
    yield _table(
        ("family", "act", "times"), [(*key, count) for key, count in sorted(counts.items())]
    )


def _tell_slope(trend: Trend, unit: float) -> str:
    slope, low, high = (value / unit for value in (trend.slope, trend.low, trend.high))
    return f"{slope:+.2f} an hour (95 %: {low:+.2f} to {high:+.2f}), lowest of each minute"


def _find_cores(usages: Sequence[Usage]) -> Iterator[tuple[float, float]]:
    for before, after in zip(usages, usages[6:], strict=False):
        yield after.at_s / 3600, (after.cpu_s - before.cpu_s) / (after.at_s - before.at_s)


def _render_messages(outcome: Outcome) -> Iterator[str]:
    yield "<h2>Messages</h2>"
    names = ("sent", "received", "lost", "replayed", "unaccounted", "untrue", "unstored")
    heads = ("topic", "sent", "received", "reported lost", "replayed", "unaccounted",
             "lost, and received", "not in the stream")  # fmt: skip
    rows = [
        (account.topic, *(getattr(account, name) for name in names)) for account in outcome.accounts
    ]
    sums = [sum(row[column] for row in rows) for column in range(1, len(heads))]
    yield _table(heads, [*rows, ("all", *sums)])
    yield f"<p>{outcome.repeated} came more than once in the stream.</p>"


def _render_kept(outcome: Outcome) -> Iterator[str]:
    kept = outcome.kept
    yield (
        f"<h2>Recordings</h2><p>{kept.events} events, {kept.files} files, of which {kept.played} "
        "were played whole.</p>"
    )
    for words, found in (
        ("events without what they say is kept", kept.lacking),
        ("events that no message tells of", kept.untold),
        ("files that the index does not tell of, or tells otherwise", kept.strays),
        ("files that cannot be played whole", kept.damaged),
    ):
        shown = ", ".join(found[:20]) + (" ..." if len(found) > 20 else "")
        yield f"<p>{len(found)} {words}. <code>{escape(shown)}</code></p>"


def _render_log(outcome: Outcome) -> Iterator[str]:
    yield "<h2>Log</h2><p>Warnings and errors, numbers left out.</p>"
    ordered = sorted(outcome.lines.items(), key=lambda item: -item[1])
    yield _table(("times", "line"), [(count, line) for line, count in ordered[:100]])


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], raw: Sequence[int] = ()) -> str:
    """A table whose numbers stand on the right; columns ``raw`` are HTML."""
    head = "".join(f"<th>{escape(name)}" for name in heads)
    lines = [f"<table><tr>{head}"]
    for row in rows:
        cells = (
            f"<td{' class=n' if isinstance(cell, int | float) else ''}>"
            f"{cell if column in raw else escape(str(cell))}"
            for column, cell in enumerate(row)
        )
        lines.append("<tr>" + "".join(cells))
    return "\n".join([*lines, "</table>"])
