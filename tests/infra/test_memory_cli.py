"""`extism-lambda memory` against a real DynamoDB over HTTP (moto's server), as its user meets it."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from botocore.config import Config

from infra import connection, table
from infra.connection import TABLE
from infra.items import Item
from infra.local_dynamodb import LocalDynamoDB, local_dynamodb
from infra.table import MemoryTable
from tests.command_line import SCRIPT, SECONDS, CommandLine, Outcome
from tests.throttling import throttling

BYTES = bytes(range(256))
ITEMS = [Item(f"{'even' if number % 2 == 0 else 'odd'}/{number:03}", str(number)) for number in range(60)]


class Memory(Protocol):
    """Runs `extism-lambda memory`, by default at the server's endpoint."""

    def __call__(self, *arguments: str | Path, stdin: bytes = b"", endpoint: str | None = None) -> Outcome:
        """Runs one command."""
        ...


@pytest.fixture(scope="module")
def server() -> Iterator[LocalDynamoDB]:
    """A DynamoDB with an empty table."""
    with local_dynamodb(seed=None) as dynamodb:
        yield dynamodb


@pytest.fixture
def contents(server: LocalDynamoDB) -> Iterator[MemoryTable]:
    """The table itself, which is empty before and after a test."""
    client = server.client()
    yield MemoryTable(client, TABLE)
    for item in client.scan(TableName=TABLE)["Items"]:
        client.delete_item(TableName=TABLE, Key={"key": item["key"]})
    client.close()


@pytest.fixture
def memory(
    server: LocalDynamoDB,
    contents: MemoryTable,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Memory:
    """The commands."""
    run = CommandLine(monkeypatch, capfdbinary)

    def call(*arguments: str | Path, stdin: bytes = b"", endpoint: str | None = None) -> Outcome:
        environ = {"AWS_ENDPOINT_URL_DYNAMODB": endpoint or server.endpoint}
        outcome = run("memory", *arguments, stdin=stdin, **environ)
        assert "Traceback" not in outcome.err
        return outcome

    return call


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 asks once, so that the test need not wait for its attempts."""
    impatient = connection.PATIENCE.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
    monkeypatch.setattr(connection, "PATIENCE", impatient)


@pytest.fixture
def sixty(tmp_path: Path) -> Path:
    """A file of sixty items."""
    path = tmp_path / "sixty.json"
    path.write_text(json.dumps([item.to_entry() for item in ITEMS]))
    return path


class TestPutAndGet:
    """One item, in and out."""

    @pytest.mark.parametrize(
        ("arguments", "stdin", "expected"),
        [
            (("k", "a text 🌍"), b"", "a text 🌍"),
            (("k", ""), b"", ""),
            (("k", "--base64", base64.b64encode(BYTES).decode()), b"", BYTES),
            (("k", "--file", "-"), "from stdin ü".encode(), "from stdin ü"),
            (("k", "--file", "-"), BYTES, BYTES),
            (("--", "k", "-1"), b"", "-1"),
        ],
    )
    def test_a_value_comes_back_byte_for_byte(
        self, memory: Memory, contents: MemoryTable, arguments: tuple[str, ...], stdin: bytes, expected: str | bytes
    ) -> None:
        """Text and bytes, given in each way; what is text is text in the table."""
        assert memory("put", *arguments, stdin=stdin).code == 0

        assert contents.get("k") == Item("k", expected)
        raw = expected.encode() if isinstance(expected, str) else expected
        assert memory("get", "k").out == raw
        assert base64.b64decode(memory("get", "k", "--base64").out) == raw

    def test_a_file(self, memory: Memory, contents: MemoryTable, tmp_path: Path) -> None:
        """Its bytes are the value."""
        (tmp_path / "value").write_bytes(BYTES)
        assert memory("put", "k", "--file", tmp_path / "value").code == 0
        assert contents.get("k") == Item("k", BYTES)

    def test_a_time_to_live(self, memory: Memory, contents: MemoryTable) -> None:
        """--ttl counts from now, --expires-at is the time itself, and an expired key is not there any more."""
        before = int(time.time())
        assert memory("put", "soon", "v", "--ttl", "100").code == 0
        item = contents.get("soon")
        assert item is not None
        assert item.expires_at is not None
        assert before + 100 <= item.expires_at <= time.time() + 100
        assert memory("put", "past", "v", "--expires-at", "100").code == 0
        outcome = memory("get", "past")
        assert (outcome.code, outcome.out) == (1, b"")
        assert "expired 1970-01-01 00:01:40Z" in outcome.err

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("k",), "in exactly one way"),
            (("k", "v", "--base64", "YQ=="), "in exactly one way"),
            (("k", "v", "--ttl", "1", "--expires-at", "1"), "not both"),
            (("k", "--base64", "a"), "--base64: 'a' is not allowed: expected base64"),
            (("k", "v", "--expires-at", "1800000000000"), "expires_at 1800000000000 is not allowed"),
            (("", "v"), "key '' has 0 bytes"),
            (("k" * 2049, "v"), "has 2049 bytes: 1 to 2048 are allowed"),
            (("k", "v" * 409_600), "at most 409600 are allowed"),
            (("k", "--file", "/nowhere/at/all"), "/nowhere/at/all cannot be read: No such file or directory"),
        ],
    )
    def test_what_is_wrong_is_told_and_not_written(
        self, memory: Memory, contents: MemoryTable, arguments: tuple[str, ...], told: str
    ) -> None:
        """The message says what is allowed, and the table stays as it was."""
        outcome = memory("put", *arguments)

        assert (outcome.code, outcome.out) == (1, b"")
        assert told in outcome.err
        assert contents.list_items().items == ()

    def test_a_ttl_of_nothing_is_no_ttl(self, memory: Memory, contents: MemoryTable) -> None:
        """An option that is out of range is not understood: exit code 2."""
        assert memory("put", "k", "v", "--ttl", "0").code == 2
        assert contents.list_items().items == ()


def test_delete(memory: Memory, contents: MemoryTable) -> None:
    """It says whether there was something to delete."""
    contents.put(Item("k", "v"))
    assert memory("delete", "k").code == 0
    assert contents.get("k") is None
    again = memory("delete", "k")
    assert again.code == 1
    assert "there is no key 'k'" in again.err


class TestList:
    """Lists."""

    def test_pages_follow_each_other(self, memory: Memory, contents: MemoryTable) -> None:
        """--after takes the list on where the last one ended, and the hint names it, until everything was listed."""
        contents.load(ITEMS)
        listed: list[str] = []
        after: tuple[str, ...] = ()
        for _ in range(4):
            outcome = memory("list", "--prefix", "even/", "--limit", "9", "--json", *after)
            assert outcome.code == 0
            listed += [json.loads(line)["key"] for line in outcome.text.splitlines()]
            if "go on with --after" not in outcome.err:
                break
            after = ("--after", listed[-1])
            assert f"--after {listed[-1]}" in outcome.err
        assert sorted(listed) == [item.key for item in ITEMS if item.key.startswith("even/")]

    def test_json_can_be_loaded_again(self, memory: Memory, contents: MemoryTable, tmp_path: Path) -> None:
        """Text, bytes and expiry make the round trip through a file."""
        items = {Item("text", "ü"), Item("bytes", BYTES), Item("expiring", "v", 4_000_000_000)}
        contents.load(list(items))
        lines = memory("list", "--json").text.splitlines()
        for item in items:
            contents.delete(item.key)
        (tmp_path / "items.json").write_text(f"[{','.join(lines)}]")
        assert memory("load", tmp_path / "items.json").code == 0
        assert set(contents.list_items().items) == items

    def test_a_table_for_people(self, memory: Memory, contents: MemoryTable) -> None:
        """Control characters do not reach the terminal; bytes and expiry are told."""
        contents.load([Item("text", "a\x1b[31mb [red]"), Item("bytes", BYTES), Item("past", "v", 100)])
        text = memory("list").text
        assert "a\\x1b[31mb [red]" in text
        assert "(bytes)" in text
        assert "expired 1970-01-01" in text

    def test_long_values_leave_room_for_the_keys(
        self, memory: Memory, contents: MemoryTable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a terminal's 80 columns the value is what is cut."""
        monkeypatch.setenv("COLUMNS", "80")
        contents.load([Item("a/key/that/is/not/so/short", "v" * 1000)])
        text = memory("list").text
        assert "a/key/that/is/not/so/short  vvvvvvvv" in text
        assert "1,000" in text
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80

    def test_an_item_that_the_function_cannot_read(
        self, memory: Memory, contents: MemoryTable, server: LocalDynamoDB
    ) -> None:
        """It is told beside the others, and the exit code is 1."""
        contents.put(Item("fine", "v"))
        server.client().put_item(TableName=TABLE, Item={"key": {"S": "odd"}, "value": {"N": "1"}})
        outcome = memory("list", "--json")
        assert outcome.code == 1
        assert json.loads(outcome.text)["key"] == "fine"
        assert "key 'odd': attribute 'value' has the type N" in outcome.err

    @pytest.mark.parametrize("arguments", [("--after", ""), ("--prefix", "k" * 2049)])
    def test_what_no_key_can_be_is_refused(self, memory: Memory, arguments: tuple[str, ...]) -> None:
        """The message says what is allowed."""
        outcome = memory("list", *arguments)
        assert outcome.code == 1
        assert "1 to 2048 are allowed" in outcome.err


class TestLoad:
    """Files of items."""

    def test_everything_is_written(self, memory: Memory, contents: MemoryTable, sixty: Path) -> None:
        """The table named by --table holds the file's items."""
        outcome = memory("load", sixty, "--table", TABLE)
        assert (outcome.code, outcome.text) == (0, f"Written: 60 of 60 items of {sixty}\n")
        assert set(contents.list_items().items) == set(ITEMS)

    def test_a_terminal_shows_a_progress_bar(self, server: LocalDynamoDB, contents: MemoryTable, sixty: Path) -> None:
        """On stderr, counting items up to all; standard output has the result alone."""
        terminal, other_end = os.openpty()
        try:
            done = subprocess.run(
                [SCRIPT, "memory", "load", sixty],
                env=os.environ | {"AWS_ENDPOINT_URL_DYNAMODB": server.endpoint, "TERM": "xterm"},
                stdout=subprocess.PIPE,
                stderr=other_end,
                timeout=SECONDS,
                check=True,
            )
            shown = os.read(terminal, 65536).decode()
        finally:
            os.close(terminal)
            os.close(other_end)
        assert done.stdout.decode().startswith("Written: 60 of 60 items")
        assert "Loading" in shown
        assert "/60" in shown

    def test_a_dry_run_writes_nothing(self, memory: Memory, contents: MemoryTable, sixty: Path) -> None:
        """It checks the file and tells what there is to write; no table has to be there."""
        outcome = memory("load", sixty, "--dry-run", "--table", "nobodys", endpoint="http://127.0.0.1:9")
        assert outcome.code == 0
        assert "60 items, " in outcome.text
        assert "Nothing was written" in outcome.text
        assert contents.list_items().items == ()

    @pytest.mark.usefixtures("one_attempt")
    def test_a_table_that_throttles_gets_everything_once(
        self, memory: Memory, contents: MemoryTable, server: LocalDynamoDB, sixty: Path
    ) -> None:
        """Batches that DynamoDB refuses whole, or takes in part, are sent again until everything is there."""
        with throttling(server.endpoint, [0, 3, 0, 10, 25, 0, 1]) as (endpoint, taken):
            outcome = memory("load", sixty, endpoint=endpoint)
        assert (outcome.code, outcome.err) == (0, "")
        assert sorted(taken) == sorted(item.key for item in ITEMS)
        assert set(contents.list_items().items) == set(ITEMS)

    @pytest.mark.usefixtures("one_attempt")
    def test_a_load_goes_on_where_it_ended(
        self,
        memory: Memory,
        contents: MemoryTable,
        server: LocalDynamoDB,
        sixty: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A table that takes nothing more ends it; the message names the option that writes the rest, and only that."""
        monkeypatch.setattr(table, "BATCH_ATTEMPTS", 3)
        with throttling(server.endpoint, [25, 4], afterwards=0) as (endpoint, _):
            outcome = memory("load", sixty, endpoint=endpoint)
        assert (outcome.code, outcome.out) == (1, b"")
        assert "DynamoDB throttles, 21 items are left after 3 attempts" in outcome.err
        assert "go on with --from 25" in outcome.err
        assert len(contents.list_items().items) == 29

        with throttling(server.endpoint, []) as (endpoint, taken):
            assert memory("load", sixty, "--from", "25", endpoint=endpoint).text.startswith("Written: 35 of 60")
        assert sorted(taken) == sorted(item.key for item in ITEMS[25:])
        assert set(contents.list_items().items) == set(ITEMS)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("{}", "holds an object: expected a list of items"),
            ("[", "is not JSON"),
            ('[{"key": "fine", "value": "v"}, {"key": "k"}]', "item 1: there is neither of the fields"),
            (
                '[{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]',
                "item 1: field 'key': 'k' is item 0's already",
            ),
            ('[{"key": "fine", "value": "v"}, {"key": "", "value": "v"}]', "item 1: key '' has 0 bytes"),
        ],
    )
    def test_one_wrong_item_and_nothing_is_written(
        self, memory: Memory, contents: MemoryTable, tmp_path: Path, text: str, told: str
    ) -> None:
        """Not even those before it; the message names the item, with and without --dry-run."""
        file = tmp_path / "items.json"
        file.write_text(text)
        for options in ((), ("--dry-run",)):
            outcome = memory("load", file, *options)
            assert (outcome.code, outcome.out) == (1, b"")
            assert told in outcome.err
        assert contents.list_items().items == ()

    def test_a_start_beyond_the_file_is_refused(self, memory: Memory, sixty: Path) -> None:
        """The message tells how many items there are."""
        outcome = memory("load", sixty, "--from", "61")
        assert outcome.code == 1
        assert "--from 61 is not allowed" in outcome.err
        assert "60 items" in outcome.err

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--table", "nobodys"), "table nobodys: there is no such table in eu-central-1 at http://127.0.0.1"),
            (("--table", "no table"), "--table='no table' is not allowed"),
        ],
    )
    def test_a_table_that_is_not_there(self, memory: Memory, sixty: Path, options: tuple[str, ...], told: str) -> None:
        """The message names it, and where it was looked for."""
        outcome = memory("load", sixty, *options)
        assert outcome.code == 1
        assert told in outcome.err
