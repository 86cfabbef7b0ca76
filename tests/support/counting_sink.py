"""A ZeroMQ sink that knows which subscriptions have reached libzmq."""

from collections import Counter

from edge.sinks import zeromq


class CountingSink(zeromq.ZeromqSink):
    """Counts the subscriptions that libzmq has passed on, by prefix."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.subscribed = Counter()

    def _note(self, prefix):
        self.subscribed[prefix] += 1
        super()._note(prefix)


def build(bind="tcp://127.0.0.1:*", **options):
    return CountingSink(zeromq.Options(bind=bind, linger_ms=0, **options))
