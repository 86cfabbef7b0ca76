"""Text files of labeling tools, in the encodings that editors and shells write."""

from __future__ import annotations

import codecs
from pathlib import Path

from edge.errors import ConfigError
from edge.input_file import MIB, read_input

_MAX_BYTES = 1024 * MIB  # COCO's largest file is half of it
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path, max_bytes: int = _MAX_BYTES) -> str:
    """Read UTF-8 or, after a byte order mark, UTF-16.

    Raises:
        ConfigError: The file is missing, no regular file, too large, or in another encoding.
    """
    try:
        content = read_input(path, max_bytes)
    except OSError as error:
        raise ConfigError(f"This file cannot be read ({error.strerror}).", file=path) from error
    coding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(coding)
    except UnicodeDecodeError as error:
        raise ConfigError("This file is not UTF-8 text: save it as UTF-8.", file=path) from error
    if "\0" in text:
        raise ConfigError("This file holds NUL characters: save it as UTF-8.", file=path)
    return text
