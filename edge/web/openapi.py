"""The OpenAPI document, made from the endpoints and the types of what they take and answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from edge import __version__
from edge.docstrings import parse_docstring
from edge.web import problem
from edge.web.endpoint import JSON, Endpoint
from edge.web.problem import Problem
from edge.web.schema import CameraState, FrameObjects, LiveStart, Role

PREFIX = "/api/v1"
ABOUT = (
    "What a node of Edgewatch shows and takes. Times are Unix seconds. On an address that only "
    "this machine can reach nobody has to log in; elsewhere a request needs the cookie of a "
    "session or a bearer token (`edge users token`). Errors are `application/problem+json` "
    "(RFC 9457)."
)
LIVE = (
    "A WebSocket. A text message, a LiveStart, says how the stream is coded, at the beginning and "
    "where that changes. Binary messages are a head of 17 bytes, big-endian, and a piece of "
    "fragmented MP4: the wall clock of its first picture and that picture's time in the stream, "
    "both float64 seconds, and a byte of flags: 1 for a key frame, 2 for an initialization "
    "segment. Fragments begin at a key frame; a slow viewer goes on at a later one."
)


def generate(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document as a tree."""
    endpoints = list(endpoints)
    types: dict[str, type] = {
        each.__name__: each for each in (Problem, LiveStart, CameraState, FrameObjects)
    }
    for endpoint in endpoints:
        for used in (endpoint.answer, endpoint.body):
            if isinstance(used, type):
                types[used.__name__] = used
    references, components = msgspec.json.schema_components(
        types.values(), ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(types.values(), references, strict=True))
    known = _find_types(types.values())
    for name, component in components.items():
        _describe(component, known.get(name))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(PREFIX + endpoint.path, {})
        operations[endpoint.method.lower()] = _describe_operation(endpoint, by_type)
    paths[f"{PREFIX}/cameras/{{camera}}/live"] = {"get": _describe_live()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Edgewatch", "version": __version__, "description": ABOUT},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "edge_session"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _describe_operation(endpoint: Endpoint, references: dict[type, Any]) -> dict[str, Any]:
    needs = f" Needs the role {endpoint.role}." if endpoint.role else ""
    operation: dict[str, Any] = {
        "operationId": _name_operation(endpoint),
        "summary": endpoint.summary,
        "description": f"{endpoint.summary}{needs}",
        "parameters": _describe_parts(endpoint.path) + _describe_query(endpoint.query),
        "responses": _describe_responses(endpoint, references),
    }
    if endpoint.role:
        operation["security"] = [{"session": []}, {"token": []}, {}]
    if isinstance(endpoint.body, tuple):
        schema = {"type": "string", "format": "binary"}
        content: dict[str, Any] = {kind: {"schema": schema} for kind in endpoint.body}
        operation["requestBody"] = {"required": True, "content": content}
    elif endpoint.body:
        content = {JSON: {"schema": references[endpoint.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _describe_responses(endpoint: Endpoint, references: dict[type, Any]) -> dict[str, Any]:
    if endpoint.answer is None:
        done: tuple[str, dict[str, Any]] = ("204", {"description": "Done."})
    elif isinstance(endpoint.answer, str):
        schema = {"type": "string", "format": "binary"}
        kind = endpoint.answer.partition(";")[0]
        done = ("200", {"description": endpoint.summary, "content": {kind: {"schema": schema}}})
    else:
        schema = references[endpoint.answer]
        done = ("200", {"description": endpoint.summary, "content": {JSON: {"schema": schema}}})
    failed = {"$ref": "#/components/schemas/Problem"}
    content = {problem.MEDIA_TYPE: {"schema": failed}}
    return dict([done, ("default", {"description": "It was not served.", "content": content})])


def _describe_live() -> dict[str, Any]:
    return {
        "operationId": "getCamerasLive",
        "summary": "The stream of a camera as it is sent, as fragmented MP4.",
        "description": f"{LIVE} Needs the role {Role.VIEWER}.",
        "parameters": _describe_parts("/cameras/{camera}/live"),
        "responses": {"101": {"description": "The WebSocket begins."}},
    }


def _describe_parts(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _describe_query(query: type[msgspec.Struct]) -> list[dict[str, Any]]:
    schema = msgspec.json.schema_components([query])[1].get(query.__name__, {})
    meanings = _list_meanings(query)
    names = {field.encode_name: field.name for field in msgspec.structs.fields(query)}
    required = schema.get("required", [])
    _, shared = msgspec.json.schema_components([query], ref_template="{name}")
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": meanings.get(names[name], ""),
            "schema": _resolve(about, shared),
        }
        for name, about in schema.get("properties", {}).items()
    ]


def _resolve(about: Any, shared: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """A schema without references, which parameters cannot have everywhere."""
    if isinstance(about, dict):
        if reference := about.get("$ref"):
            return shared[str(reference).rpartition("/")[2]]
        return {key: _resolve(value, shared) for key, value in about.items()}
    return [_resolve(each, shared) for each in about] if isinstance(about, list) else about


def _find_types(roots: Iterable[type]) -> dict[str, type]:
    """Every type with a docstring that the roots are made of, by name."""
    found: dict[str, type] = {}
    for info in msgspec.inspect.multi_type_info(list(roots)):
        _walk(info, found)
    return found


def _walk(info: Any, found: dict[str, type]) -> None:  # noqa: ANN401 - of msgspec.inspect
    cls = getattr(info, "cls", None)
    if isinstance(cls, type):
        if cls.__name__ in found:
            return
        found[cls.__name__] = cls
    for field in getattr(info, "fields", ()):
        _walk(field.type, found)
    inner: Sequence[Any] = (*getattr(info, "types", ()), *getattr(info, "item_types", ()))
    for name in ("item_type", "value_type", "key_type", "type"):
        if (one := getattr(info, name, None)) is not None:
            inner = (*inner, one)
    for one in inner:
        if isinstance(one, msgspec.inspect.Type):
            _walk(one, found)


def _describe(component: dict[str, Any], cls: type | None) -> None:
    """Describe a type by the head of its docstring, its fields by the attributes."""
    if cls is None:
        return
    component["description"] = parse_docstring(cls)[0].partition("\n")[0]
    for name, text in _list_meanings(cls).items():
        if name in component.get("properties", {}):
            component["properties"][name].setdefault("description", text)


def _list_meanings(cls: type) -> dict[str, str]:
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        meanings |= parse_docstring(base)[1]
    return meanings


def _name_operation(endpoint: Endpoint) -> str:
    words = re.findall(r"[A-Za-z0-9]+", endpoint.path)
    return endpoint.method.lower() + "".join(word.capitalize() for word in words)
