"""The contents of a memory table: reads, writes, lists and loads items."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from handler.memory.dynamodb import KEY
from handler.memory.dynamodb_errors import THROTTLES
from infra.errors import CommandError
from infra.items import Item, ItemError, check_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import WriteRequestUnionTypeDef

BATCH_ITEMS = 25
"""Most items of one BatchWriteItem (DynamoDB API Reference)."""
BATCH_ATTEMPTS = 10
"""How often one batch is sent while DynamoDB throttles it, or leaves some of its items unprocessed."""
BACKOFF_SECONDS = 0.05
"""The longest wait before the second attempt; it doubles with each one, up to the next figure."""
LONGEST_BACKOFF_SECONDS = 5.0


class TableError(CommandError):
    """DynamoDB refused, broke or cannot be reached; the message names the table and the reason."""


class LoadError(TableError):
    """A load ended early, be it by Ctrl-C.

    Attributes:
        written: How many items, from the first on, are written for certain: a later load can begin there.
    """

    def __init__(self, message: str, written: int) -> None:
        super().__init__(message)
        self.written = written


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        items: The items, in DynamoDB's order, which is not that of the keys.
        unreadable: One message for each item that the function could not read either.
        after: What to ask the next page with, or None where there is none.
    """

    items: tuple[Item, ...]
    unreadable: tuple[str, ...]
    after: str | None


class MemoryTable:
    """A memory table.

    All methods raise `TableError` where DynamoDB does not do what is asked, and `ItemError` for a key or an item that
    does not have the table's form.

    Args:
        client: A boto3 DynamoDB client.
        name: The table's name or ARN.
    """

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    def get(self, key: str) -> Item | None:
        """Reads an item, strongly consistent; one that has expired is there until DynamoDB deletes it."""
        check_key(key)
        with self._told():
            response = self._client.get_item(TableName=self._name, Key={KEY: {"S": key}}, ConsistentRead=True)
        attributes = response.get("Item")
        return None if attributes is None else Item.from_attributes(attributes)

    def put(self, item: Item) -> None:
        """Writes an item, in place of one with the same key."""
        with self._told():
            self._client.put_item(TableName=self._name, Item=item.to_attributes())

    def delete(self, key: str) -> bool:
        """Deletes an item and returns whether it was there."""
        check_key(key)
        with self._told():
            response = self._client.delete_item(TableName=self._name, Key={KEY: {"S": key}}, ReturnValues="ALL_OLD")
        return bool(response.get("Attributes"))

    def list_items(self, prefix: str = "", *, limit: int = 100, after: str | None = None) -> Page:
        """Lists items, eventually consistent.

        DynamoDB has no order of partition keys: it reads the table from where the page begins until the page is full,
        and bills for all that it has read, whatever the prefix.

        Args:
            prefix: What the keys begin with.
            limit: Most items of the page, 1 or more.
            after: The `after` of the page before.
        """
        for name, key in (("prefix", prefix or None), ("the key to go on after", after)):
            if key is not None:
                check_key(key, name)
        arguments: dict[str, Any] = {"TableName": self._name}
        if prefix:
            arguments["FilterExpression"] = "begins_with(#key, :prefix)"
            arguments["ExpressionAttributeNames"] = {"#key": KEY}
            arguments["ExpressionAttributeValues"] = {":prefix": {"S": prefix}}
        else:
            arguments["Limit"] = limit
        if after is not None:
            arguments["ExclusiveStartKey"] = {KEY: {"S": after}}
        found: list[dict[str, Any]] = []
        while True:
            with self._told():
                response = self._client.scan(**arguments)
            found += response["Items"]
            last = response.get("LastEvaluatedKey")
            if not last or len(found) >= limit:
                break
            arguments["ExclusiveStartKey"] = last
        more = bool(last) or len(found) > limit
        return _page(found[:limit], more=more)

    def load(
        self,
        items: Sequence[Item],
        progress: Callable[[int], None] | None = None,
        *,
        start: int = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Writes items in batches, each in place of one with the same key.

        Items that DynamoDB leaves unprocessed are sent again after a wait that grows, as its developer guide asks for;
        boto3's own batch writer would send them again at once and without end.

        Args:
            items: What to write; no key twice.
            progress: Is told how many more items are written, after every answer.
            start: How many items to pass over, such as the `written` of a load that ended early.
            sleep: Waits for a number of seconds.

        Raises:
            LoadError: Not everything is written.
        """
        for written in range(start, len(items), BATCH_ITEMS):
            try:
                self._write_batch(items[written : written + BATCH_ITEMS], progress, sleep)
            except (TableError, KeyboardInterrupt) as error:
                message = f"{str(error) or 'interrupted'}; {written} of {len(items)} items are written for certain"
                raise LoadError(message, written) from error

    def _write_batch(
        self, items: Sequence[Item], progress: Callable[[int], None] | None, sleep: Callable[[float], None]
    ) -> None:
        requests: list[WriteRequestUnionTypeDef] = [{"PutRequest": {"Item": item.to_attributes()}} for item in items]

        def send() -> int:
            """Sends what is left and returns how many items DynamoDB leaves: all of a batch that it throttles."""
            with self._told():
                try:
                    response = self._client.batch_write_item(RequestItems={self._name: requests})
                except ClientError as error:
                    if error.response.get("Error", {}).get("Code") not in THROTTLES:
                        raise
                    return len(requests)
            sent = len(requests)
            requests[:] = [request for left in response["UnprocessedItems"].values() for request in left]
            if progress:
                progress(sent - len(requests))
            return len(requests)

        until_nothing_is_left = Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_attempt(BATCH_ATTEMPTS),
            # Random waits spread clients out that were throttled together.
            wait=wait_random_exponential(multiplier=BACKOFF_SECONDS, max=LONGEST_BACKOFF_SECONDS),
            sleep=sleep,
            retry_error_callback=lambda last: last.outcome and last.outcome.result(),
        )
        if left := until_nothing_is_left(send):
            raise TableError(
                f"table {self._name}: DynamoDB throttles, {left} items are left after {BATCH_ATTEMPTS} attempts"
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what boto3 raises into what a user can act on."""
        try:
            yield
        except ClientError as error:
            raise TableError(f"table {self._name}: {self._explain(error)}") from error
        except BotoCoreError as error:
            raise TableError(f"table {self._name}: DynamoDB cannot be asked: {error}") from error

    def _explain(self, error: ClientError) -> str:
        details = error.response.get("Error", {})
        code, message = details.get("Code", "Unknown"), details.get("Message", "")
        if code == "ResourceNotFoundException":
            meta = self._client.meta
            return f"there is no such table in {meta.region_name} at {meta.endpoint_url}"
        return f"DynamoDB refused {error.operation_name}: {code}: {message}"


def _page(found: Sequence[dict[str, Any]], *, more: bool) -> Page:
    items, unreadable = [], []
    for attributes in found:
        try:
            items.append(Item.from_attributes(attributes))
        except ItemError as error:
            unreadable.append(str(error))
    return Page(tuple(items), tuple(unreadable), found[-1][KEY]["S"] if more and found else None)
