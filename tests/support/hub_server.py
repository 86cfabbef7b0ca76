"""A hub's NATS server with an account for each box, and the keys of all."""

import contextlib

from edge.fleet.accounts import OPERATOR, authorize
from edge.fleet.names import name_inbox
from edge.wire.nats_connection import NatsServers
from edge.wire.nats_credentials import make_seed, read_public_key
from tests.support.documented_fleet import free_port
from tests.support.nats_server import nats_server


class Hub:
    """The server.

    Attributes:
        hub: For who runs the hub.
        own: For each box, by name.
        leaf_url: For the servers of boxes.
        seeds: The keys, by name.
        server: It.
    """

    def __init__(self, folder, boxes):
        self.seeds = {name: make_seed() for name in (OPERATOR, *boxes)}
        self._folder, self.leaf_port = folder, free_port()
        self.accounts = folder / "accounts.conf"
        for number, (name, seed) in enumerate(self.seeds.items()):
            authorize(self.accounts, name, read_public_key(seed))
            path = folder / f"{number}.nk"
            path.touch(mode=0o600)
            path.write_text(seed)
        self.leaf_url = f"nats://127.0.0.1:{self.leaf_port}"
        self.config = (
            f'server_name: "hub"\nleafnodes {{ listen: "127.0.0.1:{self.leaf_port}" }}\n'
            'include "../accounts.conf"\n'
        )

    @contextlib.contextmanager
    def serve(self):
        """Let it run."""
        with nats_server(self._folder / "nats", self.config, domain="hub") as self.server:
            files = {name: str(self._folder / f"{n}.nk") for n, name in enumerate(self.seeds)}
            url = (self.server.url,)
            self.hub = NatsServers(url, files.pop(OPERATOR))
            self.own = {
                name: NatsServers(url, file, inbox=name_inbox(name)) for name, file in files.items()
            }
            yield self
