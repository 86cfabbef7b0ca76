"""The web application: the page, and its API under ``/api/v1``."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from edge import __version__
from edge.web import cameras, events, feed
from edge.web.access import Access
from edge.web.endpoint import Call, Endpoint, answer
from edge.web.ports import Node
from edge.web.problem import RequestError, respond
from edge.web.schema import Health, Query
from edge.web.shield import Shield

STATIC = Path(__file__).with_name("static")
PREFIX = "/api/v1"


def create_app(node: Node, access: Access) -> ASGIApp:
    """Create the application.

    Args:
        node: What there is to see.
        access: Who may see it.
    """
    endpoints = list_endpoints()
    routes: list[BaseRoute] = [_route(endpoint, node, access) for endpoint in endpoints]
    routes += [
        Route("/", _show_page),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    handlers = {RequestError: _explain, HTTPException: _explain_http, Exception: _excuse}
    return Shield(Starlette(routes=routes, exception_handlers=handlers), access)


def list_endpoints() -> list[Endpoint]:
    """What the API offers."""
    health = Endpoint("GET", "/health", show_health, "How the node is.", answer=Health)
    return [*events.ENDPOINTS, *cameras.ENDPOINTS, *cameras.Stills().endpoints, *feed.ENDPOINTS,
            health]  # fmt: skip


def show_health(call: Call[Query, None]) -> Health:
    """How the node is."""
    node = call.node
    health = node.health()
    return Health(node.name, __version__, health.ready, health.problems, health.figures)


def _route(endpoint: Endpoint, node: Node, access: Access) -> Route:
    async def serve(request: Request) -> Response:
        return await answer(endpoint, node, request, access.identify(request))

    return Route(PREFIX + endpoint.path, serve, methods=[endpoint.method])


async def _show_page(request: Request) -> Response:  # noqa: ARG001 - starlette's signature
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


async def _explain(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, RequestError)  # noqa: S101 - it is registered for that
    return respond(error)


async def _explain_http(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for that
    status = HTTPStatus(error.status_code)
    return respond(RequestError(status, status.description or status.phrase, headers=error.headers))


async def _excuse(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """What nobody expected: it is logged by the server, and not told to the world."""
    return respond(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "the node's log says more"))
