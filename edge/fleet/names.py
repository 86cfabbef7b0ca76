"""What things of a fleet are called on its NATS servers."""

from __future__ import annotations

from typing import Final

HUB: Final = "hub"  # the JetStream domain of the hub's server; those of boxes have their names
STREAM: Final = "EDGE"  # of a box's own server


def name_account(box: str) -> str:
    """The account of a box at the hub, which sees the JetStream there as a domain of this name."""
    return f"box-{box}"


def name_inbox(box: str) -> str:
    """How the subjects begin at which a box gets its answers, and nobody else."""
    return f"_BOX_{box}"


def name_gathered(box: str) -> str:
    """The stream in which the hub keeps what a box stored."""
    return f"FLEET_{box}"


def name_delivery(box: str) -> str:
    """How the subjects begin under which a box delivers its stream to the hub's."""
    return f"EDGE_FLEET.{box}"
