"""What precedes the routes in a path."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mangum.types import Receive, Scope, Send

from handler.base_path import BasePath, base_of_event

SEGMENTS = st.text("abcz09._~-", min_size=1, max_size=8).filter(lambda segment: segment.strip("."))
BASES = st.lists(SEGMENTS, max_size=3).map(lambda segments: "".join(f"/{segment}" for segment in segments))
ANY_SEGMENT = st.text("abc 💜ü%+&'", min_size=1, max_size=8)


def passed_on(path: str, *, configured: str = "", event: dict[str, Any] | None = None) -> tuple[str, str]:
    """The root_path and path that the application sees."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope = {"type": "http", "path": path, "root_path": "", "aws.event": event}
    asyncio.run(BasePath(app, configured)(scope, None, None))  # type: ignore[arg-type]
    return seen[0]["root_path"], seen[0]["path"]


def rest(path: str, resource: str = "/{proxy+}", **parameters: str) -> dict[str, Any]:
    """The parts of a REST API's event that tell the base path."""
    return {
        "resource": resource,
        "path": path,
        "pathParameters": parameters or None,
        "requestContext": {"stage": "prod", "path": "/prod" + path},
    }


def http_api(path: str, route: str = "$default", stage: str = "$default", **parameters: str) -> dict[str, Any]:
    """The parts of an HTTP API's event, format 2.0, that tell the base path."""
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "requestContext": {"http": {"path": path}, "stage": stage, "domainName": "api.example.com"},
    }
    return event | ({"pathParameters": parameters} if parameters else {})


@pytest.mark.parametrize("path", ["/", "/simple", "/simple/say_hello", ""])
def test_without_a_base_path_nothing_changes(path: str) -> None:
    """A path that is all routes reaches the application as it came."""
    assert passed_on(path) == ("", path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api", ("/api", "/api/")),
        ("/api/", ("/api", "/api/")),
        ("/api/simple", ("/api", "/api/simple")),
        ("/apis/simple", ("", "/apis/simple")),
        ("/simple/api", ("", "/simple/api")),
        ("/", ("", "/")),
    ],
)
def test_a_configured_base_path_is_set_apart(path: str, expected: tuple[str, str]) -> None:
    """The configured prefix becomes root_path where whole segments match, and nowhere else."""
    assert passed_on(path, configured="/api") == expected


def test_what_is_not_http_is_passed_on() -> None:
    """A lifespan or websocket scope has no path to look at."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    asyncio.run(BasePath(app, "/api")({"type": "lifespan"}, None, None))  # type: ignore[arg-type]

    assert seen == [{"type": "lifespan"}]


@given(base=BASES, plugin=SEGMENTS, function=SEGMENTS)
@example(base="/a", plugin="a", function="a")
@example(base="", plugin="prod", function="prod")
def test_a_rest_apis_mapping_is_what_precedes_the_route(base: str, plugin: str, function: str) -> None:
    """The base path of a REST API's event is what the path has before the matched route, parameters filled in."""
    path = f"{base}/{plugin}/{function}"

    assert base_of_event(rest(path, proxy=f"{plugin}/{function}")) == base
    assert base_of_event(rest(path, "/{plugin}/{function}", plugin=plugin, function=function)) == base
    assert base_of_event(rest(path, f"/{plugin}/{{function}}", function=function)) == base
    assert base_of_event(rest(f"{base}/", "/")) == base
    assert base_of_event(rest(base or "/", "/")) == base


@given(stage=SEGMENTS, plugin=SEGMENTS, function=SEGMENTS)
@example(stage="a", plugin="a", function="a")
def test_an_http_apis_stage_precedes_the_route(stage: str, plugin: str, function: str) -> None:
    """The base path of an HTTP API's event is its stage, whatever the domain and the route."""
    path = f"/{stage}/{plugin}/{function}"

    assert base_of_event(http_api(path, stage=stage)) == f"/{stage}"
    assert base_of_event(http_api(path, "ANY /{proxy+}", stage, proxy=f"{plugin}/{function}")) == f"/{stage}"
    assert base_of_event(http_api(path, f"POST /{plugin}/{function}", stage)) == f"/{stage}"
    assert base_of_event(http_api(f"/{stage}/", "POST /", stage)) == f"/{stage}"
    assert base_of_event(http_api(f"/{stage}", "POST /", stage)) == f"/{stage}"


@given(plugin=SEGMENTS, function=SEGMENTS)
def test_the_default_stage_adds_nothing(plugin: str, function: str) -> None:
    """With the stage $default the whole path is routes."""
    path = f"/{plugin}/{function}"

    assert base_of_event(http_api(path)) == ""
    assert base_of_event(http_api(path, "ANY /{proxy+}", proxy=f"{plugin}/{function}")) == ""
    assert base_of_event(http_api("/", "POST /")) == ""


@given(stage=SEGMENTS, segment=ANY_SEGMENT)
def test_escapes_do_not_hide_the_route(stage: str, segment: str) -> None:
    """Parameters and path match whether either of them is percent-encoded or not."""
    route = "ANY /{proxy+}"
    for path in (quote(segment), segment.replace("%", "%25")):
        for parameter in (quote(segment), segment.replace("%", "%25")):
            assert base_of_event(http_api(f"/{stage}/{path}", route, stage, proxy=parameter)) == f"/{stage}"


def test_the_stage_is_told_where_the_route_is_not() -> None:
    """An HTTP API's event whose route does not fit its path still has its stage in front."""
    assert base_of_event(http_api("/prod/simple", "ANY /{proxy+}", "prod", proxy="other")) == "/prod"
    assert base_of_event(http_api("/prod/simple", "ANY /{proxy+}", "prod")) == "/prod"


def test_format_1_of_an_http_api_has_its_stage_in_the_path() -> None:
    """An HTTP API that sends format 1.0 puts the stage in front too; its catch-all route is called $default there."""
    event = rest("/prod/simple", "$default") | {"version": "1.0"}

    assert base_of_event(event) == "/prod"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"requestContext": None},
        {"requestContext": {"elb": {"targetGroupArn": "arn"}}, "path": "/simple"},
        {"version": "2.0", "requestContext": {"http": {"path": "/simple"}}},
        {"version": "2.0", "requestContext": {"http": {}}, "routeKey": None, "pathParameters": None},
        rest("/simple", "/{proxy+}"),
        rest("/simple", "/{proxy+}", proxy="other"),
        rest("/simple", "/{plugin}", other="simple"),
        {"resource": None, "path": None, "requestContext": {}},
    ],
)
def test_an_event_that_tells_nothing_has_no_base_path(event: dict[str, Any]) -> None:
    """Where route and path do not fit, or are not there, the path is taken as it is."""
    assert base_of_event(event) == ""


def test_the_event_of_a_request_decides() -> None:
    """The middleware takes the base path from the event that Mangum leaves in the scope, decoded as the path is."""
    event = http_api("/my%20stage/simple", stage="my stage")

    assert passed_on("/my stage/simple", event=event) == ("/my stage", "/my stage/simple")
    assert passed_on("/simple", event=event) == ("", "/simple")


def test_a_configured_base_path_comes_before_the_events() -> None:
    """Where both fit, the configured one counts."""
    event = rest("/a/b/simple", proxy="b/simple")

    assert passed_on("/a/b/simple", configured="/a/b", event=event) == ("/a/b", "/a/b/simple")
    assert passed_on("/a/b/simple", event=event) == ("/a", "/a/b/simple")
