"""Model cards: what is known of a pulled model, as Markdown beside its file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge.models.catalog_entry import CatalogEntry


def format_card(entry: CatalogEntry, model: Path) -> str:
    """The card of an adopted model.

    Args:
        entry: What the catalog says of it.
        model: The adopted model's file.
    """
    width, height = entry.input_wh
    measured = f"\n\nBy Edgewatch: {entry.measured}." if entry.measured else ""
    return f"""# {entry.name}

Task `{entry.task}`, input {width}x{height}, adopted as `{entry.family}`. {entry.note}

## Data

Trained on: {entry.trained_on}. Nothing was trained by Edgewatch.

## License

{entry.license}, as declared by its publisher, of the weights.

## Measured

By its publisher: {entry.quality} ({entry.quality_source}).{measured}

## Origin

| file | SHA-256 |
|---|---|
{_format_origin(entry)}
{_format_adopted(model)}
"""


def describes(card: Path, model: Path) -> bool:
    """Whether a card is of a model with these bytes."""
    return _format_adopted(model).encode() in card.read_bytes()


def _format_adopted(model: Path) -> str:
    return f"| {model.name}, as adopted here | {hashlib.sha256(model.read_bytes()).hexdigest()} |"


def _format_origin(entry: CatalogEntry) -> str:
    package = entry.package
    if package is None:
        return f"| {entry.url} | {entry.sha256} |"
    archive = f"{package.archive_name}, by pip"
    return f"| {archive} | {package.sha256} |\n| {package.member} in it | {entry.sha256} |"
