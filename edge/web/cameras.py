"""Cameras: listed, their newest pictures, and their video of any time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.responses import Response, StreamingResponse

from edge.errors import EdgeError
from edge.web.endpoint import Call, Endpoint
from edge.web.ports import CameraSight, Export, LatestPicture, Node
from edge.web.problem import RequestError
from edge.web.schema import CameraEntry, CameraList, PictureQuery, Query, RangeQuery, StatePlace
from edge.web.still import StillCache

MAX_RANGE_S = 3600.0
WAITING_PIECES = 8  # of an export that its reader has not taken yet


def get_camera(node: Node, name: str) -> CameraSight:
    """A camera by its name.

    Raises:
        RequestError: There is none.
    """
    for sight in node.list_cameras():
        if sight.settings.name == name:
            return sight
    raise RequestError(HTTPStatus.NOT_FOUND, f"there is no camera {name[:64]!r}")


def describe_camera(node: Node, sight: CameraSight) -> CameraEntry:
    """A camera as it is shown."""
    settings, status = sight.settings, sight.status
    latest = node.get_latest(settings.name) if node.get_latest and settings.states else None
    return CameraEntry(
        name=settings.name,
        state=str(status.state) if status else "",
        reason=status.reason if status else "",
        reason_code=str(status.reason_code) if status else "",
        since_s=status.at_s if status else None,
        size_wh=status.size_wh if status else (0, 0),
        aspect=settings.aspect,
        fps=round(sight.fps, 2),
        live=sight.live,
        hide=settings.hide,
        places=tuple(StatePlace(state.name, state.polygon) for state in settings.states),
        states=dict(latest.states) if latest else {},
    )


def list_cameras(call: Call[Query, None]) -> CameraList:
    """All cameras."""
    return CameraList(tuple(describe_camera(call.node, s) for s in call.node.list_cameras()))


def show_camera(call: Call[Query, None]) -> CameraEntry:
    """One camera."""
    return describe_camera(call.node, get_camera(call.node, call.get_part("camera")))


def get_latest(node: Node, name: str) -> LatestPicture:
    """The newest picture of a camera.

    Raises:
        RequestError: There is no such camera, or none came yet.
    """
    get_camera(node, name)
    latest = node.get_latest(name) if node.get_latest else None
    if latest is None:
        raise RequestError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"camera {name!r} has not given a picture yet",
            headers={"retry-after": "2"},
        )
    return latest


class Stills:
    """The newest pictures as JPEG."""

    def __init__(self) -> None:
        self._cache = StillCache()

    def show_latest(self, call: Call[PictureQuery, None]) -> Response:
        """The newest picture of a camera."""
        latest = get_latest(call.node, call.get_part("camera"))
        query = call.query
        jpeg = self.encode(latest, boxes=query.boxes, names=call.sees_names, height=query.height)
        return Response(
            jpeg,
            media_type="image/jpeg",
            headers={
                "cache-control": "no-store",
                "x-captured-at": f"{latest.frame.captured_s:.3f}",
            },
        )

    def encode(self, latest: LatestPicture, *, boxes: bool, names: bool, height: int) -> bytes:
        """A picture as JPEG."""
        return self._cache.encode(latest, boxes=boxes, names=names, height=height)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is served."""
        return (
            Endpoint("GET", "/cameras/{camera}/latest.jpg", self.show_latest,
                     "The newest picture of a camera; `x-captured-at` says when it was taken.",
                     answer="image/jpeg", query=PictureQuery),
        )  # fmt: skip


async def show_range(call: Call[RangeQuery, None]) -> Response:
    """The video of a camera in a range of time."""
    query, node, name = call.query, call.node, call.get_part("camera")
    if not 0 < query.to_s - query.from_s <= MAX_RANGE_S:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            f"from and to must be Unix seconds, to later by at most {MAX_RANGE_S:.0f}",
        )
    if node.export is None:
        raise RequestError(
            HTTPStatus.NOT_FOUND, "this node keeps no video: set storage.folder for that"
        )
    pieces = _Pieces(node.export, name, query.from_s, query.to_s)
    first = await pieces.begin()
    file_name = f"{name}-{query.from_s:.0f}.mp4"
    return StreamingResponse(
        pieces.follow(first),
        media_type="video/mp4",
        headers={
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{file_name}"',
        },
    )


class _ReaderGoneError(Exception):
    """Nobody reads the export any more."""


class _Pieces:
    """The pieces of an export, made in a thread of its own no faster than they are taken."""

    def __init__(self, export: Export, camera: str, from_s: float, to_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        self._room = threading.Semaphore(WAITING_PIECES)
        self._over = threading.Event()
        arguments = (export, camera, from_s, to_s)
        self._thread = threading.Thread(
            target=self._run, args=arguments, name="export", daemon=True
        )

    async def begin(self) -> bytes:
        """The first piece.

        Raises:
            RequestError: There is no such video.
        """
        self._thread.start()
        try:
            first = await self._pieces.get()
        except BaseException:
            self._end()
            raise
        if isinstance(first, bytes):
            return first
        if isinstance(first, LookupError) or first is None:
            raise RequestError(
                HTTPStatus.NOT_FOUND, "nothing was kept of that camera at that time"
            ) from first
        raise first

    async def follow(self, first: bytes) -> AsyncIterator[bytes]:
        """All pieces."""
        try:
            yield first
            while (piece := await self._pieces.get()) is not None:
                self._room.release()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            self._end()

    def _end(self) -> None:
        self._over.set()
        self._room.release()

    def _write(self, piece: bytes) -> None:
        self._room.acquire()
        if self._over.is_set():
            raise _ReaderGoneError
        self._put(bytes(piece))

    def _put(self, item: bytes | BaseException | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, item)

    def _run(self, export: Export, camera: str, from_s: float, to_s: float) -> None:
        failure: BaseException | None = None
        try:
            export(camera, from_s, to_s, self._write)
        except _ReaderGoneError:
            pass
        except (OSError, LookupError, EdgeError) as error:
            failure = error
        finally:
            self._put(failure)  # else its reader would wait for ever


ENDPOINTS = (
    Endpoint("GET", "/cameras", list_cameras, "List the cameras.", answer=CameraList),
    Endpoint("GET", "/cameras/{camera}", show_camera, "Show a camera.", answer=CameraEntry),
    Endpoint("GET", "/cameras/{camera}/clip.mp4", show_range,
             "The video of a camera in a range of time of at most an hour, as it was kept.",
             answer="video/mp4", query=RangeQuery, stay="working"),
)  # fmt: skip
