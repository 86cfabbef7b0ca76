"""A box's side of galleries: its own is put at what the hub says, for as long as it may be used.

Nothing is taken from the server but what the hub signed for this box, and nothing that is older
than what was taken before.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from edge import config_file
from edge.errors import ConfigError, EdgeError, GalleryError
from edge.fleet.people_bucket import PeopleBucket
from edge.fleet.people_floor import FloorFile, Place
from edge.fleet.people_keys import BoxKey, check_hub_key
from edge.fleet.people_messages import (
    Entry,
    Manifest,
    ManifestBody,
    SignedLease,
    list_ids,
    make_receipt,
    open_manifest,
    open_person,
    open_signed,
)
from edge.fleet.records import PeopleReceipt
from edge.fleet.settings import FleetSettings
from edge.people.gallery.encryption import load_key
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.hub_copy import CopiedPerson
from edge.people.gallery.location import resolve_gallery, resolve_key
from edge.people.gallery.membership import Lease, Membership
from edge.people.gallery.metadata import EmbedderId
from edge.repeated_warning import RepeatedWarnings
from edge.wire.nats_connection import FAILURES

log = logging.getLogger(__name__)

T = TypeVar("T")
ASK_EVERY_S: Final = 1.0
RETRY_S: Final = (2.0, 300.0)  # first and longest pause after a problem that may pass
LOCATE_EVERY_S: Final = 10.0  # the configuration may name another gallery
MAX_PROBLEM: Final = 500  # characters


class BoxPeople:
    """Keeps the gallery of a box at what the hub says.

    Args:
        box: Its name.
        hub: Public key of the hub.
        key: Of the box.
        find_gallery: Gives the file of the gallery and where its master key is.
        floor_file: Where the last number is kept, and where people were put.
        clock: Unix time.
    """

    def __init__(
        self,
        box: str,
        hub: str,
        key: BoxKey,
        find_gallery: Callable[[], tuple[Path, str]],
        floor_file: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._box, self._hub, self._key, self._find_gallery = box, hub, key, find_gallery
        self._floor, self._clock = FloorFile(floor_file), clock
        self._place = Place("", "")
        self._left = ""  # why people are left in a gallery that is not in use any more
        self._member: Membership | None = None
        self._problem = ""
        self._taken = b""  # the lease that was looked at last
        self._is_clean = False  # a kill may have left old pages of the gallery
        self._is_read = False
        self._locate_s = float("-inf")  # when to look for the gallery again
        self._is_intact = False  # whether all records were read since the start
        self._failed = b""  # the lease that could not be taken
        self._retry_s, self._pause_s = float("-inf"), RETRY_S[0]
        self._lock = threading.Lock()  # a connection may end while the gallery is written
        self._warnings = RepeatedWarnings(log)

    @property
    def receipt(self) -> PeopleReceipt:
        """What the box has to say of people."""
        member = self._member
        problem = self._problem or self._left
        if member:
            problem = problem or member.problem or self._explain_lease(member.lease)
        problem = problem[:MAX_PROBLEM]
        if member is None or not self._is_clean or self._left:
            return PeopleReceipt(0, problem)
        proof = make_receipt(bytes.fromhex(member.receipt_key), self._box, member.number, problem)
        return PeopleReceipt(member.number, problem, proof)

    def _explain_lease(self, lease: Lease) -> str:
        return lease.explain(self._clock()) if lease.until_s else ""

    async def follow(
        self,
        bucket: PeopleBucket,
        tell: Callable[[], Awaitable[None]],
        is_over: Callable[[], bool],
    ) -> None:
        """Take what the hub says, again and again; ``tell`` that the receipt is another one.

        Raises:
            OSError, TimeoutError, nats.errors.Error: The server does not answer.
        """
        while not is_over():
            before = self.receipt
            await self.ask(bucket)
            if self.receipt != before:
                await tell()
            await asyncio.sleep(ASK_EVERY_S)

    async def ask(self, bucket: PeopleBucket) -> None:
        """Take what the hub says now; what keeps it from that is in the receipt."""
        value = await bucket.read(f"lease.{self._box}") or b""
        if value == self._failed and time.monotonic() < self._retry_s:
            return
        try:
            if not self._is_read or time.monotonic() >= self._locate_s:
                await self._use(self._recall)
            if not value and self._member is None:
                raise EdgeError(
                    "the hub has sent nothing: edge hub trust, then edge hub people send"
                )
            if value and (value != self._taken or not self._is_clean):
                await self._take(bucket, value)
            self._taken, self._problem, self._pause_s = value, "", RETRY_S[0]
            if self._member:  # as the node does, so that both say the same of the clock
                self._member = self._member.renew(self._member.lease.see(self._clock()))
        except EdgeError as error:
            self._problem = str(error)
            self._warnings.tell("people", f"people: {error}")
            self._taken, self._failed, self._is_read = b"", value, False
            self._is_intact = False
            self._retry_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, RETRY_S[1])
        self._warnings.sum_up()

    async def _use(self, act: Callable[..., T], *arguments: object) -> T:
        """Do something with the gallery, in a thread that nobody else uses it in meanwhile."""

        def alone() -> T:
            with self._lock:
                try:
                    return act(*arguments)
                except OSError as error:  # not one of the server
                    problem = error.strerror or repr(error)
                    raise EdgeError(problem, file=error.filename or None) from error

        return await asyncio.to_thread(alone)

    # --- what the hub says ----------------------------------------------------------------------

    async def _take(self, bucket: PeopleBucket, value: bytes) -> None:
        """Do what a lease, and the manifest that belongs to it, say.

        Raises:
            EdgeError: It cannot be done.
        """
        lease = open_signed(self._hub, value, SignedLease)
        self._check_box(lease.box)
        member = self._member
        is_known = member and (member.hub, member.gallery) == (self._hub, lease.gallery)
        if not (member and is_known) or member.problem or lease.number > member.number:
            await self._take_manifest(bucket, lease)
        else:
            await self._use(self._finish, lease)

    async def _take_manifest(self, bucket: PeopleBucket, lease: SignedLease) -> None:
        value = await bucket.read(f"box.{self._box}")
        if value is None:
            raise EdgeError("the hub's server has lost who is to be known: edge hub people send")
        manifest = open_signed(self._hub, value, Manifest)
        self._check_box(manifest.box)
        self._check_number(manifest, lease)
        body = open_manifest(self._key, manifest)
        digests = await self._use(self._prepare, body)
        wanted = {
            each.id.hex(): each for each in body.people
            if digests.get(each.id.hex()) != each.digest.hex()
        }  # fmt: skip
        problem, people = "", []
        try:
            people = await _fetch(bucket, manifest.gallery, EmbedderId(*body.embedder), wanted)
        except EdgeError as error:
            problem = error.problem
        except FAILURES as error:  # nobody has to be known for longer because of that
            problem = f"the hub's server does not give records of people: {error!r}"
        await self._use(self._put, manifest, body, people, problem, lease)

    def _check_box(self, box: str) -> None:
        if box != self._box:
            raise EdgeError(f"the hub's server has what is for {box[:64]!r} in place of our own")

    def _check_number(self, manifest: Manifest, lease: SignedLease) -> None:
        if manifest.number < max(self._find_lowest(), lease.number):
            raise EdgeError(
                "the hub's server has an older list of people than the hub sent: edge hub people "
                "send"
            )

    # --- the gallery ----------------------------------------------------------------------------

    def _recall(self) -> None:
        """Find the gallery, read what it knows of the hub, and empty the ones before it."""
        place = self._locate()
        if place != self._place:
            self._is_clean = self._is_intact = self._is_read = False
            self._taken = b""
        if not self._is_read and not Path(place.gallery).exists():
            self._member, self._is_clean = None, True
        elif not self._is_read:
            with self._open(place) as gallery:
                self._member = gallery.hub.membership()
            if self._member:
                self._remember(place)
        self._place, self._is_read = place, True
        self._leave_others(place)
        self._locate_s = time.monotonic() + LOCATE_EVERY_S

    def _prepare(self, body: ManifestBody) -> Mapping[str, str]:
        """The digests of whom the gallery has, which is made if it is missing."""
        self._remember(self._place)  # before it holds anybody
        embedder = None if Path(self._place.gallery).exists() else EmbedderId(*body.embedder)
        with self._open(self._place, embedder) as gallery:
            found = gallery.hub.digests(intact=not self._is_intact)
            self._is_intact = True
            return found

    def _put(
        self,
        manifest: Manifest,
        body: ManifestBody,
        people: list[CopiedPerson],
        problem: str,
        lease: SignedLease,
    ) -> None:
        """Put the gallery at what the hub says; where that cannot be, forget at least.

        Raises:
            EdgeError: Not even that could be done.
        """
        member = Membership(
            self._hub, manifest.gallery, self._box, manifest.number, body.receipt_key.hex(), problem
        )
        floor = self._floor.read()
        self._floor.write(msgspec.structs.replace(floor, hub=self._hub, number=manifest.number))
        everybody = list_ids(body.people)
        with self._open(self._place) as gallery:
            self._is_clean = False
            if not problem:
                try:
                    gone = gallery.hub.put(
                        member, everybody, people, EmbedderId(*body.embedder), body.calibration,
                        change_embedder=body.change_embedder,
                    )  # fmt: skip
                except GalleryError as error:
                    problem = error.problem
            known = self._member
            if problem and known and (known.number, known.problem) == (manifest.number, problem):
                gone = []  # it was tried before
            elif problem:
                gone = gallery.hub.put(replace(member, problem=problem), everybody, ())
            self._member = gallery.hub.membership()
            log.info(
                "people: %d are to be known, %d changed, %d forgotten",
                len(everybody), 0 if problem else len(people), len(gone),
            )  # fmt: skip
            self._settle(gallery, lease)

    def _finish(self, lease: SignedLease) -> None:
        """Do what a lease says for what the gallery has.

        Raises:
            EdgeError: That cannot be done.
        """
        with self._open(self._place) as gallery:
            self._settle(gallery, lease)

    def _settle(self, gallery: Gallery, lease: SignedLease) -> None:
        """Leave no old pages, and take the lease if it is for what the gallery has.

        Raises:
            EdgeError: That cannot be done, or people are not those of the hub.
        """
        if not self._is_clean:
            gallery.hub.scrub()
            self._is_clean = True
        member = self._member = gallery.hub.membership()
        if member is None:
            raise EdgeError("the gallery follows the hub no longer")
        given = Lease(lease.issued_s, lease.until_s, lease.serial, lease.issued_s)
        is_ours = (lease.gallery, self._hub) == (member.gallery, member.hub)
        if is_ours and lease.number < member.number:
            raise EdgeError(
                "the hub's list of people is older than the one here, as where a backup was "
                "restored there: enroll somebody or change a scope, then edge hub people send"
            )
        if is_ours and given.order > member.lease.order and lease.number == member.number:
            gallery.hub.renew(given)
            self._member = member.renew(given)
        if member.problem:
            raise EdgeError(member.problem)
        if is_ours and given.order < member.lease.order:
            raise EdgeError(
                f"the hub's server has the older lease {given.serial}, which is not taken after "
                f"{member.lease.serial}: edge hub people renew; if the hub has lost its ledger, "
                f"remove {self._place.gallery} and {self._floor.path} here"
            )

    # --- its place ------------------------------------------------------------------------------

    def _locate(self) -> Place:
        """Where the gallery and its key are.

        Raises:
            EdgeError: There is none.
        """
        path, key = self._find_gallery()
        return Place(str(path.absolute()), key)

    def _open(self, place: Place, embedder: EmbedderId | None = None) -> Gallery:
        """The gallery at a place, which is made if an embedder is given.

        Raises:
            EdgeError: It cannot be opened, or root would be led elsewhere.
        """
        path = Path(place.gallery)
        if path.is_symlink() and os.geteuid() == 0:
            raise EdgeError("the gallery is a link: give the file itself", file=path)
        create = embedder is not None
        return Gallery(path, load_key(place.key), embedder, create=create, clock=self._clock)

    def _remember(self, place: Place) -> None:
        """Note that people of the hub are at a place."""
        floor = self._floor.read()
        others = tuple(each for each in floor.places if each.gallery != place.gallery)
        if floor.places != (*others, place):
            self._floor.write(msgspec.structs.replace(floor, places=(*others, place)))

    def _leave_others(self, present: Place) -> None:
        """Forget whom galleries hold that are not the present one; `_left` says why one is not."""
        floor, self._left, stay = self._floor.read(), "", []
        for place in floor.places:
            path = Path(place.gallery)
            if not path.exists() or _is_same(path, Path(present.gallery)):
                stay.append(place)  # a disk that is not mounted may come back
                continue
            try:
                with self._open(place) as gallery:
                    gone = gallery.hub.leave(self._box)
                log.info("people: %d forgotten in %s, which is not used any more", len(gone), path)
            except (EdgeError, OSError) as error:
                stay.append(place)
                self._left = f"people are left in {path}, which was the gallery before: {error}"
                self._warnings.tell("left", f"{self._left}: delete it if nothing else needs it")
        if len(stay) < len(floor.places):
            self._floor.write(msgspec.structs.replace(floor, places=tuple(stay)))

    def _find_lowest(self) -> int:
        """The lowest number that is taken."""
        floor, member = self._floor.read(), self._member
        number = floor.number if floor.hub == self._hub else 0
        return max(number, member.number) if member and member.hub == self._hub else number


def make_people(settings: FleetSettings) -> BoxPeople | None:
    """What keeps the gallery of a box; None where the hub has no say in it.

    Raises:
        ConfigError: A key cannot be used.
    """
    if not settings.hub_key:
        return None
    file = Path(settings.people_key_file)
    hub, key = check_hub_key(settings.hub_key), BoxKey.ensure(file)
    return BoxPeople(
        settings.box,
        hub,
        key,
        lambda: find_gallery(settings),
        file.with_name(f".{file.name}.floor"),
    )


def find_gallery(settings: FleetSettings) -> tuple[Path, str]:
    """The gallery of a box and where its master key is: as given, or as its node has them.

    Raises:
        ConfigError: Neither says.
    """
    if settings.gallery and settings.gallery_key:
        return Path(settings.gallery), settings.gallery_key
    file = Path(settings.configuration)
    recognition = config_file.load(file).recognition
    if recognition is None:
        raise ConfigError(
            "the node has no gallery: set [recognition] there, or gallery and gallery_key for the "
            "agent",
            file=file,
        )
    return resolve_gallery(recognition, file.parent), resolve_key(recognition, file.parent)


async def _fetch(
    bucket: PeopleBucket, gallery: str, embedder: EmbedderId, wanted: Mapping[str, Entry]
) -> list[CopiedPerson]:
    """The people whom entries of a manifest mean, each checked as soon as it has come.

    Raises:
        EdgeError: One is missing, or another than the hub sent.
        OSError, TimeoutError, nats.errors.Error: The server does not answer.
    """

    def open_one(key: str, content: bytes | None) -> CopiedPerson:
        person = key.partition(".")[2]
        if content is None:
            raise EdgeError(f"the hub's server has no record of {person}: edge hub people send")
        return open_person(gallery, wanted[person], embedder, content)

    return await bucket.read_each((f"person.{person}" for person in wanted), open_one)


def _is_same(one: Path, other: Path) -> bool:
    return one == other or (other.exists() and one.samefile(other))
