"""What to type to install an extra of Edgewatch, which is on no index of packages."""

from __future__ import annotations

import shlex
import sys


def advise_extra(extra: str) -> str:
    """The command that installs an extra for the Python in use, and where to type it."""
    return f"in a clone of Edgewatch, {shlex.quote(sys.executable)} -m pip install '.[{extra}]'"
