"""The configuration file: TOML text to a checked `Config`, every problem with its line and key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edge import plugins
from edge.compat import tomllib
from edge.config import Config
from edge.errors import (
    CombinedConfigError,
    ConfigError,
    EdgeError,
    collect_errors,
    list_errors,
    locate,
)
from edge.input_file import read_input
from edge.permissions import choose_remedy

MAX_BYTES = 1 << 20
MAX_DEPTH = 24  # of tables and arrays in each other
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_LONG_KEY = re.compile(
    rf"(?:^|[\[{{,])[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MAX_DEPTH}}}", re.MULTILINE
)
MAX_TABLES = 1000  # in one array: cameras of a node
MAX_ENTRIES = 40_000  # keys, tables and arrays
MAX_PROBLEMS = 20  # that are reported at once
EXAMPLES = {  # of keys that must be there
    "models": 'the lines [models] and detector = "zoo:detect-nano"',
    "detector": 'detector = "zoo:detect-nano"',
    "model": 'model = "vest.onnx"',
    "cameras": 'the lines [[cameras]], name = "door" and source = { kind = "synthetic" }',
    "source": 'source = { kind = "rtsp", url = "rtsp://10.0.0.7/stream" }',
}
PATTERNS = {  # what a value must be, for who does not read regular expressions
    r"^[A-Za-z0-9_-]{1,64}$": "1 to 64 letters, digits, _ or -",
    r"^([0-9a-fA-F]{64})?$": "64 hexadecimal digits",
    r"^([1-8]x[1-8])?$": 'columns and rows, 1 to 8 of each, such as "2x1"',
    r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$": "the name of a host, without a port",
}
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tab and newline

Key = tuple[str | int, ...]
Settings = TypeVar("Settings", bound=BaseModel)
Tree = Mapping[str, Any]


def load(path: Path) -> Config:
    """Read and check a configuration file, its plug-in tables included.

    Raises:
        ConfigError: With file, line, key and remedy; one line per problem.
    """
    tree, text = read(path)
    return parse(tree, path, text)


def read(path: Path) -> tuple[Tree, str]:
    """Read a configuration file without checking what is in it: its tree and its text.

    Raises:
        ConfigError: It cannot be read, or is not a TOML file of reasonable size.
    """
    with locate(file=path):
        text = _read_text(path)
        return read_tree(text), text


def read_tree(text: str) -> Tree:
    """The tree of a TOML text, without checking what is in it.

    Raises:
        ConfigError: It is not TOML of reasonable size.
    """
    _check_keys(text)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        problem = f"is not valid TOML ({error}): fix the syntax"
        raise ConfigError(problem, line=int(line[1]) if line else None) from error
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError(f"is not valid TOML ({error}): fix the value") from error
    except RecursionError:
        raise ConfigError("nests brackets too deeply: fix the syntax") from None
    _check_shape(tree)
    return tree


def _check_keys(text: str) -> None:
    """Refuse keys of very many parts: what reads them takes time and memory by their square.

    Raises:
        ConfigError: There is one, with its line.
    """
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.end()) + 1
        raise ConfigError(f"has a key of more than {MAX_DEPTH} parts: shorten it", line=line)


def _read_text(path: Path) -> str:
    try:
        content = read_input(path, MAX_BYTES)
    except OSError as error:
        remedy = choose_remedy(error, "read it", "check the path")
        raise ConfigError(f"{error.strerror}: {remedy}") from error
    try:
        return content.decode("utf-8-sig")  # Windows editors begin with a byte order mark
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text: is it a TOML file?") from error


def _check_shape(tree: Tree) -> None:
    """Refuse what takes minutes to check or to explain.

    Raises:
        ConfigError: Tables and arrays contain each other too deeply, or are too many.
    """
    depth, count = 0, 0
    level: list[dict[str, Any] | list[Any]] = [dict(tree)]
    while level:
        depth += 1
        inner: list[dict[str, Any] | list[Any]] = []
        for node in level:
            children = list(node.values()) if isinstance(node, dict) else node
            nested = [child for child in children if isinstance(child, dict | list)]
            inner += nested
            count += len(children) if isinstance(node, dict) else len(nested)
            if any(isinstance(child, dict) for child in nested[MAX_TABLES:]):
                raise ConfigError(f"has an array of more than {MAX_TABLES} tables: remove some")
        if depth > MAX_DEPTH:
            raise ConfigError(f"nests tables or arrays deeper than {MAX_DEPTH}: fix the syntax")
        if count > MAX_ENTRIES:
            raise ConfigError(f"has more than {MAX_ENTRIES} entries: remove some")
        level = inner


def parse(tree: Tree, path: Path | str = "configuration", text: str = "") -> Config:
    """Check a configuration tree; ``path`` and ``text`` are for messages.

    Raises:
        ConfigError: With file, line, key and remedy; one line per problem.
    """
    source = _Source(path, text)
    with collect_errors() as errors:
        errors.errors += [
            source.error(key, "contains a control character: remove it")
            for key, text in _list_texts(tree, ())
            if CONTROL_CHARACTER.search(text)
        ]
    problems: list[EdgeError] = []
    with collect_errors() as plugin_errors:
        try:
            config = Config.model_validate(tree)
        except ValidationError as error:
            # without the input, which may hold a password
            problems += source.explain(error, Config, ())
        sinks: dict[Key, BaseModel] = {}
        for folder, table, key in _list_plugins(tree):
            if len(plugin_errors.errors) < MAX_PROBLEMS:
                with plugin_errors.catch():
                    options = source.check_plugin(folder, table, key)
                    if folder == "sinks":
                        source.check_collision(options, key, sinks)
                        sinks[key] = options
        plugin_errors.errors[:0] = problems
        del plugin_errors.errors[MAX_PROBLEMS:]
    return config


def parse_table(model: type[Settings], tree: Tree, path: Path | str, text: str) -> Settings:
    """Check a file that is one table of its own; ``path`` and ``text`` are for messages.

    Raises:
        ConfigError: With file, line, key and remedy; one line per problem.
    """
    with collect_errors() as errors:
        try:
            return model.model_validate(tree)
        except ValidationError as error:  # without the input, which may hold a password
            errors.errors += _Source(path, text).explain(error, model, ())
    raise errors.errors[0]


def parse_models(tree: Tree) -> Config | None:
    """What a configuration says of models, with a camera of no meaning; None if it is wrong.

    For telling what is wrong with the models of a file whose other tables are wrong, too.
    """
    parts = {key: tree[key] for key in ("models", "recognition", "attributes") if key in tree}
    camera = {"name": "none", "source": {"kind": "synthetic"}}
    if any(CONTROL_CHARACTER.search(text) for _, text in _list_texts(parts, ())):
        return None
    try:
        return Config.model_validate(parts | {"cameras": [camera]})
    except ValidationError:
        return None


def check_labels(tree: Tree, classes: Sequence[str], path: Path | str, text: str) -> None:
    """Check that the detector knows every label that a configuration names.

    Raises:
        ConfigError: With file, line, key and remedy; one line per label.
    """
    source = _Source(path, text)
    with collect_errors() as errors:
        for key, label in _list_labels(tree):
            with errors.catch():
                if label not in classes and not CONTROL_CHARACTER.search(label):
                    known = ", ".join(classes)
                    problem = f"the model does not know the label {label!r}: use one of {known}"
                    raise source.error(key, problem)


def _list_texts(node: object, key: Key) -> Iterator[tuple[Key, str]]:
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict | list):
        for part, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _list_texts(child, (*key, part))


def _list_plugins(tree: Tree) -> Iterator[tuple[plugins.Folder, Tree, Key]]:
    """The tables with a kind, where they are tables at all."""
    if isinstance(runtime := tree.get("runtime"), dict):
        yield "runtimes", runtime, ("runtime",)
    for row, sink in _list_tables(tree, "sinks"):
        yield "sinks", sink, ("sinks", row)
    for row, camera in _list_tables(tree, "cameras"):
        if isinstance(source := camera.get("source"), dict):
            yield "sources", source, ("cameras", row, "source")


def _list_labels(tree: Tree) -> Iterator[tuple[Key, str]]:
    """The labels that attributes and cameras name, each with the key that names it."""
    for row, attribute in _list_tables(tree, "attributes"):
        if isinstance(of := attribute.get("of"), list):
            yield from ((("attributes", row, "of"), x) for x in of if isinstance(x, str))
    for row, camera in _list_tables(tree, "cameras"):
        here: Key = ("cameras", row)
        owners: list[tuple[Key, Tree, tuple[str, ...]]]
        owners = [(here, camera, ("labels", "min_score", "min_height"))]
        for places in ("zones", "lines"):
            owners += [
                ((*here, places, n), place, ("labels",))
                for n, place in _list_tables(camera, places)
            ]
        owners += [
            ((*here, "events", n), rule, ("labels",)) for n, rule in _list_tables(camera, "events")
        ]
        if isinstance(tracking := camera.get("tracking"), dict):
            limits = ("max_missed_s", "still_max_missed_s")
            owners.append(((*here, "tracking"), tracking, limits))
        for owner, table, keys in owners:
            for key in keys:
                labels = table.get(key)
                if isinstance(labels, dict | list):
                    yield from (((*owner, key), x) for x in labels if isinstance(x, str))


def _list_tables(tree: Tree, key: str) -> list[tuple[int, Tree]]:
    rows = tree.get(key)
    rows = rows if isinstance(rows, list) else []
    return [(n, table) for n, table in enumerate(rows) if isinstance(table, dict)]


@contextmanager
def locate_in(path: Path | None) -> Iterator[None]:
    """Add file and line to the errors that settings of the configuration ``path`` caused."""
    try:
        yield
    except EdgeError as caught:
        if path is not None and caught.exit_code == ConfigError.exit_code:
            with suppress(EdgeError):  # it may be gone
                tree, text = read(path)
                for error in list_errors(caught):
                    _locate_error(error, path, tree, text)
        raise


def _locate_error(error: EdgeError, path: Path, tree: Tree, text: str) -> None:
    if error.file == path:
        return
    names = [camera.get("name") for _, camera in _list_tables(tree, "cameras")]
    if error.camera in names:
        error.key = f"cameras[{names.index(error.camera)}].{error.key}".rstrip(".")
        error.camera = ""
    key = re.findall(r"\w+", error.key)
    error.line = find_line(text, tuple(int(p) if p.isdigit() else p for p in key))
    error.file = path


@dataclass(frozen=True, slots=True)
class _Source:
    """The text that a configuration was read from, for messages."""

    path: Path | str
    text: str

    def error(self, key: Key, problem: str) -> ConfigError:
        line = find_line(self.text, key)
        return ConfigError(problem, file=self.path, line=line, key=_dotted(key))

    def check_collision(self, new: BaseModel, key: Key, sinks: Mapping[Key, BaseModel]) -> None:
        """Refuse a sink that needs the address of another one of its kind."""
        for other_key, other in sinks.items():
            collides = getattr(other, "collides_with", None)
            if collides and type(new) is type(other) and collides(new):
                place, what = ("bind", "address") if hasattr(new, "bind") else ("spool", "file")
                problem = f"{_dotted(other_key)} has this {what} already: give each sink its own"
                raise self.error((*key, place), problem)

    def check_plugin(self, folder: plugins.Folder, table: Mapping[str, Any], key: Key) -> BaseModel:
        kind = table.get("kind")
        if not isinstance(kind, str):
            raise self.error(key, f"needs a kind: one of {', '.join(plugins.kinds(folder))}")
        try:
            plugin = plugins.load(folder, kind)
        except ConfigError as error:
            raise self.error((*key, "kind"), error.problem) from None
        try:
            return plugins.validate(plugin, table)
        except ValidationError as error:
            raise CombinedConfigError(self.explain(error, plugin.options, key)) from None
        except ConfigError as error:
            raise self.error((*key, "kind"), error.problem) from None

    def explain(
        self, error: ValidationError, table: type[BaseModel], prefix: Key
    ) -> list[ConfigError]:
        """The problems that pydantic found, but no more than are reported."""
        problems = error.errors(include_input=False, include_url=False)
        inner = {problem["loc"][:n] for problem in problems for n in range(len(problem["loc"]))}
        return [
            self.error((*prefix, *_skip_tags(problem["loc"])), _remedy(problem, table))
            for problem in problems[: 2 * MAX_PROBLEMS]
            if problem["loc"] not in inner  # a list whose entries failed is also reported as empty
        ][:MAX_PROBLEMS]


def _skip_tags(key: Key) -> Key:
    return tuple(part for part in key if not str(part).startswith("~"))


def _remedy(problem: Any, table: type[BaseModel]) -> str:  # noqa: ANN401 - ErrorDetails
    """What to do about a problem that was found in ``table`` or one of its tables."""
    match problem["type"]:
        case "extra_forbidden":
            *path, key = _skip_tags(problem["loc"])
            near = get_close_matches(str(key), _list_keys(table, path), n=1)
            guess = f"did you mean {near[0]}? Correct its spelling or " if near else ""
            return f"unknown key: {guess or 'correct its spelling or '}remove it"
        case "missing":
            example = EXAMPLES.get(str(problem["loc"][-1]), "")
            return f"is missing: add it{example and f', for example {example}'}"
        case "too_short":
            context = problem["ctx"]
            return f"has {context['actual_length']} entries, needs at least {context['min_length']}"
        case "too_long":
            return f"has more than {problem['ctx']['max_length']} entries: remove some"
        case "model_type":
            return "must be a table: write its keys in braces, { key = value }"
        case "string_pattern_mismatch":
            pattern = problem["ctx"]["pattern"]
            words = PATTERNS.get(pattern, "")
            return f"must {f'be {words}' if words else f'match {pattern}'}: change it"
        case _:
            message = str(problem["msg"]).removeprefix("Value error, ")
            return message if ":" in message else f"{message}: change it"


def _list_keys(table: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that a table has below ``path``; none where that is no table of fixed keys."""
    tables = [table]
    for part in path:
        if isinstance(part, str):
            fields = [each.model_fields[part] for each in tables if part in each.model_fields]
            tables = [inner for field in fields for inner in _find_tables(field.annotation)]
    return sorted({key for each in tables for key in each.model_fields})


def _find_tables(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for inner in get_args(annotation) for table in _find_tables(inner)]


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
