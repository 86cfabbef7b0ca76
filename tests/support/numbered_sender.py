"""A process that sends numbered messages through the NATS sink until it is killed.

``python -m tests.support.numbered_sender SERVER SPOOL BOOT``: what the sink took is printed, a line
``COUNT`` a time. A line on the standard input is how many to send in a burst.
"""

import select
import sys
import time

from edge import plugins
from tests.edge.sinks.test_zeromq import message

TOPIC = "v1/events/door/"
AT_ONCE, EVERY_S = 10, 0.05
BURST = 200
SPOOL_BYTES = 1 << 20


def send_on(server, spool, boot):
    """Send ten messages and a heartbeat twenty times a second."""
    table = {"kind": "nats", "servers": [server], "spool": spool, "families": ["events"],
             "max_bytes": SPOOL_BYTES, "stream_max_bytes": 1 << 30}  # fmt: skip
    sink = plugins.create("sinks", table)
    last, beats = 0, 0
    with sink.open():
        while True:
            count = AT_ONCE
            if select.select([sys.stdin], [], [], EVERY_S)[0]:
                line = sys.stdin.readline()
                count = int(line or "10")
            while count > 0:
                some = min(count, BURST)
                now_s = time.time()
                beats += 1
                sink.send(
                    [
                        *(
                            message("events", "door", seq=last + n + 1, boot=boot,
                                    captured_at=now_s)
                            for n in range(some)
                        ),
                        message("heartbeat", seq=beats, boot=boot, captured_at=now_s,
                                last_seq={TOPIC: last + some}),
                    ]
                )  # fmt: skip
                last += some
                count -= some
                print(last, flush=True)


if __name__ == "__main__":
    send_on(*sys.argv[1:])
