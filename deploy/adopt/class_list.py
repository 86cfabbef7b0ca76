"""A class list: names in a network's order, separated by commas or one per line of a file."""

from __future__ import annotations

import errno
from pathlib import Path

from edge.errors import ConfigError
from edge.input_file import MIB, read_input


def read_class_list(text: str) -> tuple[str, ...]:
    """The names in ``a,b,c``, or in the file that ``text`` names.

    Raises:
        ConfigError: The file cannot be read, or a name is empty, twice there or not printable.
    """
    if not text:
        return ()
    names = _read_file(text) or tuple(part.strip() for part in text.split(","))
    for row, name in enumerate(names):
        if not name or not name.isprintable():
            raise ConfigError(f"--classes: name {row + 1} is {name!r}, not a printable word")
        if name in names[:row]:
            raise ConfigError(f"--classes names {name!r} twice: give each class its own name")
    return names


def _read_file(text: str) -> tuple[str, ...]:
    """The lines of a file that are not blank; nothing where ``text`` is no file."""
    try:
        path = Path(text)
        if not path.is_file():
            if "," not in text and path.suffix in (".txt", ".names", ".csv"):
                raise ConfigError(f"--classes {text}: there is no such file")
            return ()
        lines = read_input(path, MIB).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"--classes {text} is not UTF-8 text: save it as UTF-8") from error
    except (OSError, ValueError) as error:  # too long or with a NUL: a list, not a path
        if not isinstance(error, OSError) or error.errno == errno.ENAMETOOLONG or "," in text:
            return ()
        raise ConfigError(f"--classes {text[:80]}: {error.strerror}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ConfigError(f"--classes {text} is empty: write one name per line")
    return names
