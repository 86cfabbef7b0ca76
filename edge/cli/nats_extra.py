"""Commands that need the extra `nats`."""

from __future__ import annotations

import importlib.util

from edge.errors import ConfigError
from edge.extra import advise_extra


def require_nats() -> None:
    """Check that the extra is there.

    Raises:
        ConfigError: It is not.
    """
    if not all(importlib.util.find_spec(name) for name in ("nats", "nkeys")):
        raise ConfigError(f"fleets need nats-py[nkeys]: {advise_extra('nats')}")
