"""Events by their filters over HTTP: CPU time of one page out of 10,000 events with their files.

``python -m tests.benchmarks.events_api`` prints the milliseconds of the processor that the server
and its index spend on a request (the client is another process), median and longest of 20.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge.event import Severity
from edge.recording.records import FileKind, StoredFile
from tests.support.web_node import ANN, make_archive, make_event, make_node, serving

COUNT = 10_000
QUERIES = [
    "", "camera=cam-3", "camera=cam-3&camera=cam-4&camera=cam-5", "label=dog", "place=bench",
    "person=p1", "severity=alert", "seen=false", "after=5000&before=6000",
    "label=car&place=entrance&severity=alert&camera=cam-1&seen=false", "camera=nobody",
    "limit=500",
]  # fmt: skip
ASK = """
import sys, urllib.request
for _ in range(20):
    with urllib.request.urlopen(sys.argv[1]) as answer:
        answer.read()
        print(flush=True)
    sys.stdin.readline()
"""


def fill(archive):
    """Keep many events of a few cameras."""
    rng = random.Random(1)
    for number in range(COUNT):
        event = make_event(
            number,
            camera=f"cam-{rng.randrange(8)}",
            severity=rng.choice(list(Severity)),
            labels=tuple(rng.sample(["person", "car", "dog", "cat"], rng.randint(1, 2))),
            places=tuple(rng.sample(["entrance", "bench", "gate"], rng.randint(0, 2))),
            people=(ANN,) if rng.random() < 0.02 else (),
        )
        archive.index.put_event(event)
        for kind in (FileKind.CLIP, FileKind.SNAPSHOT, FileKind.THUMBNAIL):
            path = f"events/1970-01-01/{event.event_id}.{kind}"
            archive.index.put_file(
                StoredFile(
                    path, kind, event.camera, event.event_id, event.began_s, event.began_s, 9
                )
            )
    archive.index.mark_seen(f"e{number:05d}" for number in range(0, COUNT, 2))


def measure(url):
    """CPU seconds of this process per request."""
    used = []
    with subprocess.Popen(
        [sys.executable, "-c", ASK, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        began_s = None
        for _ in range(20):
            began_s = time.process_time()
            client.stdout.readline()
            used.append(time.process_time() - began_s)
            client.stdin.write(b"\n")
            client.stdin.flush()
    return used


def main():
    """Measure each query."""
    with tempfile.TemporaryDirectory() as folder:
        archive = make_archive(Path(folder))
        fill(archive)
        with serving(make_node(archive=archive)) as served:
            for query in QUERIES:
                path = f"/api/v1/events?{query}"
                count = len(json.loads(served.ask(path).body)["events"])
                used = measure(f"http://127.0.0.1:{served.port}{path}")
                median_ms, longest_ms = (1000 * f(used) for f in (statistics.median, max))
                print(f"{count:4} events {median_ms:6.1f} ms, longest {longest_ms:6.1f}  {query}")


if __name__ == "__main__":
    main()
