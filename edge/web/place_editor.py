"""The place editor: other zones, lines and masks in a configuration, and the rest as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge.compat import tomllib
from edge.config import Line, Zone
from edge.errors import ConfigError
from edge.web.camera_text import Pair, Tree, find_camera
from edge.web.schema import LineEntry, Places, ZoneEntry
from edge.web.toml_edits import TomlEdits
from edge.web.toml_syntax import Key, read_statements

BY_HAND = "is written in a way that the editor cannot change safely: change it in the text"
DIGITS = 4  # of a fraction of the picture: less than a pixel of 4K

Entry = ZoneEntry | LineEntry

DEFAULTS: Mapping[str, Tree] = {
    kind: {name: field.default for name, field in table.model_fields.items()} | {"labels": []}
    for kind, table in (("zones", Zone), ("lines", Line))
}


def replace_places(text: str, camera: str, places: Places) -> str:
    """The configuration with other places of a camera.

    Only what differs is written: a value that changed, a zone that is new. What stays keeps its
    comments, its order and the way it is written, and places that stay as they are change nothing.
    What is removed goes with the comments on its own lines.

    Args:
        text: A configuration that is valid TOML.
        camera: Name of the camera.
        places: Its places as they should be; zones and lines that are new come last.

    Raises:
        ConfigError: There is no such camera, or the text is not to be changed safely.
    """
    tree = tomllib.loads(text)
    cameras = tree.get("cameras")
    cameras = cameras if isinstance(cameras, list) else []
    names = [each.get("name") if isinstance(each, dict) else None for each in cameras]
    if camera not in names:
        raise ConfigError(f"has no camera {camera!r}", key="cameras")
    row = names.index(camera)
    _check_shape(cameras[row], f"cameras[{row}]")
    before, wanted = cameras[row], copy.deepcopy(tree)
    after = wanted["cameras"][row]
    whole = text if text.endswith("\n") else f"{text}\n"
    edits = TomlEdits(whole)
    found = find_camera(list(read_statements(whole)), row)
    for kind, entries in (("zones", places.zones), ("lines", places.lines)):
        pairs = _pair(kind, entries, before.get(kind, []))
        after[kind] = [new for _, new in pairs if new is not None]
        found.change_tables(edits, kind, before.get(kind, []), pairs)
    for path, masks in ((("masks",), places.masks), (("motion", "masks"), places.motion_masks)):
        former = _get(before, path)
        shapes = [_round_polygon(mask, former) for mask in masks]
        _put(after, path, shapes)
        found.change_masks(edits, path, former, shapes)
    changed = edits.apply()
    if changed == whole:
        return text
    if not _is_meant(changed, row, wanted):
        raise ConfigError(BY_HAND, key=f"cameras[{row}]", line=found.line(whole))
    return changed


def _pair(kind: str, entries: Sequence[Entry], former: Sequence[Tree]) -> list[Pair]:
    """Tables before with what becomes of them, in their order; then those that are new.

    An entry is the table of its name, or else one of the same shape that has lost its name.
    """
    taken: dict[int, Tree] = {}
    rest = list[Entry]()
    for entry in entries:
        rows = [row for row, table in enumerate(former) if table.get("name") == entry.name]
        if rows and rows[0] not in taken:
            taken[rows[0]] = _merge(kind, entry, former[rows[0]])
        else:
            rest.append(entry)
    new = list[Tree]()
    for entry in rest:
        keys = ("polygon",) if kind == "zones" else ("a", "b")
        shape = {key: _to_list(getattr(entry, key)) for key in keys}
        rows = [
            row for row, table in enumerate(former)
            if row not in taken and all(table.get(key) == shape[key] for key in keys)
        ]  # fmt: skip
        if rows:
            taken[rows[0]] = _merge(kind, entry, former[rows[0]])
        else:
            new.append(_merge(kind, entry, {}))
    return [*((row, taken.get(row)) for row in range(len(former))), *((None, each) for each in new)]


def _to_list(value: object) -> object:
    """Tuples as lists, as they are in a configuration."""
    return [_to_list(each) for each in value] if isinstance(value, tuple) else value


def _merge(kind: str, entry: Entry, former: Tree) -> Tree:
    """A table of the configuration with what an entry says otherwise."""
    table = dict(former)
    for key in ("name", *entry.__struct_fields__):
        value = getattr(entry, key)
        if key == "polygon":
            value = _round_polygon(value, [former.get(key)])
        elif key in ("a", "b"):
            value = _round_point(value, [former.get(key)])
        elif key == "labels":
            value = list(value)
        if value is not None and value != former.get(key, DEFAULTS[kind].get(key)):
            table[key] = value
    return table


def _round_polygon(
    polygon: Iterable[tuple[float, float]], former: Sequence[Any]
) -> list[list[float]]:
    """Its corners; those of a former polygon as they were."""
    known = [corner for each in former if isinstance(each, list) for corner in each]
    return [_round_point(point, known) for point in polygon]


def _round_point(point: tuple[float, float], known: Sequence[Any]) -> list[float]:
    value = list(point)
    return next((each for each in known if each == value), [round(each, DIGITS) for each in value])


def _check_shape(camera: Tree, key: str) -> None:
    """Check that places are lists, as they are in a file without mistakes.

    Raises:
        ConfigError: Something else is in their place.
    """
    motion = camera.get("motion", {})
    if not isinstance(motion, dict):
        raise ConfigError("must be a table: fix it in the text", key=f"{key}.motion")
    for name, value, kind in (
        *((name, camera.get(name, []), dict) for name in ("zones", "lines")),
        ("masks", camera.get("masks", []), list),
        ("motion.masks", motion.get("masks", []), list),
    ):
        if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
            what = "tables" if kind is dict else "polygons"
            raise ConfigError(f"must be a list of {what}: fix it in the text", key=f"{key}.{name}")


def _get(table: Tree, path: Key) -> list[Any]:
    """A list of a table, or of a table in it; empty where there is none."""
    for key in path[:-1]:
        table = table.get(key, {})
    masks: list[Any] = table.get(path[-1], [])
    return masks


def _put(table: Tree, path: Key, value: list[Any]) -> None:
    for key in path[:-1]:
        table = table.setdefault(key, {})
    table[path[-1]] = value


def _is_meant(changed: str, row: int, wanted: Tree) -> bool:
    """Whether a text says what is wanted; a list that is not there is the same as an empty one."""
    try:
        tree = tomllib.loads(changed)
    except tomllib.TOMLDecodeError:
        return False
    for each in (tree, wanted):
        camera = each["cameras"][row]
        for path in (("zones",), ("lines",), ("masks",), ("motion", "masks")):
            _put(camera, path, _get(camera, path))
    return tree == wanted
