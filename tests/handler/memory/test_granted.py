"""The store as one invocation sees it."""

import pytest

from handler.deadline import Deadline
from handler.errors import InvalidMemoryKey, MemoryAccessDenied, StoreFailed
from handler.memory.granted import GrantedMemory
from handler.plugins import Grants

NEVER = Deadline.never()


class RecordingStore:
    """A store that notes what it is asked for, and fails for the key `broken`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deadline]] = []

    def get(self, key: str, deadline: Deadline) -> bytes | None:
        """A value that is different each time; None for `missing`."""
        self.asked.append((key, deadline))
        if key == "broken":
            raise StoreFailed("broken")
        return None if key == "missing" else f"{key} {len(self.asked)}".encode()

    def check(self, deadline: Deadline) -> None:
        """Does nothing."""


def test_a_granted_key_is_read_with_the_deadline() -> None:
    """A key that plugin.toml grants goes to the store, decoded, with the call's deadline."""
    store, deadline = RecordingStore(), Deadline.after(5)

    value = GrantedMemory(store, Grants.of(["größe"])).get("größe".encode(), deadline)

    assert value == "größe 1".encode()
    assert store.asked == [("größe", deadline)]


def test_another_key_never_reaches_the_store() -> None:
    """What is not granted is refused without a read; the key is in the cause, not in the public words."""
    store = RecordingStore()
    memory = GrantedMemory(store, Grants.of(["hello", "public/*"]))

    with pytest.raises(MemoryAccessDenied) as caught:
        memory.get(b"secret-key", NEVER)

    assert store.asked == []
    assert memory.reads == 0
    assert "secret-key" not in caught.value.detail
    assert "secret-key" in repr(caught.value.__cause__)


def test_an_invalid_key_is_refused_before_its_grant_is_looked_at() -> None:
    """Even a plugin that may read everything gets no further with a key that cannot exist."""
    store = RecordingStore()

    with pytest.raises(InvalidMemoryKey):
        GrantedMemory(store, Grants.of(["*"])).get(b"\xff", NEVER)

    assert store.asked == []


@pytest.mark.parametrize("key", ["hello", "missing"])
def test_a_key_is_read_once(key: str) -> None:
    """A key asked for again gives what it gave before, also where it is missing."""
    store = RecordingStore()
    memory = GrantedMemory(store, Grants.of(["*"]))

    first, second = (memory.get(key.encode(), NEVER) for _ in range(2))

    assert first == second
    assert memory.reads == len(store.asked) == 1


def test_a_failed_read_counts_and_is_not_kept() -> None:
    """A failure is raised each time, counts as a read, and its time as time spent in the store."""
    store = RecordingStore()
    memory = GrantedMemory(store, Grants.of(["*"]))

    for _ in range(2):
        with pytest.raises(StoreFailed):
            memory.get(b"broken", NEVER)

    assert memory.reads == len(store.asked) == 2
    assert memory.seconds > 0
