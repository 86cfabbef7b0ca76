"""Tracker: objects followed over time in one camera.

Two-stage association in the manner of ByteTrack (Zhang 2022, arXiv:2110.06864): confirmed
tracks are matched with high-score detections first, then those seen in the previous frame with
the low-score ones, then tentative tracks with the remaining high-score ones; each high-score
detection that is left begins a tentative track, which is dropped without an event unless it is
seen again at once. Tracks and detections are matched only within a class; of vehicles, which
detectors confuse, also with one of another class that is found in the very same place.

Boxes are compared after growing by a fifth on each side (C-BIoU, Yang 2023, arXiv:2211.14317),
because at 5 frames per second a pedestrian leaves their own narrow box. In simulated crowds of 10,
30 and 60 objects at 10 and 5 frames per second that halved the tracks begun (142 to 75 for 10
objects at 5) and changed identity switches from 11 16 76 123 279 456 to 8 14 72 109 294 446.

An object that stood still before it was hidden, such as a parked car, keeps its track for longer
than others, see `Tracking.still_max_missed_s`. After the time of others it is matched only with
what is found where it stood. Of what is partly hidden a detector finds the part that shows, in a
box of its own: one that lies within the place where a vehicle stood is that vehicle. Without it 19
of 20 simulated cars were lost in half an hour of people who stop before them, now none. Where a
vehicle stands, no other one begins: a second box under another class's name, or around a part of
it, is the same vehicle (`tests/proof/test_parked_cars.py`).

Within a stage the best overlap goes first. The optimal assignment (Hungarian) was no better in
those crowds, 8 14 72 114 300 450 switches; greedy takes a dozen lines and has no bad worst case.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.config import DEFAULT_MAX_MISSED_S, Tracking
from edge.types import F32, I64, Bool, Detections, TrackEvent, TrackEventType, Tracks
from edge.vision import boxes, kalman
from edge.vision.kalman import F64
from edge.vision.labels import class_id

MAX_COORDINATE_PX = 1e6  # a box beyond it, or with NaN, is an error of the model
MAX_STEP_S = 3600.0
GROWTH = 0.2  # of a box's width and height, on each of its sides
STILL_IOU = 0.6  # of a box with the one where the object came to rest
CONFUSED = ("car", "bus", "truck")  # one may be found as another, or as both at a time
CONFUSION = 0.5  # of an overlap counts between those: a box of the same class goes first
PART_INSIDE = 0.85  # of a box lies where the object stood: it is what shows of it
PART_IOU = 0.1  # and is that large
REST_S = 3.0  # after this time in one place it stands still
EXCHANGE_S = 5.0  # in which a busy machine may look at no frame while models are exchanged
SHIFTED_S = 1.0  # a box that is elsewhere for less, for it is partly hidden, did not move

# One row per track. `seen` counts the frames it was seen in; times are on the tracker's clock.
# `rest` is the box in which it has stood since `rested_s`; since `shifted_s` it has been elsewhere,
# infinite if it is there. `ended` is set for a track that was reported as ended when the camera was
# lost, and goes on if the object is found again.
_ROW = np.dtype(
    [
        ("track_id", np.int64),
        ("motion", np.float64, (kalman.WIDTH,)),
        ("began_s", np.float64),
        ("seen_s", np.float64),
        ("xyxy", np.float32, (4,)),
        ("score", np.float32),
        ("class_id", np.int32),
        ("age", np.int32),
        ("missed", np.int32),
        ("seen", np.int32),
        ("rest", np.float32, (4,)),
        ("rested_s", np.float64),
        ("shifted_s", np.float64),
        ("ended", np.bool_),
    ]
)
Rows = NDArray[Any]


def make_track_ids(start_s: float) -> Iterator[int]:
    """Make track ids that are unique across cameras and across restarts of the process.

    The n-th id is ``floor(start_s * 2**20) + n``: the start time in Unix seconds in the high bits,
    20 low bits to count in. A process that starts s seconds later begins ``s * 2**20`` higher,
    so no id is reused unless more than a million tracks began in each second of the earlier
    run, or the wall clock was set back. Ids stay below 2**53, which JavaScript represents exactly,
    until the year 2242. All cameras share the iterator; calling ``next`` on it is atomic.
    """
    if not 0 <= start_s < 2**33:
        raise ValueError(f"start_s must be Unix seconds in 0..2**33, got {start_s}: use time.time")
    return itertools.count(int(start_s * 2**20) + 1)


@dataclass(frozen=True, slots=True, eq=False)
class TrackUpdate:
    """The effect of one frame on the tracks of a camera.

    Attributes:
        tracks: Confirmed tracks seen in this frame (``missed == 0``), oldest first.
        began: Tracks that were confirmed in this frame, or found again after the camera was lost.
        ended: Confirmed tracks that are gone, with their last box and score; ``dwell_s`` is
            the time between their first and their last detection.
    """

    tracks: Tracks
    began: tuple[TrackEvent, ...]
    ended: tuple[TrackEvent, ...]


class Tracker:
    """Follows the objects of one camera.

    Args:
        options: Those of the camera.
        ids: Ids of new tracks.
        classes: The detector's class names; without them no class has limits of its own.
        camera: For messages.

    Raises:
        ConfigError: A limit is given for a label the detector does not know.
    """

    def __init__(
        self, options: Tracking, ids: Iterator[int], classes: tuple[str, ...] = (), camera: str = ""
    ) -> None:
        self._options = options
        self._ids = ids
        self._max_missed_s, self._still_max_missed_s = _get_limits(options, classes, camera)
        self._confused = np.array([label in CONFUSED for label in classes] or [False])
        self._rows: Rows = np.zeros(0, _ROW)
        self._at_s = math.nan
        self._now_s = 0.0  # grows by what at_s grows, never shrinks
        self._step_s = 0.0

    def take_over(self, other: Tracker) -> None:
        """Go on with the tracks of a tracker that had other options.

        The next frame may come late, and that ends none of them.
        """
        self._rows, self._at_s = other._rows, other._at_s
        self._now_s, self._step_s = other._now_s, max(other._step_s, EXCHANGE_S / 2)

    def change_classes(self, ids: I64) -> tuple[TrackEvent, ...]:
        """Go on with other class ids; the tracks of classes that are gone end.

        Args:
            ids: ``(C,)`` the new id of each class, -1 of one that is gone.

        Returns:
            The ends, with the ids as they were.
        """
        ended = self._drop(ids[self._rows["class_id"]] < 0)
        self._rows["class_id"] = ids[self._rows["class_id"]]
        return ended

    def update(self, detections: Detections, at_s: float) -> TrackUpdate:
        """Take one frame's detections, those of low scores included.

        Time that stands still or goes back counts as zero.
        """
        ended = self._advance(at_s)
        detections = self._drop_unusable(detections)
        if not len(self._rows) and not len(detections):
            return TrackUpdate(Tracks.empty(), (), ended)
        cxcywh = boxes.xyxy_to_cxcywh(detections.xyxy)
        row, column = self._associate(detections, cxcywh)
        self._correct(row, detections, cxcywh, column)
        self._begin(detections, cxcywh, column)
        rows = self._rows
        seen_now = rows[(rows["missed"] == 0) & (rows["seen"] >= self._options.confirm_frames)]
        began = (seen_now["seen"] == self._options.confirm_frames) | seen_now["ended"]
        rows["ended"] &= rows["missed"] > 0
        return TrackUpdate(
            self._make_tracks(seen_now), _make_events(seen_now[began], TrackEventType.BEGAN), ended
        )

    def locate(self) -> F32:
        """Where the tracks are expected, ``(T, 4)`` xyxy."""
        return boxes.cxcywh_to_xyxy(self._rows["motion"][:, kalman.VALUE])

    def needs_looks(self) -> bool:
        """Whether a track may do something that would be missed: all but what stands still."""
        rows = self._rows
        rests = (self._get_still_s() >= REST_S) & (rows["seen"] >= self._options.confirm_frames)
        rests &= np.isinf(rows["shifted_s"]) | (rows["missed"] > 0)  # else it may drive off
        return not rests.all()

    def coast(self, at_s: float) -> TrackUpdate:
        """Take a frame that nobody looked at: what was seen in the last one is there still."""
        step_s = _step(at_s - self._at_s)
        self._now_s += step_s
        self._at_s = at_s
        rows = self._rows
        there = rows["missed"] == 0
        rows["seen_s"][there] += step_s
        late = self._now_s - rows["seen_s"] > np.maximum(
            self._get_patience_s(), self._get_still_s()
        )
        ended = self._drop(late)
        rows = self._rows
        there = (rows["missed"] == 0) & (rows["seen"] >= self._options.confirm_frames)
        return TrackUpdate(self._make_tracks(rows[there]), (), ended)

    def expire(self, at_s: float) -> tuple[TrackEvent, ...]:
        """End tracks that were not seen for too long, though no frame came until ``at_s``."""
        now_s = self._now_s + _step(at_s - self._at_s)
        return self._lose(now_s - self._rows["seen_s"] > self._get_patience_s())

    def reset(self, at_s: float, *, moved: bool = False) -> tuple[TrackEvent, ...]:
        """End all tracks, for a new epoch that begins ``at_s``.

        Args:
            at_s: On the clock of the frames.
            moved: Whether what stood still must not be expected in its place any more.
        """
        self._now_s += _step(at_s - self._at_s)
        self._at_s, self._step_s = at_s, 0.0
        every = np.ones(len(self._rows), np.bool_)
        return self._drop(every) if moved else self._lose(every)

    def _lose(self, lost: Bool) -> tuple[TrackEvent, ...]:
        """End tracks because the camera was lost; rows of what stood still are kept."""
        rows = self._rows
        events = self._make_ends(rows[lost])
        rows["ended"] |= lost
        rows["missed"][lost] = np.maximum(rows["missed"][lost], 1)
        rows["motion"][lost, kalman.VELOCITY] = 0
        gone = lost & ((self._get_still_s() <= 0) | (rows["seen"] < self._options.confirm_frames))
        self._rows = rows[~gone]
        return events

    def _advance(self, at_s: float) -> tuple[TrackEvent, ...]:
        """Move the clock and all tracks to ``at_s``; end those unseen for too long."""
        step_s = _step(at_s - self._at_s)
        patience_s = self._get_patience_s()
        self._at_s, self._step_s = at_s, step_s
        self._now_s += step_s
        rows = self._rows
        if not len(rows):
            return ()
        unseen_s = self._now_s - rows["seen_s"]
        late = unseen_s > patience_s
        ended: tuple[TrackEvent, ...] = ()
        if late.any():
            still = late & (self._get_still_s() >= unseen_s)
            rows["motion"][still, kalman.VELOCITY] = 0
            ended = self._drop(late & ~still)
        if step_s:
            kalman.predict(self._rows["motion"], step_s)
        return ended

    def _get_patience_s(self) -> F64:
        """``(T,)``: how long each track may be missed.

        Nothing can be seen between two frames, so a camera slower than ``max_missed_s`` keeps its
        tracks for two of its intervals; a sudden gap ends them.
        """
        max_missed_s: F64 = self._max_missed_s.take(self._rows["class_id"], mode="clip")
        return np.maximum(max_missed_s, 2 * self._step_s)

    def _get_still_s(self) -> F64:
        """``(T,)``: how long each track may be missed because it stood still."""
        rows = self._rows
        still_max_s = self._still_max_missed_s.take(rows["class_id"], mode="clip")
        stood_s: F64 = np.minimum(rows["seen_s"], rows["shifted_s"]) - rows["rested_s"]
        return np.minimum(stood_s, still_max_s)

    def _drop_unusable(self, detections: Detections) -> Detections:
        usable = detections.score >= self._options.low_score  # a NaN is not
        if len(usable):
            usable &= (np.abs(detections.xyxy) < MAX_COORDINATE_PX).all(axis=1)
        return detections if usable.all() else detections[usable]

    def _associate(self, detections: Detections, cxcywh: F32) -> tuple[I64, I64]:
        """Rows of matched tracks and of their detections: by stage, then by overlap."""
        rows = self._rows
        grown = boxes.cxcywh_to_xyxy(
            np.concatenate([rows["motion"][:, kalman.VALUE], cxcywh]), 1 + 2 * GROWTH
        )
        overlap = boxes.iou(grown[: len(rows)], grown[len(rows) :])
        if rows["missed"].any():
            self._look_in_place(overlap, detections)
        same = rows["class_id"][:, None] == detections.class_id  # (T, N)
        confused = self._are_confused(detections) & (overlap >= STILL_IOU)
        overlap *= np.where(same, 1, CONFUSION * confused)
        row, column = np.nonzero(overlap >= max(self._options.min_iou, 1e-6))
        confirmed = rows["seen"][row] >= self._options.confirm_frames
        high = detections.score[column] >= self._options.high_score
        stage = 2 * confirmed + high  # 3 confirmed high, 2 confirmed low, 1 tentative high
        allowed = high | (confirmed & (rows["missed"][row] == 0))
        rank = np.where(allowed, stage + overlap[row, column], 0)
        return _match_greedily(rank, row, column)

    def _are_confused(self, detections: Detections) -> Bool:
        """``(T, N)``: pairs of a track and a detection that may be one object of unclear class."""
        mine = self._confused.take(self._rows["class_id"], mode="clip")
        theirs: Bool = self._confused.take(detections.class_id, mode="clip")
        return mine[:, None] & theirs

    def _is_there_already(self, detections: Detections) -> Bool:
        """``(N,)``: detections of a vehicle that has a track: another name or a part of it."""
        rows = self._rows
        same = rows["class_id"][:, None] == detections.class_id  # (T, N)
        at_rest = boxes.iou(rows["rest"], detections.xyxy)
        place = np.maximum(boxes.iou(rows["xyxy"], detections.xyxy), at_rest)
        renamed = ~same & self._are_confused(detections) & (place >= STILL_IOU)
        may_hide = self._still_max_missed_s.take(rows["class_id"], mode="clip") > 0
        stands = may_hide & (self._get_still_s() >= REST_S)
        renamed &= (stands | (rows["missed"] == 0))[:, None]
        inside = boxes.containment(detections.xyxy, rows["rest"]).T
        part = same & stands[:, None] & (inside >= PART_INSIDE)
        part &= at_rest >= PART_IOU
        known: Bool = (renamed | part).any(axis=0)
        return known

    def _look_in_place(self, overlap: F32, detections: Detections) -> None:
        """What stood is found where it stood, and when it was hidden for long, only there."""
        rows = self._rows
        hidden = self._find_hidden()
        stood = (rows["missed"] > 0) & (hidden | (self._get_still_s() >= REST_S))
        in_place = boxes.iou(rows["rest"][stood], detections.xyxy)  # (S, N)
        inside = boxes.containment(detections.xyxy, rows["rest"][stood]).T
        part = (inside >= PART_INSIDE) & (in_place >= PART_IOU)
        found = np.where(part, np.maximum(in_place, self._options.min_iou), 0)
        found = np.where(in_place >= STILL_IOU, in_place, found)
        overlap[hidden] = 0
        overlap[stood] = np.maximum(overlap[stood], found)

    def _make_tracks(self, rows: Rows) -> Tracks:
        stationary = self._now_s - rows["rested_s"] >= REST_S
        return Tracks(
            rows["xyxy"].copy(), rows["score"].copy(), rows["class_id"].copy(),
            rows["track_id"].copy(), rows["age"].copy(), rows["missed"].copy(), stationary,
        )  # fmt: skip

    def _find_hidden(self) -> Bool:
        """``(T,)``: tracks that go on only because they stood still."""
        rows = self._rows
        hidden: Bool = self._now_s - rows["seen_s"] > self._get_patience_s()
        hidden |= rows["ended"]
        return hidden

    def _correct(self, row: I64, detections: Detections, cxcywh: F32, column: I64) -> None:
        """Correct the tracks that were detected; drop the tentative ones that were not."""
        rows = self._rows
        rows["age"] += 1
        rows["missed"] += 1
        if len(row):
            rows["motion"][row] = kalman.update(rows["motion"][row], cxcywh[column])
            rows["xyxy"][row] = detections.xyxy[column]
            rows["score"][row] = detections.score[column]
            rows["seen_s"][row] = self._now_s
            rows["missed"][row] = 0
            rows["seen"][row] += 1
            self._note_rest(row)
        if len(row) < len(rows):
            unseen = rows["missed"] > 0
            rows["motion"][unseen, kalman.SIZE_VELOCITY] = 0  # a hidden object does not grow
            self._drop(unseen & (rows["seen"] < self._options.confirm_frames))

    def _note_rest(self, row: I64) -> None:
        """Note of tracks that were detected now whether they stand still."""
        rows, now_s = self._rows, self._now_s
        xyxy, rest = rows["xyxy"][row], rows["rest"][row]
        there = boxes.paired_iou(xyxy, rest) >= STILL_IOU
        may_hide = self._still_max_missed_s.take(rows["class_id"][row], mode="clip") > 0
        there |= may_hide & (boxes.paired_containment(xyxy, rest) >= PART_INSIDE)
        shifted_s = np.where(there, np.inf, np.minimum(rows["shifted_s"][row], now_s))
        moved = row[now_s - shifted_s > SHIFTED_S]
        rows["shifted_s"][row] = shifted_s
        rows["rest"][moved] = rows["xyxy"][moved]
        rows["rested_s"][moved], rows["shifted_s"][moved] = now_s, np.inf

    def _begin(self, detections: Detections, cxcywh: F32, taken: I64) -> None:
        """Begin a tentative track for each high-score detection without a track."""
        free = detections.score >= self._options.high_score
        free[taken] = False
        if free.any() and len(self._rows):
            free &= ~self._is_there_already(detections)
        if not free.any():
            return
        new = np.zeros(int(free.sum()), _ROW)
        new["track_id"] = list(itertools.islice(self._ids, len(new)))
        new["motion"] = kalman.begin(cxcywh[free])
        new["began_s"] = new["seen_s"] = self._now_s
        new["xyxy"], new["score"] = detections.xyxy[free], detections.score[free]
        new["class_id"], new["seen"] = detections.class_id[free], 1
        new["rest"], new["rested_s"], new["shifted_s"] = new["xyxy"], self._now_s, np.inf
        self._rows = np.concatenate([self._rows, new])

    def _drop(self, gone: Bool) -> tuple[TrackEvent, ...]:
        """Drop rows; ENDED for those that were confirmed."""
        if not gone.any():
            return ()
        dropped = self._rows[gone]
        self._rows = self._rows[~gone]
        return self._make_ends(dropped)

    def _make_ends(self, rows: Rows) -> tuple[TrackEvent, ...]:
        """ENDED for those that had begun and were not reported yet."""
        alive = (rows["seen"] >= self._options.confirm_frames) & ~rows["ended"]
        return _make_events(rows[alive], TrackEventType.ENDED)


def _step(step_s: float) -> float:
    """Time that passed; none if it stood still, went back or is NaN."""
    return min(step_s, MAX_STEP_S) if step_s > 0 else 0.0


def _get_limits(options: Tracking, classes: tuple[str, ...], camera: str) -> tuple[F64, F64]:
    """``(C,)`` longest times that objects of each class may be missed: moving, still."""
    limits = options.max_missed_s
    default = DEFAULT_MAX_MISSED_S if isinstance(limits, dict) else limits
    moving = np.full(max(len(classes), 1), default)
    for label, limit_s in (limits if isinstance(limits, dict) else {}).items():
        moving[class_id(label, classes, camera, "tracking.max_missed_s")] = limit_s
    still = np.zeros(max(len(classes), 1))
    chosen = "still_max_missed_s" in options.model_fields_set
    for label, limit_s in options.still_max_missed_s.items():
        if chosen or label in classes:
            still[class_id(label, classes, camera, "tracking.still_max_missed_s")] = limit_s
    return moving, still


def _match_greedily(rank: F64, row: I64, column: I64) -> tuple[I64, I64]:
    """Pairs by descending rank, each row and column once; pairs of rank 0 never."""
    order = np.argsort(-rank, kind="stable")[: np.count_nonzero(rank)]
    taken_rows: dict[int, int] = {}
    taken_columns: set[int] = set()
    for r, c in zip(row[order].tolist(), column[order].tolist(), strict=True):
        if r not in taken_rows and c not in taken_columns:
            taken_rows[r] = c
            taken_columns.add(c)
    return np.array(list(taken_rows), np.int64), np.array(list(taken_rows.values()), np.int64)


def _make_events(rows: Rows, change: TrackEventType) -> tuple[TrackEvent, ...]:
    ended = change is TrackEventType.ENDED
    return tuple(
        TrackEvent(
            track_id=int(row["track_id"]),
            change=change,
            class_id=int(row["class_id"]),
            xyxy=tuple(row["xyxy"].tolist()),
            score=float(row["score"]),
            dwell_s=float(row["seen_s"] - row["began_s"]) if ended else 0.0,
        )
        for row in rows
    )
