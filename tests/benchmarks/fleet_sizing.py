"""What a fleet of 1,000 and 10,000 cameras takes, from what messages cost on two real servers.

``python -m tests.benchmarks.fleet_sizing`` sets up a hub and a box as the document says, sends
what a box of ten cameras sends, at its pace, and measures bytes on the line and on the disks and
CPU of the sink and of both servers; then what a fleet of them would send through one hub, for as
long as it keeps up; then what boxes cost that send nothing. It prints tables of Markdown.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import nats

from edge.fleet.nats_files import HubAccess, render_configuration
from edge.wire.schema import Message, encode_line
from tests.edge.sinks.test_zeromq import message
from tests.support.documented_fleet import DocumentedFleet, Server, free_port
from tests.support.nats_cost import read_cpu_s, wait_until
from tests.support.nats_server import BINARY

CAMERAS, FPS = 10, 10  # of a box
SECONDS = int(os.environ.get("SECONDS", "40"))
EVENTS_HZ = 2.0  # of a box: an event of each camera in five seconds
LEAVES = int(os.environ.get("LEAVES", "20"))
SENDER = """
import sys
from tests.benchmarks.fleet_sizing import send_in_pace
send_in_pace(*sys.argv[1:])
"""
BOX = [  # family, messages at a time, messages a second
    ("detections", 1, CAMERAS * FPS), ("detections", CAMERAS, CAMERAS * FPS),
    ("events", 1, EVENTS_HZ),
]  # fmt: skip
HUB = [  # what it is, boxes, parcels a second, messages in each (as the sink gathers), family
    ("1,000 cameras, events", 100, 200, 1, "events"),
    ("10,000 cameras, events", 1000, 2000, 1, "events"),
    ("1,000 cameras, detections", 100, 2000, 5, "detections"),
    ("10,000 cameras, detections", 1000, 20000, 5, "detections"),
]


@dataclass(frozen=True)
class Cost:
    """What a message costs.

    Attributes:
        size: Bytes of it, as a line of JSON.
        line: Bytes on the line between box and hub, both directions, TLS and all.
        disk: Bytes in the store of the hub.
        sink_us: CPU of the process that sends, in microseconds.
        box_us: CPU of the box's server.
        hub_us: CPU of the hub's.
    """

    size: float
    line: float
    disk: float
    sink_us: float
    box_us: float
    hub_us: float


def make_message(rng, family, number):
    """A message with a content of its own, so that it packs as badly as a real one."""
    made = message(family, f"cam{number % CAMERAS}", seq=1 + number // CAMERAS)
    body = msgspec.structs.replace(
        made.body, captured_at=time.time(), published_at=time.time(),
        age_s=round(rng.uniform(0.01, 0.2), 4),
    )  # fmt: skip
    if family == "detections":
        objects = tuple(
            msgspec.structs.replace(
                body.objects[0], track=rng.randrange(10**12), score=round(rng.random(), 4),
                box=tuple(round(rng.uniform(0, 1920), 1) for _ in range(4)), face=msgspec.UNSET,
            )
            for _ in range(rng.choice((0, 0, 1, 1, 2)))
        )  # fmt: skip
        body = msgspec.structs.replace(body, frame=rng.randrange(10**6), objects=objects, faces=())
    else:
        body = msgspec.structs.replace(
            body, event=f"e{rng.randrange(10**9)}", score=round(rng.random(), 4),
            box=tuple(round(rng.uniform(0, 1920), 1) for _ in range(4)),
        )  # fmt: skip
    return Message(made.topic, body)


def send_in_pace(server, spool, family, count, at_once, rate_hz):
    """Send messages through the sink, so many a second, and print what CPU that took."""
    from edge import plugins  # the process that measures needs none

    count, at_once, rate_hz = int(count), int(at_once), float(rate_hz)
    rng = random.Random(5)
    table = {"kind": "nats", "servers": [server], "spool": spool, "families": [family]}
    some = [
        [make_message(rng, family, first + n) for n in range(at_once)]
        for first in range(0, count, at_once)
    ]
    size = sum(len(encode_line(m.topic, m.body)) for messages in some for m in messages) / count
    sink = plugins.create("sinks", table)
    with sink.open():
        while sink.look().problem:
            time.sleep(0.05)
        begun_s, used_s = time.monotonic(), time.process_time()
        for number, messages in enumerate(some):
            sink.send(messages)
            time.sleep(max(0.0, begun_s + (number + 1) * at_once / rate_hz - time.monotonic()))
        used_s = time.process_time() - used_s
    print(json.dumps([size, used_s]))


def find_disk_bytes(folder):
    """What files in a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def count_gathered(fleet):
    """Messages of JetStream in the hub's stream."""
    from edge.fleet.names import name_account, name_gathered
    from edge.wire.nats_connection import NatsServers

    client = await NatsServers((fleet.hub_url,), fleet.key, fleet.ca).connect()
    try:
        stream = client.jetstream(domain=name_account("gate"))
        info = await stream.stream_info(name_gathered("gate"))
        return info.state.messages
    finally:
        await client.close()


def measure_box(fleet, family, at_once, rate_hz):
    """What messages of a family cost, at the pace of a box."""
    count = round(rate_hz * SECONDS)
    box_s, hub_s = read_cpu_s(fleet.box.pid), read_cpu_s(fleet.hub.pid)
    line, disk = fleet.line.carried_bytes, find_disk_bytes(fleet.root / "hub")
    done = subprocess.run(
        [sys.executable, "-c", SENDER, fleet.box_url, str(fleet.root / f"{family}.db"), family,
         str(count), str(at_once), str(rate_hz)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    time.sleep(3)  # for what is underway
    size, used_s = json.loads(done.stdout.splitlines()[-1])
    scale = 1e6 / count
    return Cost(
        size,
        (fleet.line.carried_bytes - line) / count,
        (find_disk_bytes(fleet.root / "hub") - disk) / count,
        used_s * scale,
        (read_cpu_s(fleet.box.pid) - box_s) * scale,
        (read_cpu_s(fleet.hub.pid) - hub_s) * scale,
    )


async def warm_up(fleet):
    """Wait until the hub has asked the box for its stream, which it does now and then."""
    client = await nats.connect(fleet.box_url)
    await client.jetstream().add_stream(name="EDGE", subjects=["edge.>"])
    await client.jetstream().publish("edge.home.gate.events.door", b"")
    await client.close()
    deadline_s = time.monotonic() + 120
    while not await count_gathered(fleet):
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.5)


async def publish_load(fleet, boxes, parcels_hz, in_parcel, family, seconds):
    """Publish what the sinks of many boxes would, without them; how many a second that was."""
    rng = random.Random(6)
    messages = [make_message(rng, family, n) for n in range(500)]
    lines = [encode_line(m.topic, m.body) for m in messages]
    parcels = [b"".join(rng.choices(lines, k=in_parcel)) for _ in range(200)]
    client = await nats.connect(fleet.box_url)
    begun_s, sent = time.monotonic(), 0
    while (passed_s := time.monotonic() - begun_s) < seconds:
        due = int(passed_s * parcels_hz) - sent
        for _ in range(min(due, 500)):
            subject = f"edge.home.gate{sent % boxes}.{family}"
            await client.publish(subject, parcels[sent % 200])
            sent += 1
        await client.flush()
        await asyncio.sleep(0.002)
    await client.close()
    return sent, sent / (time.monotonic() - begun_s)


def measure_hub(fleet, boxes, parcels_hz, in_parcel, family):
    """What the hub does while many boxes send: parcels a second, CPU, MB/s on the disk, lag."""
    before = asyncio.run(count_gathered(fleet))
    box_s, hub_s = read_cpu_s(fleet.box.pid), read_cpu_s(fleet.hub.pid)
    disk, line = find_disk_bytes(fleet.root / "hub"), fleet.line.carried_bytes
    begun_s = time.monotonic()
    sent, achieved_hz = asyncio.run(
        publish_load(fleet, boxes, parcels_hz, in_parcel, family, SECONDS)
    )
    ended_s = time.monotonic()
    wait_until(lambda: asyncio.run(count_gathered(fleet)) - before >= sent, 120)
    late_s, took_s = time.monotonic() - ended_s, time.monotonic() - begun_s
    return {
        "parcels_hz": achieved_hz,
        "messages_hz": achieved_hz * in_parcel,
        "hub_us": (read_cpu_s(fleet.hub.pid) - hub_s) / sent * 1e6,
        "box_us": (read_cpu_s(fleet.box.pid) - box_s) / sent * 1e6,
        "hub_share": (read_cpu_s(fleet.hub.pid) - hub_s) / took_s,
        "disk_bytes": (find_disk_bytes(fleet.root / "hub") - disk) / sent / in_parcel,
        "line_bytes": (fleet.line.carried_bytes - line) / sent / in_parcel,
        "late_s": late_s,
    }


def read_memory_mb(pid):
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def measure_leaves(folder):
    """CPU and memory that connected boxes cost a hub while none sends: per box."""
    from tests.support.hub_server import Hub

    boxes = [f"box{n}" for n in range(LEAVES)]
    with ExitStack() as stack:
        fleet = stack.enter_context(Hub(folder, boxes).serve())
        hub = fleet.server
        time.sleep(5)
        before_mb, used_s = read_memory_mb(hub.pid), read_cpu_s(hub.pid)
        time.sleep(15)
        idle = (read_cpu_s(hub.pid) - used_s) / 15
        for box in boxes:
            stack.callback(start_leaf(folder, box, fleet).kill)
        asyncio.run(gather_all(fleet, boxes))
        time.sleep(10)
        used_s = read_cpu_s(hub.pid)
        time.sleep(30)
        busy = (read_cpu_s(hub.pid) - used_s) / 30
        return (busy - idle) / LEAVES, (read_memory_mb(hub.pid) - before_mb) / LEAVES


def start_leaf(folder, box, fleet):
    """A box's server with an empty stream."""
    port, state = free_port(), folder / box
    state.mkdir()
    access = HubAccess(fleet.leaf_url, fleet.seeds[box], "", "")
    text = render_configuration(box, access, port, 1 << 20)
    config = folder / f"{box}.conf"
    config.write_text(text)
    variables = {"STATE_DIRECTORY": str(state)}
    server = Server([BINARY, "-c", str(config)], port, folder / f"{box}.log", variables)
    server.start()

    async def make():
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        await client.jetstream().add_stream(name="EDGE", subjects=["edge.>"])
        await client.close()

    asyncio.run(make())
    return server


async def gather_all(fleet, boxes):
    """Have a hub gather boxes."""
    from edge.fleet.gathering import gather

    client = await fleet.hub.connect()
    for box in boxes:
        await gather(client, box, 10**7, 86400)
    await client.close()


def print_row(cells):
    """A row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main():
    """Measure, and print tables."""
    print(f"{SECONDS} s each; {CAMERAS} cameras a box, {FPS} frames a second\n")
    with tempfile.TemporaryDirectory() as folder, DocumentedFleet(Path(folder)) as fleet:
        asyncio.run(warm_up(fleet))
        print_row(("a message", "bytes", "line", "hub's disk", "sink", "box's server", "hub"))
        print_row(["---"] * 7)
        for family, at_once, rate_hz in BOX:
            cost = measure_box(fleet, family, at_once, rate_hz)
            print_row(
                (f"{family}, {at_once} at once, {rate_hz:g}/s", f"{cost.size:.0f}",
                 f"{cost.line:.0f}", f"{cost.disk:.0f}", f"{cost.sink_us:.0f} us",
                 f"{cost.box_us:.0f} us", f"{cost.hub_us:.0f} us")
            )  # fmt: skip
        print()
        print_row(("through one hub", "parcels/s", "messages/s", "hub, a parcel", "of a core",
                   "line, a message", "disk, a message", "late"))  # fmt: skip
        print_row(["---"] * 8)
        for name, boxes, parcels_hz, in_parcel, family in HUB:
            load = measure_hub(fleet, boxes, parcels_hz, in_parcel, family)
            print_row(
                (name, f"{load['parcels_hz']:.0f} of {parcels_hz}", f"{load['messages_hz']:.0f}",
                 f"{load['hub_us']:.0f} us", f"{load['hub_share']:.2f}",
                 f"{load['line_bytes']:.0f}", f"{load['disk_bytes']:.0f}",
                 f"{load['late_s']:.1f} s")
            )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        share, memory_mb = measure_leaves(Path(folder))
    print(f"\n{LEAVES} boxes that send nothing cost the hub {100 * share:.3f} % of a core and "
          f"{memory_mb:.2f} MB each")  # fmt: skip


if __name__ == "__main__":
    main()
