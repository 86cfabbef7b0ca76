"""Endpoints: what the API offers, each with its types, from which routes and OpenAPI are made."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar, cast

import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response, StreamingResponse

from edge.errors import EdgeError, StorageError
from edge.redaction import redact
from edge.web.ports import Connection, Node, Stay
from edge.web.problem import RequestError
from edge.web.schema import Query, Role

JSON = "application/json"
MAX_JSON_BYTES = 256 * 1024
BODY_PATIENCE_S = 10.0  # for the next piece of a body
MAX_DISCARDED_BYTES = 64 << 20
MAX_DISCARDING_S = 4.0

Q = TypeVar("Q")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is asking.

    Attributes:
        user: Name; empty where nobody has to log in.
        session: Id of the session; empty without one.
    """

    user: str
    role: Role
    session: str = ""

    @property
    def sees_names(self) -> bool:
        """Whether names of people may be shown to them."""
        return self.role.includes(Role.ENROLLER)


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """A request whose parameters and body have been read and checked.

    Attributes:
        visitor: Who is asking; None before the login.
        is_welcome: Whether they would still be answered, for what lasts.
    """

    node: Node
    request: Request
    visitor: Visitor | None
    query: Q
    body: B
    is_welcome: Callable[[], bool]

    @property
    def sees_names(self) -> bool:
        """Whether names of people may be shown to who is asking."""
        return self.visitor is not None and self.visitor.sees_names

    def get_part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])


Answer = msgspec.Struct | Response | None
Handler = Callable[[Call[Any, Any]], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What can be asked of one address.

    Attributes:
        path: Below ``/api/v1``, with parts in braces.
        handle: Answers, in a thread unless it is a coroutine function. None is 204.
        summary: What it does, for the document.
        role: Who may; None is everybody, also before the login.
        answer: The type of the answer, or its media type; None for 204.
        query: The type of its parameters.
        body: The type of its body in JSON, or media types of bodies that are taken as they are.
        max_bytes: Of the body.
        stay: What it takes a place for, since it lasts; None for what is answered soon.
    """

    method: str
    path: str
    handle: Handler
    summary: str
    role: Role | None = Role.VIEWER
    answer: type[msgspec.Struct] | str | None = None
    query: type[msgspec.Struct] = Query
    body: type[msgspec.Struct] | tuple[str, ...] | None = None
    max_bytes: int = MAX_JSON_BYTES
    stay: Stay | None = None


def require_role(visitor: Visitor | None, role: Role | None) -> None:
    """Check that somebody may do what needs a role.

    Raises:
        RequestError: They may not.
    """
    if role is None:
        return
    if visitor is None:
        raise RequestError(
            HTTPStatus.UNAUTHORIZED,
            "this needs a login: send a session's cookie or a bearer token",
            headers={"www-authenticate": 'Bearer realm="edgewatch"'},
        )
    if not visitor.role.includes(role):
        raise RequestError(
            HTTPStatus.FORBIDDEN, f"this needs the role {role}, and yours is {visitor.role}"
        )


def is_still_welcome(
    identify: Callable[[HTTPConnection], Visitor | None],
    request: HTTPConnection,
    visitor: Visitor | None,
) -> bool:
    """Whether somebody is who they were when they asked: users are removed, sessions end."""
    try:
        return identify(request) == visitor
    except RequestError:
        return False


def take_place(request: HTTPConnection, visitor: Visitor | None, stay: Stay, host: str) -> None:
    """Take a place among those that last, for a user or, without a login, for an address.

    Raises:
        RequestError: None is free.
    """
    connection = cast("Connection | None", request.scope.get("edge.connection"))
    if connection is None:
        return
    who = f"user {visitor.user}" if visitor and visitor.user else f"address {host}"
    if problem := connection.stay(stay, who):
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, problem, headers={"retry-after": "5"})


async def answer(
    endpoint: Endpoint,
    node: Node,
    request: Request,
    identify: Callable[[HTTPConnection], Visitor | None],
    find_host: Callable[[HTTPConnection], str],
) -> Response:
    """Read a request, handle it, and encode what comes of it.

    Raises:
        RequestError: It cannot be served.
    """
    visitor = identify(request)
    require_role(visitor, endpoint.role)
    query = read_query(request, endpoint.query)
    is_head = request.method == "HEAD"  # what it asks about is not sent, and does not last
    if endpoint.stay and not is_head:
        take_place(request, visitor, endpoint.stay, find_host(request))
    body = await _read_body(request, endpoint)

    def is_welcome() -> bool:
        return is_still_welcome(identify, request, visitor)

    call = Call(node, request, visitor, query, body, is_welcome)
    try:
        if inspect.iscoroutinefunction(endpoint.handle):
            result = await endpoint.handle(call)
        else:
            result = await asyncio.to_thread(cast("Callable[[Any], Answer]", endpoint.handle), call)
    except StorageError as error:
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, error.problem) from error
    except EdgeError as error:
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, redact(error.problem)) from error
    if result is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    if is_head and isinstance(result, StreamingResponse):
        return await _drop_body(result)
    if isinstance(result, Response):
        return result
    return Response(msgspec.json.encode(result), media_type=JSON)


async def _drop_body(response: StreamingResponse) -> Response:
    """The head of an answer, whose body ends here."""
    body = cast("AsyncGenerator[bytes, None]", response.body_iterator)
    async with contextlib.aclosing(body):
        await anext(body, None)  # one that has not begun would not notice its end
    head = Response(status_code=response.status_code)
    head.raw_headers = response.raw_headers
    return head


def read_query(request: Request, wanted: type[Q]) -> Q:
    """Read the parameters of an address.

    Raises:
        RequestError: One is unknown, or is not what it must be.
    """
    given: dict[str, Any] = {}
    repeated = {
        field.encode_name
        for field in msgspec.structs.fields(cast("Any", wanted))
        if isinstance(field.default, tuple)
    }
    for name, value in request.query_params.multi_items():
        if name in repeated:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"parameter {name!r} is given twice")
        else:
            given[name] = value
    try:
        return msgspec.convert(given, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"parameters of the address: {error}") from error


async def _read_body(request: Request, endpoint: Endpoint) -> Any:  # noqa: ANN401
    if endpoint.body is None:
        return None
    raw = isinstance(endpoint.body, tuple)
    kinds: Sequence[str] = endpoint.body if isinstance(endpoint.body, tuple) else (JSON,)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the body must be {' or '.join(kinds)}: send its content-type",
        )
    content = await read_bounded(request, endpoint.max_bytes)
    if raw:
        return content
    try:
        return msgspec.json.decode(content, type=cast("type[msgspec.Struct]", endpoint.body))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"the body: {error}") from error


async def read_bounded(request: Request, max_bytes: int) -> bytes:
    """Read a body of at most that many bytes.

    Raises:
        RequestError: It is larger, or it does not come.
    """
    too_large = RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {max_bytes} bytes"
    )
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large
    content = bytearray()
    stream = request.stream()
    while True:
        try:
            piece = await asyncio.wait_for(anext(stream), BODY_PATIENCE_S)
        except StopAsyncIteration:
            request.state.body_is_read = True
            return bytes(content)
        except (asyncio.TimeoutError, ClientDisconnect):
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT, "the body did not come") from None
        content += piece
        if len(content) > max_bytes:
            raise too_large


async def discard_body(request: Request) -> None:
    """Read what is left of a body, within reason: who still sends it would not hear the answer."""
    headers = request.headers
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if not has_body or getattr(request.state, "body_is_read", False):
        return
    left = MAX_DISCARDED_BYTES
    end_s = time.monotonic() + MAX_DISCARDING_S
    while left > 0 and (rest_s := end_s - time.monotonic()) > 0:
        try:
            message = await asyncio.wait_for(request.receive(), rest_s)
        except asyncio.TimeoutError:
            return
        left -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
