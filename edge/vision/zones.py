"""The zone monitor: which zones tracks are in, and which lines they cross, in one camera.

A track is where its foot point (bottom center of its box) is. Foot points jitter, so zones and
lines have a margin of a twentieth of the track's height in the picture:

- A zone is entered as soon as the foot is inside, and left when it is outside by more than the
  margin.
- A line is crossed when the path of the foot went through it (between its ends) and arrived
  on the other side by more than the margin. A fast object's path is the segment between
  its feet in two frames, so it cannot be missed.
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

MARGIN = 0.05  # of the height of a track's box
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
                ("side", np.bool_, (len(lines),)),  # the side it was on when last beyond the margin
                ("through", np.bool_, (len(lines),)),  # whether its path went through since then
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
        margin_px = np.float32(MARGIN) * (tracks.xyxy[:, 3] - tracks.xyxy[:, 1])
        changes: Moves = []
        known = self._known
        known["xyxy"][rows], known["score"][rows] = tracks.xyxy, tracks.score
        if self._lines:
            self._update_lines(rows, feet, margin_px, size_wh, changes)
        if self._zones:
            self._update_zones(rows, feet, margin_px, size_wh, at_s, changes)
        known["foot"][rows], known["at_s"][rows] = feet, at_s
        return self._get_names(rows), tuple(changes)

    def forget(self, track_ids: Iterable[int], at_s: float) -> tuple[TrackEvent, ...]:
        """Drop tracks that ended; LEFT for the zones they were last seen in.

        Dwell times end when the track was last seen, and never later than ``at_s`` (monotonic).
        """
        gone = np.isin(self._known["track_id"], np.array(list(track_ids), np.int64))
        if not gone.any():
            return ()
        changes: Moves = []
        for row, zone in np.argwhere(self._known["inside"] & gone[:, None]).tolist():
            dwell_s = min(at_s, self._known["at_s"][row]) - self._known["since_s"][row, zone]
            self._report(changes, row, TrackEventType.LEFT, self._zones[zone].name, dwell_s=dwell_s)
        self._known = self._known[~gone]
        return tuple(changes)

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
        if self._lines:
            fresh["side"] = self._right_px(feet[new], size_wh)[0] >= 0
        known = np.concatenate([self._known, fresh])
        self._known = known[np.argsort(known["track_id"])]
        return np.searchsorted(self._known["track_id"], tracks.track_id)

    def _update_zones(
        self,
        rows: I64,
        feet: F64,
        margin_px: F32,
        size_wh: tuple[int, int],
        at_s: float,
        changes: Moves,
    ) -> None:
        """Detect entered and left zones and elapsed dwell times."""
        known = self._known
        inside = self._polygons.contain(feet) & self._zone_classes[known["class_id"][rows]]
        before = known["inside"][rows]
        for n, zone in np.argwhere(inside != before).tolist():
            row = rows[n]
            if inside[n, zone]:
                known["since_s"][row, zone], known["dwelled"][row, zone] = at_s, False
                self._report(changes, row, TrackEventType.ENTERED, self._zones[zone].name)
            elif self._polygons.distance(zone, feet[n : n + 1], size_wh)[0] > margin_px[n]:
                name, dwell_s = self._zones[zone].name, at_s - known["since_s"][row, zone]
                self._report(changes, row, TrackEventType.LEFT, name, dwell_s=dwell_s)
            else:
                inside[n, zone] = True
        known["inside"][rows] = inside
        long = inside & ~known["dwelled"][rows]
        long &= at_s - known["since_s"][rows] >= self._dwell_s
        for n, zone in np.argwhere(long).tolist():
            row = rows[n]
            known["dwelled"][row, zone] = True
            name, dwell_s = self._zones[zone].name, at_s - known["since_s"][row, zone]
            self._report(changes, row, TrackEventType.DWELLED, name, dwell_s=dwell_s)

    def _update_lines(
        self, rows: I64, feet: F64, margin_px: F32, size_wh: tuple[int, int], changes: Moves
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
        for n, line in np.argwhere(busy).tolist():
            row, was, now = rows[n], was_right_px[n, line], right_px[n, line]
            if (was >= 0) != (now >= 0):
                share = was / (was - now)
                where = was_along[n, line] + share * (along[n, line] - was_along[n, line])
                known["through"][row, line] ^= 0 <= where <= 1
            if abs(now) <= margin_px[n]:
                continue
            if known["through"][row, line] and (now >= 0) != side[n, line]:
                name = self._lines[line].name
                direction = LEFT_TO_RIGHT if now >= 0 else RIGHT_TO_LEFT
                self._report(changes, row, TrackEventType.CROSSED, name, direction)
            known["side"][row, line], known["through"][row, line] = now >= 0, False

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
