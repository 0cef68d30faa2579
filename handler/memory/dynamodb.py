"""Values in DynamoDB.

One item a key: partition key `key` (S), `value` (S or B), and optionally `expires_at` (N, epoch seconds), the table's
TTL attribute. DynamoDB deletes an expired item some time later, typically within days, so that an expired item that is
still there counts as missing.
"""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
from botocore.config import Config

from handler.deadline import Deadline
from handler.errors import ConfigurationError, StoreFailed
from handler.forks import renew_in_children
from handler.memory.bounded import Bounded
from handler.memory.dynamodb_errors import mapped

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

KEY = "key"
VALUE = "value"
EXPIRES_AT = "expires_at"
PROBE_KEY = "extism-lambda/readyz"
"""What `check` asks for; the item need not exist."""

CLIENT_CONFIG = Config(
    # In seconds. A DynamoDB read takes milliseconds; two attempts and the 50 ms between them fit a plugin's default 2
    # s.
    connect_timeout=0.3,
    read_timeout=0.5,
    # "legacy" waits 50 ms before DynamoDB's second attempt, "standard" anything up to a second.
    retries={"mode": "legacy", "total_max_attempts": 2},
    max_pool_connections=32,
)

CHECK_SECONDS = 2.0
"""Most seconds that `check` may take, where nothing else bounds it."""


def create_client(region: str | None = None) -> "DynamoDBClient":
    """A DynamoDB client with short timeouts and few attempts; credentials and endpoint are boto3's own.

    Missing credentials are told by every read, `check` included.

    Args:
        region: The AWS region; None leaves it to boto3.

    Raises:
        ConfigurationError: No client can be made, as where no region is set.
    """
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        # Where there are no credentials, botocore would ask an EC2 instance's metadata, which Lambda has not, for 2 s.
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    try:
        return boto3.client("dynamodb", region_name=region, config=CLIENT_CONFIG)
    except (botocore.exceptions.BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise ConfigurationError(
            f"no DynamoDB client can be made: {error} (AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB)"
        ) from error


class DynamoDBStore:
    """Reads values from one table.

    Args:
        client: A boto3 DynamoDB client; its timeouts and attempts should fit a plugin's deadline.
        table: The table's name or ARN.
        consistent: Whether reads are strongly consistent.
    """

    def __init__(self, client: "DynamoDBClient", table: str, *, consistent: bool = False) -> None:
        self._client = client
        self._table = table
        self._consistent = consistent
        self._bounded = Bounded()
        self._inherited = False
        self._renewing = Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """Notes, in a process just forked, that the open connections are its parent's."""
        self._inherited = True
        self._renewing = Lock()

    def get(self, key: str, deadline: Deadline) -> bytes | None:
        """The value of a key; None when there is no such key or it has expired.

        Raises:
            StoreFailed: DynamoDB refused or broke, or the item cannot be read.
            StoreThrottled: DynamoDB throttles.
            StoreUnreachable: There was no answer.
            StoreDeadlineExceeded: The deadline passed first.
        """
        return self._bounded.call(lambda: self._get_item(key), deadline)

    def begin_many(self, keys: Sequence[str]) -> Future[Mapping[str, bytes | None]] | None:
        """Begins a BatchGetItem of up to 100 different keys.

        Left out of its result are keys that DynamoDB did not process, whose single reads botocore retries with
        backoff, and items that cannot be read, which matter only to who asks for them.
        """
        return self._bounded.begin(lambda: self._batch_get_item(keys))

    def check(self, deadline: Deadline) -> None:
        """Reads one key, to learn whether reads work, for 2 s at most; raises as `get` does."""
        deadline = deadline.earliest(Deadline.after(CHECK_SECONDS))
        self._bounded.call(lambda: self._get_item(PROBE_KEY), deadline)

    def disconnect(self) -> None:
        """Closes idle connections; the next read makes a new one."""
        self._client.close()

    def _own_client(self) -> "DynamoDBClient":
        """The client, without connections that another process uses too."""
        if self._inherited:
            # Here, within a read's deadline, since a lock of the client's may be held by a thread of the parent's.
            with self._renewing:
                if self._inherited:
                    self._client.close()
                    self._inherited = False
        return self._client

    def _get_item(self, key: str) -> bytes | None:
        with mapped(self._table, self._client.meta.region_name):
            response = self._own_client().get_item(
                TableName=self._table,
                Key={KEY: {"S": key}},
                ConsistentRead=self._consistent,
                ProjectionExpression="#value, #expires_at",
                ExpressionAttributeNames={"#value": VALUE, "#expires_at": EXPIRES_AT},
                ReturnConsumedCapacity="TOTAL",
            )
            _check_answer(response)
            item = response.get("Item")
            return None if item is None else _value(item)

    def _batch_get_item(self, keys: "Sequence[str]") -> Mapping[str, bytes | None]:
        with mapped(self._table, self._client.meta.region_name):
            response = self._own_client().batch_get_item(
                RequestItems={
                    self._table: {
                        "Keys": [{KEY: {"S": key}} for key in keys],
                        "ConsistentRead": self._consistent,
                        "ProjectionExpression": "#key, #value, #expires_at",
                        "ExpressionAttributeNames": {"#key": KEY, "#value": VALUE, "#expires_at": EXPIRES_AT},
                    }
                },
                ReturnConsumedCapacity="TOTAL",
            )
            _check_answer(response)
            unprocessed = {key[KEY]["S"] for table in response["UnprocessedKeys"].values() for key in table["Keys"]}
            values: dict[str, bytes | None] = {key: None for key in keys if key not in unprocessed}
            for items in response["Responses"].values():
                for item in items:
                    key = item[KEY]["S"]
                    try:
                        values[key] = _value(item)
                    except StoreFailed:
                        values.pop(key, None)
            return values


def _check_answer(response: "Mapping[str, object]") -> None:
    """Refuses what is no answer of DynamoDB's.

    botocore takes any body that comes with status 200, also a truncated one and a proxy's page, for an answer without
    items. The capacity that we ask for is in every answer of DynamoDB's own.
    """
    if "ConsumedCapacity" not in response:
        raise StoreFailed("DynamoDB's answer cannot be read")


def _value(item: "Mapping[str, AttributeValueTypeDef]") -> bytes | None:
    match item.get(EXPIRES_AT):
        case None:
            pass
        case {"N": str(seconds)}:
            if float(seconds) <= time.time():
                return None
        case other:
            raise StoreFailed("an item of the memory cannot be read") from _wrong(EXPIRES_AT, other, "N")
    match item.get(VALUE):
        case {"S": str(text)}:
            return text.encode()
        case {"B": bytes(raw)}:
            return raw
        case other:
            raise StoreFailed("an item of the memory cannot be read") from _wrong(VALUE, other, "S or B")


def _wrong(attribute: str, value: Any, expected: str) -> Exception:
    """The cause, for the log: types only, since values are nobody's business there."""
    return TypeError(
        f"attribute {attribute!r} has the type {next(iter(value), None) if value else None}, expected {expected}"
    )
