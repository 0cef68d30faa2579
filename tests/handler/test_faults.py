"""Faults of DynamoDB on the wire, from the handler's event to the handler's answer, and the way back to normal."""

import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from handler.composition import create_handler
from tests import guests, tables
from tests.contexts import FakeContext
from tests.faults import FAULTS, SECRET, Exchange, FaultProxy, fault_proxy, none
from tests.handler.test_prefetch import READS_TWO
from tests.http_events import body_of, request

if TYPE_CHECKING:
    from handler.events import EventHandler

TABLE = "table-nobody-may-see"
TIMEOUT_MS = 1500
VALUES = {"hello": "value of hello ", "message": "value of message"}

UNREACHABLE = (503, "store-unreachable")
THROTTLED = (503, "store-throttled")
FAILED = (502, "store-failed")
OVERDUE = (504, "deadline-exceeded")

EXPECTED = {
    "refuse": UNREACHABLE,
    "reset": UNREACHABLE,
    "reset_mid_answer": UNREACHABLE,
    "truncate": FAILED,
    "truncate_head": FAILED,
    "shorten": FAILED,
    "flip": FAILED,
    "delay": UNREACHABLE,
    "hang": UNREACHABLE,
    "trickle": OVERDUE,
    "garbage": UNREACHABLE,
    "page": FAILED,
    "400": FAILED,
    "500": FAILED,
    "503": FAILED,
    "ProvisionedThroughputExceeded": THROTTLED,
    "Throttling": THROTTLED,
    "RequestLimitExceeded": THROTTLED,
    "InternalServerError": FAILED,
    "ServiceUnavailable": FAILED,
    "AccessDenied": FAILED,
    "ResourceNotFound": FAILED,
    "UnrecognizedClient": FAILED,
    "ExpiredToken": FAILED,
}
"""What a request is answered with, by fault: the README's table of errors, row by row."""

SAYS = {
    "AccessDenied": "do not allow",
    "ResourceNotFound": "table does not exist",
    "UnrecognizedClient": "does not accept the credentials",
    "ExpiredToken": "have expired",
}
"""Which kind of thing is missing, in the answer."""

TO_DO = {
    "AccessDenied": "allow dynamodb:GetItem and dynamodb:BatchGetItem",
    "ResourceNotFound": "EXTISM_LAMBDA_TABLE and AWS_REGION",
    "UnrecognizedClient": "AWS_ACCESS_KEY_ID",
    "ExpiredToken": "renew the credentials",
}
"""What to do, in the log."""


@dataclass(frozen=True)
class Bench:
    """The handler over a DynamoDB that can break.

    Attributes:
        proxy: Where it breaks.
        handler: The handler.
    """

    proxy: FaultProxy
    handler: "EventHandler"

    def __call__(self, path: str, method: str = "POST", seconds: float = 30.0) -> dict[str, Any]:
        """The answer to a request."""
        return self.handler(request(path, method=method), FakeContext(seconds))

    def break_by(self, fault: str) -> None:
        """Switches to a fault."""
        if fault == "refuse":
            self.proxy.refuse()
        else:
            self.proxy.switch(FAULTS[fault])


@pytest.fixture(scope="module")
def bench(moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One handler for all faults, as one Lambda environment meets them all."""
    folder = tmp_path_factory.mktemp("plugins")
    fields: dict[str, Any] = {"functions": ["run", "either"], "limits": {"timeout_ms": TIMEOUT_MS}}
    guests.make_plugin(folder, "batch", READS_TWO, memory={"read": ["*"]}, **fields)
    guests.make_plugin(folder, "single", READS_TWO, memory={"read": ["*"], "prefetch": False}, **fields)
    client = tables.create_client(moto_endpoint)
    tables.create_table(client, TABLE)
    for key, value in VALUES.items():
        tables.put(client, key, value, TABLE)
    environ = {
        "EXTISM_LAMBDA_PLUGINS": str(folder),
        "EXTISM_LAMBDA_DEFAULT_PLUGIN": "batch",
        "EXTISM_LAMBDA_TABLE": TABLE,
        "AWS_REGION": "eu-central-1",
    }
    with fault_proxy(moto_endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", proxy.url)
        bench = Bench(proxy, create_handler(environ))
        assert bench("/readyz", "GET")["statusCode"] == 200
        yield bench
        bench.handler.close()
    client.delete_table(TableName=TABLE)
    client.close()


@pytest.fixture
def sound(bench: Bench) -> Iterator[Bench]:
    """The handler, with every function's keys learned and no fault, before and after."""
    bench.proxy.switch()
    for path in ("/single", "/batch"):
        assert body_of(bench(path)) == "".join(VALUES.values()).encode()
    bench.proxy.seen.clear()
    yield bench
    bench.proxy.switch()


def assert_tells_nothing(answer: dict[str, Any], bench: Bench) -> None:
    """The answer has nothing of DynamoDB's, of the table, of the address and of the credentials."""
    told = json.dumps([answer["headers"], answer["body"]])
    inside = [TABLE, SECRET, "arn:", "111122223333", "127.0.0.1", str(bench.proxy.port), "testing", "value of"]
    inside += ["Exception", "Traceback", "botocore", "GetItem", "eu-central-1", "EXTISM_LAMBDA", "/tmp"]  # noqa: S108
    assert [word for word in inside if word in told] == []


def test_every_fault_is_in_the_table() -> None:
    """No fault is left out of the table of what it is answered with."""
    assert set(EXPECTED) == {"refuse", *FAULTS}


@pytest.mark.parametrize("path", ["/single", "/batch"])
@pytest.mark.parametrize("fault", EXPECTED)
def test_a_fault_is_told_and_passes(sound: Bench, caplog: pytest.LogCaptureFixture, path: str, fault: str) -> None:
    """The documented status, never 200, nothing of the inside; and when the fault is gone the next request is right."""
    sound.break_by(fault)

    with caplog.at_level(logging.ERROR, "handler"):
        answer = sound(path)

    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["type"]) == EXPECTED[fault]
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert ("retry-after" in answer["headers"]) == (answer["statusCode"] == 503)
    assert problem.get("spentIn") == ("store" if EXPECTED[fault] == OVERDUE else None)
    assert SAYS.get(fault, "") in problem["detail"]
    assert_tells_nothing(answer, sound)
    if fault in TO_DO:
        assert TO_DO[fault] in caplog.text
        assert TABLE in caplog.text

    sound.proxy.switch()
    answer = sound(path)

    assert (answer["statusCode"], body_of(answer)) == (200, "".join(VALUES.values()).encode())


def test_single_reads_and_batches_are_what_they_are_called(sound: Bench) -> None:
    """The two columns of the table differ in what goes over the wire."""
    sound("/single")
    sound("/batch")

    assert sound.proxy.seen == ["GetItem", "GetItem", "BatchGetItem"]


@pytest.mark.parametrize("fault", ["AccessDenied", "hang", "Throttling", "page", "refuse"])
def test_readyz_tells_and_recovers(sound: Bench, fault: str) -> None:
    """Readiness has the same status as a request would have, in the same words, and comes back."""
    sound.break_by(fault)
    answer = sound("/readyz", "GET")

    assert (answer["statusCode"], json.loads(answer["body"])["type"]) == EXPECTED[fault]
    assert SAYS.get(fault, "") in answer["body"]
    assert_tells_nothing(answer, sound)
    sound.proxy.switch()
    assert sound("/readyz", "GET")["statusCode"] == 200


def test_readyz_is_bounded_without_a_lambda_deadline(sound: Bench) -> None:
    """A DynamoDB that trickles does not hold readiness for ever, though no socket timeout ends it and nobody else does.

    As under `serve`: there is no context with an end.
    """
    sound.break_by("trickle")

    answer = sound.handler(request("/readyz", method="GET"), None)

    assert answer["statusCode"] == 504
    assert json.loads(answer["body"])["spentIn"] == "store"


def test_a_fault_in_the_middle_of_a_call(sound: Bench) -> None:
    """A fault at the second read of a call fails the call, though the first read was answered."""
    requests = itertools.count()

    def from_the_second_on(exchange: Exchange) -> None:
        (FAULTS["Throttling"] if next(requests) else none)(exchange)

    sound.proxy.switch(from_the_second_on)

    assert sound("/single")["statusCode"] == 503
    assert sound.proxy.seen == ["GetItem"] * 3  # the first, and two attempts of the second


def test_more_reads_given_up_than_there_are_places(sound: Bench) -> None:
    """Requests whose reads hang one after the other, and the next one after the fault is served all the same."""
    sound.break_by("trickle")
    for _ in range(40):
        assert sound("/single", seconds=0.3)["statusCode"] == 504
    sound.proxy.switch()

    assert sound("/single")["statusCode"] == 200
