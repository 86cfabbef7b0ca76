"""``data.yaml`` of Roboflow and ultralytics: the part of YAML that such files hold, and no more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ConfigError
from edge.input_file import MIB
from trainers.data.text_file import read_text

_MAX_BYTES = MIB
MAX_CLASSES = 10_000
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_KEY = re.compile(r"([^\s:'\"]+|'[^']*'|\"[^\"]*\")\s*:(?:\s+(.*))?$")


@dataclass(frozen=True, slots=True)
class DataYaml:
    """What a ``data.yaml`` says.

    Attributes:
        root: ``path``, empty unless given.
        parts: Folders or lists of pictures by part: train, val, test.
        names: The class names, in the order of their ids.
        keypoints: Whether rows hold keypoints after the box (``kpt_shape``).
    """

    root: str
    parts: dict[str, tuple[str, ...]]
    names: tuple[str, ...]
    keypoints: bool


def read_data_yaml(path: Path) -> DataYaml:
    """Read the file; keys that say nothing about pictures and classes are ignored.

    Raises:
        ConfigError: It is no such file; names the line.
    """
    entries = _Entries(path)
    parts: dict[str, tuple[str, ...]] = {}
    for key, part in _PARTS.items():
        places = entries.items(key)
        if places:
            parts[part] = tuple(place for place in places.values() if place)
    names = _order_names(path, entries)
    return DataYaml(entries.text("path"), parts, names, "kpt_shape" in entries.found)


def _order_names(path: Path, entries: _Entries) -> tuple[str, ...]:
    found = entries.items("names")
    if len(found) > MAX_CLASSES:
        raise ConfigError(
            f"names has {len(found)} classes, at most {MAX_CLASSES} are read.", file=path
        )
    keys = {int(k) if k.isdecimal() and len(k) < 8 else -1 for k in found}
    count = entries.text("nc")
    if found and count and count != str(len(found)):
        raise ConfigError(
            f"nc is {count[:20]}, but names has {len(found)} classes: correct it.", file=path
        )
    if not found or keys != set(range(len(found))):
        raise ConfigError(
            "names must list the classes, or map 0, 1, 2 .. to them: correct it.", file=path
        )
    return tuple(found[k] for k in sorted(found, key=int))


class _Entries:
    """The lines of each top-level key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, list[tuple[int, str]]] = {}
        current: list[tuple[int, str]] = []
        for number, raw in enumerate(read_text(path, _MAX_BYTES).splitlines(), 1):
            line = _drop_comment(raw)
            if not line.strip() or line.strip() in ("---", "..."):
                continue
            if line[0] in " \t-]}":
                current.append((number, line.strip()))
                continue
            match = _KEY.match(line)
            if not match:
                raise self._error(number, f"expected 'key: value', got {line[:60]!r}")
            current = self.found.setdefault(_unquote(match[1]), [])
            if match[2]:
                current.append((number, match[2].strip()))

    def _error(self, line: int, what: str) -> ConfigError:
        return ConfigError(f"{what}: correct this line.", file=self._path, line=line)

    def _scalar(self, line: int, text: str) -> str:
        text = text.strip()
        if text[:1] in ("!", "&", "*", "|", ">", "{", "["):
            raise self._error(line, f"expected a name or a path, got {text[:60]!r}")
        return _unquote(text)

    def text(self, key: str) -> str:
        """The one value of a key, empty without it."""
        return next(iter(self.items(key).values()), "")

    def items(self, key: str) -> dict[str, str]:
        """The values of a key by their own keys; those of a list by 0, 1, 2 .."""
        lines = self.found.get(key, [])
        if not lines:
            return {}
        first = lines[0][1]
        if first[:1] in ("[", "{"):
            return self._flow(lines[0][0], " ".join(text for _, text in lines))
        values: dict[str, str] = {}
        for number, line in lines:
            if line.startswith("- ") or line == "-":
                values[str(len(values))] = self._scalar(number, line[1:])
            elif len(lines) == 1 and not re.match(r"\d+\s*:", line):
                text = self._scalar(number, line)
                return {} if text in ("", "null", "~") else {"0": text}
            elif match := _KEY.match(line):
                values[_unquote(match[1])] = self._scalar(number, match[2] or "")
            else:
                raise self._error(number, f"expected '- name' or '0: name', got {line[:60]!r}")
        return values

    def _flow(self, line: int, text: str) -> dict[str, str]:
        """``[a, 'b']`` or ``{0: a, 1: b}``."""
        mapped, end = text[0] == "{", "}" if text[0] == "{" else "]"
        if not text.endswith(end):
            raise self._error(line, f"expected {end!r} at the end of the list")
        values: dict[str, str] = {}
        for item in re.findall(r"(?:'(?:[^']|'')*'|\"[^\"]*\"|[^,'\"])+", text[1:-1]):
            if not item.strip():
                continue
            match = _KEY.match(item.strip()) if mapped else None
            if mapped and not match:
                raise self._error(line, f"expected '0: name', got {item.strip()[:60]!r}")
            key, value = (_unquote(match[1]), match[2] or "") if match else (str(len(values)), item)
            values[key] = self._scalar(line, value)
        return values


def _drop_comment(line: str) -> str:
    """A line without ``# ..``, which begins a comment at the start and after a blank."""
    match = re.match(r"(?:'[^']*'|\"[^\"]*\"|(?<!\s)#|[^#'\"]|['\"])*", line)
    kept = match[0] if match and not line.lstrip().startswith("#") else ""
    return kept.rstrip()


def _unquote(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]
    return text
