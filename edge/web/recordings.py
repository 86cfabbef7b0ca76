"""Which video of a camera is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus

from edge.recording.records import StoredFile
from edge.web.cameras import get_camera
from edge.web.endpoint import Call, Endpoint
from edge.web.ports import Archive
from edge.web.problem import RequestError
from edge.web.schema import Recording, RecordingList, SpanQuery

MAX_SPAN_S = 8 * 86400.0
JOINED_S = 2.0  # files that are no further apart are one recording


def list_recordings(call: Call[SpanQuery, None]) -> RecordingList:
    """What is kept of a camera in a range of time.

    Raises:
        RequestError: There is no such camera, or the range is none.
    """
    query, name = call.query, call.get_part("camera")
    if not 0 < query.to_s - query.from_s <= MAX_SPAN_S:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            f"from and to must be Unix seconds, to later by at most {MAX_SPAN_S:.0f}",
        )
    archive = call.node.archive
    get_camera(call.node, name)
    if archive is None or call.node.export is None:
        return RecordingList(False, ())
    files = archive.index.find_video(name, query.from_s, query.to_s)
    spans = sorted(_measure(archive, files))
    return RecordingList(True, tuple(join_spans(spans, query.from_s, query.to_s)))


def _measure(archive: Archive, files: Iterable[StoredFile]) -> Iterator[tuple[float, float]]:
    """When each file begins and ends; one that is being written ends where it was written last."""
    for file in files:
        ended_s = file.ended_s
        if ended_s is None:
            try:
                ended_s = (archive.folder / file.path).stat().st_mtime
            except OSError:
                continue
        yield file.began_s, ended_s


def join_spans(
    spans: Iterable[tuple[float, float]], from_s: float, to_s: float
) -> Iterator[Recording]:
    """Recordings within a range, of spans in the order in which they begin."""
    began_s = ended_s = -JOINED_S
    for begin_s, end_s in spans:
        begin_s, end_s = max(begin_s, from_s), min(end_s, to_s)
        if end_s <= begin_s:
            continue
        if ended_s >= 0 and begin_s - ended_s <= JOINED_S:
            ended_s = max(ended_s, end_s)
            continue
        if ended_s > began_s:
            yield Recording(began_s, ended_s)
        began_s, ended_s = begin_s, end_s
    if ended_s > began_s:
        yield Recording(began_s, ended_s)


ENDPOINTS = (
    Endpoint("GET", "/cameras/{camera}/recordings", list_recordings,
             "Which video of a camera is kept of a range of time of at most eight days.",
             answer=RecordingList, query=SpanQuery),
)  # fmt: skip
