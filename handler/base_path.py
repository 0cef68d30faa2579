"""What precedes the routes in a request's path: an API Gateway stage, or a custom domain's mapping."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from mangum.types import ASGI, Receive, Scope, Send

DEFAULT = "$default"
"""The route of an HTTP API that takes what no other takes, and its stage that adds nothing to the path."""

PARAMETER = re.compile(r"\{([^}+]+)\+?\}")


class BasePath:
    """ASGI middleware that moves what precedes the routes into `root_path`, where Starlette's router expects it.

    Mangum can strip one fixed prefix, and would also strip it from the middle of a name (`/api` from `/apis`).

    Args:
        app: The application.
        configured: A prefix that the event does not tell, such as a load balancer's path pattern.
    """

    def __init__(self, app: ASGI, configured: str = "") -> None:
        self._app = app
        self._configured = configured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with its base path set apart."""
        if scope["type"] == "http":
            base = self._base(scope)
            if base:
                scope["root_path"] = base
                if scope["path"] == base:
                    scope["path"] = base + "/"
        await self._app(scope, receive, send)

    def _base(self, scope: Scope) -> str:
        path: str = scope["path"]
        for base in (self._configured, base_of_event(scope.get("aws.event") or {})):
            if base and (path == base or path.startswith(base + "/")):
                return base
        return ""


def base_of_event(event: Mapping[str, Any]) -> str:
    """The base path that an API Gateway event tells, without percent-encoding; empty where there is none.

    The event names the route that matched (`resource`, or `routeKey` in format 2.0) and its parameters. What the path
    has before that is the mapping of a custom domain, or the stage of an HTTP API. The catch-all route `$default` tells
    nothing, but then it is the stage, which an HTTP API puts in front of the path whatever domain was called
    (CodeGenieApp/serverless-express, issue 465). An event in which a field is of another type than AWS gives it tells
    nothing.
    """
    try:
        return _told(event)
    except (AttributeError, LookupError, TypeError):
        return ""


def _told(event: Mapping[str, Any]) -> str:
    context = event.get("requestContext") or {}
    http = context.get("http")
    if http is None:
        path, route = event.get("path") or "", event.get("resource") or ""
    else:
        path, route = http.get("path") or "", (event.get("routeKey") or "").rpartition(" ")[2]
    parameters = event.get("pathParameters") or {}
    if route not in ("", DEFAULT) and all(name in parameters for name in PARAMETER.findall(route)):
        path, tail = unquote(path), unquote(PARAMETER.sub(lambda match: str(parameters[match[1]]), route))
        if tail == "/":
            return path.rstrip("/")
        if path.endswith(tail):
            return path.removesuffix(tail)
    stage = context.get("stage") or DEFAULT
    if stage == DEFAULT or "version" not in event:  # a REST API's event has no version, and its path no stage
        return ""
    return f"/{stage}"
