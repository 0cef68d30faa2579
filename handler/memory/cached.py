"""Values kept across invocations, for plugins that can do with some that are a few seconds old."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from handler.deadline import Deadline
from handler.forks import renew_in_children
from handler.memory.store import MemoryStore
from handler.plugins import ReadCache

if TYPE_CHECKING:
    from cachetools import TLRUCache

OVERHEAD = 200
"""Bytes that an entry takes beside its key and value: two objects, their places in the cache's tables, a time."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a key had when it was read; `value` is None where there was no such key."""

    value: bytes | None
    read_at: float
    size: int


class CachedStore:
    """A store that answers from memory what it has read within the last few seconds.

    A value is as old as the beginning of its read. What was missing is kept too; failures and unprocessed keys are not.
    An item that expires, changes or vanishes is seen when its entry is as old as the plugin allows.

    Args:
        store: Where values are read from.
        limits: How old a value may be, and how many bytes are kept; the least recently used entries make room.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(self, store: MemoryStore, limits: ReadCache, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begins anew, in a process just forked: a thread that is gone may have held the lock, mid-way in a change."""
        self._lock = Lock()
        self._entries = self._empty()

    def get(self, key: str, deadline: Deadline) -> bytes | None:
        """The value of a key, at most `seconds` old; raises as the store does."""
        entry = self._fresh(key)
        if entry is None:
            read_at = self._clock()
            entry = self._keep(key, self._store.get(key, deadline), read_at)
        return entry.value

    def begin_many(self, keys: Sequence[str]) -> Future[Mapping[str, bytes | None]] | None:
        """Begins to read those of the keys that are not here; the result has the others too."""
        here = {key: entry.value for key in keys if (entry := self._fresh(key)) is not None}
        missing = [key for key in keys if key not in here]
        together: Future[Mapping[str, bytes | None]] = Future()
        if not missing:
            together.set_result(here)
            return together
        read_at = self._clock()
        reading = self._store.begin_many(missing)
        if reading is None:
            return None

        def take(done: Future[Mapping[str, bytes | None]]) -> None:
            if (error := done.exception()) is not None:
                together.set_exception(error)
                return
            for key, value in done.result().items():
                self._keep(key, value, read_at)
            together.set_result({**here, **done.result()})

        reading.add_done_callback(take)
        return together

    def check(self, deadline: Deadline) -> None:
        """Asks the store: whether reads work is not to be answered from memory."""
        self._store.check(deadline)

    def disconnect(self) -> None:
        """Forgets everything, so that what one snapshot becomes does not share it, and disconnects the store."""
        with self._lock:
            self._entries = self._empty()
        self._store.disconnect()

    def _empty(self) -> "TLRUCache[str, _Entry]":
        from cachetools import TLRUCache  # noqa: PLC0415 - few plugins keep values, and a cold start counts

        return TLRUCache(
            self._limits.bytes,
            ttu=lambda _key, entry, _now: entry.read_at + self._limits.seconds,
            timer=self._clock,
            getsizeof=lambda entry: entry.size,
        )

    def _fresh(self, key: str) -> _Entry | None:
        with self._lock:
            return self._entries.get(key)

    def _keep(self, key: str, value: bytes | None, read_at: float) -> _Entry:
        entry = _Entry(value, read_at, OVERHEAD + len(key.encode()) + len(value or b""))
        if entry.size <= self._limits.bytes:  # the cache refuses what it could never hold
            with self._lock:
                self._entries[key] = entry
        return entry
