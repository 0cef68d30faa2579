"""Runs plugins for whoever asks, be it a route or a direct invocation: what is between the request and the guest."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from handler.deadline import Deadline
from handler.errors import FunctionNotExposed, InputTooLarge, UnknownPlugin
from handler.guest_log import GuestLog
from handler.invocation import Invocation
from handler.memory.cached import CachedStore
from handler.memory.granted import GrantedMemory
from handler.memory.learned import LearnedKeys
from handler.memory.store import MemoryStore
from handler.plugins import PluginSpec
from handler.pool import PluginPool
from handler.telemetry import WARM, ReadableTelemetry, RequestRecord, Telemetry


@dataclass(frozen=True, slots=True)
class Target:
    """A function that HTTP may call."""

    plugin: PluginSpec
    function: str


class PluginService:
    """All plugins, each with its pool, over one memory.

    Args:
        pools: The plugins' pools by name.
        default_plugin: The one that is meant where none is named.
        store: What `hostMemoryGet` reads.
        telemetry: Where requests are told about: by this class those that are served, by whoever makes the answer those
            that fail.
    """

    def __init__(
        self,
        pools: Mapping[str, PluginPool],
        default_plugin: str,
        store: MemoryStore,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.catalog = {name: pool.spec for name, pool in pools.items()}
        self.default_plugin = default_plugin
        self.telemetry = telemetry or ReadableTelemetry()
        self._pools = pools
        self._store = store
        self._stores = {name: _store_of(spec, store) for name, spec in self.catalog.items()}
        self._learned = {
            (name, function): LearnedKeys(spec.prefetch)
            for name, spec in self.catalog.items()
            for function in spec.functions
        }

    def find(self, plugin: str | None = None, function: str | None = None) -> Target:
        """The function that a name means; without names, the default plugin's default function.

        Raises:
            UnknownPlugin: There is no such plugin.
            FunctionNotExposed: Its plugin.toml does not list the function.
        """
        spec = self.catalog.get(self.default_plugin if plugin is None else plugin)
        if spec is None:
            raise UnknownPlugin(f"there is no plugin {plugin!r}")
        if function is None:
            return Target(spec, spec.functions[0])
        if function not in spec.functions:
            raise FunctionNotExposed(f"plugin {spec.name!r} has no function {function!r}")
        return Target(spec, function)

    def run(self, target: Target, data: bytes, deadline: Deadline, record: RequestRecord | None = None) -> bytes:
        """Calls a function with its input and returns its output.

        Args:
            target: The function.
            data: Its input.
            deadline: When the call has to be over.
            record: What is known about the request; filled in here.

        Raises:
            InvocationError: What went wrong, with its status.
        """
        check_input(target, len(data))
        start = time.perf_counter()
        spec, record = target.plugin, record or RequestRecord()
        record.plugin, record.function = spec.name, target.function
        learned = self._learned[spec.name, target.function]
        memory = GrantedMemory(self._stores[spec.name], spec, learned.expected())
        invocation = Invocation(memory, deadline, record=record, say=GuestLog(self.telemetry, record).say)
        try:
            output = self._pools[spec.name].call(target.function, data, invocation)
        finally:
            record.total_seconds = time.perf_counter() - start
            record.store_seconds = memory.seconds
            record.reads, record.prefetch_hits = len(memory.read), memory.hits
        learned.learn(memory.read, memory.fetched)
        self.telemetry.finished(record)
        return output

    def ping(self, deadline: Deadline, record: RequestRecord) -> None:
        """Answers a warm-up ping, which only wants an instance to be there; raises as `check` does."""
        record.plugin, record.outcome = self.default_plugin, WARM
        record.compile_cache = self.warm(deadline)
        self.telemetry.finished(record)

    def check(self, deadline: Deadline) -> None:
        """Makes sure that the default plugin can be called and the memory can be read.

        Raises:
            InvocationError: What is not ready.
        """
        self.warm(deadline)
        self._store.check(deadline)

    def warm(self, deadline: Deadline) -> str:
        """Makes sure that the default plugin has an instance that exports its functions.

        Returns:
            What the compile cache did for it.
        """
        spec = self.catalog[self.default_plugin]
        return self._pools[spec.name].check(spec.functions, deadline)

    def compile_all(self, deadline: Deadline) -> None:
        """Compiles every plugin, or waits for it; one that cannot be compiled is told by its first request."""
        for pool in self._pools.values():
            pool.prepare()
        for pool in self._pools.values():
            pool.wait(deadline)

    def release(self) -> None:
        """Frees all instances that are not in use, and the store's connections; both are made anew when needed."""
        for pool in self._pools.values():
            pool.release()
        for store in self._stores.values():
            store.disconnect()


def _store_of(spec: PluginSpec, store: MemoryStore) -> MemoryStore:
    """The store as a plugin sees it: with values kept across invocations where its plugin.toml wants that."""
    return CachedStore(store, spec.cache) if spec.cache.seconds else store


def check_input(target: Target, size: int) -> None:
    """Refuses an input that is over the plugin's limit.

    Raises:
        InputTooLarge: `size`, in bytes, is over `input_bytes`.
    """
    limit = target.plugin.limits.input_bytes
    if size > limit:
        raise InputTooLarge(f"the input has {size} bytes or more; plugin {target.plugin.name!r} takes up to {limit}")
