"""A process that reads the hub's stream and keeps what it read, until it is killed.

``python -m tests.support.durable_subscriber SERVER KEY CA FILE``: a batch is acknowledged once it
is in the file, so after a kill the next process goes on where this one was.
"""

import asyncio
import os
import sys

from edge.fleet.names import name_account, name_gathered
from edge.wire.nats_connection import FAILURES, NatsServers


async def read_on(server, key, authority, path):
    """Read, write, acknowledge; connect again where the server was killed."""
    servers = NatsServers((server,), key, authority)
    with open(path, "ab") as file:  # noqa: PTH123 - it is written for as long as this lives
        while True:
            try:
                await read(await servers.connect(), file)
            except FAILURES:
                await asyncio.sleep(0.3)


async def read(client, file):
    """Read while the connection lasts."""
    try:
        stream = client.jetstream(domain=name_account("gate"))
        pull = await stream.pull_subscribe("edge.>", "proof", stream=name_gathered("gate"))
        while True:
            try:
                batch = await pull.fetch(100, timeout=1)
            except asyncio.TimeoutError:
                if client.is_closed:
                    return
                continue
            for message in batch:
                file.write(b"\n" + message.data)  # a line that a kill cut off ends here
            file.flush()
            os.fsync(file.fileno())
            for message in batch:
                await message.ack()
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(read_on(*sys.argv[1:]))
