"""The hub's side of galleries: each box is told of the people whose consent holds there."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.errors import ConfigError, EdgeError, GalleryError
from edge.fleet.people_bucket import PeopleBucket
from edge.fleet.people_keys import HubKey, check_box_key
from edge.fleet.people_ledger import Ledger, LedgerFile, TrustedBox, Withdrawal
from edge.fleet.people_messages import (
    ManifestBody,
    SealedPerson,
    SignedLease,
    digest_body,
    list_ids,
    make_receipt,
    seal_manifest,
    seal_person,
    sign,
)
from edge.fleet.records import PeopleReceipt
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.metadata import EmbedderId
from edge.people.gallery.records import EVERY_BOX, RecordState


@dataclass(frozen=True, slots=True)
class Collection:
    """What there is to send.

    Attributes:
        gallery: Id of the hub's gallery.
        people: Everybody with a scope.
        scopes: At which boxes the consent of each holds, in the same order.
        named: All boxes that scopes name.
    """

    gallery: str
    embedder: EmbedderId
    calibration: Mapping[str, float]
    people: tuple[SealedPerson, ...]
    scopes: tuple[Callable[[str], bool], ...]
    named: frozenset[str]


@dataclass(frozen=True, slots=True)
class PeopleAtBox:
    """How far a box is with people.

    Attributes:
        box: Its name.
        people: How many it is to know.
        owed: Ids of those whom it has not confirmed to have forgotten.
        since_s: Since when it owes that, Unix time; 0 if it owes nothing.
        until_s: When it stops naming unless it hears of the hub, Unix time.
        has_all: Whether it has confirmed what it was told last.
        problem: Why it does not know or name the people it is to know, or confirms nothing.
    """

    box: str
    people: int
    owed: tuple[str, ...]
    since_s: float
    until_s: float
    has_all: bool
    problem: str

    def describe(self, now_s: float) -> str:
        """All of that in a few words."""
        words = [f"{self.people} " + ("person" if self.people == 1 else "people")]
        if self.owed:
            since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.since_s))
            words.append(f"{len(self.owed)} not forgotten yet, since {since} UTC")
        if self.until_s and now_s >= self.until_s:
            words.append("names nobody: not renewed")
        elif self.problem:
            words.append(self.problem)
        elif not self.has_all and not self.owed:
            words.append("not there yet")
        return "; ".join(words)

    @property
    def is_well(self) -> bool:
        """Whether nothing is left to be done."""
        return self.has_all and not (self.owed or self.problem)


class HubPeople:
    """The people of a hub and its boxes.

    Args:
        gallery: File of the hub's gallery; ledger and signing key lie beside it.
        clock: Unix time.
    """

    def __init__(self, gallery: Path, clock: Callable[[], float] = time.time) -> None:
        self.gallery = gallery
        self.file = LedgerFile.beside(gallery)
        self._key_file = gallery.with_name(f"{gallery.name}.hub-key")
        self._clock = clock
        self._key: HubKey | None = None
        self._ledger, self._version = Ledger(), (0, 0, 0)

    @property
    def is_used(self) -> bool:
        """Whether any box was ever trusted, as far as this user may know."""
        try:
            return self.file.path.exists()
        except OSError:
            return True  # reading it says why not

    @property
    def key(self) -> HubKey:
        """The signing key, made with the first use.

        Raises:
            ConfigError: It cannot be read or written, or was lost.
        """
        if self._key is None:
            if not self._key_file.exists() and self.file.read().boxes:
                raise ConfigError(
                    "the key that boxes trust is gone: restore it from a backup, or remove "
                    f"{self.file.path.name} and let every box join and be trusted again",
                    file=self._key_file,
                )
            self._key = HubKey.ensure(self._key_file)
        return self._key

    def trust(self, box: str, public: str) -> None:
        """Send people to a box from now on.

        Raises:
            ConfigError: That is no key, or the box has another.
        """
        check_box_key(public)
        _ = self.key  # made before there is somebody who trusts it
        with self.file.changing() as ledger:
            known = ledger.boxes.get(box)
            if known and known.key != public:
                raise ConfigError(
                    f"{box!r} has another key: if the box was set up anew, edge hub forget it first"
                )
            owner = next((name for name, b in ledger.boxes.items() if b.key == public), box)
            if owner != box:
                raise ConfigError(f"this is the key of {owner!r}: each box has its own")
            ledger.boxes[box] = known or TrustedBox(public)

    def forget_box(self, box: str) -> TrustedBox | None:
        """Send no more to a box; what was known of it."""
        if not self.is_used:
            return None
        with self.file.changing() as ledger:
            return ledger.boxes.pop(box, None)

    # --- what boxes confirm ---------------------------------------------------------------------

    def judge(self, receipts: Mapping[str, PeopleReceipt]) -> dict[str, PeopleAtBox]:
        """How far each trusted box is, by name.

        Raises:
            ConfigError: Ledger or key cannot be read.
        """
        return self._judge_all(self._read(), receipts)

    def settle(self, receipts: Mapping[str, PeopleReceipt]) -> dict[str, PeopleAtBox]:
        """The same, and take off the ledger what is done."""
        with self.file.changing() as ledger:
            found = self._judge_all(ledger, receipts)
            for name, box in ledger.boxes.items():
                owed = found[name].owed
                box.withdrawn = {k: w for k, w in box.withdrawn.items() if k in owed}
        return found

    def _judge_all(
        self, ledger: Ledger, receipts: Mapping[str, PeopleReceipt]
    ) -> dict[str, PeopleAtBox]:
        return {
            name: self._judge(name, box, receipts.get(name, PeopleReceipt()))
            for name, box in sorted(ledger.boxes.items())
        }

    def _read(self) -> Ledger:
        """The ledger, read again when it changed."""
        with contextlib.suppress(OSError):
            state = self.file.path.stat()
            version = (state.st_ino, state.st_mtime_ns, state.st_size)
            if version != self._version:
                self._ledger, self._version = self.file.read(), version
            return self._ledger
        return self.file.read()

    def _judge(self, name: str, box: TrustedBox, receipt: PeopleReceipt) -> PeopleAtBox:
        number = receipt.number if self._is_genuine(name, receipt) else 0
        owed = {person: w for person, w in box.withdrawn.items() if w.number > number}
        return PeopleAtBox(
            name, len(box.people), tuple(owed), min((w.at_s for w in owed.values()), default=0.0),
            box.until_s, number == box.number and number > 0, receipt.problem,
        )  # fmt: skip

    def _is_genuine(self, box: str, receipt: PeopleReceipt) -> bool:
        if not 0 < receipt.number < 1 << 62:
            return False
        key = self.key.derive_receipt_key(box, receipt.number)
        expected = make_receipt(key, box, receipt.number, receipt.problem)
        return hmac.compare_digest(expected.encode(), receipt.proof.encode())

    # --- what boxes are told --------------------------------------------------------------------

    async def publish(
        self,
        gallery: Gallery,
        bucket: PeopleBucket | None,
        lease_s: float | None = None,
        *,
        everything: bool = False,
        change_embedder: bool = False,
    ) -> None:
        """Tell boxes what changed, and renew their leases.

        Args:
            gallery: The hub's.
            bucket: Where it is told; None only writes down what boxes owe.
            lease_s: How long boxes may name without hearing from the hub; None is as before.
            everything: Put also what should be there already.
            change_embedder: Have galleries of another embedder change over to the present one.

        Raises:
            EdgeError: The gallery cannot be read; or something is too large, and all else was told.
        """
        key, now_s = self.key, self._clock()
        with self.file.changing() as ledger:
            found = _collect(gallery)
            ledger.lease_s = lease_s or ledger.lease_s
            ledger.untrusted = sorted(found.named - ledger.boxes.keys())
            if change_embedder:
                ledger.new_embedder = found.embedder.sha256
            bodies = {name: _make_body(found, ledger, name) for name in ledger.boxes}
            for name, box in ledger.boxes.items():
                _advance(box, bodies[name], now_s)
            if bucket is None:
                return
            self.file.write(ledger)  # before it is told: what boxes owe survives a kill
            await bucket.create()
            too_large = []  # keeps nobody else from being forgotten
            try:
                await self._send_records(bucket, ledger, found, everything=everything)
            except EdgeError as error:
                too_large.append(error)
            messages = {}
            for name, box in ledger.boxes.items():
                receipt_key = key.derive_receipt_key(name, box.number)
                body = msgspec.structs.replace(bodies[name], receipt_key=receipt_key)
                manifest = seal_manifest(box.key, name, found.gallery, box.number, body)
                messages[name] = sign(key, manifest)
            try:
                await self._send_manifests(bucket, ledger, messages, everything=everything)
            except EdgeError as error:
                too_large.append(error)
            leases, until_s = {}, now_s + ledger.lease_s
            ledger.serial = max(ledger.serial + 1, int(now_s * 1000))
            for name, box in ledger.boxes.items():
                box.until_s = max(box.until_s, until_s)
                lease = SignedLease(name, found.gallery, box.number, now_s, until_s, ledger.serial)
                leases[f"lease.{name}"] = sign(key, lease)
            self.file.write(ledger)  # before they are sent: whoever cuts the line now has them
            await bucket.write(leases)
            await _remove_others(bucket, ledger)
            for box in ledger.boxes.values():
                box.until_s = until_s
        if too_large:
            raise too_large[0]

    async def _send_records(
        self, bucket: PeopleBucket, ledger: Ledger, found: Collection, *, everything: bool
    ) -> None:
        wanted = {person for box in ledger.boxes.values() for person in box.people}
        present = set(await bucket.list_keys("person"))
        values = {}
        for person in found.people:
            key, digest = f"person.{person.id}", person.entry.digest.hex()
            is_there = key in present and ledger.records.get(person.id) == digest
            if person.id in wanted and (everything or not is_there):
                values[key] = person.content
                ledger.records[person.id] = digest
        await bucket.write(values)
        ledger.records = {k: digest for k, digest in ledger.records.items() if k in wanted}

    async def _send_manifests(
        self,
        bucket: PeopleBucket,
        ledger: Ledger,
        messages: Mapping[str, bytes],
        *,
        everything: bool,
    ) -> None:
        present = await bucket.read_all(f"box.{name}" for name in messages)
        values = {}
        for name, message in messages.items():
            there = present[f"box.{name}"]
            is_same = there is not None and _hash(there) == ledger.boxes[name].message
            if everything or not is_same:
                values[f"box.{name}"] = message
        for key, message in values.items():
            ledger.boxes[key.partition(".")[2]].message = _hash(message)
        await bucket.write(values)


def _collect(gallery: Gallery) -> Collection:
    """Everybody with a scope who can be recognized, sealed.

    Raises:
        GalleryError: The gallery was tampered with, or follows a hub itself.
    """
    store, people, scopes = gallery.store, [], []
    named: set[str] = set()
    with store.reading_genuine():
        if store.metadata.membership(store.keys):
            raise GalleryError("this gallery follows a hub itself: give the hub's with --gallery")
        identity, embedder = store.metadata.identity()[0].hex(), store.metadata.embedder()
        calibration = store.metadata.calibration(store.keys) or {}
        for person in store.records.ids():
            record = store.read(person)
            details = record.person.details
            if record.person.state is not RecordState.ACTIVE or not details.boxes:
                continue
            if not len(record.own):
                continue
            purpose = f"transport {embedder.sha256} {record.person.generation}"
            key = store.records.derive_key(person, purpose)
            people.append(seal_person(identity, record, embedder.sha256, key))
            scopes.append(details.reaches)
            named.update(details.boxes)
    everybody, reaches = tuple(people), tuple(scopes)
    return Collection(
        identity, embedder, calibration, everybody, reaches, frozenset(named - {EVERY_BOX})
    )


def _make_body(found: Collection, ledger: Ledger, box: str) -> ManifestBody:
    embedder = found.embedder
    return ManifestBody(
        (embedder.name, embedder.sha256, embedder.dimension),
        dict(found.calibration),
        ledger.new_embedder == embedder.sha256,
        b"",
        [
            person.entry
            for person, reaches in zip(found.people, found.scopes, strict=True)
            if reaches(box)
        ],
    )


def _advance(box: TrustedBox, body: ManifestBody, now_s: float) -> None:
    """Give a box's manifest a new number if it means something new, and note what the box owes."""
    digest = digest_body(body)
    if box.number and box.content == digest:
        return
    box.number = max(box.number + 1, int(now_s * 1000))
    box.content, box.message = digest, ""
    people = list_ids(body.people)
    stays = set(people)
    gone = [person for person in box.people if person not in stays]
    owed = box.withdrawn | {person: Withdrawal(box.number, now_s) for person in gone}
    box.withdrawn = {person: w for person, w in owed.items() if person not in stays}
    box.people = people


async def _remove_others(bucket: PeopleBucket, ledger: Ledger) -> None:
    """Remove records of nobody, and what is for boxes that are trusted no more."""
    for kind, wanted in (
        ("person", set(ledger.records)), ("box", set(ledger.boxes)), ("lease", set(ledger.boxes)),
    ):  # fmt: skip
        keys = await bucket.list_keys(kind)
        await bucket.remove(key for key in keys if key.partition(".")[2] not in wanted)


def _hash(message: bytes) -> str:
    return hashlib.sha256(message).hexdigest()
