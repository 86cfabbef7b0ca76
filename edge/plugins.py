"""Plug-ins: a kind names a module, imported only when it is chosen.

``kind = "rtsp"`` in a camera's source is ``edge.sources.rtsp``; ``kind = "acme.cams:Options"``
takes an options class from outside. A plug-in module has a frozen pydantic model ``Options``
and a function ``build(options)``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from edge.errors import ConfigError
from edge.extra import advise_extra
from edge.interrupt import exit_if_interrupted

Folder = Literal["sources", "runtimes", "sinks"]
EXTRAS = frozenset({"nats"})  # kinds that need the extra of their name


@dataclass(frozen=True, slots=True)
class Plugin:
    """A chosen module: its options class and its builder."""

    kind: str
    options: type[BaseModel]
    build: Callable[[Any], Any]


@cache
def kinds(folder: Folder) -> list[str]:
    """List the plug-ins that ship in a folder, which is looked at once."""
    package = importlib.import_module(f"edge.{folder}")
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def load(folder: Folder, kind: str) -> Plugin:
    """Import the plug-in ``kind`` of ``folder``.

    Raises:
        ConfigError: There is no such plug-in, or a library it needs is not installed.
    """
    module_name, _, attribute = kind.partition(":")
    if not attribute:
        if kind not in kinds(folder):
            raise ConfigError(f"unknown kind {kind!r}: use one of {', '.join(kinds(folder))}")
        module_name, attribute = f"edge.{folder}.{kind}", "Options"
    try:
        with exit_if_interrupted():
            module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:  # the latter for names like "" or ".."
        how = f"install it: {advise_extra(kind)}" if kind in EXTRAS else "install it"
        raise ConfigError(f"kind {kind!r} cannot be imported ({error}): {how}") from error
    options, build = getattr(module, attribute, None), getattr(module, "build", None)
    if not (isinstance(options, type) and issubclass(options, BaseModel) and callable(build)):
        raise ConfigError(
            f"kind {kind!r} is not a plug-in: {module_name} needs an options class {attribute} "
            "and a function build"
        )
    return Plugin(kind, options, build)


def create(folder: Folder, table: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a plug-in's own type
    """Validate a table ``{kind = ..., ...}`` and build what it describes.

    Raises:
        ConfigError: The kind is unknown, or its options are wrong.
    """
    plugin = load(folder, str(table.get("kind", "")))
    try:
        options = validate(plugin, table)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{first['msg']}: change it", key=key) from None  # no input, no secret
    return plugin.build(options)


def validate(plugin: Plugin, table: Mapping[str, Any]) -> BaseModel:
    """Validate the options of a plug-in; ``kind`` itself is not an option."""
    return plugin.options.model_validate({k: v for k, v in table.items() if k != "kind"})
