"""The store as one invocation sees it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from handler.deadline import Deadline
from handler.errors import InvalidMemoryKey, InvocationError, MemoryAccessDenied, StoreFailed, StoreThrottled
from handler.memory.granted import GrantedMemory
from handler.plugins import Grants, PluginSpec

NEVER = Deadline.never()


class RecordingStore:
    """A store that notes what it is asked for, and fails for the key `broken`."""

    def __init__(self, failure: InvocationError | None = None, unprocessed: tuple[str, ...] = ()) -> None:
        self.asked: list[tuple[str, Deadline]] = []
        self.batches: list[tuple[str, ...]] = []
        self._failure = failure
        self._unprocessed = unprocessed

    def get(self, key: str, deadline: Deadline) -> bytes | None:
        """A value that is different each time; None for `missing`."""
        self.asked.append((key, deadline))
        if key == "broken":
            raise StoreFailed("broken")
        return None if key == "missing" else f"{key} {len(self.asked)}".encode()

    def begin_many(self, keys: Sequence[str]) -> Future[Mapping[str, bytes | None]]:
        """Values that tell that they come from a batch; the failure, where the store was made with one."""
        self.batches.append(tuple(keys))
        outcome: Future[Mapping[str, bytes | None]] = Future()
        if self._failure is not None:
            outcome.set_exception(self._failure)
        else:
            values = {key: None if key == "missing" else f"{key} of a batch".encode() for key in keys}
            outcome.set_result({key: value for key, value in values.items() if key not in self._unprocessed})
        return outcome

    def check(self, deadline: Deadline) -> None:
        """Does nothing."""

    def disconnect(self) -> None:
        """Does nothing."""


def reading(*patterns: str) -> PluginSpec:
    """A plugin that may read these keys."""
    return PluginSpec(
        name="reader",
        description="",
        wasm=Path("reader.wat"),
        sha256=None,
        functions=("run",),
        reads=Grants.of(list(patterns)),
    )


def test_a_granted_key_is_read_with_the_deadline() -> None:
    """A key that plugin.toml grants goes to the store, decoded, with the call's deadline."""
    store, deadline = RecordingStore(), Deadline.after(5)

    value = GrantedMemory(store, reading("größe")).get("größe".encode(), deadline)

    assert value == "größe 1".encode()
    assert store.asked == [("größe", deadline)]


def test_another_key_never_reaches_the_store() -> None:
    """What is not granted is refused without a read; the key is in the cause, not in the public words."""
    store = RecordingStore()
    memory = GrantedMemory(store, reading("hello", "public/*"))

    with pytest.raises(MemoryAccessDenied) as caught:
        memory.get(b"secret-key", NEVER)

    assert store.asked == []
    assert memory.read == {}
    assert "secret-key" not in caught.value.detail
    assert "reader" in repr(caught.value.__cause__)
    assert "secret-key" in repr(caught.value.__cause__)


def test_an_invalid_key_is_refused_before_its_grant_is_looked_at() -> None:
    """Even a plugin that may read everything gets no further with a key that cannot exist."""
    store = RecordingStore()

    with pytest.raises(InvalidMemoryKey):
        GrantedMemory(store, reading("*")).get(b"\xff", NEVER)

    assert store.asked == []


@pytest.mark.parametrize("key", ["hello", "missing"])
def test_a_key_is_read_once(key: str) -> None:
    """A key asked for again gives what it gave before, also where it is missing."""
    store = RecordingStore()
    memory = GrantedMemory(store, reading("*"))

    first, second = (memory.get(key.encode(), NEVER) for _ in range(2))

    assert first == second
    assert list(memory.read) == [key]
    assert len(store.asked) == 1


def test_a_failed_read_is_not_kept() -> None:
    """A failure is raised each time, and its time counts as time spent in the store."""
    store = RecordingStore()
    memory = GrantedMemory(store, reading("*"))

    for _ in range(2):
        with pytest.raises(StoreFailed):
            memory.get(b"broken", NEVER)

    assert memory.read == {}
    assert len(store.asked) == 2
    assert memory.seconds > 0


def test_expected_keys_come_in_one_batch() -> None:
    """What is expected is fetched together when the call begins; no key of it is read by itself, missing or not."""
    store = RecordingStore()

    memory = GrantedMemory(store, reading("*"), ("hello", "missing"))

    assert store.batches == [("hello", "missing")]
    assert memory.get(b"hello", NEVER) == b"hello of a batch"
    assert memory.get(b"missing", NEVER) is None
    assert store.asked == []
    assert memory.hits == 2


def test_a_key_outside_the_batch_is_read_by_itself() -> None:
    """Keys that were not expected, and keys that the batch left out, give what a single read gives."""
    store = RecordingStore(unprocessed=("late",))
    memory = GrantedMemory(store, reading("*"), ("hello", "late"))

    assert memory.get(b"other", NEVER) == b"other 1"
    assert memory.get(b"late", NEVER) == b"late 2"
    assert memory.hits == 0


def test_a_refused_batch_falls_back_to_single_reads() -> None:
    """Where a batch is refused (as without the permission for it), each key is read by itself."""
    store = RecordingStore(failure=StoreFailed("refused"))
    memory = GrantedMemory(store, reading("*"), ("hello",))

    assert memory.get(b"hello", NEVER) == b"hello 1"


def test_a_throttled_batch_fails_as_a_single_read_would() -> None:
    """More reads would not help a store that throttles."""
    store = RecordingStore(failure=StoreThrottled("throttled"))
    memory = GrantedMemory(store, reading("*"), ("hello",))

    with pytest.raises(StoreThrottled):
        memory.get(b"hello", NEVER)

    assert store.asked == []


def test_grants_hold_for_the_batch_too() -> None:
    """A key that is in the batch but not granted is refused."""
    memory = GrantedMemory(RecordingStore(), reading("public/*"), ("hello",))

    with pytest.raises(MemoryAccessDenied):
        memory.get(b"hello", NEVER)
