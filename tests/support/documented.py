"""What a document tells its reader to type."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def list_blocks(path, heading, language):
    """The blocks of a language under a heading of a document, in order."""
    text = Path(path).read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]
    return [content for kind, content in _BLOCK.findall(section) if kind == language]
