"""The page over all boxes of a fleet: who is there, what they run, and why not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from edge.fleet.board import FleetBoard
from edge.fleet.records import Outcome, State
from edge.web.access import Access, AccessRules
from edge.web.endpoint import JSON
from edge.web.hub_metrics import HubMetrics
from edge.web.openapi import PREFIX
from edge.web.shield import Shield

STATIC: Final = Path(__file__).with_name("static")


class Box(msgspec.Struct, frozen=True):
    """A box as the page shows it.

    Attributes:
        name: Of the box.
        state: Whether its node is ready, as far as it has said lately.
        revision: What it was told last.
        outcome: What became of that.
        version: Of Edgewatch.
        heard_s: Seconds since it said so.
        problem: What is wrong; empty if nothing is.
        people: How far it is with the hub's people; empty where it gets none.
        owes: Whether something of that is left to be done.
    """

    name: str
    state: State
    revision: int
    outcome: Outcome | None
    version: str
    heard_s: float
    problem: str
    people: str = ""
    owes: bool = False


class Boxes(msgspec.Struct, frozen=True):
    """All boxes.

    Attributes:
        boxes: In order of their names.
        problem: Why the hub does not know more; empty if it does.
    """

    boxes: tuple[Box, ...]
    problem: str


def create_hub(board: FleetBoard, rules: AccessRules) -> ASGIApp:
    """Create the application; ``rules`` say by which names it is reached."""

    def describe_people(box: str, now_s: float) -> tuple[str, bool]:
        found = board.people.get(box)
        return (found.describe(now_s), not found.is_well) if found else ("", False)

    def show_boxes(_: Request) -> Response:
        now_s = time.time()
        boxes = tuple(
            Box(
                report.box, report.judge(now_s), report.revision, report.outcome, report.version,
                max(now_s - report.at_s, 0.0), report.problem, *describe_people(report.box, now_s),
            )
            for report in board.reports
        )  # fmt: skip
        silent = board.people.keys() - {report.box for report in board.reports}
        boxes += tuple(
            Box(
                box, "away", 0, None, "", 0.0, "it has never reported", *describe_people(box, now_s)
            )
            for box in sorted(silent)
        )
        return Response(msgspec.json.encode(Boxes(boxes, board.problem)), media_type=JSON)

    def show_metrics(_: Request) -> Response:
        return Response(
            HubMetrics(board.people).render(), headers={"content-type": CONTENT_TYPE_LATEST}
        )

    def show_page(_: Request) -> Response:
        return FileResponse(STATIC / "hub.html", media_type="text/html")

    routes = [
        Route("/", show_page),
        Route(f"{PREFIX}/boxes", show_boxes),
        Route("/metrics", show_metrics),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Shield(Starlette(routes=routes), Access(rules))
