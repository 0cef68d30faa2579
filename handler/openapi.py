"""The OpenAPI document: the routes, and every function of every plugin at its own path.

FastAPI could derive one from the routes. It would know neither the plugins nor the errors, and costs a cold start what
declares parameters for it.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from handler.errors import InvocationError, MethodNotAllowed, NotFound, UnsupportedEvent
from handler.plugins import PluginSpec
from handler.problems import MEDIA_TYPE

VERSION = "3.1.0"
PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "requestId"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "requestId": {"type": "string"},
        "spentIn": {"enum": ["guest", "store"]},
    },
}
PLUGINS = {
    "type": "object",
    "required": ["plugins"],
    "additionalProperties": False,
    "properties": {
        "plugins": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "description", "functions", "contentType", "default"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "description": {"type": "string"},
                    "functions": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                    "contentType": {"type": "string"},
                    "default": {"type": "boolean"},
                },
            },
        }
    },
}

ELSEWHERE = (NotFound, MethodNotAllowed, UnsupportedEvent)
"""What a path of the document is never answered with."""


def document(catalog: Mapping[str, PluginSpec], default_plugin: str, base: str) -> dict[str, Any]:
    """The document.

    Args:
        catalog: The plugins by name.
        default_plugin: The one at `/`.
        base: What precedes the routes in a request's path.
    """
    default = catalog[default_plugin]
    paths = {
        "/plugins": _read("listPlugins", "The plugins and their functions", PLUGINS),
        "/healthz": _read("healthz", "Whether the process answers", _status("ok")),
        "/readyz": _read("readyz", "Whether the default plugin loads and the memory can be read", _status("ready")),
        "/openapi.json": _read("describe", "This document", {"type": "object"}),
        "/": _call(default, default.functions[0], "default"),
    }
    for spec in catalog.values():
        paths[f"/{spec.name}"] = _call(spec, spec.functions[0], spec.name)
        for function in spec.functions:
            paths[f"/{spec.name}/{function}"] = _call(spec, function, f"{spec.name}.{function}")
    return {
        "openapi": VERSION,
        "info": {"title": "extism-lambda", "description": "Extism plugins over HTTP", "version": "1"},
        "servers": [{"url": base or "/"}],
        "paths": paths,
        "components": {"schemas": {"Problem": PROBLEM}},
    }


def _read(name: str, summary: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    answer = {"description": summary, "content": {"application/json": {"schema": schema}}}
    operation = {"summary": summary, "responses": {"200": answer, **_failures()}}
    return {"get": {"operationId": name, **operation}, "head": {"operationId": f"{name}Head", **operation}}


def _call(spec: PluginSpec, function: str, name: str) -> dict[str, Any]:
    media_type = spec.content_type.partition(";")[0].strip()
    return {
        "post": {
            "operationId": f"call-{name}",
            "summary": f"Calls {function} of {spec.name} with the body as its input",
            "description": spec.description,
            "requestBody": {"content": {"*/*": {"schema": {"maxLength": spec.limits.input_bytes}}}},
            "responses": {
                "200": {"description": "The output", "content": {media_type: {}}},
                **_failures(),
            },
        }
    }


def _status(status: str) -> dict[str, Any]:
    return {"type": "object", "required": ["status"], "properties": {"status": {"const": status}}}


def _failures() -> dict[str, Any]:
    """The problems that an answer may be, by status."""
    types: dict[int, set[str]] = {}
    for cls in _all(InvocationError):
        if not issubclass(cls, ELSEWHERE):
            types.setdefault(cls.status, set()).add(cls.type)
    return {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(sorted(types[status]))}",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(types)
    }


def _all(cls: type[InvocationError]) -> Iterator[type[InvocationError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _all(child)
