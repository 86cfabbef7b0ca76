"""What is found before a camera, as it is: for boxes over its live video."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response

from edge.event import UNNAMED
from edge.web.cameras import get_camera
from edge.web.endpoint import Call, Endpoint
from edge.web.feed import RETRY_MS, SILENCE_S, send_events
from edge.web.ports import LatestPicture
from edge.web.schema import FoundObject, FrameObjects, Query

POLL_S = 0.03


async def follow_objects(call: Call[Query, None]) -> Response:
    """Send what was found in each frame that is looked at from now on."""
    camera = call.get_part("camera")
    get_camera(call.node, camera)
    return send_events(_send(call, camera))


async def _send(call: Call[Query, None], camera: str) -> AsyncIterator[bytes]:
    get_latest, last, sent_s = call.node.get_latest, (-1, -1), time.monotonic()
    yield f"retry: {RETRY_MS}\n\n".encode()
    while get_latest and call.is_welcome():
        latest = get_latest(camera)
        if latest and (number := (latest.frame.epoch, latest.frame.seq)) != last:
            last, sent_s = number, time.monotonic()
            found = describe_objects(latest, names=call.sees_names)
            yield b"event: objects\ndata: " + msgspec.json.encode(found) + b"\n\n"
        elif time.monotonic() - sent_s > SILENCE_S:
            sent_s = time.monotonic()
            yield b":\n\n"
        await asyncio.sleep(POLL_S)


def describe_objects(latest: LatestPicture, *, names: bool) -> FrameObjects:
    """What was found in a frame; names of people only for who may see them."""
    rows = zip(
        latest.track_ids, latest.labels, latest.names, latest.xyxy.round(1).tolist(),
        latest.attributes or ({},) * len(latest.labels), strict=True,
    )  # fmt: skip
    objects = tuple(
        FoundObject(
            track, label, name if names or not name else UNNAMED, tuple(box), dict(attributes)
        )
        for track, label, name, box, attributes in rows
    )
    frame = latest.frame
    return FrameObjects(frame.captured_s, frame.size_wh, objects, dict(latest.states))


ENDPOINTS = (
    Endpoint("GET", "/cameras/{camera}/objects", follow_objects,
             "Server-sent events named `objects`, one FrameObjects for each frame that is looked "
             "at.",
             answer="text/event-stream", stay="watching"),
)  # fmt: skip
