"""The seam between host functions and what holds the values."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from handler.deadline import Deadline


class MemoryStore(Protocol):
    """Where values are read from. Safe to use from several threads at once."""

    def get(self, key: str, deadline: Deadline) -> bytes | None:
        """The value of a key; None when there is no such key or it has expired.

        Raises:
            StoreFailed: The store refused, broke, or holds something that cannot be read.
            Unavailable: The store throttles or cannot be reached.
            StoreDeadlineExceeded: The deadline passed first.
        """
        ...

    def begin_many(self, keys: Sequence[str]) -> Future[Mapping[str, bytes | None]] | None:
        """Begins to read up to 100 different keys at once, and returns without waiting.

        The result has the values as `get` gives them, and leaves out the keys that have to be read one by one all the
        same. Its exceptions are those of `get`. None where nothing could be begun.
        """
        ...

    def check(self, deadline: Deadline) -> None:
        """Does one read, to learn whether reads work; raises as `get` does."""
        ...

    def disconnect(self) -> None:
        """Closes idle connections; the next read makes a new one."""
        ...
