"""The configuration file: TOML text to a checked `Config`, every problem with its line and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge import plugins
from edge.config import Config
from edge.errors import ConfigError, EdgeError, locate

Key = tuple[str | int, ...]


def load(path: Path) -> Config:
    """Read and check a configuration file, its plug-in tables included.

    Raises:
        ConfigError: With file, line, key and remedy; one line per problem.
    """
    with locate(file=path):
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{error.strerror}: check the path") from error
        except UnicodeDecodeError as error:
            raise ConfigError("is not UTF-8 text: is it a TOML file?") from error
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            problem = f"is not valid TOML ({error}): fix the syntax"
            raise ConfigError(problem, line=int(line[1]) if line else None) from error
    return parse(tree, path, text)


def parse(tree: Mapping[str, Any], path: Path | str = "configuration", text: str = "") -> Config:
    """Check a configuration tree; ``path`` and ``text`` are for messages.

    Raises:
        ConfigError: With file, line, key and remedy; one line per problem.
    """
    source = _Source(path, text)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise source.explain(error, ()) from None  # the input may hold a password
    source.check_plugin("runtimes", config.runtime, ("runtime",))
    for row, sink in enumerate(config.sinks):
        source.check_plugin("sinks", sink, ("sinks", row))
    for row, camera in enumerate(config.cameras):
        source.check_plugin("sources", camera.source, ("cameras", row, "source"))
    return config


@contextmanager
def locate_in(path: Path | None) -> Iterator[None]:
    """Add file and line to an error that a setting of the configuration ``path`` caused."""
    try:
        yield
    except EdgeError as error:
        if path is not None and error.exit_code == ConfigError.exit_code:
            text = path.read_text(encoding="utf-8")
            names = [camera["name"] for camera in tomllib.loads(text)["cameras"]]
            if error.camera in names:
                error.key = f"cameras[{names.index(error.camera)}].{error.key}".rstrip(".")
                error.camera = ""
            key = re.findall(r"\w+", error.key)
            error.line = find_line(text, tuple(int(p) if p.isdigit() else p for p in key))
            error.file = path
        raise


@dataclass(frozen=True, slots=True)
class _Source:
    """The text that a configuration was read from, for messages."""

    path: Path | str
    text: str

    def error(self, key: Key, problem: str) -> ConfigError:
        line = find_line(self.text, key)
        return ConfigError(problem, file=self.path, line=line, key=_dotted(key))

    def check_plugin(self, folder: plugins.Folder, table: Mapping[str, Any], key: Key) -> None:
        kind = table.get("kind")
        if not isinstance(kind, str):
            raise self.error(key, f"needs a kind: one of {', '.join(plugins.kinds(folder))}")
        try:
            plugins.validate(plugins.load(folder, kind), table)
        except ValidationError as error:
            raise self.explain(error, key) from None
        except ConfigError as error:
            raise self.error((*key, "kind"), error.problem) from None

    def explain(self, error: ValidationError, prefix: Key) -> ConfigError:
        """All problems that pydantic found as one error, a line for each."""
        problems = error.errors(include_input=False, include_url=False)
        inner = [problem["loc"] for problem in problems]
        errors = []
        for problem in problems:
            here = problem["loc"]
            if any(loc[: len(here)] == here and loc != here for loc in inner):
                continue  # a list whose entries failed is also reported as empty
            errors.append(self.error((*prefix, *here), _remedy(problem)))
        if len(errors) == 1:
            return errors[0]
        return ConfigError("\n".join(str(error) for error in errors))


def _remedy(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    match problem["type"]:
        case "extra_forbidden":
            return "unknown key: remove it or correct its spelling"
        case "missing":
            return "is missing: add it"
        case "too_short":
            context = problem["ctx"]
            return f"has {context['actual_length']} entries, needs at least {context['min_length']}"
        case "string_pattern_mismatch":
            return f"must match {problem['ctx']['pattern']}: change it"
        case _:
            message = str(problem["msg"]).removeprefix("Value error, ")
            return message if ":" in message else f"{message}: change it"


def _dotted(key: Key) -> str:
    """``("cameras", 1, "fps")`` -> ``cameras[1].fps``."""
    dotted = ""
    for part in key:
        dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else str(part)
    return dotted


def find_line(text: str, key: Key) -> int | None:
    """Line (from 1) of the deepest part of ``key`` that has one of its own in a TOML text."""
    table: Key = ()
    rows: dict[str, int] = {}
    best: tuple[int, int] | None = None  # (depth, line)
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([A-Za-z0-9_.\-]+)\s*\]?\]", line):
            table = _table_key(header[1], rows, repeated=line.lstrip().startswith("[["))
            found = table
        elif assignment := re.match(r"\s*([A-Za-z0-9_\-.]+)\s*=", line):
            found = (*table, *assignment[1].split("."))
        else:
            continue
        depth = len(found)
        if key[:depth] == found and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else None


def _table_key(header: str, rows: dict[str, int], *, repeated: bool) -> Key:
    """``cameras.zones`` -> ``("cameras", 0, "zones", 2)`` counting repeated tables in ``rows``."""
    key: Key = ()
    parts = header.split(".")
    for depth, part in enumerate(parts, start=1):
        key = (*key, part)
        name = _dotted(key)
        if repeated and depth == len(parts):
            rows[name] = rows.get(name, -1) + 1
        if name in rows:
            key = (*key, rows[name])
    return key
