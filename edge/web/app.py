"""The web application: the page, and its API under ``/api/v1``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from edge import __version__
from edge.config import Http
from edge.web import cameras, events, feed, objects, recordings
from edge.web.access import Access, AccessRules, read_rules
from edge.web.cameras import Stills
from edge.web.changes import ChangeFeed
from edge.web.configuration import ConfigurationDesk
from edge.web.endpoint import JSON, Call, Endpoint, answer, discard_body
from edge.web.explanation import ExplanationDesk
from edge.web.live import LiveView
from edge.web.login import LoginDesk
from edge.web.openapi import PREFIX, generate
from edge.web.people import PeopleDesk
from edge.web.place_desk import PlaceDesk
from edge.web.ports import Node, NodeHealth
from edge.web.problem import RequestError, respond
from edge.web.schema import Health, Query
from edge.web.shield import Shield

STATIC = Path(__file__).with_name("static")


def create_page(
    options: Http, base: Path, node: Node, access: Access | None = None
) -> ASGIApp | None:
    """Create what the daemon's HTTP server serves; None where the page is not to be shown.

    Args:
        options: The table of the server.
        base: Folder of the configuration file.
        node: What there is to see.
        access: Who may see it; None takes what the options say.

    Raises:
        ConfigError: The users file cannot be used.
    """
    if not options.shows_page:
        return None
    return create_app(node, access or Access(read_rules(options, base)))


def create_app(node: Node, access: Access) -> ASGIApp:
    """Create the application.

    Args:
        node: What there is to see.
        access: Who may see it.
    """
    live = LiveView(node, access, Stills())
    endpoints = list_endpoints(access, live)
    routes: list[BaseRoute] = [_route(endpoint, node, access) for endpoint in endpoints]
    routes += [
        live.route(PREFIX),
        Route("/api/openapi.json", _show_document(endpoints)),
        Route("/", _show_page),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    handlers = {HTTPException: _explain, Exception: _excuse}
    return Shield(Starlette(routes=routes, exception_handlers=handlers), access)


def list_endpoints(access: Access, live: LiveView) -> list[Endpoint]:
    """What the API offers, in the order in which it is described."""
    desk = ConfigurationDesk()
    return [
        *ENDPOINTS,
        *ExplanationDesk().endpoints,
        *live.stills.endpoints,
        *live.endpoints,
        *LoginDesk(access).endpoints,
        *PeopleDesk().endpoints,
        *desk.endpoints,
        *PlaceDesk(desk).endpoints,
    ]


def describe_api() -> dict[str, Any]:
    """The OpenAPI document, of no node in particular."""
    node = Node("", list, lambda: NodeHealth(ready=False), ChangeFeed())
    access = Access(AccessRules("localhost"))
    return generate(list_endpoints(access, LiveView(node, access, Stills())))


def show_health(call: Call[Query, None]) -> Health:
    """How the node is."""
    node = call.node
    health = node.health()
    recognizes = node.people is not None
    return Health(
        node.name, __version__, health.ready, health.problems, health.figures, health.cameras,
        recognizes,
    )  # fmt: skip


ENDPOINTS = (
    *events.ENDPOINTS,
    *cameras.ENDPOINTS,
    *recordings.ENDPOINTS,
    *feed.ENDPOINTS,
    *objects.ENDPOINTS,
    Endpoint("GET", "/health", show_health, "How the node is.", answer=Health),
)


def _route(endpoint: Endpoint, node: Node, access: Access) -> Route:
    async def serve(request: Request) -> Response:
        try:
            return await answer(endpoint, node, request, access.identify, access.find_host)
        except RequestError as error:
            await discard_body(request)
            return respond(error)

    return Route(PREFIX + endpoint.path, serve, methods=[endpoint.method])


def _show_document(endpoints: Sequence[Endpoint]) -> Callable[[Request], Awaitable[Response]]:
    document: list[bytes] = []  # made when it is asked for

    async def show(request: Request) -> Response:  # noqa: ARG001 - starlette's signature
        if not document:
            document.append(msgspec.json.encode(generate(endpoints)))
        return Response(document[0], media_type=JSON)

    return show


async def _show_page(request: Request) -> Response:  # noqa: ARG001 - starlette's signature
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


async def _explain(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for that
    status = HTTPStatus(error.status_code)
    return respond(RequestError(status, status.description or status.phrase, headers=error.headers))


async def _excuse(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """What nobody expected: it is logged by the server, and not told to the world."""
    return respond(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "the node's log says more"))
