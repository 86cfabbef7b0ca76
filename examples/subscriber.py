"""Print what a node reports: pip install . in a clone, then python subscriber.py [ENDPOINT]."""

import signal
import sys

from edge.client import Gap, Received, Restarted, Subscriber
from edge.wire.schema import DetectionsMessage, StatusMessage, TracksMessage

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it
endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"
with Subscriber(endpoint) as subscriber:
    for item in subscriber:
        match item:
            case Received(body=DetectionsMessage() as body):
                print(body.camera, [f"{thing.label} {thing.score:.2f}" for thing in body.objects])
            case Received(body=TracksMessage() as body):
                print(body.camera, body.change, body.label, body.place)
            case Received(body=StatusMessage() as body):
                print(body.camera, body.state, body.reason)
            case Gap(topic=topic, missed=missed):
                print(f"{missed} messages of {topic} were lost")
            case Restarted(node=node):
                print(f"{node} restarted")
