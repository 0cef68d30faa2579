"""The seam between host functions and what holds the values."""

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

    def check(self, deadline: Deadline) -> None:
        """Does one read, to learn whether reads work; raises as `get` does."""
        ...
