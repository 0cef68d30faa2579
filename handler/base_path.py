"""What precedes the routes in a request's path: an API Gateway stage, or a custom domain's mapping."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from mangum.types import ASGI, Receive, Scope, Send

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
        for base in (self._configured, unquote(base_of_event(scope.get("aws.event") or {}))):
            if base and (path == base or path.startswith(base + "/")):
                return base
        return ""


def base_of_event(event: Mapping[str, Any]) -> str:
    """The base path that an API Gateway event tells, percent-encoded as there; empty where there is none.

    The event names the route that matched (`resource`, or `routeKey` in format 2.0) and its parameters. What the path
    has before that is the mapping of a custom domain, or in format 2.0 the stage. The catch-all route `$default` tells
    nothing, but then the stage's name does, if the domain is API Gateway's own.
    """
    context = event.get("requestContext") or {}
    http = context.get("http")
    if http is None:
        path, route = event.get("path") or "", event.get("resource") or ""
    else:
        path, route = http.get("path") or "", (event.get("routeKey") or "").partition(" ")[2]
    if route:
        parameters = event.get("pathParameters") or {}
        tail = PARAMETER.sub(lambda match: str(parameters.get(match[1], "")), route)
        if tail == "/":
            return path.rstrip("/")
        return path.removesuffix(tail) if path.endswith(tail) else ""
    stage = context.get("stage") or ""
    own_domain = ".execute-api." in (context.get("domainName") or "")
    return f"/{stage}" if http is not None and own_domain and stage not in ("", "$default") else ""
