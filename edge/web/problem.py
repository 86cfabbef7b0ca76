"""Problems: why a request was not served, as RFC 9457 tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from edge.printable import escape_controls

MEDIA_TYPE = "application/problem+json"


class Mistake(msgspec.Struct, frozen=True):
    """A mistake in a configuration.

    Attributes:
        line: Its line, from 1; null where it has none.
        key: The dotted key, such as `cameras[0].fps`.
        problem: What was expected, what came, and what to do.
    """

    line: int | None
    key: str
    problem: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why a request was not served (RFC 9457).

    Attributes:
        type: Always `about:blank`: the status says it.
        title: The status in words.
        status: The HTTP status.
        detail: What is wrong with the request, and what to do.
        mistakes: Of a configuration.
    """

    type: str
    title: str
    status: int
    detail: str
    mistakes: tuple[Mistake, ...] = ()


class RequestError(Exception):
    """A request that cannot be served.

    Args:
        status: The HTTP status of the answer.
        detail: A whole sentence: what was expected, what came, what to do; without secrets.
        mistakes: Of a configuration.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        mistakes: Sequence[Mistake] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.mistakes = tuple(mistakes)
        self.headers = dict(headers or {})


def respond(error: RequestError) -> Response:
    """The answer to a request that cannot be served."""
    problem = Problem(
        type="about:blank",
        title=error.status.phrase,
        status=int(error.status),
        detail=escape_controls(error.detail, keep="\n"),
        mistakes=error.mistakes,
    )
    return Response(msgspec.json.encode(problem), error.status, error.headers, MEDIA_TYPE)
