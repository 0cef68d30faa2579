"""What every store promises, for the article's Map and for DynamoDB in several forms.

Run against a DynamoDB in this process and one over HTTP (both moto). Further DynamoDB endpoints, such as DynamoDB
local, can be named in the environment variable EXTISM_LAMBDA_TEST_DYNAMODB_ENDPOINTS: URLs separated by commas. Every
test makes a table of its own there and deletes it afterwards.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from handler.deadline import Deadline
from handler.errors import StoreFailed
from handler.memory.dynamodb import DynamoDBStore
from handler.memory.keys import KEY_BYTES
from handler.memory.map import ARTICLE, MapStore
from handler.memory.store import MemoryStore
from tests.tables import create_client, create_table, put

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FURTHER = [url for url in os.environ.get("EXTISM_LAMBDA_TEST_DYNAMODB_ENDPOINTS", "").split(",") if url]
ITEM_BYTES = 405_000
"""Largest item that moto takes, names of attributes included; DynamoDB itself takes 409,600."""
SOON = Deadline.after(3600)


@dataclass
class MapCase:
    """A store over a mapping."""

    values: dict[str, bytes] = field(default_factory=dict)

    @property
    def store(self) -> MemoryStore:
        """The store under test."""
        return MapStore(self.values)

    def put(self, key: str, value: bytes | str) -> None:
        """Puts a value in."""
        self.values[key] = value.encode() if isinstance(value, str) else value


@dataclass
class DynamoDBCase:
    """A store over a table of its own."""

    client: "DynamoDBClient"
    table: str = field(default_factory=lambda: f"contract-{uuid.uuid4()}")

    @property
    def store(self) -> DynamoDBStore:
        """The store under test."""
        return DynamoDBStore(self.client, self.table)

    def put(self, key: str, value: bytes | str, **attributes: Any) -> None:
        """Puts an item in."""
        put(self.client, key, value, self.table, **attributes)

    def put_item(self, item: dict[str, Any]) -> None:
        """Puts an item in, in DynamoDB's own form."""
        self.client.put_item(TableName=self.table, Item=item)


Case = MapCase | DynamoDBCase


DYNAMODBS = ["moto in process", "moto over HTTP", *FURTHER]


@pytest.fixture
def over(request: pytest.FixtureRequest) -> Iterator[Case]:
    """The store that the test's parameter names."""
    if request.param == "map":
        yield MapCase()
        return
    with ExitStack() as stack:
        url = None
        if request.param == "moto in process":
            stack.enter_context(mock_aws())
        else:
            url = request.getfixturevalue("moto_endpoint") if request.param == "moto over HTTP" else request.param
        case = DynamoDBCase(create_client(url))
        create_table(case.client, case.table)
        case.client.get_waiter("table_exists").wait(TableName=case.table)
        yield case
        case.client.delete_table(TableName=case.table)
        case.client.close()


every_store = pytest.mark.parametrize("over", ["map", *DYNAMODBS], indirect=True)
every_dynamodb = pytest.mark.parametrize("over", DYNAMODBS, indirect=True)


@every_store
def test_a_key_without_a_value_is_none(over: Case) -> None:
    """A missing key is no error."""
    assert over.store.get("nobody", SOON) is None


@every_store
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"\x00",
        bytes(range(256)),
        b"\xff\xfe not UTF-8",
        "",
        "text",
        "👋 Hello World 🌍",
        "I 💜 Extism 😍",
        "e\u0301 is not \u00e9",
        "\r\n\t\x00\x7f",
    ],
)
def test_a_value_comes_back_byte_for_byte(over: Case, value: bytes | str) -> None:
    """Text comes back as its UTF-8, and bytes as they are, empty ones too: an empty value is not a missing one."""
    over.put("key", value)

    assert over.store.get("key", SOON) == (value.encode() if isinstance(value, str) else value)


@every_store
@pytest.mark.parametrize("kind", [bytes, str])
def test_a_value_can_fill_an_item(over: Case, kind: type[bytes] | type[str]) -> None:
    """The largest value that fits an item of 400 KB comes back whole, as text and as bytes."""
    size = ITEM_BYTES - len("key" + "k" + "value")
    value = "💜" * (size // 4) if kind is str else bytes(range(256)) * (size // 256)
    over.put("k", value)

    assert over.store.get("k", SOON) == (value.encode() if isinstance(value, str) else value)


@every_store
@pytest.mark.parametrize(
    "key",
    [
        "k",
        "k" * KEY_BYTES,
        "💜" * (KEY_BYTES // 4),
        "größe/é/e\u0301",
        "a b\n\t\x00",
        "public/*",
        "#value",
        ":value",
        "😀😃😄",
        "\ufeffbom",
        "\U0010ffff",
    ],
)
def test_any_key_can_be_used(over: Case, key: str) -> None:
    """Keys of 1 to 2048 bytes of UTF-8 are told apart exactly: no normalization, no trimming, no patterns."""
    over.put(key, b"right")
    over.put(key[:-1] + "!", b"wrong")
    over.put((key + " ")[-KEY_BYTES // 4 :], b"wrong too")

    assert over.store.get(key, SOON) == b"right"


@every_store
def test_the_latest_value_counts(over: Case) -> None:
    """A store keeps nothing from one read to the next."""
    store = over.store
    over.put("key", b"old")
    assert store.get("key", SOON) == b"old"

    over.put("key", b"new")

    assert store.get("key", SOON) == b"new"


@every_store
def test_a_store_that_can_be_read_passes_its_check(over: Case) -> None:
    """`check` finds nothing wrong with a store that works, whatever is in it."""
    over.store.check(SOON)
    over.store.check(Deadline.never())


@every_store
def test_a_store_serves_many_threads(over: Case) -> None:
    """Reads at the same time give each thread the value of its own key."""
    for number in range(16):
        over.put(f"key {number}", f"value {number}")
    store = over.store

    with ThreadPoolExecutor(8) as threads:
        values = list(threads.map(lambda number: store.get(f"key {number % 16}", SOON), range(64)))

    assert values == [f"value {number % 16}".encode() for number in range(64)]


def read_many(over: Case, *keys: str) -> Mapping[str, bytes | None]:
    """The values of several keys, read at once."""
    begun = over.store.begin_many(keys)
    assert begun is not None
    return begun.result(timeout=30)


@every_dynamodb
def test_several_keys_are_read_at_once(over: Case) -> None:
    """Each value comes back with its key, as `get` gives it: bytes, text, empty ones; None for a missing key."""
    values: dict[str, bytes | str] = {
        "text": "I 💜 Extism 😍",
        "bytes": b"\xff\x00",
        "empty": b"",
        "no text": "",
        "größe/é": "x",
    }
    for key, value in values.items():
        over.put(key, value)

    found = read_many(over, *values, "missing")

    assert found == {key: over.store.get(key, SOON) for key in [*values, "missing"]}
    assert found["missing"] is None


@every_dynamodb
def test_a_hundred_keys_are_read_at_once(over: Case) -> None:
    """As many keys as BatchGetItem takes, half of them missing."""
    for number in range(0, 100, 2):
        over.put(f"key {number}", f"value {number}")

    found = read_many(over, *(f"key {number}" for number in range(100)))

    assert found == {f"key {number}": None if number % 2 else f"value {number}".encode() for number in range(100)}


def test_the_map_begins_nothing() -> None:
    """It never waits, so its keys are read one by one as they are asked for."""
    assert MapCase().store.begin_many(["key"]) is None


@every_store
def test_a_store_goes_on_after_it_was_disconnected(over: Case) -> None:
    """Connections that were closed are made anew by the next read."""
    store = over.store
    over.put("key", b"value")
    assert store.get("key", SOON) == b"value"

    store.disconnect()
    store.disconnect()

    assert store.get("key", SOON) == b"value"
    store.check(SOON)


@every_dynamodb
def test_what_has_expired_is_missing_among_several_too(over: DynamoDBCase) -> None:
    """Time to live counts in a batch as it does in a single read."""
    now = int(time.time())
    over.put("old", b"value", expires_at={"N": str(now - 60)})
    over.put("new", b"value", expires_at={"N": str(now + 3600)})

    assert read_many(over, "old", "new") == {"old": None, "new": b"value"}


@every_dynamodb
def test_what_cannot_be_read_is_left_out_of_several(over: DynamoDBCase) -> None:
    """An item of another form is left to a single read, which fails; the others are there."""
    over.put("good", b"value")
    over.put_item({"key": {"S": "bad"}, "value": {"N": "1"}})
    over.put_item({"key": {"S": "bad time"}, "value": {"S": "x"}, "expires_at": {"S": "soon"}})

    assert read_many(over, "good", "bad", "bad time", "missing") == {"good": b"value", "missing": None}


@every_dynamodb
@pytest.mark.parametrize("consistent", [False, True])
def test_consistency_is_asked_for_in_a_batch(over: DynamoDBCase, *, consistent: bool) -> None:
    """The setting reaches DynamoDB when several keys are read."""
    sent: list[Any] = []
    events = over.client.meta.events
    events.register("provide-client-params.dynamodb.BatchGetItem", lambda params, **_: sent.append(params))
    begun = DynamoDBStore(over.client, over.table, consistent=consistent).begin_many(["key"])
    assert begun is not None
    begun.result(timeout=30)

    assert [request["ConsistentRead"] for params in sent for request in params["RequestItems"].values()] == [consistent]


@every_dynamodb
def test_several_keys_of_no_table_are_a_failure(over: DynamoDBCase) -> None:
    """Without its table a batch fails as a single read does."""
    begun = DynamoDBStore(over.client, "no-such-table").begin_many(["key"])
    assert begun is not None

    with pytest.raises(StoreFailed):
        begun.result(timeout=30)


@every_dynamodb
@pytest.mark.parametrize("seconds", [-1, -86_400, -(10**9)])
def test_an_expired_item_is_missing(over: DynamoDBCase, seconds: int) -> None:
    """An item past its expires_at that DynamoDB has not deleted yet is as good as deleted."""
    over.put("key", b"old", expires_at={"N": str(int(time.time()) + seconds)})

    assert over.store.get("key", SOON) is None


@every_dynamodb
@pytest.mark.parametrize("seconds", [60, 86_400])
def test_an_item_that_expires_later_is_there(over: DynamoDBCase, seconds: int) -> None:
    """Before its expires_at an item counts."""
    over.put("key", b"new", expires_at={"N": str(int(time.time()) + seconds)})

    assert over.store.get("key", SOON) == b"new"


@every_dynamodb
def test_other_attributes_do_not_matter(over: DynamoDBCase) -> None:
    """What else an item holds is nobody's business."""
    over.put("key", b"value", note={"S": "x"}, updated_by={"M": {"name": {"S": "y"}}})

    assert over.store.get("key", SOON) == b"value"


@every_dynamodb
@pytest.mark.parametrize(
    "attributes",
    [
        {"value": {"N": "1"}},
        {"value": {"BOOL": True}},
        {"value": {"NULL": True}},
        {"value": {"M": {}}},
        {"value": {"L": []}},
        {"value": {"SS": ["a"]}},
        {},
        {"value": {"S": "x"}, "expires_at": {"S": "tomorrow"}},
        {"value": {"S": "x"}, "expires_at": {"NULL": True}},
    ],
)
def test_an_item_of_another_form_is_a_failure(over: DynamoDBCase, attributes: dict[str, Any]) -> None:
    """An item without a value, or with one of another type, is neither missing nor empty: the read fails."""
    over.put_item({"key": {"S": "key"}, **attributes})

    with pytest.raises(StoreFailed, match="cannot be read") as caught:
        over.store.get("key", SOON)

    assert "has the type" in repr(caught.value.__cause__)


@every_dynamodb
@pytest.mark.parametrize("operation", ["get", "check"])
def test_a_table_that_does_not_exist_is_a_failure(over: DynamoDBCase, operation: str) -> None:
    """Without its table a store fails, and keeps the table's name to itself."""
    store = DynamoDBStore(over.client, "no-such-table")

    with pytest.raises(StoreFailed) as caught:
        store.check(SOON) if operation == "check" else store.get("key", SOON)

    assert "no-such-table" not in caught.value.detail


@every_dynamodb
@pytest.mark.parametrize("consistent", [False, True])
def test_consistent_reads_are_asked_for(over: DynamoDBCase, *, consistent: bool) -> None:
    """The setting reaches DynamoDB in each read, the check's too."""
    sent: list[Any] = []
    over.client.meta.events.register("provide-client-params.dynamodb.GetItem", lambda params, **_: sent.append(params))
    store = DynamoDBStore(over.client, over.table, consistent=consistent)

    store.get("key", SOON)
    store.check(SOON)

    assert [params["ConsistentRead"] for params in sent] == [consistent, consistent]


def test_the_map_holds_the_articles_values() -> None:
    """Without values of its own the map answers as the article's host application did."""
    assert {key: MapStore().get(key, SOON) for key in ARTICLE} == {
        "hello": "👋 Hello World 🌍".encode(),
        "message": "I 💜 Extism 😍".encode(),
    }
