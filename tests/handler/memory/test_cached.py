"""Values kept across invocations."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import pytest

from handler.deadline import Deadline
from handler.errors import StoreFailed, StoreThrottled
from handler.memory.cached import OVERHEAD, CachedStore
from handler.plugins import ReadCache

NEVER = Deadline.never()
SECONDS = 5


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Table:
    """A store that notes what it is asked, and whose reads take as long as the test says."""

    def __init__(self, clock: Clock) -> None:
        self.values: dict[str, bytes] = {"hello": b"one", "message": b"two"}
        self.asked: list[object] = []
        self.failure: Exception | None = None
        self.unprocessed: set[str] = set()
        self.full = False
        self.takes = 0.0
        self._clock = clock

    def get(self, key: str, deadline: Deadline) -> bytes | None:
        """The value of now."""
        self.asked.append(key)
        if self.failure is not None:
            raise self.failure
        value = self.values.get(key)
        self._clock.now += self.takes
        return value

    def begin_many(self, keys: Sequence[str]) -> Future[Mapping[str, bytes | None]] | None:
        """The values of now, without the unprocessed; the failure; or None where there is no place."""
        self.asked.append(tuple(keys))
        if self.full:
            return None
        outcome: Future[Mapping[str, bytes | None]] = Future()
        if self.failure is not None:
            outcome.set_exception(self.failure)
        else:
            outcome.set_result({key: self.values.get(key) for key in keys if key not in self.unprocessed})
        return outcome

    def check(self, deadline: Deadline) -> None:
        """Notes it."""
        self.asked.append("check")

    def disconnect(self) -> None:
        """Notes it."""
        self.asked.append("disconnect")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def table(clock: Clock) -> Table:
    """What is cached."""
    return Table(clock)


@pytest.fixture
def cached(table: Table, clock: Clock) -> CachedStore:
    """A cache of five seconds over the table."""
    return CachedStore(table, ReadCache(seconds=SECONDS), clock)


def batch(store: CachedStore, *keys: str) -> Mapping[str, bytes | None]:
    """What a batch of these keys gives."""
    outcome = store.begin_many(keys)
    assert outcome is not None
    return outcome.result(timeout=0)


def test_a_key_is_read_once_while_its_value_is_young_enough(cached: CachedStore, table: Table, clock: Clock) -> None:
    """Until it is as old as allowed a value comes from memory, also one that has changed since, then from the table."""
    assert cached.get("hello", NEVER) == b"one"
    table.values["hello"] = b"changed"
    clock.now += SECONDS - 0.001
    assert cached.get("hello", NEVER) == b"one"
    clock.now += 0.001
    assert cached.get("hello", NEVER) == b"changed"
    assert table.asked == ["hello", "hello"]


def test_a_value_is_as_old_as_the_beginning_of_its_read(cached: CachedStore, table: Table, clock: Clock) -> None:
    """A slow read does not make a value younger than what it read."""
    table.takes = 2.0
    cached.get("hello", NEVER)
    clock.now += SECONDS - 2.0
    cached.get("hello", NEVER)
    assert table.asked == ["hello", "hello"]


def test_what_is_missing_is_kept_too(cached: CachedStore, table: Table) -> None:
    """A key that was not there is not asked for again at once."""
    assert cached.get("absent", NEVER) is None
    assert cached.get("absent", NEVER) is None
    assert batch(cached, "absent") == {"absent": None}
    assert table.asked == ["absent"]


def test_a_failure_is_not_kept(cached: CachedStore, table: Table) -> None:
    """A read that fails raises what the store raises, and the next one asks the store again."""
    table.failure = StoreThrottled("throttled")
    for _ in range(2):
        with pytest.raises(StoreThrottled):
            cached.get("hello", NEVER)
    table.failure = None
    assert cached.get("hello", NEVER) == b"one"
    assert table.asked == ["hello"] * 3


def test_a_batch_reads_what_is_not_here(cached: CachedStore, table: Table) -> None:
    """Only keys without a young value are read, together; the answer has all, and they serve single reads."""
    cached.get("hello", NEVER)
    assert batch(cached, "hello", "message", "absent") == {"hello": b"one", "message": b"two", "absent": None}
    assert batch(cached, "hello", "message", "absent") == {"hello": b"one", "message": b"two", "absent": None}
    assert cached.get("message", NEVER) == b"two"
    assert table.asked == ["hello", ("message", "absent")]


def test_a_batch_that_fails_fails(cached: CachedStore, table: Table) -> None:
    """Its error is the store's, and nothing of it is kept."""
    table.failure = StoreFailed("refused")
    outcome = cached.begin_many(["hello"])
    assert outcome is not None
    assert isinstance(outcome.exception(timeout=0), StoreFailed)
    table.failure = None
    assert batch(cached, "hello") == {"hello": b"one"}


def test_an_unprocessed_key_is_not_kept_as_missing(cached: CachedStore, table: Table) -> None:
    """It is left out of the batch's answer, as the store leaves it out, and read when it is asked for."""
    table.unprocessed = {"message"}
    assert batch(cached, "hello", "message") == {"hello": b"one"}
    assert cached.get("message", NEVER) == b"two"


def test_a_batch_that_cannot_begin(cached: CachedStore, table: Table) -> None:
    """Where the store has no place for a batch there is none."""
    table.full = True
    assert cached.begin_many(["hello"]) is None


def test_the_least_recently_used_values_make_room(table: Table, clock: Clock) -> None:
    """Keys and values together stay within the bytes allowed."""
    cached = CachedStore(table, ReadCache(seconds=SECONDS, bytes=2 * (OVERHEAD + len("message") + 3)), clock)
    for key in ("hello", "message", "hello", "absent"):
        cached.get(key, NEVER)
    table.asked.clear()
    cached.get("hello", NEVER)
    assert table.asked == []
    cached.get("message", NEVER)
    assert table.asked == ["message"]


def test_a_value_larger_than_the_cache_is_given_and_not_kept(table: Table, clock: Clock) -> None:
    """It is read each time."""
    cached = CachedStore(table, ReadCache(seconds=SECONDS, bytes=10), clock)
    assert [cached.get("hello", NEVER) for _ in range(2)] == [b"one", b"one"]
    assert table.asked == ["hello", "hello"]


def test_readiness_is_not_answered_from_memory(cached: CachedStore, table: Table) -> None:
    """`check` asks the store."""
    cached.check(NEVER)
    assert table.asked == ["check"]


def test_disconnecting_forgets(cached: CachedStore, table: Table) -> None:
    """Before a snapshot nothing is left that environments would share."""
    cached.get("hello", NEVER)
    cached.disconnect()
    cached.get("hello", NEVER)
    assert table.asked == ["hello", "disconnect", "hello"]
