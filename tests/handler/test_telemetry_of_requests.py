"""One line for each request, whatever its kind and its end, through the whole handler as on Lambda."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests import guests
from tests.contexts import FakeContext
from tests.http_events import header_of, request

if TYPE_CHECKING:
    from tests.conftest import MakeHandler, MakePlugin

Tell = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


@pytest.fixture
def tell(make_plugin: "MakePlugin", make_handler: "MakeHandler", capsys: pytest.CaptureFixture[str]) -> Tell:
    """Handles an event over the plugins `counter` and `get`; gives the answer, and what is on stdout as JSON."""
    make_plugin("counter", guests.COUNTER, functions=list(guests.COUNTER_FUNCTIONS))
    make_plugin("get", guests.GET, memory={"read": ["hello"]})

    def do(event: Any, **environ: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        handler = make_handler(AWS_LAMBDA_LOG_FORMAT="JSON", EXTISM_LAMBDA_METRICS="Extism", **environ)
        answer = handler(event, FakeContext(aws_request_id="request-1"))
        return answer, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return do


@pytest.mark.parametrize(
    ("event", "outcome", "plugin"),
    [
        (request("/get", b"hello"), "ok", "get"),
        ({"plugin": "get", "input": "hello"}, "ok", "get"),
        ({"warmup": True}, "warm", "counter"),
        (request("/get", b"other"), "memory-access-denied", "get"),
        ({"plugin": "get", "input": "other"}, "memory-access-denied", "get"),
        (request("/counter/trap"), "plugin-trapped", "counter"),
        (request("/nobody"), "plugin-not-found", None),
        (request("/a/b/c"), "not-found", None),
        (request("/healthz", method="PUT"), "method-not-allowed", None),
        (request("/") | {"body": "%"}, "bad-request", None),
        ([], "unsupported-event", None),
    ],
)
def test_a_request_leaves_one_line_with_its_id(tell: Tell, event: Any, outcome: str, plugin: str | None) -> None:
    """HTTP or direct, served or failed: one line says for which request how it ended."""
    _, lines = tell(event)

    (line,) = lines
    assert (line["requestId"], line["outcome"], line.get("plugin")) == ("request-1", outcome, plugin)
    assert line["level"] == ("ERROR" if line["status"] >= 500 else "INFO")
    assert line["coldStart"] is True


def test_only_a_denied_key_is_in_the_log(tell: Tell) -> None:
    """A key that was asked for and is not granted is told, with the plugin; no other key, no value and no input is."""
    _, denied = tell(request("/get", b"not-granted"))
    _, served = tell(request("/get", b"hello"))

    assert "plugin 'get', key 'not-granted'" in str(denied)
    assert "World" not in str(served)
    assert "hello" not in str(served)


@pytest.mark.parametrize("event", [request("/healthz", method="GET"), request("/plugins", method="GET")])
def test_what_is_no_call_leaves_none(tell: Tell, event: dict[str, Any]) -> None:
    """Health checks, which load balancers send all day, are not in the log."""
    assert tell(event)[1] == []


@pytest.mark.parametrize(("wanted", "there"), [("true", True), ("false", False)])
def test_server_timing(tell: Tell, wanted: str, *, there: bool) -> None:
    """The header is in an output's answer where it is wanted, and nowhere else."""
    answer, _ = tell(request("/get", b"hello"), EXTISM_LAMBDA_SERVER_TIMING=wanted)

    assert (header_of(answer, "server-timing") or "").startswith("total;dur=") == there


def test_a_scheme_that_a_client_makes_up(tell: Tell) -> None:
    """`X-Forwarded-Proto` may hold anything: an unknown path is 404 all the same (Starlette's URL raises KeyError)."""
    event = request("/a/b/c", x_forwarded_proto="gopher")

    assert tell(event)[0]["statusCode"] == 404
