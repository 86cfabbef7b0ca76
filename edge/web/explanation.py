"""Explanations of events: which parts of its picture the detector went by."""

from __future__ import annotations

import threading
from collections import OrderedDict
from http import HTTPStatus

from starlette.responses import Response

from edge.recording.records import FileKind
from edge.web import stored_files
from edge.web.endpoint import Call, Endpoint
from edge.web.events import require_archive
from edge.web.ports import Explained
from edge.web.problem import RequestError
from edge.web.schema import ExplanationEntry, Query

KEPT = 32  # explanations
RETRY_S = 10


class ExplanationDesk:
    """Explains one event at a time, and remembers the last ones."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._kept: OrderedDict[tuple[str, float], Explained] = OrderedDict()
        self.endpoints = (
            Endpoint("GET", "/events/{event_id}/explanation", self.show,
                     "Why the detector saw the object of an event: how much of its score is lost "
                     "where its picture is covered. Takes up to a minute the first time; one event "
                     "is explained at a time.", answer=ExplanationEntry, stay="working"),
            Endpoint("GET", "/events/{event_id}/explanation.jpg", self.show_picture,
                     "The picture of an event, warm where covering it lowers the score.",
                     answer="image/jpeg", stay="working"),
        )  # fmt: skip

    def show(self, call: Call[Query, None]) -> ExplanationEntry:
        """The figures."""
        found = self._explain(call)
        return ExplanationEntry(
            found.label, found.score, found.largest_loss, found.inside, found.patches, found.planned
        )

    def show_picture(self, call: Call[Query, None]) -> Response:
        """The heat map."""
        headers = {"cache-control": "private, no-cache"}
        return Response(self._explain(call).jpeg, media_type="image/jpeg", headers=headers)

    def _explain(self, call: Call[Query, None]) -> Explained:
        """The explanation, from memory or made now.

        Raises:
            RequestError: There is no picture of an object, or another event is being explained.
            EdgeError: The detector does not find the object in the picture.
        """
        archive, event_id = require_archive(call.node), call.get_part("event_id")
        file = stored_files.find_file(archive, event_id, FileKind.SNAPSHOT)
        record = archive.index.get_event(event_id)
        best = record.event.best if record else None
        if call.node.explain is None or best is None:
            raise RequestError(HTTPStatus.NOT_FOUND, "no detector saw an object in this event")
        key = (event_id, best.captured_s)
        if (known := self._kept.get(key)) is not None:
            return known
        if not self._busy.acquire(blocking=False):
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "another event is being explained: ask again in some seconds",
                headers={"retry-after": str(RETRY_S)},
            )
        try:
            x1, y1, x2, y2 = best.xyxy
            width, height = best.size_wh
            at = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height)
            found = call.node.explain(stored_files.resolve(archive, file), best.label, at)
            self._kept[key] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        finally:
            self._busy.release()
        return found
