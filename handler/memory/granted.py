"""The store as one invocation of one plugin sees it."""

import time

from handler.deadline import Deadline
from handler.errors import MemoryAccessDenied, StoreFailed
from handler.memory.bounded import result_of
from handler.memory.keys import decode_key
from handler.memory.store import MemoryStore
from handler.plugins import PluginSpec


class GrantedMemory:
    """Reads within a plugin's grants, one read per key.

    A key that is read again gives what it gave before, so that an invocation sees one consistent value.

    Args:
        store: Where the values are.
        spec: The plugin, which says what it may read.
        expected: Granted keys that are likely to be read: they are fetched together, from now on.

    Attributes:
        read: The values that were asked for, by key, in the order of their first reads.
        fetched: The keys that were fetched together.
        hits: How many of them were asked for.
        seconds: Time spent waiting for the store.
    """

    def __init__(self, store: MemoryStore, spec: PluginSpec, expected: tuple[str, ...] = ()) -> None:
        self._store = store
        self._spec = spec
        self._batch = store.begin_many(expected) if expected else None
        self.fetched = expected if self._batch is not None else ()
        self.read: dict[str, bytes | None] = {}
        self.hits = 0
        self.seconds = 0.0

    def get(self, raw_key: bytes, deadline: Deadline) -> bytes | None:
        """The value of a key, given as the guest's bytes; None when there is no such key.

        Raises:
            InvalidMemoryKey: It is not 1 to 2048 bytes of UTF-8.
            MemoryAccessDenied: plugin.toml does not grant it.
            InvocationError: What the store raises.
        """
        key = decode_key(raw_key)
        if not self._spec.reads.allow(key):
            denied = MemoryAccessDenied("the plugin asked for a key that its plugin.toml does not grant")
            raise denied from PermissionError(f"plugin {self._spec.name!r}, key {key!r}")  # for the log
        if key not in self.read:
            start = time.perf_counter()
            try:
                self.read[key] = self._fetch(key, deadline)
            finally:
                self.seconds += time.perf_counter() - start
        return self.read[key]

    def _fetch(self, key: str, deadline: Deadline) -> bytes | None:
        """Waits for the batch if the key is in it, and reads it by itself if it is not or could not be had there."""
        if self._batch is not None and key in self.fetched:
            try:
                values = result_of(self._batch, deadline)
            except StoreFailed:  # refused as a batch: a single read will say so, or work
                values = {}
            if key in values:
                self.hits += 1
                return values[key]
        return self._store.get(key, deadline)
