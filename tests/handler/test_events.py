"""Lambda events, each through the whole handler: EventHandler, Mangum, FastAPI and a guest in Extism."""

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from handler.errors import QueueEventRefused
from handler.events import PAYLOAD_BYTES
from tests.conftest import MakeHandler, MakePlugin
from tests.contexts import FakeContext
from tests.guests import ANSWERS_SIZE, COUNTER, COUNTER_FUNCTIONS, ECHO, OTHER_EXPORTS, SETS_ERROR, module
from tests.http_events import FOLDER, body_of, golden, header_of, request

if TYPE_CHECKING:
    from handler.events import EventHandler

CONTEXT = FakeContext(seconds=3600)
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
HTTP = [name for name in NAMES if name.startswith(("alb", "function-url", "http-", "rest-"))]
DIRECT = [name for name in NAMES if name.startswith("direct")]
OTHER = ["scheduled", "warmup"]
REFUSED = ["unsupported-empty", "unsupported-list", "unsupported-null", "unsupported-string"]
QUEUES = ["unsupported-s3", "unsupported-sqs"]
BINARY = bytes(range(256))
GREETS = module(
    """(data (i32.const 0) "Hello ")
    (func (export "say_hello") (result i32)
      (local $block i64) (local $i i64)
      (local.set $block (call $alloc (i64.add (call $input_length) (i64.const 6))))
      (loop $greeting
        (call $store_u8 (i64.add (local.get $block) (local.get $i)) (i32.load8_u (i32.wrap_i64 (local.get $i))))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br_if $greeting (i64.lt_u (local.get $i) (i64.const 6))))
      (local.set $i (i64.const 0))
      (block $end (loop $name
        (br_if $end (i64.ge_u (local.get $i) (call $input_length)))
        (call $store_u8 (i64.add (local.get $block) (i64.add (local.get $i) (i64.const 6)))
          (call $input_load_u8 (local.get $i)))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br $name)))
      (call $answer (local.get $block)) (i32.const 0))
    (func (export "echo") (result i32) (call $output_set (call $input_offset) (call $input_length)) (i32.const 0))"""
)
"""`say_hello` answers "Hello " and its input; `echo` answers with its input."""


@pytest.fixture
def greeter(make_plugin: MakePlugin, make_handler: MakeHandler) -> "EventHandler":
    """The handler over a plugin `simple` that greets, and can echo."""
    make_plugin("simple", GREETS, functions=["say_hello", "echo"], description="Greets")
    return make_handler()


def test_no_golden_event_is_left_out() -> None:
    """Every file of tests/events belongs to one of the groups that are tested here."""
    assert sorted([*HTTP, *DIRECT, *OTHER, *REFUSED, *QUEUES]) == NAMES


@pytest.mark.parametrize("name", HTTP)
def test_every_http_source_is_answered(greeter: "EventHandler", name: str) -> None:
    """Whatever the source, stage, base path or encoding, the guest gets the body and the client its answer."""
    response = greeter(golden(name), CONTEXT)

    assert response["statusCode"] == 200
    assert body_of(response) == b"Hello Jane Doe"
    assert header_of(response, "content-type") == "text/plain; charset=utf-8"
    assert json.loads(json.dumps(response)) == response


@pytest.mark.parametrize("name", HTTP)
def test_a_response_has_the_form_of_its_source(greeter: "EventHandler", name: str) -> None:
    """Format 2.0 takes single headers, format 1.0 both; a load balancer takes the kind that it sends, and no other."""
    event = golden(name)
    response = greeter(event, CONTEXT)

    common = {"statusCode", "body", "isBase64Encoded"}
    if "elb" in event["requestContext"]:
        form = "multiValueHeaders" if "multiValueHeaders" in event else "headers"
        assert set(response) == common | {form}
    elif event.get("version") == "2.0":
        assert set(response) == common | {"headers"}
    else:
        assert set(response) == common | {"headers", "multiValueHeaders"}
    values = response.get("headers", {}).values()
    assert all(isinstance(value, str) for value in values)
    assert all(isinstance(value, list) for value in response.get("multiValueHeaders", {}).values())


@pytest.mark.parametrize("name", HTTP)
def test_bytes_survive_both_ways(make_plugin: MakePlugin, make_handler: MakeHandler, name: str) -> None:
    """A body of all 256 bytes reaches the guest and comes back as it was, in base64 and marked as such."""
    make_plugin("simple", GREETS, functions=["echo", "say_hello"], content_type="application/octet-stream")
    event = golden(name) | {"body": base64.b64encode(BINARY).decode(), "isBase64Encoded": True}
    if headers := event.get("headers"):
        headers.pop("content-length", None)

    response = make_handler()(event, CONTEXT)

    assert (response["statusCode"], response["isBase64Encoded"]) == (200, True)
    expected = b"Hello " * ("say_hello" in json.dumps(event)) + BINARY
    assert base64.b64decode(response["body"], validate=True) == expected
    assert header_of(response, "content-type") == "application/octet-stream"


def test_text_that_is_none_survives(greeter: "EventHandler") -> None:
    """Output that is not UTF-8 comes back as it is though its content type says text."""
    response = greeter(request("/simple/echo", b"\xff\xfe\x00"), CONTEXT)

    assert (response["isBase64Encoded"], body_of(response)) == (True, b"\xff\xfe\x00")


@pytest.mark.parametrize("name", HTTP)
def test_an_error_has_the_form_of_its_source(make_plugin: MakePlugin, make_handler: MakeHandler, name: str) -> None:
    """A problem document is text, readable whatever the source, with the content type of RFC 9457."""
    make_plugin("simple", SETS_ERROR.replace('"run"', '"say_hello"'), functions=["say_hello"])

    response = make_handler()(golden(name), CONTEXT)

    assert (response["statusCode"], response["isBase64Encoded"]) == (422, False)
    assert header_of(response, "content-type") == "application/problem+json"
    assert json.loads(response["body"])["type"] == "plugin-error"


@pytest.mark.parametrize("base", ["/greetings", "/a/b", "/api%20v1"])
def test_the_configured_base_path_is_taken_off(make_plugin: MakePlugin, make_handler: MakeHandler, base: str) -> None:
    """What EXTISM_LAMBDA_BASE_PATH names is no part of the routes, and the same path without it works too."""
    make_plugin("simple", ECHO)
    handler = make_handler(EXTISM_LAMBDA_BASE_PATH=base.replace("%20", " ") + "/")

    for path in (base, f"{base}/", f"{base}/simple", f"{base}/simple/run", "/simple"):
        event = golden("alb") | {"path": path}
        response = handler(event, CONTEXT)
        assert (path, response["statusCode"], body_of(response)) == (path, 200, b"Jane Doe")
    assert handler(golden("alb") | {"path": f"{base}s/simple"}, CONTEXT)["statusCode"] == 404


class TestDirect:
    """{"plugin": ..., "function": ..., "input": ...}."""

    @pytest.mark.parametrize("name", DIRECT)
    def test_golden(self, greeter: "EventHandler", name: str) -> None:
        """A direct invocation is answered in its own form, its input given as text or in base64."""
        assert greeter(golden(name), CONTEXT) == {
            "status": 200,
            "contentType": "text/plain; charset=utf-8",
            "output": "Hello Jane Doe",
            "isBase64Encoded": False,
        }

    @pytest.mark.parametrize(
        ("event", "output"),
        [
            ({"input": "Jane"}, "Hello Jane"),
            ({"plugin": "simple"}, "Hello "),
            ({"plugin": "simple", "function": "echo", "input": ""}, ""),
            ({"function": "echo", "input": "💜"}, "💜"),
            ({"plugin": None, "function": None, "input": "Jane"}, "Hello Jane"),
        ],
    )
    def test_defaults(self, greeter: "EventHandler", event: dict[str, Any], output: str) -> None:
        """What is left out is the default plugin, its default function, and an empty input."""
        response = greeter(event, CONTEXT)

        assert (response["status"], response["output"]) == (200, output)

    def test_bytes(self, greeter: "EventHandler") -> None:
        """Output that is no text comes in base64 and says so."""
        data = base64.b64encode(BINARY).decode()

        response = greeter({"function": "echo", "input": data, "isBase64Encoded": True}, CONTEXT)

        assert (response["output"], response["isBase64Encoded"]) == (data, True)

    @pytest.mark.parametrize(
        ("event", "complaint"),
        [
            ({"plugin": 1}, "plugin is of type int: expected str"),
            ({"plugin": ["simple"]}, "plugin is of type list: expected str"),
            ({"input": {"name": "Jane"}}, "input is of type dict: expected str"),
            ({"input": None}, "input is of type NoneType: expected str"),
            ({"input": "Jane", "isBase64Encoded": "true"}, "isBase64Encoded is of type str: expected bool"),
            ({"input": "Jane", "isBase64Encoded": 1}, "isBase64Encoded is of type int: expected bool"),
            ({"plugin": "simple", "inputs": "Jane"}, "unknown field 'inputs'"),
            ({"input": "Jane Doe", "isBase64Encoded": True}, "input is not base64"),
            ({"input": "SmFuZQ==!", "isBase64Encoded": True}, "input is not base64"),
            ({"input": "Jan\u00e9", "isBase64Encoded": True}, "input is not base64"),
            ({"input": "Jane \ud83d"}, "half of a surrogate pair at character 5"),
        ],
    )
    def test_malformed(self, greeter: "EventHandler", event: dict[str, Any], complaint: str) -> None:
        """A field that is unknown, mistyped or unreadable is a 400 that names it, and what is allowed."""
        response = greeter(event, CONTEXT)

        assert (response["status"], response["type"]) == (400, "bad-request")
        assert complaint in response["detail"]

    @pytest.mark.parametrize(
        ("event", "kind"),
        [
            ({"plugin": "other"}, "plugin-not-found"),
            ({"plugin": ""}, "plugin-not-found"),
            ({"plugin": "half\ud83d"}, "plugin-not-found"),
            ({"plugin": "simple", "function": "other"}, "function-not-found"),
            ({"function": ""}, "function-not-found"),
        ],
    )
    def test_unknown(self, greeter: "EventHandler", event: dict[str, Any], kind: str) -> None:
        """What is not there, or not exposed, is a 404 that any JSON reader can read."""
        response = greeter(event, CONTEXT)

        assert (response["status"], response["type"]) == (404, kind)
        assert response["requestId"] == CONTEXT.aws_request_id
        json.dumps(response, ensure_ascii=False).encode()

    def test_not_exposed(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """A function that the module exports and plugin.toml does not list cannot be called."""
        make_plugin("simple", COUNTER)

        response = make_handler()({"function": "echo", "input": "Jane"}, CONTEXT)

        assert (response["status"], response["type"]) == (404, "function-not-found")

    def test_failures_and_the_next_call(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """A guest that traps answers 500 and a too large input 413; the call after either is served."""
        make_plugin("simple", COUNTER, functions=COUNTER_FUNCTIONS, limits={"input_bytes": 4})
        handler = make_handler()
        echo = {"function": "echo", "input": "Jane"}

        for event, status in (({"function": "trap"}, 500), ({"function": "echo", "input": "Janet"}, 413)):
            assert handler(event, CONTEXT)["status"] == status
            assert handler(echo, CONTEXT)["output"] == "Jane"

    @pytest.mark.parametrize(("size", "status"), [(PAYLOAD_BYTES // 6 - 8, 200), (PAYLOAD_BYTES // 6 + 8, 500)])
    def test_what_lambda_cannot_carry(
        self, make_plugin: MakePlugin, make_handler: MakeHandler, size: int, status: int
    ) -> None:
        """An answer is refused by its size in JSON, where a zero byte takes six."""
        make_plugin("simple", ANSWERS_SIZE)

        response = make_handler()({"input": str(size)}, CONTEXT)

        assert response["status"] == status
        assert response.get("type", "output-too-large") == "output-too-large"


class TestWarmUp:
    """{"warmup": true} and schedules."""

    @pytest.mark.parametrize("name", OTHER)
    def test_makes_an_instance_and_calls_nothing(
        self, make_plugin: MakePlugin, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """A ping instantiates the default plugin, once, and calls none of its functions."""
        from handler import guest  # noqa: PLC0415 - the others need not load Extism first

        made, make = [], guest.Module.instantiate

        def counted(module: guest.Module) -> guest.Instance:
            made.append(module.spec.name)
            return make(module)

        monkeypatch.setattr(guest.Module, "instantiate", counted)
        make_plugin("simple", COUNTER, functions=COUNTER_FUNCTIONS)
        handler = make_handler()

        for _ in range(2):
            assert handler(golden(name), CONTEXT) == {"status": 200, "warm": "simple"}
        assert made == ["simple"]
        assert handler({"function": "run"}, CONTEXT)["output"] == "1"  # the guest counts its calls
        assert made == ["simple"]

    def test_a_plugin_that_does_not_load(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """A ping says so when the default plugin cannot be warm."""
        make_plugin("simple", OTHER_EXPORTS)

        response = make_handler()(golden("warmup"), CONTEXT)

        assert (response["status"], response["type"]) == (500, "plugin-unusable")

    @pytest.mark.parametrize("value", [False, None, 1, "true", {}])
    def test_something_like_a_ping(self, greeter: "EventHandler", value: object) -> None:
        """Only `true` is a ping; anything else is refused."""
        assert greeter({"warmup": value}, CONTEXT)["type"] == "unsupported-event"


class TestRefused:
    """What is no event of ours."""

    @pytest.mark.parametrize("name", REFUSED)
    def test_golden(self, greeter: "EventHandler", name: str) -> None:
        """An event of no supported kind is a problem document that says which kinds there are."""
        response = greeter(golden(name), CONTEXT)

        assert set(response) == {"type", "title", "status", "detail", "requestId"}
        assert (response["status"], response["type"]) == (400, "unsupported-event")
        assert "warmup" in response["detail"]

    @pytest.mark.parametrize(
        "event", [0, 1.5, True, "", [], {"a": 1}, {"requestContext": "x"}, {"source": "aws.events"}]
    )
    def test_others(self, greeter: "EventHandler", event: object) -> None:
        """Any JSON value that is no event of ours is refused in the same way, and the next event is served."""
        assert greeter(event, CONTEXT)["type"] == "unsupported-event"
        assert greeter({"input": "Jane"}, CONTEXT)["output"] == "Hello Jane"

    @pytest.mark.parametrize("name", QUEUES)
    def test_queues(self, greeter: "EventHandler", name: str) -> None:
        """Records are never acknowledged: the invocation itself fails, so that Lambda keeps them."""
        with pytest.raises(QueueEventRefused, match="Records are not supported"):
            greeter(golden(name), CONTEXT)


def _everywhere(**fields: Any) -> Callable[[dict[str, Any]], object]:
    """Sets fields of the event, and in format 2.0 of the place where it has path and method."""

    def change(event: dict[str, Any]) -> None:
        for place in (event, event["requestContext"].get("http", {})):
            place.update(fields)

    return change


def _nowhere(*names: str) -> Callable[[dict[str, Any]], object]:
    """Removes fields from the same two places."""

    def change(event: dict[str, Any]) -> None:
        for place in (event, event["requestContext"].get("http", {})):
            for name in names:
                place.pop(name, None)

    return change


def _context(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda event: event["requestContext"].update(fields)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "headers null": _everywhere(headers=None, multiValueHeaders=None),
    "headers a list": _everywhere(headers=[], multiValueHeaders=[]),
    "header a number": _everywhere(headers={"host": 1}, multiValueHeaders={"host": [1]}),
    "header null": _everywhere(headers={"host": None}, multiValueHeaders={"host": None}),
    "header not Latin-1": _everywhere(headers={"x-name": "💜"}, multiValueHeaders={"x-name": ["💜"]}),
    "no headers": _nowhere("headers", "multiValueHeaders"),
    "body null": _everywhere(body=None),
    "no body": _nowhere("body"),
    "body a number": _everywhere(body=5),
    "body an object": _everywhere(body={"name": "Jane"}),
    "body half a surrogate pair": _everywhere(body="\ud83d"),
    "body broken base64": _everywhere(body="SmFu\u00e9", isBase64Encoded=True),
    "body cut base64": _everywhere(body="SmFuZSBEb2U", isBase64Encoded=True),
    "no encoding flag": _nowhere("isBase64Encoded"),
    "no path": _nowhere("path", "rawPath"),
    "path null": _everywhere(path=None),
    "path a number": _everywhere(path=5),
    "path half a surrogate pair": _everywhere(path="/\ud83d"),
    "path half a surrogate pair, deep": _everywhere(path="/a/b/c\ud83d"),
    "path not UTF-8": _everywhere(path="/%FF"),
    "no method": _nowhere("method", "httpMethod"),
    "method null": _everywhere(method=None, httpMethod=None),
    "version unknown": _everywhere(version="9.9"),
    "version null": _everywhere(version=None),
    "stage null": _context(stage=None),
    "stage a number": _context(stage=5),
    "route a number": _everywhere(routeKey=5, resource=5),
    "route with an odd parameter": _everywhere(routeKey="ANY /{a}", resource="/{a}", pathParameters={"a": None}),
    "parameters a list": _everywhere(pathParameters=["a"], routeKey="ANY /{a}", resource="/{a}"),
    "parameters a number": _everywhere(pathParameters=5, routeKey="ANY /{a}", resource="/{a}"),
    "identity null": _context(identity=None),
    "http null": _context(http=None),
    "http empty": _context(http={}),
    "http a text": _context(http="POST /"),
    "query a list": _everywhere(queryStringParameters=["a"], rawQueryString=[]),
    "length of 5,000 digits": _everywhere(
        headers={"content-length": "9" * 5000}, multiValueHeaders={"content-length": ["9" * 5000]}
    ),
    "length no number": _everywhere(
        headers={"content-length": "\u00b2"}, multiValueHeaders={"content-length": ["many"]}
    ),
}
"""Ways to spoil an HTTP event."""

SPOILT = ["http-v2-named-stage", "http-v2-named-stage-proxy-route", "http-v1-named-stage", "rest-stage-proxy", "alb"]
PROBLEM_FIELDS = {"type", "title", "status", "detail", "requestId"}


@pytest.mark.parametrize("source", SPOILT)
def test_a_malformed_http_event_is_served_or_refused(greeter: "EventHandler", source: str) -> None:
    """An HTTP event with a field missing, null, mistyped or unreadable never raises, nor is it our fault (5xx)."""
    wrong = {}
    for name, change in CHANGES.items():
        event = golden(source)
        change(event)
        response = greeter(event, CONTEXT)
        status, body = response["statusCode"], body_of(response)
        served = status == 200 and body.startswith(b"Hello ")
        refused = status in (400, 404, 405, 413) and set(json.loads(body)) == PROBLEM_FIELDS
        if not (served or refused):
            wrong[name] = (status, body)
    assert wrong == {}
    assert body_of(greeter(golden(source), CONTEXT)) == b"Hello Jane Doe"


def test_an_http_event_says_nothing_of_what_is_wrong_inside(
    greeter: "EventHandler", caplog: pytest.LogCaptureFixture
) -> None:
    """The answer to a malformed event has no Python in it; the log names what was missing."""
    event = golden("http-v2-default-stage")
    del event["requestContext"]["http"]["sourceIp"]
    caplog.set_level("INFO")

    response = greeter(event, CONTEXT)

    assert response["statusCode"] == 400
    assert "sourceIp" not in response["body"]
    assert "KeyError: 'sourceIp'" in caplog.text


def test_an_event_as_an_infrastructure_test_sends_it(greeter: "EventHandler") -> None:
    """The console's test event of API Gateway, with null wherever there is nothing, is served."""
    event = golden("rest-stage") | {
        "headers": None,
        "multiValueHeaders": None,
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": None,
    }

    assert body_of(greeter(event, CONTEXT)) == b"Hello "


def test_close_frees_what_the_handler_holds(make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
    """A closed handler has freed its instances, and to close it again does no harm."""
    make_plugin("simple", COUNTER)
    handler = make_handler()
    assert handler({"function": "run"}, CONTEXT)["output"] == "1"

    handler.close()
    handler.close()

    assert handler({"function": "run"}, CONTEXT)["output"] == "1"


@pytest.mark.parametrize("source", SPOILT)
def test_a_body_that_is_no_base64_is_refused(greeter: "EventHandler", source: str) -> None:
    """A guest never runs on what is left of a body after characters that are no base64 were skipped."""
    for body in ("SmFu!!ZSBEb2U=", "%%%", "SmFuZSBEb2U"):
        response = greeter(golden(source) | {"body": body, "isBase64Encoded": True}, CONTEXT)

        assert response["statusCode"] == 400, body
        assert json.loads(body_of(response))["type"] == "bad-request"


def test_a_bug_in_front_of_the_routes_is_not_the_clients_mistake(
    greeter: "EventHandler", monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that no malformed event explains is 500, and the alarm on 5xx sees it."""

    def fail(*_: object) -> dict[str, Any]:
        raise RuntimeError("secret")

    monkeypatch.setattr(greeter, "_http", fail)

    response = greeter(golden("http-v2-default-stage"), CONTEXT)

    assert (response["statusCode"], json.loads(body_of(response))["type"]) == (500, "internal-error")
    assert b"secret" not in body_of(response)
