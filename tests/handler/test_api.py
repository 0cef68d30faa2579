"""The HTTP API: routes and error answers, through the whole Lambda handler, and streamed and concurrent under ASGI."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pytest

from handler import composition
from handler.api import create_app
from handler.deadline import Deadline
from handler.errors import InvocationError, StoreDeadlineExceeded, StoreFailed, StoreThrottled, StoreUnreachable
from handler.memory.map import MapStore
from tests import guests
from tests.conftest import MakeHandler, MakePlugin, MakeService
from tests.contexts import FakeContext
from tests.http_events import body_of, header_of, request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from handler.events import EventHandler
    from handler.service import PluginService

T = TypeVar("T")
CONTEXT = FakeContext(seconds=3600)
PROBLEM_FIELDS = {"type", "title", "status", "detail", "requestId"}
TABLE = "secret-table-name"
WAIT = 20.0
"""Seconds after which a test that waits for another thread gives up."""


class FakeStore(MapStore):
    """The article's Map, whose every read first does what the test says: raise, or wait."""

    def __init__(self, first: Callable[[], object]) -> None:
        super().__init__()
        self.first = first

    def get(self, key: str, deadline: Deadline) -> bytes | None:
        self.first()
        return super().get(key, deadline)

    def begin_many(self, keys: "Sequence[str]") -> "Future[Mapping[str, bytes | None]]":
        raise AssertionError("nothing was ever read, so nothing is expected")

    def check(self, deadline: Deadline) -> None:
        self.first()


def raising(error: Exception) -> Callable[[], object]:
    """What raises this error."""

    def raise_it() -> None:
        raise error

    return raise_it


@pytest.fixture
def make_over(monkeypatch: pytest.MonkeyPatch, make_handler: MakeHandler) -> Callable[..., "EventHandler"]:
    """Makes the whole handler over a store that does first what the test says."""

    def make(first: Callable[[], object], **environ: str) -> "EventHandler":
        monkeypatch.setattr(composition, "_create_store", lambda _settings: FakeStore(first))
        return make_handler(**environ)

    return make


@pytest.fixture
def counter(make_plugin: MakePlugin, make_handler: MakeHandler) -> "EventHandler":
    """The handler over a plugin with a function for each way to fail."""
    make_plugin(
        "counter",
        guests.COUNTER,
        functions=[*guests.COUNTER_FUNCTIONS, "missing"],
        limits={"output_bytes": 4000, "input_bytes": 4000, "timeout_ms": 200, "memory_pages": 100},
    )
    return make_handler()


def problem_of(response: dict[str, Any]) -> dict[str, Any]:
    """The problem document of a response, which is checked to be one and no more."""
    assert header_of(response, "content-type") == "application/problem+json"
    document: dict[str, Any] = json.loads(body_of(response))
    assert set(document) - {"spentIn"} == PROBLEM_FIELDS
    assert document["status"] == response["statusCode"]
    assert document["requestId"] == CONTEXT.aws_request_id
    told = json.dumps(document)
    for inside in ("Traceback", "backtrace", "wasm", ".py", ".wat", "plugins/", TABLE, "Error("):
        assert inside not in told
    return document


class TestRoutes:
    """What is where."""

    @pytest.mark.parametrize("path", ["/", "/one", "/one/run"])
    def test_a_call(self, make_plugin: MakePlugin, make_handler: MakeHandler, path: str) -> None:
        """The default plugin, a plugin's default function and a named function answer with the guest's bytes."""
        make_plugin("one", guests.ECHO, content_type="text/html; charset=utf-8")

        response = make_handler()(request(path, "Jane 💜".encode()), CONTEXT)

        assert (response["statusCode"], body_of(response)) == (200, "Jane 💜".encode())
        assert header_of(response, "content-type") == "text/html; charset=utf-8"

    @pytest.mark.parametrize(
        "body",
        [b"", b"x", b"\0", b"\xff\xfe", "👋".encode(), bytes(range(256)) * 24576],
        ids=lambda body: str(len(body)),
    )
    def test_inputs(self, make_plugin: MakePlugin, make_handler: MakeHandler, body: bytes) -> None:
        """Nothing, one byte, what is not UTF-8, and 6 MB reach the guest as they are."""
        make_plugin("simple", guests.guest(COUNTS_BYTES), limits={"input_bytes": 6_291_456})

        response = make_handler()(request("/", body), CONTEXT)

        assert body_of(response) == f"{len(body) * 1000 + (body[-1] if body else 0)}".encode()

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/other", "plugin-not-found"),
            ("/other/run", "plugin-not-found"),
            ("/counter/other", "function-not-found"),
            ("/counter/_start", "function-not-found"),
            ("/counter/run/more", "not-found"),
            ("/counter/", "not-found"),
            ("/counter/run/", "not-found"),
            ("//", "not-found"),
            ("/healthz", "plugin-not-found"),
            ("/COUNTER", "plugin-not-found"),
            ("/%2e%2e/counter", "plugin-not-found"),
            ("/💜", "plugin-not-found"),
        ],
    )
    def test_nothing_there(self, counter: "EventHandler", path: str, kind: str) -> None:
        """Another plugin, function or path is a 404 that says which of the three; none redirects elsewhere."""
        response = counter(request(path), CONTEXT)

        assert (response["statusCode"], problem_of(response)["type"]) == (404, kind)

    def test_not_exposed(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """A function that the module exports and plugin.toml does not list is not there."""
        make_plugin("counter", guests.COUNTER)

        response = make_handler()(request("/counter/echo", b"x"), CONTEXT)

        assert problem_of(response)["type"] == "function-not-found"

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/", "POST"),
            ("PUT", "/counter", "POST"),
            ("GET", "/counter/run", "POST"),
            ("DELETE", "/", "POST"),
            ("PATCH", "/counter/run", "POST"),
        ],
    )
    def test_another_method(self, counter: "EventHandler", method: str, path: str, allowed: str) -> None:
        """A method that a path does not have is a 405 that names those it has."""
        response = counter(request(path, method=method), CONTEXT)

        assert response["statusCode"] == 405
        assert problem_of(response)["type"] == "method-not-allowed"
        assert header_of(response, "allow") == allowed

    @pytest.mark.parametrize("path", ["/plugins", "/healthz", "/readyz"])
    def test_another_method_of_ours(self, counter: "EventHandler", path: str) -> None:
        """The service's own paths name GET among the methods that they have."""
        response = counter(request(path, method="DELETE"), CONTEXT)

        assert problem_of(response)["type"] == "method-not-allowed"
        assert "GET" in (header_of(response, "allow") or "")

    def test_the_list(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """GET /plugins lists what may be called, and nothing of how it is made."""
        make_plugin("one", guests.COUNTER, functions=["run", "echo"], description="Counts 💜")
        make_plugin("two", "not wasm at all", content_type="image/png")

        response = make_handler(EXTISM_LAMBDA_DEFAULT_PLUGIN="one")(request("/plugins", method="GET"), CONTEXT)

        assert (response["statusCode"], header_of(response, "content-type")) == (200, "application/json")
        assert json.loads(response["body"]) == {
            "plugins": [
                {
                    "name": "one",
                    "description": "Counts 💜",
                    "functions": ["run", "echo"],
                    "contentType": "text/plain; charset=utf-8",
                    "default": True,
                },
                {
                    "name": "two",
                    "description": "",
                    "functions": ["run"],
                    "contentType": "image/png",
                    "default": False,
                },
            ]
        }


COUNTS_BYTES = """
    (local $last i64)
    (if (i64.ne (call $input_length) (i64.const 0)) (then (local.set $last
      (i64.extend_i32_u (call $input_load_u8 (i64.sub (call $input_length) (i64.const 1)))))))
    (call $answer_number (i64.add (i64.mul (call $input_length) (i64.const 1000)) (local.get $last)))
    (i32.const 0)"""
"""Answers with 1,000 times the input's length, plus its last byte."""


class TestHealth:
    """GET /healthz and GET /readyz."""

    def test_health_needs_nothing(self, make_plugin: MakePlugin, make_over: Callable[..., "EventHandler"]) -> None:
        """/healthz answers though the plugin does not load and the store is broken."""
        make_plugin("broken", "not wasm at all")
        handler = make_over(raising(StoreFailed("broken")))

        response = handler(request("/healthz", method="GET"), CONTEXT)

        assert (response["statusCode"], json.loads(response["body"])) == (200, {"status": "ok"})

    def test_ready(self, make_plugin: MakePlugin, make_over: Callable[..., "EventHandler"]) -> None:
        """/readyz reads the store once, and calls no function of the plugin."""
        make_plugin("counter", guests.COUNTER)
        reads: list[None] = []
        handler = make_over(lambda: reads.append(None))

        response = handler(request("/readyz", method="GET"), CONTEXT)

        assert (response["statusCode"], json.loads(response["body"])) == (200, {"status": "ready"})
        assert len(reads) == 1
        assert body_of(handler(request("/"), CONTEXT)) == b"1"

    @pytest.mark.parametrize("wat", ["not wasm at all", guests.OTHER_EXPORTS, guests.UNKNOWN_IMPORT], ids=lambda _: "")
    def test_the_plugin_does_not_load(self, make_plugin: MakePlugin, make_handler: MakeHandler, wat: str) -> None:
        """/readyz fails where the default plugin cannot be called."""
        make_plugin("broken", wat)

        response = make_handler()(request("/readyz", method="GET"), CONTEXT)

        assert (response["statusCode"], problem_of(response)["type"]) == (500, "plugin-unusable")

    @pytest.mark.parametrize("error", [StoreFailed("x"), StoreThrottled("x"), StoreDeadlineExceeded("x")])
    def test_the_store_fails(
        self, make_plugin: MakePlugin, make_over: Callable[..., "EventHandler"], error: InvocationError
    ) -> None:
        """/readyz fails with the store's own status, and is well again when the store is."""
        make_plugin("echo", guests.ECHO)
        failures = [error]
        handler = make_over(lambda: raising(failures.pop())() if failures else None)

        response = handler(request("/readyz", method="GET"), CONTEXT)

        assert problem_of(response)["type"] == error.type
        assert response["statusCode"] == error.status
        assert handler(request("/readyz", method="GET"), CONTEXT)["statusCode"] == 200


class TestGuestErrors:
    """What a guest can do wrong."""

    @pytest.mark.parametrize(
        ("function", "status", "kind"),
        [
            ("trap", 500, "plugin-trapped"),
            ("grow", 500, "plugin-out-of-memory"),
            ("big", 500, "output-too-large"),
            ("fail", 422, "plugin-error"),
            ("loop", 504, "deadline-exceeded"),
            ("read", 500, "memory-access-denied"),
            ("missing", 500, "plugin-unusable"),
        ],
    )
    def test_each_has_its_status(self, counter: "EventHandler", function: str, status: int, kind: str) -> None:
        """Each failure has its status and type, and the request after it is served right."""
        response = counter(request(f"/counter/{function}"), CONTEXT)

        document = problem_of(response)
        assert (response["statusCode"], document["type"]) == (status, kind)
        assert document.get("spentIn") == ("guest" if status == 504 else None)
        assert header_of(response, "retry-after") is None
        assert body_of(counter(request("/counter/echo", b"Jane"), CONTEXT)) == b"Jane"

    def test_its_own_message(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """What the plugin says is wrong is the detail, word for word."""
        make_plugin("complains", guests.SETS_ERROR)

        response = make_handler()(request("/"), CONTEXT)

        assert (response["statusCode"], problem_of(response)["detail"]) == (422, guests.COMPLAINT_TEXT)

    def test_the_log_has_the_rest(self, counter: "EventHandler", caplog: pytest.LogCaptureFixture) -> None:
        """The backtrace that no answer shows is in the log, under the request's id."""
        problem_of(counter(request("/counter/trap"), CONTEXT))

        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert "wasm backtrace" in record.getMessage()
        assert record.requestId == CONTEXT.aws_request_id  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("content_type", "size", "status"),
        [
            ("application/octet-stream", 4_718_589, 200),  # 6 MiB in base64, less two quotes
            ("application/octet-stream", 4_718_592, 500),
            ("text/plain", 1_048_575, 200),  # a zero byte takes six in JSON, and there are two quotes
            ("text/plain", 1_048_576, 500),
        ],
    )
    def test_what_lambda_cannot_carry(
        self, make_plugin: MakePlugin, make_handler: MakeHandler, content_type: str, size: int, status: int
    ) -> None:
        """An output that is over Lambda's 6 MB only after encoding is refused by its encoded size."""
        make_plugin("zeros", guests.ANSWERS_SIZE, content_type=content_type, limits={"output_bytes": 5_000_000})
        handler = make_handler()

        response = handler(request("/", str(size).encode()), CONTEXT)

        assert response["statusCode"] == status
        if status == 200:
            assert body_of(response) == bytes(size)
        else:
            assert problem_of(response)["type"] == "output-too-large"
            assert body_of(handler(request("/", b"3"), CONTEXT)) == b"\0\0\0"

    def test_lambda_ends_first(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """A guest that may run for 30 s is stopped before the invocation ends."""
        make_plugin("simple", guests.COUNTER, functions=["run", "loop"], limits={"timeout_ms": 30_000})
        handler = make_handler()
        assert handler(request("/"), CONTEXT)["statusCode"] == 200

        response = handler(request("/simple/loop"), FakeContext(seconds=0.5))

        assert (response["statusCode"], problem_of(response)["spentIn"]) == (504, "guest")
        assert body_of(handler(request("/"), CONTEXT)) == b"1"


class TestStoreErrors:
    """What the store can do wrong."""

    @pytest.mark.parametrize(
        ("error", "status", "retry_after"),
        [
            (StoreFailed("The memory said no"), 502, None),
            (StoreThrottled("too fast"), 503, "1"),
            (StoreUnreachable("nobody there"), 503, "1"),
        ],
    )
    def test_each_has_its_status(
        self,
        make_plugin: MakePlugin,
        make_over: Callable[..., "EventHandler"],
        error: InvocationError,
        status: int,
        retry_after: str | None,
    ) -> None:
        """A failed read is never a missing key; only what may pass asks to try again; the next request is served."""
        error.__cause__ = RuntimeError(f"Traceback of {TABLE}")
        make_plugin("get", guests.GET, memory={"read": ["*"]})
        failures = [error]
        handler = make_over(lambda: raising(failures.pop())() if failures else None)

        response = handler(request("/", b"hello"), CONTEXT)

        document = problem_of(response)
        assert (response["statusCode"], document["type"], document["detail"]) == (status, error.type, error.detail)
        assert header_of(response, "retry-after") == retry_after
        assert body_of(handler(request("/", b"hello"), CONTEXT)) == "👋 Hello World 🌍".encode()

    def test_its_time(self, make_plugin: MakePlugin, make_over: Callable[..., "EventHandler"]) -> None:
        """A store that uses the time up is a 504 that says so."""
        make_plugin("get", guests.GET, memory={"read": ["*"]}, limits={"timeout_ms": 150})
        over = threading.Event()

        def wait() -> None:
            if not over.is_set():
                over.wait(0.2)  # longer than the plugin may take
                over.set()
                raise StoreDeadlineExceeded("the memory did not answer in time")

        handler = make_over(wait)

        response = handler(request("/", b"hello"), CONTEXT)

        assert (response["statusCode"], problem_of(response)["spentIn"]) == (504, "store")
        assert body_of(handler(request("/", b"hello"), CONTEXT)) == "👋 Hello World 🌍".encode()

    def test_a_bug(
        self,
        make_plugin: MakePlugin,
        make_over: Callable[..., "EventHandler"],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """An exception that nobody foresaw is a 500 without a word of it; the log has it with a stack trace."""
        make_plugin("get", guests.GET, memory={"read": ["*"]})
        failures: list[Exception] = [RuntimeError(f"no such table: {TABLE}")]
        handler = make_over(lambda: raising(failures.pop())() if failures else None)

        response = handler(request("/", b"hello"), CONTEXT)

        assert (response["statusCode"], problem_of(response)["type"]) == (500, "internal-error")
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert record.exc_info
        assert TABLE in caplog.text
        assert body_of(handler(request("/", b"hello"), CONTEXT)) == "👋 Hello World 🌍".encode()

    def test_a_bug_outside_of_a_call(
        self,
        make_plugin: MakePlugin,
        make_over: Callable[..., "EventHandler"],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """So is one in a route itself, and the next request is served."""
        make_plugin("echo", guests.ECHO)
        handler = make_over(raising(RuntimeError(f"no such table: {TABLE}")))

        response = handler(request("/readyz", method="GET"), CONTEXT)

        assert (response["statusCode"], problem_of(response)["type"]) == (500, "internal-error")
        assert any(record.name == "handler.telemetry" and record.exc_info for record in caplog.records)
        assert TABLE in caplog.text
        assert body_of(handler(request("/", b"Jane"), CONTEXT)) == b"Jane"

    def test_a_bug_in_a_direct_invocation(
        self, make_plugin: MakePlugin, make_over: Callable[..., "EventHandler"], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A direct invocation tells as little of it."""
        make_plugin("get", guests.GET, memory={"read": ["*"]})
        handler = make_over(raising(RuntimeError(f"no such table: {TABLE}")))

        response = handler({"input": "hello"}, CONTEXT)

        assert set(response) == PROBLEM_FIELDS
        assert (response["status"], response["type"]) == (500, "internal-error")
        assert TABLE not in str(response)
        assert TABLE in caplog.text


class TestInputTooLarge:
    """413."""

    @pytest.mark.parametrize("size", [4001, 400_000])
    def test_by_the_body(self, counter: "EventHandler", size: int) -> None:
        """A body over input_bytes is refused, whatever length is announced, and the guest is not called."""
        for announced in (str(size), "1", "", "many"):
            event = request("/counter/run", bytes(size), content_length=announced)
            response = counter(event, CONTEXT)
            assert (response["statusCode"], problem_of(response)["type"]) == (413, "input-too-large")
        assert body_of(counter(request("/counter/run", bytes(4000)), CONTEXT)) == b"1"

    def test_before_the_body_is_read(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """A Content-Length over the limit is answered before a byte of the body is asked for."""
        make_plugin("echo", guests.ECHO, limits={"input_bytes": 10})
        app = create_app(make_service())
        sent: list[Any] = []

        async def receive() -> Any:
            raise AssertionError("the body was asked for")

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-length", b"11")],
        }
        asyncio.run(app(scope, receive, send))

        assert sent[0]["status"] == 413

    def test_streamed(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """A streamed body without a length is refused as soon as it is over the limit, its rest unread."""
        make_plugin("echo", guests.ECHO, limits={"input_bytes": 10})
        given: list[int] = []

        async def body() -> AsyncIterator[bytes]:
            for number in range(100):
                given.append(number)
                yield b"12345"

        async def post() -> httpx.Response:
            async with client(make_service()) as http:
                return await http.post("/", content=body())

        response = asyncio.run(post())

        assert (response.status_code, response.json()["type"]) == (413, "input-too-large")
        assert len(given) == 3


def client(service: "PluginService", **options: Any) -> httpx.AsyncClient:
    """A client of the application, without a network between."""
    transport = httpx.ASGITransport(create_app(service, **options))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def in_a_thread(work: Callable[[], T], /) -> Awaitable[T]:
    """Runs blocking work beside the loop, as `serve` does."""
    return asyncio.to_thread(work)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Runs it, for a bounded time."""
    return asyncio.run(asyncio.wait_for(work, WAIT))


class TestUnderServe:
    """With blocking work run in threads, under a server that has several requests at once."""

    def test_everybody_gets_their_own_answer(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """Requests at the same time, over fewer instances than requests, are each answered with their own body."""
        make_plugin("echo", guests.ECHO)
        make_plugin("get", guests.GET, memory={"read": ["*"]})
        values = {f"key-{number}": f"value-{number}".encode() * number for number in range(40)}
        service = make_service(MapStore(values), slots=3)

        async def ask() -> list[tuple[httpx.Response, httpx.Response]]:
            async with client(service, run=in_a_thread) as http:

                async def one(number: int) -> tuple[httpx.Response, httpx.Response]:
                    key = f"key-{number}"
                    return await http.post("/echo", content=key), await http.post("/get", content=key)

                return await asyncio.gather(*map(one, range(40)))

        for number, (echoed, got) in enumerate(finish(ask())):
            assert (echoed.status_code, echoed.content) == (200, f"key-{number}".encode())
            assert (got.status_code, got.content) == (200, values[f"key-{number}"])

    def test_a_slow_request_blocks_nobody(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """While one request waits for the store, /healthz, /plugins and other plugins answer."""
        make_plugin("echo", guests.ECHO)
        make_plugin("get", guests.GET, memory={"read": ["*"]}, limits={"timeout_ms": 60_000})
        reached, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            reached.set()
            assert go_on.wait(WAIT)

        service = make_service(FakeStore(wait))

        async def ask() -> httpx.Response:
            async with client(service, run=in_a_thread) as http:
                slow = asyncio.create_task(http.post("/get", content=b"hello"))
                try:
                    assert await asyncio.to_thread(reached.wait, WAIT)
                    assert (await http.get("/healthz")).status_code == 200
                    assert (await http.get("/plugins")).status_code == 200
                    assert (await http.post("/echo", content=b"Jane")).content == b"Jane"
                    assert not slow.done()
                finally:
                    go_on.set()
                return await slow

        assert finish(ask()).content == "👋 Hello World 🌍".encode()

    def test_all_instances_busy(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """A request that finds no free instance in its time is asked to come again, and the busy one is answered."""
        make_plugin("get", guests.GET, memory={"read": ["*"]}, limits={"timeout_ms": 100})
        reached, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            reached.set()
            assert go_on.wait(WAIT)

        service = make_service(FakeStore(wait))

        async def ask() -> httpx.Response:
            async with client(service, run=in_a_thread) as http:
                slow = asyncio.create_task(http.post("/get", content=b"hello"))
                try:
                    assert await asyncio.to_thread(reached.wait, WAIT)
                    return await http.post("/get", content=b"message")
                finally:
                    go_on.set()
                    await slow

        response = finish(ask())

        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["type"] == "no-free-instance"

    def test_errors_have_an_id_each(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """Without Lambda there is an id all the same, another one for every request."""
        make_plugin("trap", guests.TRAP)

        async def ask() -> list[httpx.Response]:
            async with client(make_service(), run=in_a_thread) as http:
                return [await http.post("/") for _ in range(2)]

        first, second = finish(ask())

        assert first.status_code == second.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
        assert first.headers["content-type"] == "application/problem+json"
        assert set(first.json()) == PROBLEM_FIELDS
        assert first.json()["requestId"] != second.json()["requestId"]
