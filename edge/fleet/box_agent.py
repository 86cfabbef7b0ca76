"""The agent of a box: takes what is wanted, tries it, and goes back to what worked.

A revision is checked on the box, written in the place of the present file, and loaded; where the
node does not become ready with it, the file before it is put back. One that names another version
of Edgewatch has that installed first, and the version before again where it does not work. Each is
tried once, also over a kill of the agent in between: what it does is written down before.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from nats.aio.client import Client

from edge import __version__
from edge.atomic_file import replace_file
from edge.errors import EdgeError, translate_unexpected
from edge.fleet.box_store import BoxStore
from edge.fleet.models import FOLDER, list_kept, remove_others
from edge.fleet.node_control import NodeControl
from edge.fleet.people_box import BoxPeople
from edge.fleet.people_bucket import PeopleBucket
from edge.fleet.records import UNREADABLE, Outcome, PeopleReceipt, Report
from edge.fleet.settings import VERSION
from edge.fleet.store import Revision
from edge.input_file import read_input
from edge.repeated_warning import RepeatedWarnings
from edge.wire.nats_connection import FAILURES, NatsServers

log = logging.getLogger(__name__)

REPORT_EVERY_S: Final = 30.0
ASK_EVERY_S: Final = 1.0
RETRY_S: Final = (0.5, 10.0)  # first and longest pause between connections
MAX_BYTES: Final = 1 << 20


class Progress(msgspec.Struct, frozen=True):
    """How far a box has come.

    Attributes:
        revision: What it was told last.
        outcome: What became of it.
        problem: Why it was not applied.
        digest: SHA-256 of its text and its version.
        goes_back: Whether what was before is being put back.
        version: The version that it names; may be empty.
        former: The version before, while another one is installed and tried; else empty.
        replaces: Whether its text is another one than that before, while a version is tried.
    """

    revision: int = 0
    outcome: Outcome | None = None
    problem: str = ""
    digest: str = ""
    goes_back: bool = False
    version: str = ""
    former: str = ""
    replaces: bool = False


def _digest(text: bytes, version: str = "") -> str:
    return hashlib.sha256(text + (f"\0{version}".encode() if version else b"")).hexdigest()


class BoxAgent:
    """Keeps the node of one box at what the hub wants.

    Args:
        box: Its name.
        servers: Of the hub.
        control: The node.
        is_over: Whether to end.
        people: Keeps the gallery of the box; None where the hub has no say in it.
    """

    def __init__(
        self,
        box: str,
        servers: NatsServers,
        control: NodeControl,
        is_over: Callable[[], bool],
        people: BoxPeople | None = None,
    ) -> None:
        self._people = people
        self._box, self._servers, self._control, self._is_over = box, servers, control, is_over
        file = control.configuration
        self._file = file
        self._candidate = file.with_name(f".{file.name}.wanted")
        self._last_good = file.with_name(f"{file.name}.last-good")
        self._lock_file = file.with_name(f".{file.name}.lock")
        self._progress_file = file.with_name(f".{file.name}.fleet")
        self._upgraded_file = file.with_name(f".{file.name}.upgraded")  # for the new version
        self._models = file.parent / FOLDER
        self._progress = self._read_progress()
        self._digest = self._progress.digest  # of the revision in hand
        self._version = self._progress.version  # that it names
        self._was_replaced = False
        self._warnings = RepeatedWarnings(log)

    def run(self) -> None:
        """Work until it is over; a hub that is away is waited for.

        Raises:
            EdgeError: The files beside the configuration cannot be written, or another version of
                this program was installed, so that it must be started anew.
        """
        failed = translate_unexpected(lambda error: EdgeError(f"the agent failed: {error!r}"))
        with failed, self._alone():
            self.recover()
            asyncio.run(self._work())
        if self._was_replaced:
            raise EdgeError("another version of this program was installed: start it anew")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only agent of this configuration.

        Raises:
            EdgeError: Another one is.
        """
        with self._lock_file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise EdgeError(f"another agent keeps {self._file}: stop it first") from error
            yield

    def recover(self) -> None:
        """Finish what the agent was killed in."""
        if self._progress.outcome is not Outcome.TRYING:
            return
        done = self._progress
        if done.former:
            log.info("version %s was being installed when this agent ended", done.version)
            conclude = self._leave_version if done.goes_back else self._prove_version
            conclude(done.revision, done.problem)
        elif done.goes_back:
            self._note(done.revision, *self._go_back(done.problem))
        elif _digest(self._read_present() or b"", done.version) == done.digest:
            self._note(done.revision, *self._prove(done.revision))
        else:  # it was not written: a full disk, or a kill
            self._progress = Progress()

    def take(self, revision: Revision, problem: str = "") -> None:
        """Try a revision, unless it was tried before, or a ``problem`` is known of it."""
        if self._knows(revision):
            return
        number, desired = revision.number, revision.desired
        self._version = desired.version if desired else ""
        self._digest = _digest(desired.text.encode() if desired else b"", self._version)
        if desired is None:
            self._note(number, Outcome.REFUSED, "the revision cannot be read: apply it again")
            return
        if problem:
            self._note(number, Outcome.REFUSED, problem)
            return
        text = desired.text.encode()
        log.info("revision %d is wanted by %s", number, desired.by)
        if self._version:
            stated = self._control.read_version()
            if stated != self._version:
                self._take_version(number, text, stated)
                return
        self._note(number, *self._try(number, text))

    def _try(self, number: int, text: bytes) -> tuple[Outcome, str]:
        """Have the node run a text, or what it ran before; what became of it, and why."""
        if text == self._read_present():
            return Outcome.APPLIED, ""
        if problem := self._check(text):
            return Outcome.REFUSED, problem
        self._keep()
        self._note(number, Outcome.TRYING)
        self._write(self._file, text)
        return self._prove(number)

    def _prove(self, number: int) -> tuple[Outcome, str]:
        """Load what was written, or go back."""
        problem = self._control.load()
        if not problem:
            return Outcome.APPLIED, ""
        self._note(number, Outcome.TRYING, problem, goes_back=True)
        return self._go_back(problem)

    def _go_back(self, problem: str) -> tuple[Outcome, str]:
        """Put the file before back, and load it."""
        try:
            last = read_input(self._last_good, MAX_BYTES)
        except OSError as error:
            return Outcome.APPLIED, f"{problem}; nothing to go back to: {error}"
        self._write(self._file, last)
        if back := self._control.load():
            problem += f"; nor with the one before: {back}"
        return Outcome.ROLLED_BACK, problem

    # --- versions -------------------------------------------------------------------------------

    def _take_version(self, number: int, text: bytes, former: str | None) -> None:
        """Install another version and start the node with it, or go back.

        The text is tried after that, by the version that it is for.
        """
        problem = ""
        if not VERSION.fullmatch(self._version):
            problem = f"{self._version!r} is no version"
        elif not self._control.can_upgrade:
            problem = (
                f"version {self._version} is wanted, but this box has no command that installs it: "
                "see --upgrade of edge fleet join"
            )
        elif former is None or not VERSION.fullmatch(former):
            problem = "the node does not say which version it is, so nothing could be gone back to"
        if problem or former is None:
            self._note(number, Outcome.REFUSED, problem)
            return
        replaces = text != self._read_present()
        self._write(self._upgraded_file, text)
        self._note(number, Outcome.TRYING, former=former, replaces=replaces)
        log.info("installing version %s; %s runs", self._version, former)
        self._prove_version(number, self._control.install(self._version))

    def _prove_version(self, number: int, problem: str) -> None:
        """Start the node with the version that was installed, and with its text; or go back."""
        problem = problem or self._control.start_as(self._version)
        if not problem:
            outcome, problem = self._try(number, read_input(self._upgraded_file, MAX_BYTES))
            if outcome is Outcome.APPLIED and not problem:
                self._conclude_version(number, outcome, "")
                return
        self._note(number, Outcome.TRYING, problem, goes_back=True)
        self._leave_version(number, problem)

    def _leave_version(self, number: int, problem: str) -> None:
        """Install the version before, and start the node with it and the text before."""
        done = self._progress
        wanted = _digest(self._read_present() or b"", done.version) == done.digest
        if done.replaces and wanted:
            with contextlib.suppress(FileNotFoundError):
                self._write(self._file, read_input(self._last_good, MAX_BYTES))
        problem = f"version {done.version}: {problem}"
        back = self._control.install(done.former) or self._control.start_as(done.former)
        if back:
            problem += f"; nor with version {done.former}: {back}"
        self._conclude_version(number, Outcome.ROLLED_BACK, problem)

    def _conclude_version(self, number: int, outcome: Outcome, problem: str) -> None:
        self._note(number, outcome, problem)
        self._upgraded_file.unlink(missing_ok=True)
        self._was_replaced = self._control.was_replaced()

    # --- files ----------------------------------------------------------------------------------

    def _list_kept(self) -> set[str]:
        """The models of the present configuration, and of the one before."""
        names = set()
        for path in (self._file, self._last_good):
            with contextlib.suppress(FileNotFoundError):
                names |= list_kept(read_input(path, MAX_BYTES).decode(errors="replace"))
        return names

    def _check(self, text: bytes) -> str:
        try:
            self._write(self._candidate, text)
            return self._control.check(self._candidate)
        finally:
            self._candidate.unlink(missing_ok=True)

    def _keep(self) -> None:
        """Keep the present file, to go back to."""
        present = self._read_present()
        if present is None:
            self._last_good.unlink(missing_ok=True)
        else:
            self._write(self._last_good, present)

    def _read_present(self) -> bytes | None:
        try:
            return read_input(self._file, MAX_BYTES)
        except FileNotFoundError:
            return None

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file with the owner and the permissions of the configuration."""
        mode = self._file.stat().st_mode & 0o777 if self._file.exists() else 0o640
        with replace_file(path, sync=True, mode=mode) as part:
            part.write_bytes(content)
            part.chmod(mode)
            if self._file.exists():
                owner = self._file.stat()
                os.chown(part, owner.st_uid, owner.st_gid)

    # --- progress -------------------------------------------------------------------------------

    def _knows(self, revision: Revision) -> bool:
        """Whether a revision was tried; a hub that was set up anew counts from 1 again."""
        text = revision.desired.text.encode() if revision.desired else b""
        version = revision.desired.version if revision.desired else ""
        done = self._progress
        return (revision.number, _digest(text, version)) == (done.revision, done.digest)

    def _note(
        self,
        number: int,
        outcome: Outcome,
        problem: str = "",
        *,
        goes_back: bool = False,
        former: str = "",
        replaces: bool = False,
    ) -> None:
        """Write down how far a revision has come, then go on from there."""
        done = self._progress
        if outcome is Outcome.TRYING and done.outcome is Outcome.TRYING and not former:
            former, replaces = done.former, done.replaces  # the version is tried still
        progress = Progress(
            number, outcome, problem, self._digest, goes_back, self._version, former, replaces
        )
        self._write(self._progress_file, msgspec.json.encode(progress))
        self._progress = progress
        if outcome is not Outcome.TRYING:
            remove_others(self._models, self._list_kept())
        level = logging.INFO if outcome in (Outcome.APPLIED, Outcome.TRYING) else logging.ERROR
        words = outcome.value.replace("_", " ")
        log.log(level, "revision %d: %s%s", number, words, f": {problem}" if problem else "")

    def _read_progress(self) -> Progress:
        try:
            content = read_input(self._progress_file, MAX_BYTES)
            return msgspec.json.decode(content, type=Progress)
        except (FileNotFoundError, *UNREADABLE):
            return Progress()

    # --- the hub --------------------------------------------------------------------------------

    async def _work(self) -> None:
        pause_s = RETRY_S[0]
        while not (self._is_over() or self._was_replaced):
            try:
                client = await self._servers.connect()
                try:
                    store = BoxStore(client, self._box)
                    await store.read_wanted()
                    pause_s = RETRY_S[0]
                    async with self._following_people(store, client):
                        await self._follow(store, client)
                finally:
                    await asyncio.wait_for(client.close(), RETRY_S[1])
            except (*FAILURES, EdgeError) as error:
                problem = self._servers.explain(error)
                self._warnings.tell("hub", f"the hub is away: {problem}: the box goes on alone")
            self._warnings.sum_up()
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, RETRY_S[1])

    async def _follow(self, store: BoxStore, client: Client) -> None:
        """Take every revision, and report, while the connection lasts."""
        log.info("the hub answers: this is the box %s", self._box)
        reported_s = float("-inf")
        while not (self._is_over() or client.is_closed):
            if self._was_replaced:
                await store.report(await asyncio.to_thread(self.describe))
                return
            revision = await store.read_wanted()
            if revision and not self._knows(revision):
                await store.report(self._describe_trying(revision.number))
                problem = await self._fetch_models(store, revision)
                await asyncio.to_thread(self.take, revision, problem)
                reported_s = float("-inf")
            if time.monotonic() - reported_s >= REPORT_EVERY_S:
                await store.report(await asyncio.to_thread(self.describe))
                reported_s = time.monotonic()
            await self._pause(ASK_EVERY_S)

    @contextlib.asynccontextmanager
    async def _following_people(self, store: BoxStore, client: Client) -> AsyncIterator[None]:
        """Keep the gallery meanwhile, whatever else takes long."""
        if self._people is None:
            yield
            return
        over = threading.Event()  # beside the cancellation, which a request may swallow
        task = asyncio.create_task(self._follow_people(self._people, store, client, over.is_set))
        try:
            yield
        finally:
            over.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow_people(
        self, people: BoxPeople, store: BoxStore, client: Client, is_over: Callable[[], bool]
    ) -> None:
        async def tell() -> None:
            await store.report(await asyncio.to_thread(self.describe))

        while not is_over():
            try:
                await people.follow(PeopleBucket(client), tell, is_over)
            except FAILURES as error:
                if is_over() or client.is_closed:
                    return
                problem = self._servers.explain(error)
                self._warnings.tell("people", f"the hub's people cannot be asked for: {problem}")
            await asyncio.sleep(ASK_EVERY_S)

    async def _fetch_models(self, store: BoxStore, revision: Revision) -> str:
        """Have the models that a revision names; why that cannot be, or nothing."""
        names = list_kept(revision.desired.text) if revision.desired else set()
        if not names:
            return ""
        try:
            await store.fetch_models(names, self._models)
        except EdgeError as error:
            return error.problem
        return ""

    async def _pause(self, pause_s: float) -> None:
        until_s = time.monotonic() + pause_s
        while time.monotonic() < until_s and not self._is_over():
            await asyncio.sleep(0.1)

    def _describe_trying(self, number: int) -> Report:
        """What the box has to say while a revision is tried, which may take minutes."""
        return Report(
            self._box, __version__, number, Outcome.TRYING, "", self._control.is_ready(),
            time.time(), self._describe_people(),
        )  # fmt: skip

    def describe(self) -> Report:
        """What the box has to say."""
        done = self._progress
        return Report(
            self._box, __version__, done.revision, done.outcome, done.problem,
            self._control.is_ready(), time.time(), self._describe_people(),
        )  # fmt: skip

    def _describe_people(self) -> PeopleReceipt:
        return self._people.receipt if self._people else PeopleReceipt()
