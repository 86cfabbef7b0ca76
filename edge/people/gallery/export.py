"""Export: everything a gallery holds about one person, for that person to read."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Any

from edge.people.gallery.audit_log import Action
from edge.people.gallery.store import GalleryStore


def export_person(store: GalleryStore, name: str) -> dict[str, Any]:
    """Everything that is stored about a person, in plain text: handle it with care.

    Negative templates are only counted: they show other people.
    """
    with store.database.writing():
        record = store.read_intact(store.get_id(name))
        person = record.person
        store.audit.append(store.clock(), Action.EXPORT, person.id)
        entries = [asdict(entry) for entry in store.audit.entries() if entry.person == person.id]
        embedder = store.metadata.embedder().name
    details = asdict(person.details)
    details["boxes"] = list(person.details.boxes)
    return {
        "id": person.id,
        **details,
        "state": str(person.state),
        "embedder": embedder,
        "templates_float32_base64": [
            base64.b64encode(row.astype("<f4").tobytes()).decode() for row in record.own
        ],
        "audit": entries,
    }
