"""The live hub: one stream a camera, however many watch it, and none waits for another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable

from edge.errors import EdgeError
from edge.redaction import redact
from edge.repeated_warning import RepeatedWarnings
from edge.web.ports import Fragment, LiveStream, StreamStart

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 2 << 20  # of one viewer, who then goes on at the next key frame
MAX_WAITING_S = 3.0
MAX_GROUP_BYTES = 8 << 20  # since the last key frame, for who comes in between

Piece = StreamStart | Fragment


class _Watcher:
    """What waits for one viewer. It begins, and goes on after a loss, at a key frame."""

    def __init__(self) -> None:
        self._waiting: deque[Piece] = deque()
        self._bytes = 0
        self._needs_key = True
        self._ready = asyncio.Event()
        self._ended = False

    def start(self, start: StreamStart) -> None:
        """Begin anew with other parameters."""
        self._drop()
        self._waiting.append(start)
        self._ready.set()

    def catch_up(self, group: list[Fragment]) -> None:
        """Add what came since the last key frame, however much that is."""
        self._waiting += group
        self._bytes += sum(len(fragment.data) for fragment in group)
        self._needs_key = not group

    def put(self, fragment: Fragment) -> None:
        """Add a fragment, or drop what waits if that is too much."""
        if self._needs_key and not fragment.key:
            return
        if self._is_late(fragment):
            self._drop()
            if not fragment.key:
                return
        self._needs_key = False
        self._waiting.append(fragment)
        self._bytes += len(fragment.data)
        self._ready.set()

    def end(self) -> None:
        """Tell that nothing more comes."""
        self._ended = True
        self._ready.set()

    async def take(self) -> Piece | None:
        """The next piece; None at the end."""
        while not self._waiting:
            if self._ended:
                return None
            self._ready.clear()
            await self._ready.wait()
        piece = self._waiting.popleft()
        if isinstance(piece, Fragment):
            self._bytes -= len(piece.data)
        return piece

    def _is_late(self, fragment: Fragment) -> bool:
        oldest = next((piece for piece in self._waiting if isinstance(piece, Fragment)), fragment)
        late_s = fragment.captured_s - oldest.captured_s
        return self._bytes > MAX_WAITING_BYTES or late_s > MAX_WAITING_S

    def _drop(self) -> None:
        starts = [piece for piece in self._waiting if isinstance(piece, StreamStart)]
        self._waiting = deque(starts[-1:])
        self._bytes = 0
        self._needs_key = True


class _Channel:
    """The stream of one camera, and who watches it."""

    def __init__(
        self, camera: str, open_live: Callable[[str], LiveStream], warnings: RepeatedWarnings
    ) -> None:
        self.watchers: set[_Watcher] = set()
        self._start: StreamStart | None = None
        self._group: list[Fragment] = []  # since the last key frame; empty where that is too much
        self._group_bytes = 0
        self._camera = camera
        self._task = asyncio.ensure_future(self._run(open_live, warnings))

    @property
    def is_over(self) -> bool:
        """Whether the stream has ended."""
        return self._task.done()

    def add(self, watcher: _Watcher) -> None:
        """Let somebody watch, from the last key frame on."""
        self.watchers.add(watcher)
        if self._start:
            watcher.start(self._start)
            watcher.catch_up(self._group)

    async def close(self) -> None:
        """End the stream."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(
        self, open_live: Callable[[str], LiveStream], warnings: RepeatedWarnings
    ) -> None:
        try:
            async with contextlib.aclosing(open_live(self._camera)) as stream:
                async for piece in stream:
                    self._pass_on(piece)
        except (EdgeError, LookupError, OSError) as error:
            reason = redact(str(error))
            warnings.tell(self._camera, f"{self._camera}: the live view ended: {reason}")
            warnings.sum_up()
        finally:
            for watcher in self.watchers:
                watcher.end()

    def _pass_on(self, piece: Piece) -> None:
        if isinstance(piece, StreamStart):
            self._start = piece
            self._group, self._group_bytes = [], 0
            for watcher in self.watchers:
                watcher.start(piece)
            return
        if piece.key:
            self._group, self._group_bytes = [], 0
        if piece.key or self._group:
            self._group.append(piece)
            self._group_bytes += len(piece.data)
        if self._group_bytes > MAX_GROUP_BYTES:
            self._group, self._group_bytes = [], 0
        for watcher in self.watchers:
            watcher.put(piece)


class LiveHub:
    """The streams that somebody watches, in the event loop.

    Args:
        open_live: Opens the stream of a camera.
    """

    def __init__(self, open_live: Callable[[str], LiveStream]) -> None:
        self._open_live = open_live
        self._channels: dict[str, _Channel] = {}
        self._warnings = RepeatedWarnings(log)

    async def watch(self, camera: str) -> AsyncGenerator[Piece, None]:
        """What a viewer of a camera is sent: a start, then fragments from a key frame on.

        It ends when the stream does. Use it in ``contextlib.aclosing``.
        """
        channel = self._channels.get(camera)
        if channel is None or channel.is_over:
            channel = self._channels[camera] = _Channel(camera, self._open_live, self._warnings)
        watcher = _Watcher()
        channel.add(watcher)
        try:
            while (piece := await watcher.take()) is not None:
                yield piece
        finally:
            channel.watchers.discard(watcher)
            if not channel.watchers:
                if self._channels.get(camera) is channel:
                    del self._channels[camera]
                await channel.close()
