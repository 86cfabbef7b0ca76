"""A node with much to see: cameras that play drawn scenes, events of a day, people; one camera is
away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from edge.event import BestView, Event, KnownPerson, Severity
from edge.recording import mp4
from edge.recording.records import FileKind, StoredFile
from edge.service.node_view import Exporter
from edge.types import CameraState, CameraStatus, StatusReason
from edge.web.changes import ChangeFeed
from edge.web.live_ring import open_ring
from edge.web.ports import ConfigurationFile, EnrolledPerson, NodeHealth
from edge.web.schema import CameraHealth
from tests.support.drawn_scenes import draw_door, draw_yard
from tests.support.film_camera import FilmCamera, Scene, pick_latest
from tests.support.web_node import (
    Served,
    make_archive,
    make_node,
    make_sight,
    serving,
    store,
)

COUNT = 100
RECORDED_S = (180.0, 60.0)  # seconds ago, of what can be played
LISTED_H = ((7.2, 5.1), (4.9, 3.0), (2.4, 0.2))  # hours ago, of what is only listed
ADA, BEN = KnownPerson("p1", "Ada"), KnownPerson("p2", "Ben")
ENTRANCE = {"name": "entrance", "polygon": [[0.56, 0.6], [0.9, 0.6], [0.96, 0.96], [0.5, 0.96]]}
GATE = {"name": "gate", "a": [0.3, 0.98], "b": [0.42, 0.55]}
CONFIGURATION = """node = "house"

[models]
detector = "zoo:detect-nano"
faces = "zoo:faces-nano"

[[cameras]]
name = "door"
source = { kind = "rtsp", url = "rtsp://192.0.2.10/sub" }
main = { kind = "rtsp", url = "rtsp://192.0.2.10/main" }

[[cameras.zones]]
name = "entrance"
polygon = [[0.56, 0.6], [0.9, 0.6], [0.96, 0.96], [0.5, 0.96]]

[[cameras.events]]
when = ["entered:entrance", "known", "unknown"]

[[cameras]]
name = "yard"
source = { kind = "rtsp", url = "rtsp://192.0.2.11/sub" }

[[cameras.lines]]
name = "gate"
a = [0.3, 0.98]
b = [0.42, 0.55]

[[cameras.events]]
when = ["crossed:gate"]
severity = "alert"

[[cameras]]
name = "garage"
source = { kind = "rtsp", url = "rtsp://192.0.2.12/sub" }
"""


class Gallery:
    """People who are known by name."""

    def __init__(self, *people: KnownPerson) -> None:
        since_s = time.time() - 40 * 86400
        self._people = [
            EnrolledPerson(known.person, known.name, 2 + row, since_s + row * 9e5,
                           "" if row else "2027-12-31", "active")
            for row, known in enumerate(people)
        ]  # fmt: skip

    def list_people(self) -> list[EnrolledPerson]:
        """Everybody."""
        return self._people


@dataclass(frozen=True)
class Moment:
    """What happened, and how many minutes ago."""

    minutes: float
    camera: str
    triggers: tuple[str, ...]
    row: int  # of its picture in the film
    severity: Severity = Severity.DETECTION
    people: tuple[KnownPerson, ...] = ()
    seen: bool = False
    lasts_s: float | None = 14.0


DAY = (
    Moment(0.4, "door", ("entered:entrance",), 82, lasts_s=None),
    Moment(9, "yard", ("crossed:gate",), 46, Severity.ALERT),
    Moment(31, "door", ("known", "entered:entrance"), 90, people=(ADA,)),
    Moment(58, "yard", ("crossed:gate",), 60, Severity.ALERT, seen=True),
    Moment(92, "door", ("unknown", "entered:entrance"), 70, seen=True),
    Moment(130, "yard", ("crossed:gate",), 30, Severity.ALERT, seen=True),
    Moment(171, "door", ("known", "entered:entrance"), 60, people=(BEN,), seen=True),
    Moment(215, "garage", ("offline",), 0, lasts_s=None, seen=True),
    Moment(266, "door", ("known",), 50, people=(ADA, BEN), seen=True),
)


@contextlib.contextmanager
def showing(folder: Path, moments: tuple[Moment, ...] = DAY, **options: str) -> Iterator[Served]:
    """Serve it.

    Args:
        folder: For what is kept, and the configuration.
        moments: What happened, newest first.
        options: Of the HTTP server.
    """
    films = {
        "door": FilmCamera("door", [draw_door(n, COUNT) for n in range(COUNT)]),
        "yard": FilmCamera("yard", [draw_yard(n, COUNT) for n in range(COUNT)]),
    }
    archive = make_archive(folder)
    for number, moment in enumerate(reversed(moments)):
        _keep(archive, number, moment, films)
    _record(archive, films["door"])
    file = folder / "edge.toml"
    file.write_text(CONFIGURATION)
    node = make_node(
        name="house",
        archive=archive,
        changes=ChangeFeed(),
        list_cameras=_list_cameras,
        health=_describe_health,
        get_latest=pick_latest(list(films.values())),
        export=Exporter(archive).export,
        open_live=lambda name: open_ring(films[name].ring),
        people=Gallery(ADA, BEN),
        configuration=ConfigurationFile(file, lambda: None, ("person", "car")),
    )
    with films["door"].playing(), films["yard"].playing(), serving(node, **options) as served:
        yield served


def _list_cameras() -> list[object]:
    away = CameraStatus("garage", 3, CameraState.OFFLINE, "the camera does not answer",
                        StatusReason.SOURCE_FAILED, time.time() - 12900)  # fmt: skip
    sights = [
        make_sight(
            "door", zones=[ENTRANCE], main={"kind": "rtsp", "url": "rtsp://192.0.2.10/main"}
        ),
        make_sight("yard", lines=[GATE]),
        replace(make_sight("garage"), status=away, fps=0.0, live=False),
    ]
    online_s = time.time() - 3 * 86400
    for row, sight in enumerate(sights[:2]):
        sights[row] = replace(sight, status=replace(sight.status, at_s=online_s))
    return sights


def _describe_health() -> NodeHealth:
    figures = {
        "load_ratio": 0.31, "disk_free_bytes": 412e9, "disk_total_bytes": 980e9,
        "stored_clip_bytes": 38.2e9, "stored_snapshot_bytes": 912e6, "stored_thumbnail_bytes": 61e6,
    }  # fmt: skip
    figures |= {"gpu_load_ratio": 0.22, "gpu_memory_used_bytes": 1.9e9,
                "gpu_memory_total_bytes": 8.5e9}  # fmt: skip
    cameras = (
        CameraHealth(name="door", age_s=0.064, max_age_s=0.121, lag_s=0.02, looked=1_296_000,
                     dropped=3110, damaged=2, reconnects=1),
        CameraHealth(name="yard", age_s=0.071, max_age_s=0.14, lag_s=0.0, looked=1_295_400,
                     dropped=2800, damaged=0, reconnects=0),
    )  # fmt: skip
    problems = ("camera garage: the camera does not answer",)
    return NodeHealth(False, problems, figures, cameras)


def _keep(archive, number: int, moment: Moment, films: dict[str, FilmCamera]) -> None:
    began_s = time.time() - 60 * moment.minutes
    ended_s = None if moment.lasts_s is None else began_s + moment.lasts_s
    film = films.get(moment.camera)
    scene = film.scenes[moment.row] if film else None
    best = scene and BestView(
        number + 1, "person", 0.91, tuple(map(float, scene.xyxy[0])), (640, 360), began_s + 2
    )
    places = tuple(t.partition(":")[2] for t in moment.triggers if ":" in t)
    event = Event(
        f"2k{number:04x}", moment.camera, moment.severity, moment.triggers,
        scene.labels[:1] if scene else (), places, moment.people, (number + 1,), began_s, ended_s,
        best,
    )  # fmt: skip
    archive.index.put_event(event)
    if moment.seen:
        archive.index.mark_seen([event.event_id])
    if scene and film:
        taken = replace(event, ended_s=event.began_s)
        store(archive, taken, FileKind.SNAPSHOT, _encode(scene.rgb, 92))
        store(archive, taken, FileKind.THUMBNAIL, _encode(_crop(scene), 85))
        if ended_s is not None:
            store_clip(archive, event, film)


def _record(archive, film: FilmCamera) -> None:
    """Keep continuous video of a camera."""
    began_s, ended_s = (time.time() - ago_s for ago_s in RECORDED_S)
    path = archive.folder / "video.mp4"
    with path.open("wb") as file:
        packets = film.make_packets(began_s)
        lasts_s = len(packets) / film.fps
        writer = mp4.Mp4Writer(file, packets[0])
        for turn in range(round((ended_s - began_s) / lasts_s)):
            for packet in packets:
                shift = round(turn * lasts_s / packet.format.time_base)
                writer.write(replace(
                    packet, pts=packet.pts + shift, dts=packet.dts + shift,
                    monotonic_s=packet.monotonic_s + turn * lasts_s,
                ))  # fmt: skip
        writer.close()
    size_bytes = path.stat().st_size
    archive.index.put_file(
        StoredFile("video.mp4", FileKind.CONTINUOUS, film.name, "", began_s, ended_s, size_bytes)
    )
    for row, hours in enumerate(LISTED_H):
        spans_s = [time.time() - 3600 * ago_h for ago_h in hours]
        name = f"video/{film.name}/{row}.mp4"
        archive.index.put_file(StoredFile(name, FileKind.CONTINUOUS, film.name, "", *spans_s))


def store_clip(archive, event: Event, film: FilmCamera) -> None:
    """Keep what a film shows as the clip of an event."""
    path = archive.folder / "clip.part"
    with path.open("wb") as file:
        packets = film.make_packets(event.began_s)
        writer = mp4.Mp4Writer(file, packets[0])
        for packet in packets:
            writer.write(packet)
        writer.close()
    mp4.finish(path)
    store(archive, event, FileKind.CLIP, path.read_bytes())
    path.unlink()


def _encode(rgb: np.ndarray, quality: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]), options)[1].tobytes()


def _crop(scene: Scene) -> np.ndarray:
    """What is around the first box, as wide as a thumbnail."""
    height, width = scene.rgb.shape[:2]
    left, top, right, bottom = scene.xyxy[0]
    half = min(0.8 * (bottom - top), height / 2)
    middle = float(np.clip((left + right) / 2, half * 4 / 3, width - half * 4 / 3))
    upper = int(np.clip((top + bottom) / 2 - half, 0, height - 2 * half))
    crop = scene.rgb[upper : upper + int(2 * half),
                     int(middle - half * 4 / 3) : int(middle + half * 4 / 3)]  # fmt: skip
    return cv2.resize(crop, (320, 240), interpolation=cv2.INTER_AREA)
