"""The store as one invocation of one plugin sees it."""

import time

from handler.deadline import Deadline
from handler.errors import MemoryAccessDenied
from handler.memory.keys import decode_key
from handler.memory.store import MemoryStore
from handler.plugins import Grants


class GrantedMemory:
    """Reads within a plugin's grants, one read per key.

    A key that is read again gives what it gave before, so that an invocation sees one consistent value.

    Attributes:
        reads: How many keys went to the store.
        seconds: Time spent waiting for the store.
    """

    def __init__(self, store: MemoryStore, grants: Grants) -> None:
        self._store = store
        self._grants = grants
        self._seen: dict[str, bytes | None] = {}
        self.reads = 0
        self.seconds = 0.0

    def get(self, raw_key: bytes, deadline: Deadline) -> bytes | None:
        """The value of a key, given as the guest's bytes; None when there is no such key.

        Raises:
            InvalidMemoryKey: It is not 1 to 2048 bytes of UTF-8.
            MemoryAccessDenied: plugin.toml does not grant it.
            InvocationError: What the store raises.
        """
        key = decode_key(raw_key)
        if not self._grants.allow(key):
            raise MemoryAccessDenied("the plugin asked for a key that its plugin.toml does not grant") from KeyError(
                key
            )
        if key not in self._seen:
            start = time.perf_counter()
            try:
                self._seen[key] = self._store.get(key, deadline)
            finally:
                self.reads += 1
                self.seconds += time.perf_counter() - start
        return self._seen[key]
