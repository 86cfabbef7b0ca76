"""Live video: the camera's own stream by WebSocket, or JPEGs for browsers that cannot show it.

A binary message is a head of 17 bytes, big-endian, and a piece of fragmented MP4: the wall clock of
its first picture and that picture's time in the stream, both float64 seconds, and a byte of flags:
1 for a key frame, 2 for an initialization segment.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge.web.access import Access
from edge.web.cameras import Stills, get_camera, get_latest
from edge.web.endpoint import (
    Call,
    Endpoint,
    Visitor,
    is_still_welcome,
    require_role,
    take_place,
)
from edge.web.live_hub import LiveHub, Piece
from edge.web.ports import Node, StreamStart
from edge.web.problem import RequestError, respond
from edge.web.schema import LiveStart, PictureQuery, Role

HEAD = struct.Struct(">ddB")
KEY, INITIALIZATION = 1, 2
MJPEG_S = 0.2  # between two pictures
WELCOME_S = 10.0  # after which it is asked again whether a viewer may watch
BOUNDARY = "edge-picture"
GOING_AWAY = 1001


class LiveView:
    """Live video of all cameras.

    Args:
        node: Where it comes from.
        access: Who may see it.
        stills: Where JPEGs are made.

    Attributes:
        stills: The same.
    """

    def __init__(self, node: Node, access: Access, stills: Stills) -> None:
        self._node = node
        self._access = access
        self.stills = stills
        self._hub = LiveHub(node.open_live) if node.open_live else None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is served by HTTP."""
        return (
            Endpoint("GET", "/cameras/{camera}/live.mjpeg", self.show_pictures,
                     "The newest pictures of a camera, five a second at most.",
                     answer=f"multipart/x-mixed-replace; boundary={BOUNDARY}",
                     query=PictureQuery, stay="watching"),
        )  # fmt: skip

    def route(self, prefix: str) -> WebSocketRoute:
        """What is served by WebSocket."""
        return WebSocketRoute(prefix + "/cameras/{camera}/live", self.show_stream)

    # --- WebSocket ------------------------------------------------------------------------------

    async def show_stream(self, socket: WebSocket) -> None:
        """Send the stream of a camera until somebody has enough."""
        try:
            visitor = self._access.identify(socket)
            require_role(visitor, Role.VIEWER)
            camera = str(socket.path_params["camera"])
            sight = get_camera(self._node, camera)
            if self._hub is None or not sight.live:
                raise RequestError(HTTPStatus.NOT_FOUND, f"{camera} shows no live video")
            take_place(socket, visitor, "watching", self._access.find_host(socket))
        except RequestError as error:
            await socket.send_denial_response(respond(error))
            return
        await socket.accept()
        tasks = [
            asyncio.ensure_future(self._send(socket, self._hub, camera, visitor)),
            asyncio.ensure_future(_read(socket)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it is closed already
            await socket.close(GOING_AWAY)

    async def _send(
        self, socket: WebSocket, hub: LiveHub, camera: str, visitor: Visitor | None
    ) -> None:
        asked_s = time.monotonic()
        async with contextlib.aclosing(hub.watch(camera)) as pieces:
            async for piece in pieces:
                if isinstance(piece, StreamStart):
                    mime = f'video/mp4; codecs="{piece.codecs}"'
                    start = msgspec.json.encode(LiveStart(mime, piece.codecs))
                    await socket.send_text(start.decode())
                await socket.send_bytes(encode_piece(piece))
                if (now_s := time.monotonic()) - asked_s > WELCOME_S:
                    asked_s = now_s
                    if not is_still_welcome(self._access.identify, socket, visitor):
                        return

    # --- JPEG -----------------------------------------------------------------------------------

    async def show_pictures(self, call: Call[PictureQuery, None]) -> Response:
        """Send the newest pictures of a camera."""
        camera = call.get_part("camera")
        get_latest(call.node, camera)  # or it is a problem
        return StreamingResponse(
            self._send_pictures(call, camera),
            media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}",
            headers={"cache-control": "no-store"},
        )

    async def _send_pictures(
        self, call: Call[PictureQuery, None], camera: str
    ) -> AsyncIterator[bytes]:
        yield f"--{BOUNDARY}\r\n".encode()
        last: tuple[int, int] | None = None
        query, names = call.query, call.sees_names
        while call.is_welcome():
            began_s = time.monotonic()
            with contextlib.suppress(RequestError):  # the camera is away, and may come back
                latest = get_latest(call.node, camera)
                if (number := (latest.frame.epoch, latest.frame.seq)) != last:
                    last = number
                    jpeg = await asyncio.to_thread(
                        self.stills.encode,
                        latest,
                        boxes=query.boxes,
                        names=names,
                        height=query.height,
                    )
                    yield _encode_part(jpeg, latest.frame.captured_s)
            await asyncio.sleep(max(MJPEG_S - (time.monotonic() - began_s), 0.01))


def encode_piece(piece: Piece) -> bytes:
    """A piece of a stream as a message."""
    if isinstance(piece, StreamStart):
        return HEAD.pack(0.0, 0.0, INITIALIZATION) + piece.header
    flags = KEY if piece.key else 0
    return HEAD.pack(piece.captured_s, piece.media_s, flags) + piece.data


async def _read(socket: WebSocket) -> None:
    """Read until the viewer leaves; what it says has no meaning."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return


def _encode_part(jpeg: bytes, captured_s: float) -> bytes:
    head = (
        f"content-type: image/jpeg\r\ncontent-length: {len(jpeg)}\r\n"
        f"x-captured-at: {captured_s:.3f}\r\n\r\n"
    )
    return head.encode() + jpeg + f"\r\n--{BOUNDARY}\r\n".encode()
