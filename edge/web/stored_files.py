"""Files of the storage folder as answers: whole or in ranges, and none outside the folder."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from starlette.responses import FileResponse

from edge.recording.kept_file import open_kept
from edge.recording.records import FileKind, StoredFile
from edge.web.ports import Archive
from edge.web.problem import RequestError

MEDIA_TYPES = {".mp4": "video/mp4", ".jpg": "image/jpeg"}


def find_file(archive: Archive, event_id: str, kind: FileKind) -> StoredFile:
    """The whole file of an event.

    Raises:
        RequestError: The event is not known, or has no such file.
    """
    index = archive.index
    is_there = event_id and not index.is_doomed(event_id)
    for file in index.list_files(kind, event_id=event_id, limit=1) if is_there else ():
        if file.ended_s is not None:
            return file
    raise RequestError(HTTPStatus.NOT_FOUND, f"there is no {kind} of an event {event_id[:64]!r}")


def resolve(archive: Archive, file: StoredFile) -> Path:
    """Where a file is.

    Raises:
        RequestError: It is gone, is no ordinary file, is a link, or lies outside the folder.
    """
    folder = archive.folder.resolve()
    try:
        open_kept(folder, file.path).close()
    except OSError as error:
        problem = f"the {file.kind} is not there any more"
        raise RequestError(HTTPStatus.NOT_FOUND, problem) from error
    return folder / file.path


def respond(archive: Archive, file: StoredFile, name: str = "") -> FileResponse:
    """A file as an answer, also in ranges; ``name`` offers it as a download.

    Raises:
        RequestError: It is not there.
    """
    path = resolve(archive, file)
    return FileResponse(
        path,
        media_type=MEDIA_TYPES.get(path.suffix, "application/octet-stream"),
        filename=name or None,
        headers={"cache-control": "private, no-cache"},
    )
