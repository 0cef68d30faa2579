"""Which keys a plugin's function is likely to read, learned from its last calls."""

from collections.abc import Iterable, Mapping

from handler.plugins import Prefetch


class LearnedKeys:
    """The keys to fetch beside the start of a function's next call.

    These are the keys of its last call. Where none of what was fetched was wanted, as with a function whose key is its
    input, only keys that two calls in a row have read are fetched, until one is wanted again. Safe to use from several
    threads: each call leaves a whole new state.

    Args:
        limits: Whether to learn at all, and how much.
    """

    def __init__(self, limits: Prefetch) -> None:
        self._limits = limits
        self._last: frozenset[str] = frozenset()
        self._expected: tuple[str, ...] = ()
        self._wanted = True

    def expected(self) -> tuple[str, ...]:
        """The keys to fetch now, each once, within the limits."""
        return self._expected

    def learn(self, read: Mapping[str, bytes | None], fetched: tuple[str, ...]) -> None:
        """Takes in a call: the values it read by key, in order, and what had been fetched for it."""
        if not self._limits.enabled:
            return
        if fetched:
            self._wanted = any(key in read for key in fetched)
        likely = read if self._wanted else [key for key in read if key in self._last]
        self._expected = self._within_limits(likely, read)
        self._last = frozenset(read)

    def _within_limits(self, keys: Iterable[str], read: Mapping[str, bytes | None]) -> tuple[str, ...]:
        expected: list[str] = []
        size = 0
        for key in keys:
            size += len(key.encode()) + len(read[key] or b"")
            if len(expected) == self._limits.keys or size > self._limits.bytes:
                break
            expected.append(key)
        return tuple(expected)
