"""The contents of a memory table, against moto in this process and over HTTP."""

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber
from moto import mock_aws

from infra.items import Item, ItemError
from infra.local_dynamodb import local_dynamodb
from infra.table import BATCH_ATTEMPTS, LoadError, MemoryTable, TableError
from infra.template import Template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NAME = "memory-of-a-test"
ITEMS = [Item(f"{'even' if number % 2 == 0 else 'odd'}/{number:03}", str(number)) for number in range(60)]


def client_of(endpoint: str | None = None) -> "DynamoDBClient":
    """A client that does not wait for long."""
    return boto3.client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module", params=["in-process", "http"])
def client(request: pytest.FixtureRequest) -> Iterator["DynamoDBClient"]:
    """A client of a table, once patched by moto and once over HTTP."""
    if request.param == "http":
        with local_dynamodb(table=NAME, seed=None) as dynamodb:
            yield dynamodb.client()
        return
    with mock_aws():
        client = client_of()
        client.create_table(**Template.read().table(NAME))
        yield client


@pytest.fixture
def table(client: "DynamoDBClient") -> Iterator[MemoryTable]:
    """The table, which is empty before and after a test."""
    yield MemoryTable(client, NAME)
    for item in client.scan(TableName=NAME)["Items"]:
        client.delete_item(TableName=NAME, Key={"key": item["key"]})


class TestContents:
    """Items of a real table."""

    @pytest.mark.parametrize(
        "item",
        [
            Item("text", "👋 Hello World 🌍"),
            Item("bytes", bytes(range(256))),
            Item("empty text", ""),
            Item("empty bytes", b""),
            Item("expired", "long ago", 1),
            Item("ключ 🔑", "v", 1_800_000_000),
        ],
        ids=lambda item: item.key,
    )
    def test_an_item_comes_back_as_it_was_put(self, table: MemoryTable, item: Item) -> None:
        """Whatever the value, and also when it has expired."""
        table.put(item)
        assert table.get(item.key) == item

    def test_a_put_replaces(self, table: MemoryTable) -> None:
        """The later of two items with one key stays, without a trace of the earlier."""
        table.put(Item("k", "old", 1_800_000_000))
        table.put(Item("k", b"new"))
        assert table.get("k") == Item("k", b"new")

    def test_a_key_that_is_not_there(self, table: MemoryTable) -> None:
        """It has no item, and deleting it says so."""
        assert table.get("nothing") is None
        assert table.delete("nothing") is False

    def test_a_deleted_item_is_gone(self, table: MemoryTable) -> None:
        """Deleting says that there was one, once."""
        table.put(Item("k", "v"))
        assert table.delete("k") is True
        assert table.get("k") is None
        assert table.delete("k") is False

    @pytest.mark.parametrize("key", ["", "k" * 2049, "\ud800"])
    def test_a_key_that_cannot_be_is_refused(self, table: MemoryTable, key: str) -> None:
        """Before DynamoDB is asked, whose own message would say less."""
        with pytest.raises(ItemError):
            table.get(key)
        with pytest.raises(ItemError):
            table.delete(key)

    def test_an_item_in_another_form(self, table: MemoryTable, client: "DynamoDBClient") -> None:
        """What others wrote and the function cannot read is told by a get, and beside the others by a list."""
        table.put(Item("fine", "v"))
        client.put_item(TableName=NAME, Item={"key": {"S": "odd"}, "value": {"N": "1"}})
        with pytest.raises(ItemError, match="key 'odd': attribute 'value' has the type N"):
            table.get("odd")
        page = table.list_items()
        assert page.items == (Item("fine", "v"),)
        assert page.unreadable == ("key 'odd': attribute 'value' has the type N: expected S or B",)


class TestList:
    """Lists, page by page."""

    def test_an_empty_table(self, table: MemoryTable) -> None:
        """There is one page, with nothing in it."""
        page = table.list_items()
        assert (page.items, page.unreadable, page.after) == ((), (), None)

    @pytest.mark.parametrize(
        ("prefix", "limit"), [("", 7), ("", 60), ("", 61), ("even/", 7), ("even/", 30), ("even/01", 1), ("nothing/", 5)]
    )
    def test_pages_hold_everything_once(self, table: MemoryTable, prefix: str, limit: int) -> None:
        """All pages together are the items with the prefix, none twice, and only the last one may be short."""
        table.load(ITEMS)
        pages = [table.list_items(prefix, limit=limit)]
        while (after := pages[-1].after) is not None:
            pages.append(table.list_items(prefix, limit=limit, after=after))
        listed = [item for page in pages for item in page.items]
        expected = [item for item in ITEMS if item.key.startswith(prefix)]
        assert sorted(listed, key=lambda item: item.key) == sorted(expected, key=lambda item: item.key)
        assert all(len(page.items) == limit for page in pages[:-1])
        assert len(pages[-1].items) <= limit

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({"after": ""}, "the key to go on after '' has 0 bytes"),
            ({"after": "k" * 2049}, "the key to go on after .* has 2049 bytes"),
            ({"prefix": "k" * 2049}, "prefix .* has 2049 bytes"),
            ({"prefix": "\udcff"}, "prefix holds half of a surrogate pair"),
        ],
    )
    def test_what_no_key_can_be_is_refused(self, arguments: dict[str, str], told: str) -> None:
        """Before DynamoDB is asked."""
        with pytest.raises(ItemError, match=told):
            MemoryTable(client_of("http://127.0.0.1:9"), NAME).list_items(**arguments)  # type: ignore[arg-type]

    def test_pages_that_dynamodb_ends_early_are_put_together(self) -> None:
        """A scan that stops after 1 MB, even with nothing found, goes on until the page is full."""
        client = client_of("http://127.0.0.1:9")
        start = {"key": {"S": "x"}}
        with Stubber(client) as stubber:
            expected = {
                "TableName": NAME,
                "FilterExpression": "begins_with(#key, :prefix)",
                "ExpressionAttributeNames": {"#key": "key"},
                "ExpressionAttributeValues": {":prefix": {"S": "a"}},
            }
            stubber.add_response("scan", {"Items": [], "LastEvaluatedKey": start}, expected)
            found = [Item(f"a{number}", "v").to_attributes() for number in range(3)]
            stubber.add_response("scan", {"Items": found}, expected | {"ExclusiveStartKey": start})
            page = MemoryTable(client, NAME).list_items("a", limit=2)
            stubber.assert_no_pending_responses()
        assert [item.key for item in page.items] == ["a0", "a1"]
        assert page.after == "a1"


class TestLoad:
    """Writes of many items."""

    @pytest.mark.parametrize("count", [0, 1, 25, 26, 60])
    def test_everything_is_written(self, table: MemoryTable, count: int) -> None:
        """All items are there, and the progress adds up to them."""
        progress: list[int] = []
        table.load(ITEMS[:count], progress.append)
        assert sum(progress) == count
        assert set(table.list_items().items) == set(ITEMS[:count])

    def test_loading_again_changes_nothing(self, table: MemoryTable) -> None:
        """A load that is repeated, or begun again from its start, gives the same table."""
        table.load(ITEMS)
        table.load(ITEMS)
        assert set(table.list_items().items) == set(ITEMS)

    def test_ctrl_c_says_where_to_begin_again(self, table: MemoryTable) -> None:
        """An interruption between two batches leaves a load that goes on with the next item."""

        def interrupt(_: int) -> None:
            if len(table.list_items().items) > 25:
                raise KeyboardInterrupt

        with pytest.raises(LoadError, match="interrupted; 25 of 60 items are written for certain") as raised:
            table.load(ITEMS, interrupt)
        table.load(ITEMS, start=raised.value.written)
        assert set(table.list_items().items) == set(ITEMS)

    def test_unprocessed_items_are_sent_again_alone(self) -> None:
        """What DynamoDB leaves is sent again after waits that may grow, and is counted once."""
        requests = puts(ITEMS[:3])
        progress: list[int] = []
        waits: list[float] = []
        client = client_of("http://127.0.0.1:9")
        with Stubber(client) as stubber:
            answer(stubber, requests, left=requests[1:])
            answer(stubber, requests[1:], left=requests[1:])
            answer(stubber, requests[1:], left=[])
            MemoryTable(client, NAME).load(ITEMS[:3], progress.append, sleep=waits.append)
            stubber.assert_no_pending_responses()
        assert progress == [1, 0, 2]
        assert len(waits) == 2
        assert 0 <= waits[0] <= 0.05
        assert 0 <= waits[1] <= 0.1

    def test_waits_have_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A table that never takes an item ends the load after ten attempts, with waits of at most 5 s."""
        monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
        requests = puts(ITEMS[:1])
        waits: list[float] = []
        client = client_of("http://127.0.0.1:9")
        with Stubber(client) as stubber:
            for _ in range(BATCH_ATTEMPTS):
                answer(stubber, requests, left=requests)
            with pytest.raises(LoadError, match="throttles, 1 items are left after 10 attempts; 0 of 1 items"):
                MemoryTable(client, NAME).load(ITEMS[:1], sleep=waits.append)
        assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]

    def test_a_throttled_batch_is_sent_again_whole(self) -> None:
        """DynamoDB's refusal of a whole batch is waited out as what it leaves of one is."""
        requests = puts(ITEMS[:2])
        waits: list[float] = []
        client = client_of("http://127.0.0.1:9")
        with Stubber(client) as stubber:
            stubber.add_client_error("batch_write_item", "ThrottlingException", "slow down")
            answer(stubber, requests, left=requests[:1])
            stubber.add_client_error("batch_write_item", "ProvisionedThroughputExceededException", "slow down")
            answer(stubber, requests[:1], left=[])
            MemoryTable(client, NAME).load(ITEMS[:2], sleep=waits.append)
            stubber.assert_no_pending_responses()
        assert len(waits) == 3

    def test_a_load_that_fails_says_where_to_begin_again(self) -> None:
        """The error counts the batches that are written for certain, and a load from there writes the rest."""
        client = client_of("http://127.0.0.1:9")
        table = MemoryTable(client, NAME)
        with Stubber(client) as stubber:
            answer(stubber, puts(ITEMS[:25]), left=[])
            stubber.add_client_error("batch_write_item", "InternalServerError", "try later")
            with pytest.raises(LoadError, match=r"InternalServerError.*25 of 60 items") as raised:
                table.load(ITEMS)
            assert raised.value.written == 25
            answer(stubber, puts(ITEMS[25:50]), left=[])
            stubber.add_client_error("batch_write_item", "InternalServerError", "try later")
            with pytest.raises(LoadError, match=r"50 of 60 items"):
                table.load(ITEMS, start=25)
            answer(stubber, puts(ITEMS[50:]), left=[])
            table.load(ITEMS, start=50)
            stubber.assert_no_pending_responses()


class TestFailures:
    """What a user is told when DynamoDB does not do what is asked."""

    OPERATIONS: tuple[Callable[[MemoryTable], Any], ...] = (
        lambda table: table.get("k"),
        lambda table: table.put(Item("k", "v")),
        lambda table: table.delete("k"),
        lambda table: table.list_items(),
        lambda table: table.load([Item("k", "v")]),
    )

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_table_that_is_not_there(self, client: "DynamoDBClient", operation: Callable[[MemoryTable], Any]) -> None:
        """The message names the table, the region and the endpoint that were asked."""
        with pytest.raises(TableError) as raised:
            operation(MemoryTable(client, "another"))
        told = f"table another: there is no such table in us-east-1 at {client.meta.endpoint_url}"
        assert str(raised.value).startswith(told)

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_no_answer(self, operation: Callable[[MemoryTable], Any]) -> None:
        """An endpoint where nobody listens is named."""
        with pytest.raises(TableError, match=r"table any: DynamoDB cannot be asked: .*127\.0\.0\.1:9"):
            operation(MemoryTable(client_of("http://127.0.0.1:9"), "any"))

    def test_a_refusal(self) -> None:
        """DynamoDB's own code and message are passed on, with the operation."""
        client = client_of("http://127.0.0.1:9")
        with Stubber(client) as stubber:
            stubber.add_client_error("get_item", "AccessDeniedException", "not you")
            with pytest.raises(TableError) as raised:
                MemoryTable(client, NAME).get("k")
        assert str(raised.value) == f"table {NAME}: DynamoDB refused GetItem: AccessDeniedException: not you"


def puts(items: list[Item]) -> list[dict[str, Any]]:
    """The write requests of items."""
    return [{"PutRequest": {"Item": item.to_attributes()}} for item in items]


def answer(stubber: Stubber, requests: list[dict[str, Any]], *, left: list[dict[str, Any]]) -> None:
    """Expects one batch of requests, and leaves some of them unprocessed."""
    response = {"UnprocessedItems": {NAME: left} if left else {}}
    stubber.add_response("batch_write_item", response, {"RequestItems": {NAME: requests}})
