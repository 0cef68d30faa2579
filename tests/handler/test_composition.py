"""The parts put together, from environment variables to answers."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from handler.composition import create_handler, create_service
from handler.errors import ConfigurationError
from handler.settings import Settings
from tests import guests, tables
from tests.conftest import MakeHandler, MakePlugin
from tests.contexts import FakeContext
from tests.http_events import body_of, golden, request
from tests.servers import Misbehaviour, closed_port, serving, silent, trickling

if TYPE_CHECKING:
    from handler.events import EventHandler

DYNAMODB = {"EXTISM_LAMBDA_MEMORY": "dynamodb", "EXTISM_LAMBDA_TABLE": tables.TABLE, "AWS_REGION": "eu-central-1"}
EVERYTHING = {"read": ["*"]}


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """What a handler does to the levels of loggers ends with the test."""
    loggers = [logging.getLogger(name) for name in ("handler", "botocore", "mangum")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def direct(handler: "EventHandler", data: str = "hello", seconds: float = 30.0) -> dict[str, Any]:
    """The answer to a direct invocation that may take that long."""
    return handler({"input": data}, FakeContext(seconds))


class TestStarting:
    """What is wrong with an environment is told when it starts."""

    def test_the_default_plugin_has_to_be_there(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """A default plugin that does not exist is named, with those that do."""
        make_plugin("one", guests.SILENT)
        make_plugin("two", guests.SILENT)

        with pytest.raises(ConfigurationError, match=r"DEFAULT_PLUGIN='three' is not allowed: .*one, two"):
            make_handler(EXTISM_LAMBDA_DEFAULT_PLUGIN="three")

    def test_a_region_has_to_be_there(
        self, make_plugin: MakePlugin, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """DynamoDB without a region is refused at the start, not at the first request."""
        make_plugin("one", guests.SILENT)
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name)
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)

        with pytest.raises(ConfigurationError, match="AWS_REGION"):
            make_handler(EXTISM_LAMBDA_MEMORY="dynamodb", EXTISM_LAMBDA_TABLE="memory")

    @pytest.mark.parametrize(
        "environ", [{"EXTISM_LAMBDA_PLUGINS": "/no/such/folder"}, {"EXTISM_LAMBDA_CONCURRENCY": "many"}, {}]
    )
    def test_a_wrong_setting(self, environ: dict[str, str]) -> None:
        """Nothing is made of a wrong setting."""
        with pytest.raises(ConfigurationError, match="EXTISM_LAMBDA_"):
            create_handler(environ)

    def test_the_default_plugin_compiles_at_once(self, plugins: Path, make_plugin: MakePlugin) -> None:
        """The default plugin is being compiled before anybody asks for it; the others are not."""
        make_plugin("one", guests.SILENT)
        make_plugin("two", guests.SILENT)
        environ = {
            "EXTISM_LAMBDA_PLUGINS": str(plugins),
            "EXTISM_LAMBDA_MEMORY": "map",
            "EXTISM_LAMBDA_DEFAULT_PLUGIN": "two",
        }

        service = create_service(Settings.from_environ(environ))

        assert {name: pool._slots for name, pool in service._pools.items()} == {"one": 0, "two": 1}

    @pytest.mark.parametrize(("setting", "level"), [("", logging.INFO), ("debug", logging.DEBUG), ("ERROR", 40)])
    def test_the_log_level(self, make_plugin: MakePlugin, make_handler: MakeHandler, setting: str, level: int) -> None:
        """The setting is the level of the project's loggers, and of nobody else's."""
        make_plugin("one", guests.SILENT)
        root = logging.getLogger().level

        make_handler(EXTISM_LAMBDA_LOG_LEVEL=setting)

        assert logging.getLogger("handler.service").getEffectiveLevel() == level
        assert logging.getLogger().level == root


class TestMemory:
    """What answers `hostMemoryGet`."""

    def test_the_map(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """EXTISM_LAMBDA_MEMORY=map gives the article's two values."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        handler = make_handler()

        assert [direct(handler, key)["output"] for key in ("hello", "message")] == [
            "👋 Hello World 🌍",
            "I 💜 Extism 😍",
        ]

    def test_dynamodb_in_process(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """EXTISM_LAMBDA_MEMORY=dynamodb reads the table."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        with mock_aws():
            client = tables.create_client()
            tables.create_table(client)
            tables.put(client, "hello", "from the table")
            handler = make_handler(**DYNAMODB)

            assert direct(handler)["output"] == "from the table"

    def test_dynamodb_over_http(
        self,
        make_plugin: MakePlugin,
        make_handler: MakeHandler,
        moto_endpoint: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The endpoint is boto3's own setting; the same environment then goes over HTTP, again and again."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        client = tables.create_client(moto_endpoint)
        tables.create_table(client, "over-http")
        tables.put(client, "hello", b"from \xff the table", "over-http")
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", moto_endpoint)
        handler = make_handler(**DYNAMODB | {"EXTISM_LAMBDA_TABLE": "over-http"})

        answers = [handler(request(body=b"hello"), FakeContext()) for _ in range(5)]

        assert [body_of(answer) for answer in answers] == [b"from \xff the table"] * 5


class TestDeadlines:
    """Whatever happens, the answer comes before Lambda ends the invocation."""

    @pytest.fixture
    def over(
        self, make_plugin: MakePlugin, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str], "EventHandler"]:
        """Makes a handler whose DynamoDB misbehaves."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        make_plugin("impatient", guests.GET, memory=EVERYTHING, limits={"timeout_ms": 400})
        make_plugin("sound", guests.ECHO)

        def make(url: str) -> "EventHandler":
            monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
            return make_handler(**DYNAMODB)

        return make

    def test_an_endless_guest_with_little_time_left(self, make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
        """With 550 ms of the invocation left a guest with 30 s of its own is ended by the nearer of the two."""
        make_plugin("endless", guests.ENDLESS, limits={"timeout_ms": 30_000})
        handler = make_handler()
        direct(handler, seconds=1)  # the module is compiled now

        context = FakeContext(0.55)
        answer = handler(request(), context)

        assert answer["statusCode"] == 504
        assert '"spentIn":"guest"' in answer["body"].replace(" ", "")
        assert context.get_remaining_time_in_millis() > -5000  # far from the guest's own 30 s

    @pytest.mark.parametrize("misbehaviour", [silent, trickling])
    def test_a_store_that_hangs(self, over: Callable[[str], "EventHandler"], misbehaviour: Misbehaviour) -> None:
        """A DynamoDB that accepts and does not answer is given up in time, and told as the place where it went."""
        with serving(misbehaviour) as url:
            handler = over(url)
            direct(handler, "", seconds=30)  # no key, no read: the module is compiled now

            answer = direct(handler, seconds=0.7)

        assert (answer["status"], answer["type"], answer["spentIn"]) == (504, "deadline-exceeded", "store")

    def test_a_store_that_trickles_without_lambdas_deadline(self, over: Callable[[str], "EventHandler"]) -> None:
        """With time to spare the plugin's own timeout counts, since no timeout of a socket would ever strike."""
        with serving(trickling) as url:
            answer = over(url)({"plugin": "impatient", "input": "hello"}, FakeContext(600))

        assert (answer["status"], answer["spentIn"]) == (504, "store")

    def test_a_store_that_is_silent_with_time_to_spare(self, over: Callable[[str], "EventHandler"]) -> None:
        """With time to spare the client's own short timeouts strike first: 503, and try again."""
        with serving(silent) as url:
            answer = direct(over(url), seconds=600)

        assert (answer["status"], answer["type"]) == (503, "store-unreachable")

    def test_a_store_that_is_not_there(self, over: Callable[[str], "EventHandler"]) -> None:
        """A closed port is 503 too; the next request, which needs no memory, is served."""
        handler = over(closed_port())

        answer = direct(handler)

        assert (answer["status"], answer["type"]) == (503, "store-unreachable")
        assert "127.0.0.1" not in str(answer)
        assert handler({"plugin": "sound", "input": "hello"}, FakeContext())["output"] == "hello"

    def test_threads_given_up_do_not_stop_the_next_request(self, over: Callable[[str], "EventHandler"]) -> None:
        """Reads that still hang from earlier requests do not fail a request that needs none."""
        with serving(silent) as url:
            handler = over(url)
            direct(handler, "", seconds=30)
            for _ in range(3):
                assert direct(handler, seconds=0.35)["status"] == 504

            assert handler({"plugin": "sound", "input": "hello"}, FakeContext())["output"] == "hello"


def test_one_environment_serves_every_kind_of_event(make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
    """Requests, direct invocations and pings in any order share one instance."""
    make_plugin("simple", guests.COUNTER)
    handler = make_handler()

    handler(golden("warmup"), FakeContext())
    first = handler(request(), FakeContext())
    second = direct(handler)
    handler(golden("scheduled"), FakeContext())
    third = handler(request("/simple/run"), FakeContext())

    assert (body_of(first), second["output"], body_of(third)) == (b"1", "2", b"3")


def test_two_handlers_in_one_thread_do_not_disturb_each_other(
    make_plugin: MakePlugin, make_handler: MakeHandler
) -> None:
    """A second handler has instances of its own; both go on serving."""
    make_plugin("counter", guests.COUNTER)
    one, other = make_handler(), make_handler()

    answers = [body_of(handler(request(), FakeContext())) for handler in (one, other, one, other)]

    assert answers == [b"1", b"1", b"2", b"2"]


def test_no_thread_outlives_a_request(make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
    """After an answer nothing goes on in the background, which Lambda would freeze in the middle."""
    make_plugin("echo", guests.ECHO)
    handler = make_handler()
    direct(handler)
    before = threading.active_count()

    for _ in range(20):
        direct(handler, seconds=1.0)

    assert threading.active_count() <= before


@pytest.mark.parametrize("event", [{"plugin": "echo", "input": "hello"}, {"warmup": True}, {}])
def test_events_without_a_context_are_answered(
    make_plugin: MakePlugin, make_handler: MakeHandler, event: dict[str, object]
) -> None:
    """A script that calls the handler with None for the context gets an answer, with an id of its own."""
    make_plugin("echo", guests.ECHO)

    answer = make_handler()(event, None)

    assert answer["status"] == (200 if event else 400)
    assert event or answer["requestId"]


def test_a_bug_of_ours_is_no_stack_trace_in_a_direct_invocation(
    make_plugin: MakePlugin, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody foresaw is a problem document without internals."""
    make_plugin("echo", guests.ECHO)
    handler = make_handler()

    def fail(*_: object) -> bytes:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("handler.service.PluginService.run", fail)

    answer = handler({"plugin": "echo"}, None)

    assert (answer["status"], answer["type"]) == (500, "internal-error")
    assert "secret" not in str(answer)
