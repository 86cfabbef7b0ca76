"""The hub copy: a gallery of a box is put at what the hub of its fleet says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from edge.errors import GalleryError
from edge.people.gallery.audit_log import Action
from edge.people.gallery.membership import Lease, Membership
from edge.people.gallery.metadata import EmbedderId
from edge.people.gallery.names import normalize_name
from edge.people.gallery.records import (
    PersonDetails,
    RecordState,
    TemplateKind,
    compute_expiry_s,
)
from edge.people.gallery.store import GalleryStore, Generation
from edge.types import F32

_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, eq=False)
class CopiedPerson:
    """A person as the hub has enrolled them.

    Attributes:
        id: The hub's.
        digest: Of the record that was sent; another one means another record.
        details: Their templates are counted anew.
        own: ``(T, D)`` float32, unit length.
        negatives: ``(V, D)`` float32, unit length; V may be 0.
    """

    id: str
    digest: str
    details: PersonDetails
    own: F32
    negatives: F32


class HubCopy:
    """The part of a gallery that follows a hub.

    Args:
        changing: A transaction that makes a new generation.
    """

    def __init__(
        self,
        store: GalleryStore,
        changing: Callable[[], AbstractContextManager[Generation]],
    ) -> None:
        self._store, self._changing = store, changing

    def membership(self) -> Membership | None:
        """What the gallery follows; None for one of its own."""
        with self._store.database.reading():
            return self._store.metadata.membership(self._store.keys)

    def digests(self, *, intact: bool = False) -> dict[str, str]:
        """Those of everybody who was copied, by id; ``intact`` leaves out damaged records."""
        store = self._store
        with store.database.reading():
            known = store.metadata.copied(store.keys)
            present = [person for person in store.records.ids() if person in known]
            if intact:
                state = {person: store.read(person).person.state for person in present}
                present = [each for each in present if state[each] is not RecordState.DAMAGED]
            return {person: known[person] for person in present}

    def put(
        self,
        membership: Membership,
        everybody: Sequence[str],
        changed: Sequence[CopiedPerson],
        embedder: EmbedderId | None = None,
        calibration: Mapping[str, float] | None = None,
        *,
        change_embedder: bool = False,
    ) -> list[str]:
        """Forget all but ``everybody`` (ids), and have those who changed as they are now.

        All of it happens in one transaction, and the present lease goes on. `scrub` comes after it.

        Args:
            membership: What is followed.
            everybody: Ids of all who are to be known.
            changed: Those of them whom the gallery lacks, or has otherwise.
            embedder: Of the hub's gallery; None leaves it as it is, as the others do.
            calibration: Of the hub's gallery.
            change_embedder: Take another embedder although there are people.

        Returns:
            Ids of those who were forgotten.

        Raises:
            GalleryError: The gallery has people of its own or of another embedder, or what came is
                no record of a person. Nothing was changed.
        """
        store, stays = self._store, frozenset(everybody)
        with self._changing() as change:
            before = store.metadata.membership(store.keys)
            present = store.records.ids()
            if before is None and present:
                raise GalleryError(
                    "it has people who were enrolled on this box: move it away, and enroll them at "
                    "the hub"
                )
            known = store.metadata.copied(store.keys)
            gone = [person for person in present if person not in stays]
            for person in gone:
                store.records.delete(person)
                store.audit.append(store.clock(), Action.FORGET, person)
            if embedder:
                change = self._settle_embedder(embedder, change, by_force=change_embedder)
            for each in changed:  # all before one is written, as names may have been exchanged
                store.records.delete(each.id)
            for each in changed:
                self._write(each, change)
            if calibration:
                store.metadata.set_calibration(store.keys, calibration)
            digests = {person: digest for person, digest in known.items() if person in stays}
            digests |= {each.id: each.digest for each in changed}
            store.metadata.set_copied(store.keys, digests)
            lease = before.lease if before and before.hub == membership.hub else Lease()
            store.metadata.set_membership(store.keys, membership.renew(lease))
            store.audit.append(store.clock(), Action.FOLLOW, number=membership.number)
        return gone

    def _settle_embedder(
        self, embedder: EmbedderId, change: Generation, *, by_force: bool
    ) -> Generation:
        """Have the embedder of the hub.

        Raises:
            GalleryError: There are people of another one.
        """
        store, present = self._store, self._store.metadata.embedder()
        if present != embedder and not by_force and store.records.ids():
            raise GalleryError(
                f"the hub's people are enrolled with {embedder.name} ({embedder.sha256[:12]}), "
                f"those here with {present.name} ({present.sha256[:12]}): once all boxes shall use "
                "the new one, run edge hub people send --change-embedder"
            )
        if present != embedder:
            store.change_embedder(embedder)
        store.use_embedder(embedder)
        return Generation(change.number, embedder.sha256)

    def renew(self, lease: Lease) -> None:
        """Take another lease.

        Raises:
            GalleryError: The gallery follows no hub.
        """
        store = self._store
        now_s = store.clock()
        before = self.membership()
        if before is None:
            raise GalleryError("it follows no hub")
        # where people could not be named, the node has to notice that they may be, and where the
        # lease became shorter, when it ends now
        is_noticed = before.lease.explain(now_s) or lease.until_s < before.lease.until_s
        with self._changing() if is_noticed else store.database.writing():
            store.metadata.set_membership(store.keys, before.renew(lease))

    def see(self, lease: Lease) -> None:
        """Keep the latest time that was seen under the present lease.

        Raises:
            GalleryError: It cannot be written.
        """
        store = self._store
        with store.database.writing():
            before = store.metadata.membership(store.keys)
            if before and before.lease.order == lease.order:
                seen = before.lease.see(lease.seen_s)
                store.metadata.set_membership(store.keys, before.renew(seen))

    def leave(self, box: str) -> list[str]:
        """Forget everybody whom the hub sent to a box, as the box has its gallery elsewhere.

        Returns:
            Ids of those who were forgotten; none in a gallery that is not of this box.

        Raises:
            GalleryError: It cannot be changed, or another process holds old pages of it.
        """
        membership = self.membership()
        if membership is None or membership.box != box:
            return []
        gone: list[str] = []
        if membership.number or self.digests():  # 0: all of them come again if the box comes back
            gone = self.put(replace(membership, number=0, problem=""), (), ())
        self.scrub()
        return gone

    def scrub(self) -> None:
        """Leave nothing of those who were forgotten in the file.

        Raises:
            GalleryError: Another process holds old pages of it.
        """
        self._store.database.scrub()

    def _write(self, person: CopiedPerson, change: Generation) -> None:
        """Write a person anew.

        Raises:
            GalleryError: That is no record of a person.
        """
        store = self._store
        details = replace(
            person.details, templates=len(person.own), lookalikes=len(person.negatives), boxes=()
        )
        try:
            compute_expiry_s(details.until)
        except ValueError as error:
            raise GalleryError(f"the hub's record of {person.id} has no valid day") from error
        if not _ID.fullmatch(person.id) or normalize_name(details.name) != details.name:
            raise GalleryError(f"the hub's record of {person.id[:32]!r} has no valid name or id")
        store.check_templates(person.own)
        store.records.create(person.id, details, change.model, change.number)
        for kind, templates in (
            (TemplateKind.OWN, person.own), (TemplateKind.LOOKALIKE, person.negatives),
        ):  # fmt: skip
            if len(templates):
                store.check_templates(templates)
                store.records.add_templates(person.id, kind, templates, change.model, change.number)
        store.audit.append(store.clock(), Action.ENROLL, person.id, templates=len(person.own))
