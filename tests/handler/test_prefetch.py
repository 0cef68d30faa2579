"""What is read together from DynamoDB, as it goes over the wire: guest, service, store, boto3 and moto's server."""

import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from handler.deadline import Deadline
from handler.errors import MemoryAccessDenied, PluginTrapped
from handler.memory.dynamodb import DynamoDBStore
from tests import guests, tables
from tests.conftest import MakePlugin, MakeService

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from handler.service import PluginService

FAR = Deadline.after(3600)
READS_TWO = guests.module(
    """(data (i32.const 0) "hello") (data (i32.const 8) "message")
    (func $join (param $one i64) (param $two i64) (result i64)
      (local $block i64) (local $size i64) (local $i i64)
      (local.set $size (call $length (local.get $one)))
      (local.set $block (call $alloc (i64.add (local.get $size) (call $length (local.get $two)))))
      (loop $copy
        (if (i64.lt_u (local.get $i) (local.get $size)) (then
          (call $store_u8 (i64.add (local.get $block) (local.get $i))
            (call $load_u8 (i64.add (local.get $one) (local.get $i))))
          (local.set $i (i64.add (local.get $i) (i64.const 1))) (br $copy))))
      (local.set $i (i64.const 0))
      (loop $copy
        (if (i64.lt_u (local.get $i) (call $length (local.get $two))) (then
          (call $store_u8 (i64.add (i64.add (local.get $block) (local.get $size)) (local.get $i))
            (call $load_u8 (i64.add (local.get $two) (local.get $i))))
          (local.set $i (i64.add (local.get $i) (i64.const 1))) (br $copy))))
      (local.get $block))
    (func $both (result i64)
      (call $join
        (call $get (call $text (i32.const 0) (i32.const 5))) (call $get (call $text (i32.const 8) (i32.const 7)))))
    (func (export "run") (result i32) (call $answer (call $both)) (i32.const 0))
    (func (export "either") (result i32)
      (call $answer (call $both))
      (if (i64.ne (call $input_length) (i64.const 0)) (then unreachable))
      (i32.const 0))
    (func (export "get") (result i32) (call $answer (call $get (call $input_offset))) (i32.const 0))""",
    imports=guests.MEMORY_GET,
)
"""`run` answers with the values of `hello` and `message`, one behind the other.

`either` does so too, and then traps if it has an input; `get` answers with the value of the key that its input is.
"""


class Wire:
    """A table of its own on moto's server, and every request that the store's client sends to it.

    Attributes:
        sent: The operations, in order.
    """

    def __init__(self, endpoint: str) -> None:
        self.client: DynamoDBClient = tables.create_client(endpoint)
        self.table = f"memory-{uuid.uuid4()}"
        self.sent: list[str] = []
        tables.create_table(self.client, self.table)
        self.put("hello", "one")
        self.put("message", b"\xfftwo")
        self.client.meta.events.register("before-send.dynamodb", self._note)

    def put(self, key: str, value: bytes | str, **attributes: Any) -> None:
        """Puts an item."""
        tables.put(self.client, key, value, self.table, **attributes)

    def since(self) -> list[str]:
        """The reads that were sent since the last look, in order."""
        reads = [operation for operation in self.sent if "Get" in operation]
        self.sent.clear()
        return reads

    def _note(self, request: Any, **_: Any) -> None:
        target = request.headers["X-Amz-Target"]
        self.sent.append((target.decode() if isinstance(target, bytes) else target).rpartition(".")[2])


@pytest.fixture
def wire(moto_endpoint: str) -> Iterator[Wire]:
    """A table on moto's server."""
    wire = Wire(moto_endpoint)
    yield wire
    wire.client.delete_table(TableName=wire.table)
    wire.client.close()


@pytest.fixture
def service(wire: Wire, make_plugin: MakePlugin, make_service: MakeService) -> "PluginService":
    """The service over that table."""
    make_plugin("two", READS_TWO, functions=["run", "either", "get"], memory={"read": ["hello", "message"]})
    return make_service(DynamoDBStore(wire.client, wire.table))


def run(service: "PluginService", function: str = "run", data: bytes = b"") -> bytes:
    """Calls a function of the plugin."""
    return service.run(service.find("two", function), data, FAR)


def test_the_second_call_reads_everything_at_once(wire: Wire, service: "PluginService") -> None:
    """The first call reads key by key, every later one sends one BatchGetItem and no GetItem, with the same answer."""
    assert (run(service), wire.since()) == (b"one\xfftwo", ["GetItem", "GetItem"])
    for _ in range(3):
        assert (run(service), wire.since()) == (b"one\xfftwo", ["BatchGetItem"])


def test_what_changes_between_two_calls_is_seen(wire: Wire, service: "PluginService") -> None:
    """A batch has values of now: changed, deleted, expired since, and there again."""
    run(service)
    wire.put("hello", "changed ")
    assert run(service) == b"changed \xfftwo"
    wire.put("message", b"gone", expires_at={"N": str(int(time.time()) - 60)})
    assert run(service) == b"changed "
    wire.client.delete_item(TableName=wire.table, Key={"key": {"S": "hello"}})
    assert run(service) == b""
    wire.put("message", "back", expires_at={"N": str(int(time.time()) + 3600)})
    wire.since()

    assert (run(service), wire.since()) == (b"back", ["BatchGetItem"])


def test_a_key_that_is_not_there_is_learned_too(wire: Wire, service: "PluginService") -> None:
    """To know that there is no such key takes no read of its own."""
    wire.client.delete_item(TableName=wire.table, Key={"key": {"S": "hello"}})
    run(service)
    wire.since()

    assert (run(service), wire.since()) == (b"\xfftwo", ["BatchGetItem"])


def test_without_permission_for_batches_keys_are_read_singly(wire: Wire, service: "PluginService") -> None:
    """A role that may GetItem only gets the same answers.

    moto grants everything to everybody, so the client's own event refuses the batch as DynamoDB would.
    """
    refused: list[None] = []

    def refuse(**_: Any) -> None:
        refused.append(None)
        raise botocore.exceptions.ClientError(
            {"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "BatchGetItem"
        )

    wire.client.meta.events.register("before-call.dynamodb.BatchGetItem", refuse)
    for _ in range(3):
        assert (run(service), wire.since()) == (b"one\xfftwo", ["GetItem", "GetItem"])
    assert len(refused) == 2


def test_without_prefetch_nothing_is_batched(wire: Wire, make_plugin: MakePlugin, make_service: MakeService) -> None:
    """With prefetch = false every call reads key by key."""
    make_plugin("two", READS_TWO, memory={"read": ["*"], "prefetch": False})
    service = make_service(DynamoDBStore(wire.client, wire.table))

    for _ in range(3):
        assert (run(service), wire.since()) == (b"one\xfftwo", ["GetItem", "GetItem"])


def test_a_failed_call_teaches_nothing(wire: Wire, service: "PluginService") -> None:
    """What a call read before it failed is not fetched for the next one."""
    for _ in range(2):
        with pytest.raises(PluginTrapped):
            run(service, "either", b"x")
        assert wire.since() == ["GetItem", "GetItem"]
    assert run(service, "either") == b"one\xfftwo"
    assert wire.since() == ["GetItem", "GetItem"]


def test_a_failed_call_makes_nothing_forgotten(wire: Wire, service: "PluginService") -> None:
    """A failure between two calls does not cost the second one its batch."""
    run(service, "either")
    with pytest.raises(PluginTrapped):
        run(service, "either", b"x")
    wire.since()

    assert (run(service, "either"), wire.since()) == (b"one\xfftwo", ["BatchGetItem"])


def test_a_denied_key_is_never_fetched(wire: Wire, service: "PluginService") -> None:
    """A key that plugin.toml does not grant reaches DynamoDB neither alone nor in the batch of a later call."""
    asked: list[str] = []
    wire.client.meta.events.register("provide-client-params.dynamodb", lambda params, **_: asked.append(str(params)))
    for _ in range(2):
        with pytest.raises(MemoryAccessDenied):
            run(service, "get", b"secret")
    run(service, "get", b"hello")
    run(service, "get", b"hello")

    assert wire.since() == ["GetItem", "BatchGetItem"]
    assert "secret" not in "".join(asked)


def test_the_log_has_counts_and_no_values(
    wire: Wire, service: "PluginService", caplog: pytest.LogCaptureFixture
) -> None:
    """Each call's line says how many keys it read and how many of them were fetched before; never a key or a value."""
    caplog.set_level("DEBUG", logger="handler")
    wire.put("hello", "a-secret-value")
    run(service)
    run(service)

    lines = [record for record in caplog.records if record.name == "handler.telemetry"]
    assert [(line.reads, line.prefetchHits) for line in lines] == [(2, 0), (2, 2)]  # type: ignore[attr-defined]
    told = "".join(str(vars(record)) for record in caplog.records if record.name.startswith("handler"))
    assert "a-secret-value" not in told
    assert "message" not in "".join(record.getMessage() for record in lines)


def test_values_are_kept_for_as_long_as_plugin_toml_says(
    wire: Wire, make_plugin: MakePlugin, make_service: MakeService
) -> None:
    """With `cache_seconds` later calls ask DynamoDB for nothing; another plugin, without it, sees what is there now."""
    keys = ["hello", "message"]
    make_plugin("two", READS_TWO, functions=["run"], memory={"read": keys, "cache_seconds": 3600})
    make_plugin("exact", READS_TWO, functions=["run"], memory={"read": keys})
    service = make_service(DynamoDBStore(wire.client, wire.table))
    assert (run(service), wire.since()) == (b"one\xfftwo", ["GetItem", "GetItem"])
    wire.put("hello", "changed ")
    for _ in range(3):
        assert (run(service), wire.since()) == (b"one\xfftwo", [])
    assert service.run(service.find("exact"), b"", FAR) == b"changed \xfftwo"
    service.release()
    assert run(service) == b"changed \xfftwo"
