"""Viewers of live video: ``python -m tests.support.live_viewers ADDRESS KIND COUNT CAMERA...``.

Of each camera COUNT viewers that are ``good``, ``slow`` (a piece every half second) or ``stalled``
(nothing is read after the first piece). Runs until stdin is closed; a line says that all of them
have got something.
"""

import asyncio
import sys

import websockets


async def view(url, kind, got):
    """Watch until cancelled."""
    async with websockets.connect(url, max_queue=1, max_size=None) as socket:
        await socket.recv()
        got.release()
        while True:
            if kind == "stalled":
                await asyncio.Event().wait()
            if kind == "slow":
                await asyncio.sleep(0.5)
            await socket.recv()


async def main():
    """All viewers."""
    address, kind, count, *cameras = sys.argv[1:]
    urls = [f"ws://{address}/api/v1/cameras/{camera}/live" for camera in cameras] * int(count)
    got = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(view(url, kind, got)) for url in urls]
    for _ in urls:
        await got.acquire()
    print("all", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
