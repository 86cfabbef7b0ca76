"""The place editor: other zones, lines and masks in a configuration, and the rest as it was."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from edge.compat import tomllib
from edge.errors import ConfigError
from edge.web.schema import LineEntry, Places, ZoneEntry
from edge.web.toml_statements import Statement, read_statements

BY_HAND = "is written in a way that is not changed here: change it in the text"
DIGITS = 4  # of a fraction of the picture: less than a pixel of 4K

Tree = dict[str, Any]


def replace_places(text: str, camera: str, places: Places) -> str:
    """The configuration with other places of a camera.

    Zones and lines keep what the editor does not know of those that had their names.

    Args:
        text: A configuration that is valid TOML.
        camera: Name of the camera.
        places: Its places as they should be.

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
    wanted = copy.deepcopy(tree)
    before, after = cameras[row], wanted["cameras"][row]
    _put(after, "zones", _merge(places.zones, before.get("zones")))
    _put(after, "lines", _merge(places.lines, before.get("lines")))
    _put(after, "masks", [_list_points(mask) for mask in places.masks])
    motion = after.setdefault("motion", {})
    if isinstance(motion, dict):
        _put(motion, "masks", [_list_points(mask) for mask in places.motion_masks])
    if not motion and "motion" not in before:
        del after["motion"]
    changed = _edit(text, row, before, after)
    try:
        same = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ConfigError(BY_HAND, key=f"cameras[{row}]")
    return changed


def _put(table: Tree, key: str, value: list[Any]) -> None:
    """Set a list, unless it is empty, as it is where there is none."""
    if value:
        table[key] = value
    else:
        table.pop(key, None)


def _merge(entries: Sequence[ZoneEntry | LineEntry], former: object) -> list[Tree]:
    """Tables of the configuration, each on top of the former one of its name."""
    former = former if isinstance(former, list) else []
    known = {each["name"]: each for each in former if isinstance(each, dict) and "name" in each}
    merged = []
    for entry in entries:
        table = dict(known.get(entry.name, {}))
        table["name"] = entry.name
        for key in entry.__struct_fields__:
            value = getattr(entry, key)
            if key == "polygon":
                table[key] = _list_points(value)
            elif key in ("a", "b"):
                table[key] = _round_point(value)
            elif key == "labels":
                _put(table, key, list(value))
            elif value is not None:
                table[key] = value
        merged.append(table)
    return merged


def _list_points(points: Iterable[tuple[float, float]]) -> list[list[float]]:
    return [_round_point(point) for point in points]


def _round_point(point: tuple[float, float]) -> list[float]:
    return [round(float(value), DIGITS) for value in point]


# --- text -------------------------------------------------------------------------------------


def _edit(text: str, row: int, before: Tree, after: Tree) -> str:
    """Write the lists that changed anew, and nothing else."""
    region = _find_region(list(read_statements(text)), row)
    if not region:
        return text
    changed = {key for key in ("zones", "lines", "masks") if before.get(key) != after.get(key)}
    masks = _get_motion_masks(after)
    motion_changed = _get_motion_masks(before) != masks
    stale = {(key,) for key in changed} | ({("motion", "masks")} if motion_changed else set())
    kept, removed = _divide(region, stale)
    inserted: dict[int, str] = {}

    def insert(offset: int, new: str) -> None:
        inserted[offset] = inserted.get(offset, "") + new

    own, motion, end = (
        max((each.end for table, each in kept if table in tables), default=0)
        for tables in (((),), (("motion",),), {table for table, _ in kept})
    )
    if "masks" in changed and "masks" in after:
        insert(own, f"masks = {_write(after['masks'])}\n")
    if motion_changed and masks:
        head = "" if motion else "\n[cameras.motion]\n"
        insert(motion or end, f"{head}masks = {_write(masks)}\n")
    for key in ("zones", "lines"):
        for table in after.get(key, ()) if key in changed else ():
            insert(end, _write_table(key, table))
    return _apply(text, removed, inserted)


Placed = tuple[tuple[str, ...], Statement]  # the table that a statement is in, and the statement


def _divide(
    region: Sequence[Statement], stale: Collection[tuple[str, ...]]
) -> tuple[list[Placed], list[Statement]]:
    """The statements of a camera that stay, and those that are written anew.

    Comments before the next table stay with that table.
    """
    kept: list[Placed] = [((), region[0])]
    removed = list[Statement]()
    between = list[Statement]()  # blank lines and comments since the last statement
    table: tuple[str, ...] = ()
    for statement in region[1:]:
        if statement.blank:
            between.append(statement)
            continue
        table = statement.key[1:] if statement.header else table
        key = table if statement.header else table + statement.key
        if any(key[: len(each)] == each for each in stale):
            removed += [statement, *([] if statement.header else between)]
        else:
            kept.append((table, statement))
        between = []
    return kept, removed


def _find_region(statements: Sequence[Statement], row: int) -> list[Statement]:
    """The statements of one camera from its header on; none where cameras are written otherwise."""
    count, region = -1, list[Statement]()
    for statement in statements:
        if statement.header:
            count += statement.header == "[[" and statement.key == ("cameras",)
            inside = count == row and statement.key[0] == "cameras"
            if region and not inside:
                break
            if inside:
                region.append(statement)
        elif region:
            region.append(statement)
    return region


def _apply(text: str, removed: Iterable[Statement], inserted: Mapping[int, str]) -> str:
    gone = sorted((each.start, each.end) for each in removed)
    edits = [(start, end, "") for start, end in gone]
    edits += [(offset, offset, new) for offset, new in inserted.items()]
    parts, at = list[str](), 0
    for start, end, new in sorted(edits):
        kept = text[at:start]
        parts.append(kept)
        if new and (parts[-1] or start) and not text[:start].endswith("\n"):
            parts.append("\n")
        parts.append(new)
        at = max(at, end)
        if new.startswith("\n") and text[at : at + 1] == "[":
            parts.append("\n")  # a blank line before the next table, as before ours
    return "".join([*parts, text[at:]])


def _get_motion_masks(camera: Tree) -> list[Any]:
    motion = camera.get("motion")
    masks = motion.get("masks") if isinstance(motion, dict) else None
    return masks if isinstance(masks, list) else []


def _write_table(key: str, table: Tree) -> str:
    lines = "".join(f"{name} = {_write(value)}\n" for name, value in table.items())
    return f"\n[[cameras.{key}]]\n{lines}"


def _write(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_write, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_write(each)}" for key, each in value.items()) + " }"
    return repr(value)
