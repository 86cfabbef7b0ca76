"""The audit trail of a gallery: reading it, checking it, and noting comparisons."""

from __future__ import annotations

from edge.errors import GalleryError
from edge.people.gallery.audit_log import Action, AuditEntry
from edge.people.gallery.store import GalleryStore


class AuditTrail:
    """The audit log beside the records it speaks of."""

    def __init__(self, store: GalleryStore) -> None:
        self._store = store

    def entries(self) -> list[AuditEntry]:
        """All entries as they stand; see `verify`."""
        with self._store.database.reading():
            return list(self._store.audit.entries())

    def verify(self) -> int:
        """Check the log's chain, and that the gallery holds exactly the people it speaks of.

        Returns:
            The number of entries.

        Raises:
            GalleryError: The log or the records were tampered with.
        """
        with self._store.database.reading():
            count = self._store.audit.verify()
            expected: set[str] = set()
            for entry in self._store.audit.entries():
                if entry.action == Action.ENROLL:
                    expected.add(entry.person)
                elif entry.action in (Action.FORGET, Action.PURGE):
                    expected.discard(entry.person)
            differing = expected.symmetric_difference(self._store.records.ids())
        if differing:
            raise GalleryError(
                f"people came or went without an audit entry ({', '.join(sorted(differing))}): "
                "restore the gallery from a backup and find out who had access"
            )
        return count

    def note_comparison(self, person: str, similarity: float, *, same: bool) -> None:
        """Record that a photo was compared with ``person`` (an id)."""
        with self._store.database.writing():
            self._store.audit.append(
                self._store.clock(), Action.VERIFY, person,
                same=same, similarity=round(similarity, 3),
            )  # fmt: skip
