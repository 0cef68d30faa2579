"""Several keys at once, from DynamoDB."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from botocore.stub import Stubber

from handler.deadline import Deadline
from handler.errors import StoreFailed, StoreThrottled
from handler.memory.bounded import result_of
from handler.memory.dynamodb import DynamoDBStore
from handler.memory.map import MapStore
from tests import tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SOON = Deadline.after(3600)
CAPACITY = [{"TableName": tables.TABLE, "CapacityUnits": 0.5}]


def fetch(store: DynamoDBStore | MapStore, *keys: str) -> Mapping[str, bytes | None]:
    """The result of a batch."""
    outcome = store.begin_many(keys)
    assert outcome is not None
    return result_of(outcome, SOON)


@pytest.mark.parametrize("consistent", [False, True])
def test_values_are_those_of_single_reads(dynamodb: "DynamoDBClient", *, consistent: bool) -> None:
    """Texts, bytes, empty values, and None for keys that are missing or have expired."""
    tables.put(dynamodb, "text", "größe")
    tables.put(dynamodb, "bytes", b"\x00\xff")
    tables.put(dynamodb, "empty", "")
    tables.put(dynamodb, "expired", "old", expires_at={"N": str(int(time.time()) - 1)})
    tables.put(dynamodb, "valid", "new", expires_at={"N": str(int(time.time()) + 3600)})
    store = DynamoDBStore(dynamodb, tables.TABLE, consistent=consistent)
    keys = ("text", "bytes", "empty", "expired", "valid", "missing")

    values = fetch(store, *keys)

    assert values == {key: store.get(key, SOON) for key in keys}
    assert values["expired"] is values["missing"] is None


def test_a_hundred_keys_fit(dynamodb: "DynamoDBClient") -> None:
    """As many keys as a batch may have, all at once."""
    keys = [f"key/{number}" for number in range(100)]
    for key in keys:
        tables.put(dynamodb, key, key)

    assert fetch(DynamoDBStore(dynamodb, tables.TABLE), *keys) == {key: key.encode() for key in keys}


def test_the_articles_map_answers_too() -> None:
    """The in-process store gives what single reads give."""
    assert fetch(MapStore({"a": b"1"}), "a", "b") == {"a": b"1", "b": None}


def test_unprocessed_and_unreadable_keys_are_left_out(dynamodb: "DynamoDBClient") -> None:
    """They are read one by one when they are asked for. A stubbed answer: moto processes every key."""
    answer: dict[str, Any] = {
        "Responses": {
            tables.TABLE: [
                {"key": {"S": "good"}, "value": {"S": "value"}},
                {"key": {"S": "number"}, "value": {"N": "1"}},
            ]
        },
        "UnprocessedKeys": {tables.TABLE: {"Keys": [{"key": {"S": "late"}}]}},
        "ConsumedCapacity": CAPACITY,
    }
    with Stubber(dynamodb) as stubber:
        stubber.add_response("batch_get_item", answer)

        values = fetch(DynamoDBStore(dynamodb, tables.TABLE), "good", "number", "late", "missing")

    assert values == {"good": b"value", "missing": None}


def test_a_throttled_batch_is_a_throttled_store(dynamodb: "DynamoDBClient") -> None:
    """Stubbed: moto does not throttle."""
    with Stubber(dynamodb) as stubber:
        stubber.add_client_error("batch_get_item", "ProvisionedThroughputExceededException")

        with pytest.raises(StoreThrottled):
            fetch(DynamoDBStore(dynamodb, tables.TABLE), "a")


def test_what_is_no_answer_of_dynamodbs_is_not_a_missing_key(dynamodb: "DynamoDBClient") -> None:
    """An answer without what DynamoDB always sends, as botocore makes it of a proxy's page, is a failure."""
    with Stubber(dynamodb) as stubber:
        stubber.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": {}})

        with pytest.raises(StoreFailed):
            fetch(DynamoDBStore(dynamodb, tables.TABLE), "a")
