"""DynamoDB when it fails; what it does when it works is in test_store_contract.py."""

import socket
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.stub import Stubber

from handler.deadline import Deadline
from handler.errors import (
    ConfigurationError,
    InvocationError,
    StoreDeadlineExceeded,
    StoreFailed,
    StoreThrottled,
    StoreUnreachable,
)
from handler.memory.dynamodb import CLIENT_CONFIG, DynamoDBStore, create_client
from handler.memory.dynamodb_errors import THROTTLES
from handler.plugins import Limits
from tests import tables
from tests.servers import (
    Misbehaviour,
    closed_port,
    cutting_off,
    hanging_up,
    serving,
    silent,
    talking_nonsense,
    trickling,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FAR = Deadline.after(3600)
PATIENCE = 20.0
"""Seconds that no test comes near unless something waits that should not."""


def failure(store: DynamoDBStore, deadline: Deadline = FAR) -> InvocationError:
    """What a read fails with."""
    with pytest.raises(InvocationError) as caught:
        store.get("key", deadline)
    return caught.value


def stubbed(code: str) -> DynamoDBStore:
    """A store whose DynamoDB answers with an error code."""
    client = tables.create_client()
    stubber = Stubber(client)
    stubber.add_client_error("get_item", service_error_code=code, service_message="arn:aws:dynamodb:secret-table")
    stubber.activate()
    return DynamoDBStore(client, "memory")


# moto does not throttle and does not break, so these answers are made up.
@pytest.mark.parametrize("code", sorted(THROTTLES))
def test_throttling_is_told_from_other_failures(code: str) -> None:
    """Each code with which DynamoDB throttles is StoreThrottled, which asks to try again."""
    error = failure(stubbed(code))

    assert type(error) is StoreThrottled
    assert error.retry_after is not None


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ValidationException", "InternalServerError", "UnrecognizedClientException", "?"]
)
def test_what_dynamodb_refuses_is_a_failure_without_its_words(code: str) -> None:
    """Any other code is StoreFailed; DynamoDB's message goes to the log and not to the client."""
    error = failure(stubbed(code))

    assert type(error) is StoreFailed
    assert "secret-table" not in error.detail
    assert "secret-table" in "".join(traceback.format_exception(error))


def test_every_documented_throttle_is_known() -> None:
    """The codes that the DynamoDB Developer Guide lists for throttling ("Error handling") are among ours."""
    documented = {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"}

    assert documented <= THROTTLES


@pytest.mark.parametrize(
    ("misbehaviour", "expected"),
    [
        (silent, StoreUnreachable),
        (hanging_up, StoreUnreachable),
        (cutting_off, StoreFailed),
        (talking_nonsense, StoreFailed),
    ],
)
def test_a_broken_server_is_told_by_how_it_breaks(misbehaviour: Misbehaviour, expected: type[InvocationError]) -> None:
    """No answer is StoreUnreachable, an answer that cannot be read StoreFailed; both come long before the deadline."""
    deadline = Deadline.after(3600)
    with serving(misbehaviour) as url:
        error = failure(DynamoDBStore(tables.create_client(url), "memory"), deadline)

    assert type(error) is expected
    assert deadline.remaining() > 3600 - PATIENCE
    assert "127.0.0.1" not in error.detail


def test_a_closed_port_is_unreachable() -> None:
    """Nobody listening is StoreUnreachable, which asks to try again."""
    error = failure(DynamoDBStore(tables.create_client(closed_port()), "memory"))

    assert type(error) is StoreUnreachable
    assert "127.0.0.1" not in error.detail


@pytest.mark.parametrize("misbehaviour", [silent, trickling])
def test_the_deadline_bounds_a_read_whatever_the_server_does(misbehaviour: Misbehaviour) -> None:
    """A server that never answers, or trickles so that no socket timeout strikes, is given up at the deadline."""
    with serving(misbehaviour) as url:
        store = DynamoDBStore(tables.create_client(url), "memory")

        error = failure(store, Deadline.after(0.2))

    assert type(error) is StoreDeadlineExceeded


@pytest.mark.parametrize("misbehaviour", [silent, trickling])
def test_the_check_is_bounded_too(misbehaviour: Misbehaviour) -> None:
    """`check` keeps to its deadline as `get` does."""
    with serving(misbehaviour) as url, pytest.raises(StoreDeadlineExceeded):
        DynamoDBStore(tables.create_client(url), "memory").check(Deadline.after(0.2))


def test_the_clients_patience_fits_a_plugins_default_timeout() -> None:
    """Explicit timeouts, and so few attempts that all of them end within the default timeout_ms."""
    config: Any = CLIENT_CONFIG
    attempts = config.retries["total_max_attempts"]

    assert 0 < config.connect_timeout < 1
    assert 0 < config.read_timeout < 1
    assert 1 < attempts * (config.connect_timeout + config.read_timeout) * 1000 < Limits().timeout_ms


def test_the_handlers_client_is_configured_so() -> None:
    """The client that the handler makes has these timeouts and attempts, not botocore's of a minute."""
    config: Any = create_client().meta.config

    assert (config.connect_timeout, config.read_timeout) == (0.3, 0.5)
    assert config.retries["total_max_attempts"] == 2
    assert config.retries["mode"] == "legacy"


def test_an_attempt_is_made_again_once() -> None:
    """A server that hangs up is asked twice, since the second time may reach another host."""
    asked = 0

    def count(connection: Any, over: Any) -> None:
        nonlocal asked
        asked += bool(connection.recv(65536))

    with serving(count) as url:
        failure(DynamoDBStore(tables.create_client(url), "memory"))

    assert asked == 2


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials nothing can be asked, which every read says at once; what to do is for the log."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    with serving(silent) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
        error = failure(DynamoDBStore(fresh_client(), "memory"))

    assert type(error) is StoreFailed
    assert error.detail == "there are no credentials to read the memory with"
    assert "AWS_ACCESS_KEY_ID" in str(error.__cause__)


@pytest.mark.parametrize(("on_lambda", "asked"), [(True, 0), (False, 1)])
def test_no_metadata_is_waited_for_on_lambda(monkeypatch: pytest.MonkeyPatch, *, on_lambda: bool, asked: int) -> None:
    """Without credentials botocore asks an EC2 instance's metadata, which on Lambda could only hold a cold start.

    Elsewhere, as under `serve` on an instance with a role, it is asked, and waited for by botocore's own 2 s at most.
    """
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # Set, and unset by the next line, so that it is put back whatever the client does.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "")
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    if on_lambda:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "function")
    connections = 0

    def count(connection: socket.socket, over: threading.Event) -> None:
        nonlocal connections
        connections += 1
        over.wait()

    start = time.monotonic()
    with serving(count) as url:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        fresh_client()
        seconds = time.monotonic() - start

    assert (connections > 0) == (asked > 0)
    assert seconds < PATIENCE


def test_the_endpoint_is_boto3s_own_setting(monkeypatch: pytest.MonkeyPatch, moto_endpoint: str) -> None:
    """AWS_ENDPOINT_URL_DYNAMODB leads the handler's client to another DynamoDB."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", moto_endpoint)
    client = fresh_client()

    assert client.meta.endpoint_url == moto_endpoint
    assert type(failure(DynamoDBStore(client, "no-such-table"))) is StoreFailed


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda patch: [patch.delenv(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION")], "region"),
        (lambda patch: patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "no url"), "no url"),
        (lambda patch: patch.setenv("AWS_PROFILE", "nobody"), "nobody"),
    ],
)
def test_a_client_that_cannot_be_made_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, change: "Callable[[pytest.MonkeyPatch], None]", word: str
) -> None:
    """No region, an endpoint that is no URL, an unknown profile: refused at the start, in words."""
    change(monkeypatch)

    with pytest.raises(ConfigurationError, match=word):
        fresh_client()


def fresh_client() -> Any:
    """The handler's client, from a session that has not read the environment before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boto3.DEFAULT_SESSION", None)
        return create_client()


@pytest.mark.parametrize("expires_at", ["1e400", "-1e400", "0", "1", "1.5"])
def test_any_number_is_a_time(expires_at: str) -> None:
    """A time to live of any size is compared as a number; only one that is past hides the item."""
    store = DynamoDBStore(answering({"value": {"S": "x"}, "expires_at": {"N": expires_at}}), "memory")

    assert store.get("key", FAR) == (b"x" if float(expires_at) > time.time() else None)


def answering(item: dict[str, Any]) -> Any:
    """A client whose DynamoDB answers with an item, which moto would not take."""
    client = tables.create_client()
    stubber = Stubber(client)
    stubber.add_response("get_item", {"Item": item, "ConsumedCapacity": {"TableName": "memory"}})
    stubber.activate()
    return client


def test_a_client_with_botocores_defaults_is_bounded_all_the_same() -> None:
    """Even with timeouts of a minute a read ends at its deadline."""
    session = tables.create_session()
    with serving(silent) as url:
        client = session.client("dynamodb", endpoint_url=url, config=Config())
        error = failure(DynamoDBStore(client, "memory"), Deadline.after(0.1))

    assert type(error) is StoreDeadlineExceeded


def batch_of(store: DynamoDBStore, *keys: str) -> Any:
    """What a batch gives, waited for as long as it takes."""
    begun = store.begin_many(keys)
    assert begun is not None
    return begun.result(timeout=PATIENCE)


def test_what_a_batch_did_not_process_is_left_out() -> None:
    """Keys that DynamoDB had no room or capacity for are neither missing nor there; moto processes all of them."""
    client = tables.create_client()
    stubber = Stubber(client)
    unprocessed: Any = {"memory": {"Keys": [{"key": {"S": "later"}}]}}
    stubber.add_response(
        "batch_get_item",
        {
            "Responses": {"memory": [{"key": {"S": "now"}, "value": {"S": "x"}}]},
            "UnprocessedKeys": unprocessed,
            "ConsumedCapacity": [{"TableName": "memory"}],
        },
    )
    stubber.activate()

    assert batch_of(DynamoDBStore(client, "memory"), "now", "later", "missing") == {"now": b"x", "missing": None}


@pytest.mark.parametrize(
    ("misbehaviour", "expected"),
    [
        (silent, StoreUnreachable),
        (hanging_up, StoreUnreachable),
        (cutting_off, StoreFailed),
        (talking_nonsense, StoreFailed),
    ],
)
def test_a_batch_breaks_as_a_read_does(misbehaviour: Misbehaviour, expected: type[InvocationError]) -> None:
    """A failure of a batch is told like that of a read, and never gives missing keys."""
    with serving(misbehaviour) as url, pytest.raises(InvocationError) as caught:
        batch_of(DynamoDBStore(tables.create_client(url), "memory"), "key")

    assert type(caught.value) is expected


def test_throttling_of_a_batch_is_told() -> None:
    """A throttled batch is StoreThrottled, as a throttled read is."""
    client = tables.create_client()
    stubber = Stubber(client)
    stubber.add_client_error("batch_get_item", service_error_code="ProvisionedThroughputExceededException")
    stubber.activate()

    with pytest.raises(StoreThrottled):
        batch_of(DynamoDBStore(client, "memory"), "key")


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"\xff\xfe"), (500, b"\xff\xfe"), (200, b"[]"), (200, b"null"), (400, b"[1]"), (200, b'{"Item":[]}')],
)
def test_a_strange_answer_is_a_failed_read(status: int, body: bytes) -> None:
    """Whatever botocore's parsers make of it, the store failed: no internal error, no missing key."""

    def answer(connection: socket.socket, _over: object) -> None:
        connection.recv(65536)
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    with serving(answer) as url:
        assert type(failure(DynamoDBStore(tables.create_client(url), "memory"))) is StoreFailed
