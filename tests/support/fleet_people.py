"""A hub with people, and boxes that get them, over a real server or none."""

import asyncio
from types import SimpleNamespace

from edge.fleet.people_box import BoxPeople
from edge.fleet.people_bucket import PeopleBucket
from edge.fleet.people_hub import HubPeople
from edge.fleet.people_keys import BoxKey
from edge.people.gallery.encryption import create_key_file, load_key
from edge.people.gallery.gallery import Gallery
from edge.wire.nats_connection import NatsServers
from tests.support.gallery import EMBEDDER, KEY, Clock, open_new

DAY_S = 86400.0


class KeptBucket(PeopleBucket):
    """A bucket in memory, which whoever runs the server can change as they like."""

    def __init__(self, max_payload=1 << 20):
        self.values = {}
        self.max_payload = max_payload
        self._client = SimpleNamespace(max_payload=max_payload)
        self._stream = SimpleNamespace(publish=self._publish)

    async def create(self):
        pass

    async def read(self, key):
        return self.values.get(key)

    async def _publish(self, subject, value):
        self.values[subject.removeprefix("$KV.EDGE_PEOPLE.")] = value

    async def remove(self, keys):
        for key in keys:
            self.values.pop(key, None)

    async def list_keys(self, kind):
        return [key for key in self.values if key.startswith(f"{kind}.")]


class Hub:
    """A hub's gallery and what it sends."""

    def __init__(self, folder, clock=None, embedder=EMBEDDER):
        folder.mkdir(exist_ok=True)
        self.clock = clock or Clock()
        self.path = folder / "hub.db"
        self.people = HubPeople(self.path, self.clock)
        self.gallery = open_new(self.path, clock=self.clock)
        self.bucket = KeptBucket()

    def enroll(self, name, templates, *boxes, **options):
        return self.gallery.enroll(name, templates, consent=True, boxes=boxes, **options)

    def send(self, bucket=None, lease_s=7 * DAY_S, **options):
        asyncio.run(self.people.publish(self.gallery, bucket or self.bucket, lease_s, **options))

    def judge(self, *boxes):
        return self.people.judge({box.name: box.people.receipt for box in boxes})


class Box:
    """A box's gallery and what keeps it."""

    def __init__(self, folder, name, hub, *, public="", embedder=EMBEDDER):
        folder.mkdir(exist_ok=True)
        self.folder, self.name, self.hub, self.clock = folder, name, hub, hub.clock
        self.path, self.key_file = folder / "g.db", folder / "key"
        if not self.key_file.exists():
            create_key_file(self.key_file)
        self.embedder = embedder
        self.public = public or hub.people.key.public
        self.start()

    def start(self):
        """What an agent makes of it at a start."""
        self.people = BoxPeople(
            self.name, self.public, BoxKey.ensure(self.folder / "box-key"),
            lambda: (self.path, str(self.key_file)), self.folder / "floor", self.clock,
        )  # fmt: skip
        return self

    def join(self):
        self.hub.people.trust(self.name, BoxKey.ensure(self.folder / "box-key").public)
        return self

    def ask(self, bucket=None):
        """Take what is there; the receipt."""
        self.people._retry_s = self.people._locate_s = float("-inf")
        asyncio.run(self.people.ask(bucket or self.hub.bucket))
        return self.people.receipt

    def open(self, **options):
        key = load_key(str(self.key_file))
        return Gallery(self.path, key, self.embedder, clock=self.clock, **options)

    def names(self):
        """Whom the box names."""
        with self.open() as gallery:
            return sorted(person.name for person in gallery.index().people)

    def stored(self):
        """Whom the box has stored."""
        with self.open() as gallery:
            return sorted(person.name for person in gallery.people())


def connect(server, act):
    """Do something with the bucket on a real server."""

    async def connected():
        client = await NatsServers((server.url,)).connect()
        try:
            return await act(PeopleBucket(client), client)
        finally:
            await client.close()

    return asyncio.run(connected())


__all__ = ["DAY_S", "KEY", "Box", "Hub", "KeptBucket", "connect"]
