"""What the NATS server of a box reads: its configuration, and its systemd unit.

It stores what the node of the box sends, works alone, and connects to the hub's server, which takes
over what it has not yet.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final

SYNC: Final = "10s"  # within which a power cut may take what is stored
LEAF_PORT: Final = 7422
FOLDER: Final = "STATE_DIRECTORY"  # a variable that systemd sets
ROOM: Final = 1.1  # a server refuses what is above its bound, a stream gives up its oldest


@dataclass(frozen=True, slots=True)
class HubAccess:
    """How a box's server reaches the hub's.

    Attributes:
        url: `tls://HOST:PORT` of the hub's port for leaf nodes.
        seed: The box's key; empty where there are credentials.
        credentials_file: Its credentials (.creds), or empty.
        tls_ca: Certificate authority of the hub; empty uses those of the system.
    """

    url: str
    seed: str
    credentials_file: str
    tls_ca: str


def render_configuration(box: str, hub: HubAccess, port: int, max_bytes: int) -> str:
    """The configuration of a box's server, with its key.

    Args:
        box: Its name, and that of its JetStream domain.
        hub: What it connects to.
        port: On the loopback, for the node.
        max_bytes: Of the stream that it is to hold.
    """
    shown = f"nkey: {hub.seed}" if hub.seed else "credentials: $HUB_CREDENTIALS"
    return "\n".join(
        [
            f"# The NATS server of the box {box}, a leaf node of its hub: by edge fleet box",
            f'listen: "127.0.0.1:{port}"',
            f"server_name: {json.dumps(box)}",
            "jetstream {",
            f"  domain: {json.dumps(box)}",
            f"  store_dir: ${FOLDER}",
            f"  max_file_store: {math.ceil(ROOM * max_bytes) + (64 << 20)}",
            "  max_memory_store: 0",
            f'  sync_interval: "{SYNC}"',
            "}",
            "leafnodes {",
            '  reconnect: "2s"',
            "  remotes: [{",
            f"    url: {json.dumps(hub.url)}",
            f"    {shown}",
            *(["    tls { ca_file: $HUB_CA }"] if hub.tls_ca else []),
            '    deny_exports: ["edge.>"] # the hub fetches what is stored',
            "  }]",
            "}",
        ]
    )


def render_unit(box: str, hub: HubAccess, program: str, configuration: str) -> str:
    """The unit of a box's server, hardened.

    Args:
        box: Its name.
        hub: What it connects to.
        program: Path of nats-server.
        configuration: Path of what it reads.
    """
    files = {"HUB_CREDENTIALS": ("hub.creds", hub.credentials_file),
             "HUB_CA": ("hub-ca.pem", hub.tls_ca)}  # fmt: skip
    given = {variable: pair for variable, pair in files.items() if pair[1]}
    loads = [("nats.conf", configuration), *given.values()]
    return UNIT.format(
        box=box,
        program=program,
        loads="\n".join(f"LoadCredential={name}:{path}" for name, path in loads),
        variables="".join(
            f"Environment={variable}=%t/credentials/%n/{name}\n"
            for variable, (name, _) in given.items()
        ),
    )


UNIT: Final = """\
[Unit]
Description=NATS server of the box {box}, by edge fleet box
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={program} -c %t/credentials/%n/nats.conf
# Read by root and handed over: the server runs as a user that owns nothing else.
{loads}
{variables}DynamicUser=yes
StateDirectory=%N
StateDirectoryMode=0700
Restart=always
RestartSec=2
TimeoutStopSec=30
UMask=0077
LimitNOFILE=65536
MemoryHigh=30%
MemoryMax=40%
TasksMax=512
LimitCORE=0

CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateMounts=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
RestrictAddressFamilies=AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
