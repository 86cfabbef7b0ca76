"""The zone monitor: which zones tracks are in, and which lines they cross, in one camera.

A track is where its foot point (bottom center of its box) is. Foot points jitter and people rock,
so zones and lines have a margin in space, a fraction of the track's height in the picture, and one
in time:

- A zone is entered as soon as the foot is inside, and left when it has been outside by more than
  the margin for `debounce_s`.
- A line is crossed when the path of the foot went through it (between its ends) and it has been
  on the other side by more than the margin for `debounce_s`, or vanished there. A fast object's
  path is the segment between its feet in two frames, so it cannot be missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.config import Line, Zone
from edge.types import F32, I64, Bool, TrackEvent, TrackEventType, Tracks
from edge.vision import boxes
from edge.vision.labels import class_mask
from edge.vision.polygons import F64, Polygons

LEFT_TO_RIGHT, RIGHT_TO_LEFT = "left_to_right", "right_to_left"

Moves = list[TrackEvent]


class ZoneMonitor:
    """Zones and lines of one camera, and where its tracks are.

    Args:
        zones: Polygons in fractions of width and height; the upper and left parts of an outline
            belong to the zone, the lower and right ones do not, except at the picture's edge.

    Raises:
        ConfigError: The model does not have one of the labels.
    """

    def __init__(
        self,
        zones: Sequence[Zone],
        lines: Sequence[Line],
        classes: tuple[str, ...],
        camera: str = "",
    ) -> None:
        self._zones, self._lines = tuple(zones), tuple(lines)
        self._polygons = Polygons([zone.polygon for zone in zones])
        self._dwell_s = np.array([zone.dwell_s or np.inf for zone in zones])  # (Z,)
        self._line_margins = np.array([line.margin for line in lines])  # (L,)
        self._zone_classes = _make_class_masks("zones", zones, classes, camera)  # (C, Z)
        self._line_classes = _make_class_masks("lines", lines, classes, camera)  # (C, L)
        self._ends = np.array([(line.a, line.b) for line in lines]).reshape(-1, 2, 2)
        self._size_wh, self._to_lines = (0, 0), _line_axes(self._ends, (1, 1))
        row = np.dtype(
            [
                ("track_id", np.int64),
                ("xyxy", np.float32, (4,)),
                ("score", np.float32),
                ("class_id", np.int32),
                ("at_s", np.float64),
                ("foot", np.float64, (2,)),
                ("inside", np.bool_, (len(zones),)),
                ("since_s", np.float64, (len(zones),)),
                ("dwelled", np.bool_, (len(zones),)),
                ("outside_s", np.float64, (len(zones),)),  # since when beyond the margin, or inf
                ("side", np.bool_, (len(lines),)),  # the side it was on when last beyond the margin
                ("through", np.bool_, (len(lines),)),  # whether its path went through since then
                ("beyond_s", np.float64, (len(lines),)),  # since when on the other side, or inf
            ]
        )
        self._known: NDArray[Any] = np.zeros(0, row)  # sorted by track_id

    def update(
        self, tracks: Tracks, size_wh: tuple[int, int], at_s: float
    ) -> tuple[tuple[tuple[str, ...], ...], tuple[TrackEvent, ...]]:
        """Take the tracks that were detected in a frame captured at ``at_s`` (monotonic).

        Returns:
            For each track the names of the zones it is in, and the events.
        """
        if not len(tracks) or not (self._zones or self._lines):
            return ((),) * len(tracks), ()
        feet = boxes.locate_feet(tracks.xyxy, size_wh)
        rows = self._find_rows(tracks, feet, size_wh)
        height_px = tracks.xyxy[:, 3] - tracks.xyxy[:, 1]
        changes: Moves = []
        known = self._known
        known["xyxy"][rows], known["score"][rows] = tracks.xyxy, tracks.score
        if self._lines:
            self._update_lines(rows, feet, height_px, size_wh, at_s, changes)
        if self._zones:
            self._update_zones(rows, feet, height_px, size_wh, at_s, changes)
        known["foot"][rows], known["at_s"][rows] = feet, at_s
        return self._get_names(rows), tuple(changes)

    def change_classes(self, ids: I64) -> None:
        """Know tracks by other class ids, ``(C,)`` by the one before; -1 forgets a class."""
        class_id = ids[self._known["class_id"]]
        self._known["class_id"] = class_id
        self._known = self._known[class_id >= 0]

    def forget(self, track_ids: Iterable[int], at_s: float) -> tuple[TrackEvent, ...]:
        """Drop tracks that ended; LEFT for the zones they were last seen in.

        Dwell times end when the track was last seen, and never later than ``at_s`` (monotonic).
        """
        known = self._known
        gone = np.isin(known["track_id"], np.array(list(track_ids), np.int64))
        if not gone.any():
            return ()
        changes: Moves = []
        vanished = np.isfinite(known["beyond_s"]) & known["through"] & gone[:, None]
        for row, line in np.argwhere(vanished).tolist():
            self._cross(changes, row, line)
        for row, zone in np.argwhere(known["inside"] & gone[:, None]).tolist():
            self._leave(changes, row, zone, at_s)
        self._known = known[~gone]
        return tuple(changes)

    def take_over(self, other: ZoneMonitor, at_s: float) -> tuple[TrackEvent, ...]:
        """Go on with the tracks of a monitor that had other zones; LEFT for those that are gone.

        Where a zone was moved, the next frame decides who left or entered it.
        """
        theirs = other._known
        self._known = np.zeros(len(theirs), self._known.dtype)
        self._known["outside_s"], self._known["beyond_s"] = np.inf, np.inf
        for name in ("track_id", "xyxy", "score", "class_id", "at_s", "foot"):
            self._known[name] = theirs[name]
        self._size_wh = (0, 0)
        if self._lines and len(theirs) and other._size_wh != (0, 0):
            right_px, _ = self._right_px(theirs["foot"], other._size_wh)
            self._known["side"] = right_px >= 0
        changes: Moves = []
        places = {zone.name: column for column, zone in enumerate(self._zones)}
        for theirs_column, zone in enumerate(other._zones):
            if (column := places.get(zone.name)) is not None:
                for name in ("inside", "since_s", "dwelled", "outside_s"):
                    self._known[name][:, column] = theirs[name][:, theirs_column]
                continue
            for row in np.flatnonzero(theirs["inside"][:, theirs_column]).tolist():
                other._leave(changes, row, theirs_column, at_s)
        lines = {line.name: (column, line) for column, line in enumerate(self._lines)}
        for theirs_column, line in enumerate(other._lines):
            column, mine = lines.get(line.name, (-1, None))
            if mine and (mine.a, mine.b) == (line.a, line.b):
                for name in ("side", "through", "beyond_s"):
                    self._known[name][:, column] = theirs[name][:, theirs_column]
        return tuple(changes)

    def _leave(self, changes: Moves, row: int, zone: int, at_s: float) -> None:
        """Report that a track left a zone because it ended, or the zone did."""
        track = self._known[row]
        left_s = min(at_s, track["at_s"], track["outside_s"][zone])
        dwell_s = left_s - track["since_s"][zone]
        self._report(changes, row, TrackEventType.LEFT, self._zones[zone].name, dwell_s=dwell_s)

    def __len__(self) -> int:
        return len(self._known)

    def _find_rows(self, tracks: Tracks, feet: F64, size_wh: tuple[int, int]) -> I64:
        """Rows of the tracks in `_known`; new ones are added."""
        known = self._known["track_id"]
        rows = np.searchsorted(known, tracks.track_id)
        if len(known):
            new = known[np.minimum(rows, len(known) - 1)] != tracks.track_id
        else:
            new = np.ones(len(tracks), np.bool_)
        if not new.any():
            return rows
        fresh = np.zeros(np.count_nonzero(new), self._known.dtype)
        fresh["track_id"], fresh["class_id"] = tracks.track_id[new], tracks.class_id[new]
        fresh["foot"] = feet[new]
        fresh["outside_s"], fresh["beyond_s"] = np.inf, np.inf
        if self._lines:
            fresh["side"] = self._right_px(feet[new], size_wh)[0] >= 0
        known = np.concatenate([self._known, fresh])
        self._known = known[np.argsort(known["track_id"])]
        return np.searchsorted(self._known["track_id"], tracks.track_id)

    def _update_zones(
        self,
        rows: I64,
        feet: F64,
        height_px: F32,
        size_wh: tuple[int, int],
        at_s: float,
        changes: Moves,
    ) -> None:
        """Detect entered and left zones and elapsed dwell times."""
        known = self._known
        inside = self._polygons.contain(feet) & self._zone_classes[known["class_id"][rows]]
        before = known["inside"][rows]
        still_outside = np.zeros_like(inside)
        for n, zone in np.argwhere(inside != before).tolist():
            row = rows[n]
            settings = self._zones[zone]
            if inside[n, zone]:
                known["since_s"][row, zone], known["dwelled"][row, zone] = at_s, False
                self._report(changes, row, TrackEventType.ENTERED, settings.name)
                continue
            gap_px = self._polygons.distance(zone, feet[n : n + 1], size_wh)[0]
            if gap_px > settings.margin * height_px[n]:
                outside_s = min(known["outside_s"][row, zone], at_s)
                known["outside_s"][row, zone] = outside_s
                if at_s - outside_s >= settings.debounce_s:
                    dwell_s = outside_s - known["since_s"][row, zone]
                    self._report(changes, row, TrackEventType.LEFT, settings.name, dwell_s=dwell_s)
                    known["outside_s"][row, zone] = np.inf
                    continue
            inside[n, zone] = True
            still_outside[n, zone] = True
        known["outside_s"][rows] = np.where(still_outside, known["outside_s"][rows], np.inf)
        known["inside"][rows] = inside
        long = inside & ~known["dwelled"][rows]
        long &= at_s - known["since_s"][rows] >= self._dwell_s
        for n, zone in np.argwhere(long).tolist():
            row = rows[n]
            known["dwelled"][row, zone] = True
            name, dwell_s = self._zones[zone].name, at_s - known["since_s"][row, zone]
            self._report(changes, row, TrackEventType.DWELLED, name, dwell_s=dwell_s)

    def _update_lines(
        self,
        rows: I64,
        feet: F64,
        height_px: F32,
        size_wh: tuple[int, int],
        at_s: float,
        changes: Moves,
    ) -> None:
        """Detect crossed lines."""
        known = self._known
        right_px, along = self._right_px(feet, size_wh)  # (N, L)
        side = known["side"][rows]
        busy = ((right_px >= 0) != side) | known["through"][rows]
        busy &= self._line_classes[known["class_id"][rows]]
        if not busy.any():
            return
        was_right_px, was_along = self._right_px(known["foot"][rows], size_wh)
        margin_px = self._line_margins * height_px[:, None]  # (N, L)
        for n, line in np.argwhere(busy).tolist():
            row, was, now = rows[n], was_right_px[n, line], right_px[n, line]
            if (was >= 0) != (now >= 0):
                share = was / (was - now)
                where = was_along[n, line] + share * (along[n, line] - was_along[n, line])
                known["through"][row, line] ^= 0 <= where <= 1
            if (now >= 0) == side[n, line]:  # it is back
                known["beyond_s"][row, line] = np.inf
                known["through"][row, line] &= abs(now) <= margin_px[n, line]
            elif abs(now) > margin_px[n, line]:
                beyond_s = min(known["beyond_s"][row, line], at_s)
                known["beyond_s"][row, line] = beyond_s
                if not known["through"][row, line]:  # it went round
                    self._settle(row, line)
                elif at_s - beyond_s >= self._lines[line].debounce_s:
                    self._cross(changes, row, line)

    def _cross(self, changes: Moves, row: int, line: int) -> None:
        """Report that a track crossed a line, away from the side it was on."""
        direction = RIGHT_TO_LEFT if self._known["side"][row, line] else LEFT_TO_RIGHT
        name = self._lines[line].name
        self._report(changes, row, TrackEventType.CROSSED, name, direction)
        self._settle(row, line)

    def _settle(self, row: int, line: int) -> None:
        """A track is at home on the other side of a line now."""
        known = self._known
        known["side"][row, line] ^= True
        known["through"][row, line], known["beyond_s"][row, line] = False, np.inf

    def _right_px(self, feet: F64, size_wh: tuple[int, int]) -> tuple[F64, F64]:
        """``(N, L)`` distance to the right of each line, pixels; position along it (a 0, b 1)."""
        if size_wh != self._size_wh:
            self._size_wh, self._to_lines = size_wh, _line_axes(self._ends, size_wh)
        axes, offset = self._to_lines
        both = feet @ axes + offset  # (N, 2 L)
        return both[:, : len(self._lines)], both[:, len(self._lines) :]

    def _report(
        self,
        changes: Moves,
        row: int,
        change: TrackEventType,
        place: str,
        direction: str = "",
        dwell_s: float = 0.0,
    ) -> None:
        track = self._known[row]
        changes.append(
            TrackEvent(
                track_id=int(track["track_id"]),
                change=change,
                class_id=int(track["class_id"]),
                xyxy=tuple(track["xyxy"].tolist()),
                score=float(track["score"]),
                place=place,
                direction=direction,
                dwell_s=float(dwell_s),
            )
        )

    def _get_names(self, rows: I64) -> tuple[tuple[str, ...], ...]:
        names = [zone.name for zone in self._zones]
        return tuple(
            tuple(name for name, inside in zip(names, row, strict=True) if inside)
            for row in self._known["inside"][rows].tolist()
        )


def _make_class_masks(
    key: str, places: Sequence[Zone | Line], classes: tuple[str, ...], camera: str
) -> Bool:
    """``(C, P)``: which classes each zone or line counts."""
    masks = [
        class_mask(place.labels, classes, camera, f"{key}[{row}].labels")
        for row, place in enumerate(places)
    ]
    return np.array(masks, np.bool_).reshape(len(places), len(classes)).T


def _line_axes(ends: F64, size_wh: tuple[int, int]) -> tuple[F64, F64]:
    """``(L, 2, 2)`` ends of lines -> ``(2, 2 L)`` and ``(2 L,)``, see `ZoneMonitor._right_px`.

    They map feet (fractions of the picture) to pixels right of each line, seen from a to b with y
    pointing down, and then to the position along each line.
    """
    a_px = ends[:, 0] * size_wh
    way_px = ends[:, 1] * size_wh - a_px  # (L, 2)
    length_px = np.hypot(way_px[:, :1], way_px[:, 1:])
    right = np.stack([-way_px[:, 1], way_px[:, 0]], axis=1) / length_px
    axes = np.concatenate([right, way_px / length_px**2])  # (2 L, 2), for feet in pixels
    offset = -(axes * np.concatenate([a_px, a_px])).sum(axis=1)
    return (axes * size_wh).T.copy(), offset
