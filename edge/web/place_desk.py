"""Zones, lines and masks of a camera: shown, tried and written into the configuration."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from http import HTTPStatus

from edge import config_file
from edge.compat import tomllib
from edge.config import Camera
from edge.errors import ConfigError
from edge.web.cameras import get_camera
from edge.web.configuration import ConfigurationDesk, require_configuration
from edge.web.endpoint import Call, Endpoint
from edge.web.place_editor import replace_places
from edge.web.problem import Mistake, RequestError
from edge.web.schema import (
    CameraPlaces,
    Check,
    DryQuery,
    LineEntry,
    Places,
    Query,
    Role,
    ZoneEntry,
)


@dataclass(frozen=True, slots=True)
class PlaceDesk:
    """Changes places through the configuration."""

    configuration: ConfigurationDesk

    def show(self, call: Call[Query, None]) -> CameraPlaces:
        """The places of a camera: for who may change them those in the file, which it may be that
        the node has not read yet.
        """
        settings = get_camera(call.node, call.get_part("camera")).settings
        file, revision = call.node.configuration, ""
        if file and call.visitor and call.visitor.role.includes(Role.ADMIN):
            text, revision = self.configuration.read(file)
            with contextlib.suppress(ConfigError, tomllib.TOMLDecodeError):
                cameras = config_file.parse(tomllib.loads(text), file.path, text).cameras
                settings = next((c for c in cameras if c.name == settings.name), settings)
        return CameraPlaces(describe_places(settings), revision)

    def change(self, call: Call[DryQuery, Places]) -> Check:
        """Other places of a camera."""
        file, camera = require_configuration(call.node), call.get_part("camera")
        get_camera(call.node, camera)
        present, revision = self.configuration.read(file)
        try:
            text = replace_places(present, camera, call.body)
        except ConfigError as error:
            raise RequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "the editor cannot change this configuration: nothing was written",
                mistakes=[Mistake(error.line, error.key, error.problem)],
            ) from error
        check = self.configuration.compare(file, present, text)
        if call.query.dry:
            return check
        self.configuration.require_revision(call.request.headers, revision)
        if text != present:
            self.configuration.replace(file, text, revision)
        return check

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is served."""
        return (
            Endpoint("GET", "/cameras/{camera}/places", self.show,
                     "Zones, lines and masks of a camera.", answer=CameraPlaces),
            Endpoint("PUT", "/cameras/{camera}/places", self.change,
                     "Write zones, lines and masks of a camera into the configuration and let the "
                     "node read it. The header `if-match` must give the revision that was read, "
                     "unless it is only tried.",
                     role=Role.ADMIN, answer=Check, query=DryQuery, body=Places),
        )  # fmt: skip


def describe_places(camera: Camera) -> Places:
    """The places of a camera as they are shown."""
    return Places(
        zones=tuple(
            ZoneEntry(name=zone.name, polygon=zone.polygon, labels=zone.labels,
                      dwell_s=zone.dwell_s, margin=zone.margin, debounce_s=zone.debounce_s)
            for zone in camera.zones
        ),
        lines=tuple(
            LineEntry(name=line.name, a=line.a, b=line.b, labels=line.labels, margin=line.margin,
                      debounce_s=line.debounce_s)
            for line in camera.lines
        ),
        masks=camera.masks,
        motion_masks=camera.motion.masks,
    )  # fmt: skip
