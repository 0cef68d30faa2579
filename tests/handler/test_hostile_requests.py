"""Events of every source with whatever a client can put into them, through the whole handler."""

import base64
import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler import errors
from tests import guests
from tests.contexts import FakeContext
from tests.http_events import FOLDER, body_of, golden, header_of, request

if TYPE_CHECKING:
    from handler.events import EventHandler
    from tests.conftest import MakeHandler, MakePlugin

CONTEXT = FakeContext(seconds=3600)
SOURCES = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem.startswith(("alb", "func", "http", "rest")))
LIMIT = 1000
PROBLEM_FIELDS = {"type", "title", "status", "detail", "requestId"}
CLIENTS = {
    "bad-request",
    "not-found",
    "plugin-not-found",
    "function-not-found",
    "method-not-allowed",
    "input-too-large",
}
"""The types of what a client can get wrong."""

NASTY = st.sampled_from(
    [
        "..",
        ".",
        "%2e%2e",
        "%2f",
        "..%2f..",
        "%00",
        "%FF",
        "%",
        "%zz",
        "\\",
        "..\\..",
        "etc",
        "passwd",
        "simple",
        "run",
        "SIMPLE",
        "plugin.toml",
        "simple.wat",
        "~",
        "*",
        "$default",
        "{plugin}",
        "💜",
        "é",
        "a:b",
        "//host",
        "?",
        "#",
        ";",
        "<script>",
        "{{7*7}}",
        "${jndi:x}",
        "../../etc/passwd",
        "/etc/passwd",
    ]
) | st.sampled_from(["", " ", "\0", "\ud83d", "\u202e", "\r\nx: y", "\n", "\x1b[2J", "a" * 5000])
TEXTS = NASTY | st.text(max_size=30)
PATHS = st.lists(TEXTS, max_size=5).map(lambda parts: "/" + "/".join(parts))
HEADER_NAMES = (
    st.sampled_from(
        [
            "Content-Type",
            "content-type",
            "CONTENT-LENGTH",
            "content-length",
            "Host",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-FORWARDED-PORT",
            "Cookie",
            "cOOKIE",
            "Transfer-Encoding",
            "Expect",
            "Accept-Encoding",
            "Authorization",
        ]
    )
    | TEXTS
)
HEADERS = st.dictionaries(
    HEADER_NAMES, TEXTS | st.sampled_from(["chunked", "100-continue", "-1", "1e9", "0", "99999999", "x" * 9000])
)
BODIES = st.one_of(
    st.none(),
    TEXTS,
    st.binary(max_size=2 * LIMIT).map(lambda raw: base64.b64encode(raw).decode()),
    st.sampled_from(["=", "====", "SmFu=ZQ==", "SmFuZQ", "SmFuZQ==\n", "x" * (LIMIT + 1), "\ud83d"]),
)
METHODS = st.sampled_from(
    ["POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "post", "💜"]
) | st.just("")


@st.composite
def events(draw: st.DrawFn, source: str) -> dict[str, Any]:
    """The golden event of a source, in which everything that a client decides may be somebody's idea."""
    event: dict[str, Any] = copy.deepcopy(golden(source))
    for change in (_path, _method, _headers, _body, _query):
        if draw(st.booleans()):
            change(draw, event)
    return event


def _everywhere(event: dict[str, Any], value: str, *names: str) -> None:
    """Puts a value wherever the event has it."""
    for place in (event, event["requestContext"], event["requestContext"].get("http", {})):
        for name in names:
            if name in place:
                place[name] = value


def _path(draw: st.DrawFn, event: dict[str, Any]) -> None:
    path = draw(PATHS)
    _everywhere(event, path, "path", "rawPath")
    if event.get("pathParameters"):
        event["pathParameters"] = dict.fromkeys(event["pathParameters"], path[1:])


def _method(draw: st.DrawFn, event: dict[str, Any]) -> None:
    _everywhere(event, draw(METHODS), "httpMethod", "method")


def _headers(draw: st.DrawFn, event: dict[str, Any]) -> None:
    for name, value in draw(HEADERS).items():
        if event.get("headers") is not None:
            event["headers"][name] = value
        if event.get("multiValueHeaders") is not None:
            event["multiValueHeaders"].setdefault(name, []).extend([value, value.upper()])


def _body(draw: st.DrawFn, event: dict[str, Any]) -> None:
    event["body"], event["isBase64Encoded"] = draw(BODIES), draw(st.booleans())


def _query(draw: st.DrawFn, event: dict[str, Any]) -> None:
    query = draw(st.dictionaries(TEXTS, TEXTS, max_size=3))
    texts = draw(st.lists(TEXTS, min_size=1, max_size=3))
    made = {
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
        "rawQueryString": texts[0],
        "cookies": texts,
    }
    event |= {name: value for name, value in made.items() if name in event}


class Opened:
    """The files that this process opens while `watching`; an audit hook cannot be removed, so there is one."""

    def __init__(self) -> None:
        self.watching = False
        self.files: list[str] = []
        sys.addaudithook(self._heed)

    def _heed(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.watching and event in ("open", "os.listdir", "os.scandir"):
            self.files.append(str(arguments[0]))


OPENED = Opened()


@pytest.fixture
def echo(make_plugin: "MakePlugin", make_handler: "MakeHandler") -> Iterator["EventHandler"]:
    """The handler over a plugin that takes 1,000 bytes and answers with them; nothing is compiled any more."""
    make_plugin("simple", guests.ECHO, limits={"input_bytes": LIMIT}, content_type="application/octet-stream")
    handler = make_handler()
    handler({"warmup": True}, CONTEXT)
    handler(
        golden("http-v2-default-stage") | {"rawPath": "/openapi.json", "body": ""}, CONTEXT
    )  # imports what it needs
    yield handler
    OPENED.watching = False


@pytest.mark.parametrize("source", SOURCES)
def test_whatever_a_client_sends_is_served_or_refused(echo: "EventHandler", source: str) -> None:
    """No event raises or is our fault (5xx); a refusal is a problem document; no request opens a file."""

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(event=events(source))
    def answered(event: dict[str, Any]) -> None:
        OPENED.files.clear()
        OPENED.watching = True
        response = echo(event, CONTEXT)
        OPENED.watching = False

        status, body = response["statusCode"], body_of(response)
        assert OPENED.files == []
        if status != 200:
            problem = json.loads(body)
            assert header_of(response, "content-type") == "application/problem+json"
            assert set(problem) == PROBLEM_FIELDS
            assert (problem["status"], problem["type"] in CLIENTS) == (status, True)
            assert status < 500

    answered()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["plugin", "function", "input", "isBase64Encoded", "warmup", "source", "requestContext", "x"])
DIRECT = st.dictionaries(FIELDS, VALUES | st.sampled_from(["simple", "run", "SmFuZQ==", True]), max_size=5)


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(event=DIRECT | VALUES)
def test_whatever_is_invoked_directly_is_served_or_refused(echo: "EventHandler", event: Any) -> None:
    """An event that is not HTTP, whatever it is, is answered too: with an output, or a problem that is not ours."""
    response = echo(event, CONTEXT)

    status: int = response["status"] if "status" in response else response["statusCode"]
    assert status == 200 or (400 <= status < 500 and ("type" in response or "body" in response))


PROVOKING: dict[str, tuple[str, dict[str, Any]]] = {
    "broken": ("(module (func", {}),
    "complains": (guests.SETS_ERROR, {}),
    "denied": (guests.GET, {}),
    "endless": (guests.ENDLESS, {"limits": {"timeout_ms": 50}}),
    "grows": (guests.ALLOCATE, {}),
    "large": (guests.ECHO, {"limits": {"output_bytes": 1}}),
    "reads": (guests.GET, {"memory": {"read": ["*"]}}),
    "small": (guests.ECHO, {"limits": {"input_bytes": 1}}),
    "tampered": (guests.ECHO, {"binary": True, "sha256": "0" * 64}),
    "traps": (guests.TRAP, {}),
}
"""Guests, each of which makes an error of another kind of the input `hello`."""

KINDS = CLIENTS | {
    "unsupported-event",
    "plugin-error",
    "plugin-trapped",
    "plugin-out-of-memory",
    "output-too-large",
    "plugin-unusable",
    "memory-access-denied",
    "store-unreachable",
    "deadline-exceeded",
}
INTERNAL = ("site-packages", "Traceback", "backtrace", "wasm trap", "botocore", 'File \\"', ".py", "0x", "127.0.0.1")


def test_every_kind_of_error_says_nothing_internal(
    make_plugin: "MakePlugin", make_handler: "MakeHandler", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No error's answer that can be provoked holds a path, a stack trace, the table's name or a credential."""
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIASECRETSECRET",
        "AWS_SECRET_ACCESS_KEY": "secret-access-key",
        "AWS_SESSION_TOKEN": "secret-session-token",
        "AWS_REGION": "eu-secret-1",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9",  # nobody listens at discard's port
        "EXTISM_LAMBDA_TABLE": "secret-table",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    for name, (wat, fields) in PROVOKING.items():
        make_plugin(name, wat, **fields)
    handler = make_handler(EXTISM_LAMBDA_MEMORY="dynamodb", EXTISM_LAMBDA_DEFAULT_PLUGIN="reads", **secrets)

    events: list[Any] = [request("/readyz", method="GET"), request("/healthz", method="PUT"), request("/a/b/c")]
    events += [request("/nobody"), request("/reads/nothing"), request("/reads", b"hello") | {"body": "%"}]
    events += [request(f"/{name}", b"hello") for name in PROVOKING]
    events += [{"plugin": name, "input": "hello"} for name in PROVOKING]
    events += [[], {}, {"plugin": 5}, {"input": "x", "isBase64Encoded": True}, {"plugin": "../reads"}]
    answers = [json.dumps(handler(event, FakeContext())) for event in events]

    assert {kind for kind in KINDS if any(kind in answer for answer in answers)} == KINDS
    words = [*secrets.values(), str(tmp_path), str(Path(errors.__file__).parent.parent), *INTERNAL]
    assert [(word, answer) for answer in answers for word in words if word in answer] == []
