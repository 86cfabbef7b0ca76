"""Gathering: for each box, the hub has a stream that takes over what the box stores.

The hub asks the box's server for what it lacks, as often as it takes: a line that was cut costs
time alone, as long as the box still has what is asked for. The stream lies in the account of the
box, so that what one box sends, or claims, is no matter of others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import ExternalStream, StorageType, StreamConfig, StreamSource

from edge.errors import EdgeError
from edge.fleet.names import STREAM, name_account, name_delivery, name_gathered
from edge.fleet.store import NO_WINDOW_S

NO_ROOM: Final = 10047  # an error of the server: less than the stream's bound is left
TIMEOUT_S: Final = 5.0


async def gather(client: Client, box: str, max_bytes: int, max_age_s: float) -> None:
    """Have the hub take over what a box stores, now and from then on.

    Args:
        client: Of the hub.
        box: Its name.
        max_bytes: Of what the hub keeps of it; the oldest goes.
        max_age_s: How long.

    Raises:
        EdgeError: The server refuses, or does not know the box.
    """
    stream = client.jetstream(timeout=TIMEOUT_S, domain=name_account(box))
    name = name_gathered(box)
    external = ExternalStream(api=f"$JS.{box}.API", deliver=name_delivery(box))
    source = StreamSource(name=STREAM, external=external)
    config = StreamConfig(
        name=name, storage=StorageType.FILE, sources=[source], duplicate_window=NO_WINDOW_S,
        max_bytes=max_bytes, max_age=max_age_s,
    )  # fmt: skip
    try:
        try:
            known = (await stream.stream_info(name)).config
        except nats.js.errors.NotFoundError:
            await stream.add_stream(config)
        else:
            await stream.update_stream(replace(known, max_bytes=max_bytes, max_age=max_age_s))
    except (nats.errors.NoRespondersError, nats.js.errors.ServiceUnavailableError) as error:
        raise EdgeError(
            f"the hub's server has no account of {box}: edge hub authorize it, and reload the "
            "server"
        ) from error
    except nats.js.errors.APIError as error:
        problem = f"the hub's server refuses the stream {name}: {error.description}"
        if error.err_code == NO_ROOM:
            problem += ": give fewer --max-bytes, or raise the server's max_file_store"
        raise EdgeError(problem) from error
