"""`hostMemoryGet`, as guests see it."""

import time

import pytest

from handler.deadline import Deadline
from handler.errors import (
    GuestDeadlineExceeded,
    InternalError,
    InvalidMemoryKey,
    InvocationError,
    MemoryAccessDenied,
    PluginOutOfMemory,
    PluginTrapped,
    StoreDeadlineExceeded,
    StoreFailed,
    StoreThrottled,
    StoreUnreachable,
)
from handler.memory.map import MapStore
from handler.service import PluginService
from tests import guests
from tests.conftest import MakePlugin, MakeService
from tests.stores import ScriptedStore, failing

FAR = Deadline.after(3600)
EVERYTHING = {"read": ["*"]}
FAILURES = [
    StoreFailed("x"),
    StoreThrottled("x"),
    StoreUnreachable("x"),
]


def run(service: PluginService, data: bytes) -> bytes:
    """The output of the default plugin."""
    return service.run(service.find(), data, FAR)


def failure(service: PluginService, data: bytes) -> InvocationError:
    """What a call of the default plugin fails with."""
    with pytest.raises(InvocationError) as caught:
        run(service, data)
    return caught.value


@pytest.mark.parametrize("wat", [guests.GET, guests.GET_IN_ENV], ids=["extism:host/user", "env"])
@pytest.mark.parametrize("value", [b"v", "👋 Hello World 🌍".encode(), b"\x00\xff" * 10, bytes(400_000)])
def test_a_value_arrives_whole_in_either_namespace(
    make_plugin: MakePlugin, make_service: MakeService, wat: str, value: bytes
) -> None:
    """The function is there for today's PDKs and for the article's TinyGo, and gives the value's very bytes."""
    make_plugin("gets", wat, memory=EVERYTHING)

    assert run(make_service(MapStore({"größe": value})), "größe".encode()) == value


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (b"missing", guests.TELL_MISSING),
        (b"empty", guests.TELL_EMPTY),
        (b"one", guests.tell_value(1)),
        (b"many", guests.tell_value(70_000)),
    ],
)
def test_a_missing_key_is_not_an_empty_value(
    make_plugin: MakePlugin, make_service: MakeService, key: bytes, told: bytes
) -> None:
    """A missing key is offset 0; an empty value has an offset, and the length 0 by both functions of the kernel."""
    make_plugin("tells", guests.TELL, memory=EVERYTHING)
    service = make_service(MapStore({"empty": b"", "one": b"x", "many": bytes(70_000)}))

    assert [run(service, key) for _ in range(3)] == [told] * 3


def test_an_empty_value_can_be_looked_at(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A guest that reads at an empty value's offset all the same finds zeros, not another call's bytes."""
    make_plugin("peeks", guests.FIRST_TWO_BYTES, memory=EVERYTHING)
    service = make_service(MapStore({"empty": b"", "full": b"secret" * 100}))

    assert run(service, b"full") == b"se"
    assert run(service, b"empty") == b"\x00\x00"


@pytest.mark.parametrize("key", ["k", "k" * 2048, "💜" * 512, "a\x00b"])
def test_any_key_can_be_asked_for(make_plugin: MakePlugin, make_service: MakeService, key: str) -> None:
    """Keys of 1 to 2048 bytes reach the store as they are."""
    make_plugin("gets", guests.GET, memory=EVERYTHING)
    store = ScriptedStore(lambda *_: b"value")

    assert run(make_service(store), key.encode()) == b"value"
    assert store.asked == [key]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"", InvalidMemoryKey),
        (b"\xff", InvalidMemoryKey),
        (b"k" * 2049, InvalidMemoryKey),
        (bytes(10**6), InvalidMemoryKey),
        (b"hello2", MemoryAccessDenied),
        (b"Hello", MemoryAccessDenied),
        (b"public", MemoryAccessDenied),
    ],
)
def test_a_key_that_may_not_be_read_fails_the_call(
    make_plugin: MakePlugin, make_service: MakeService, key: bytes, expected: type[InvocationError]
) -> None:
    """Invalid keys, and those that plugin.toml does not grant, never reach the store."""
    make_plugin("gets", guests.GET, memory={"read": ["hello", "public/*"]})
    store = ScriptedStore(lambda *_: b"value")

    error = failure(make_service(store), key)

    assert type(error) is expected
    assert store.asked == []


@pytest.mark.parametrize(
    "offset", [0, 1, 64, 99, 65_535, 65_536, 10**9, 2**32 - 16, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
)
def test_an_offset_without_a_block_is_no_key(make_plugin: MakePlugin, make_service: MakeService, offset: int) -> None:
    """0, negative numbers and addresses beyond the memory are refused as the empty key is."""
    make_plugin("points", guests.GET_AT, memory=EVERYTHING)

    assert type(failure(make_service(), str(offset).encode())) is InvalidMemoryKey


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("wat", [guests.SWALLOWS_FAILURE, guests.GET, guests.TRAPS_AFTER_READ, guests.GETS_FOREVER])
def test_a_failure_of_the_store_fails_the_call_whatever_the_guest_does(
    make_plugin: MakePlugin, make_service: MakeService, wat: str, error: InvocationError
) -> None:
    """A guest that answers all the same, traps or asks on and on: the store's failure is what counts."""
    make_plugin("guest", wat, memory=EVERYTHING, limits={"timeout_ms": 200})

    caught = failure(make_service(failing(error)), b"broken")

    assert (type(caught), caught.status) == (type(error), error.status)


def test_after_a_failure_no_further_read_happens(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Once a read has failed, the store is not asked again in that call."""
    make_plugin("swallows", guests.SWALLOWS_FAILURE, memory=EVERYTHING)
    store = failing(StoreFailed("x"))

    failure(make_service(store), b"broken")

    assert store.asked == ["broken"]


def test_a_guest_that_loops_after_a_failure_is_ended(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """The guest runs out within its deadline, and the store's failure is the answer, not the timeout."""
    make_plugin("loops", guests.LOOPS_AFTER_FAILURE, memory=EVERYTHING, limits={"timeout_ms": 100})
    service = make_service(failing(StoreThrottled("x")))

    assert type(failure(service, b"broken")) is StoreThrottled


def test_a_crash_after_a_read_that_worked_is_the_guests(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Without a failure of the store, how the guest fails counts."""
    make_plugin("traps", guests.TRAPS_AFTER_READ, memory=EVERYTHING)

    assert type(failure(make_service(), b"hello")) is PluginTrapped


def test_a_bug_in_a_store_is_no_missing_key(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """An exception that nobody foresaw fails the call too, and stays with it for the log."""
    make_plugin("swallows", guests.SWALLOWS_FAILURE, memory=EVERYTHING)

    error = failure(make_service(failing(ZeroDivisionError("secret"))), b"broken")

    assert type(error) is InternalError
    assert "secret" not in error.detail
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_a_value_too_large_for_the_memory_fails_the_call(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A value that memory_pages has no room for is the plugin out of memory, and no empty value."""
    make_plugin("gets", guests.GET, memory=EVERYTHING, limits={"memory_pages": 4})

    assert type(failure(make_service(MapStore({"large": bytes(400_000)})), b"large")) is PluginOutOfMemory


def test_a_key_is_read_once_in_a_call(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """However often a guest asks for a key, the store is asked once, and the value does not change under the guest."""
    make_plugin("forever", guests.GETS_FOREVER, memory=EVERYTHING, limits={"timeout_ms": 100})
    store = ScriptedStore(lambda *_: b"value")

    assert type(failure(make_service(store), b"key")) is GuestDeadlineExceeded
    assert store.asked == ["key"]


def test_a_read_begun_too_late_is_refused(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """When the deadline passes between two reads, the second is not made."""
    make_plugin("swallows", guests.SWALLOWS_FAILURE, memory=EVERYTHING, limits={"timeout_ms": 200})

    def slow(key: str, deadline: Deadline) -> bytes:
        while deadline.remaining() > 0:
            pass
        return b"value"

    store = ScriptedStore(slow)

    assert failure(make_service(store), b"first").status == 504
    assert store.asked == ["first"]


@pytest.mark.parametrize("size", [0, 10])
def test_a_value_that_comes_too_late_is_no_lack_of_memory(
    make_plugin: MakePlugin, make_service: MakeService, size: int
) -> None:
    """Where the time is over when the value is there, that is told, and not that Extism then gives no memory for it."""
    make_plugin("gets", guests.GET, memory=EVERYTHING, limits={"timeout_ms": 50})

    def slow(key: str, deadline: Deadline) -> bytes:
        time.sleep(deadline.remaining() + 0.02)
        return bytes(size)

    assert type(failure(make_service(ScriptedStore(slow)), b"key")) is StoreDeadlineExceeded


def test_each_call_has_its_own_memory(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A value read in one call is read anew in the next: nothing is kept from a request to another."""
    make_plugin("gets", guests.GET, memory=EVERYTHING)
    values = {"key": b"old"}
    store = ScriptedStore(lambda key, _: values[key])
    service = make_service(store)
    assert run(service, b"key") == b"old"

    values["key"] = b"new"

    assert run(service, b"key") == b"new"


def test_nothing_is_granted_by_default(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A plugin.toml without [memory] lets the guest read nothing."""
    make_plugin("gets", guests.GET)

    assert type(failure(make_service(), b"hello")) is MemoryAccessDenied
