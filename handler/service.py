"""Runs plugins for whoever asks, be it a route or a direct invocation: what is between the request and the guest."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from handler.deadline import Deadline
from handler.errors import FunctionNotExposed, InputTooLarge, InternalError, InvocationError, UnknownPlugin
from handler.invocation import Invocation
from handler.memory.cached import CachedStore
from handler.memory.granted import GrantedMemory
from handler.memory.learned import LearnedKeys
from handler.memory.store import MemoryStore
from handler.plugins import PluginSpec
from handler.pool import PluginPool

logger = logging.getLogger(__name__)


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
    """

    def __init__(self, pools: Mapping[str, PluginPool], default_plugin: str, store: MemoryStore) -> None:
        self.catalog = {name: pool.spec for name, pool in pools.items()}
        self.default_plugin = default_plugin
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

    def run(self, target: Target, data: bytes, deadline: Deadline) -> bytes:
        """Calls a function with its input and returns its output.

        Raises:
            InvocationError: What went wrong, with its status.
        """
        spec = target.plugin
        check_input(target, len(data))
        learned = self._learned[spec.name, target.function]
        memory = GrantedMemory(self._stores[spec.name], spec, learned.expected())
        start = time.perf_counter()
        outcome = InternalError.type
        try:
            output = self._pools[spec.name].call(target.function, data, Invocation(memory, deadline))
        except InvocationError as error:
            outcome = error.type
            raise
        else:
            outcome = "ok"
            learned.learn(memory.read, memory.fetched)
            return output
        finally:
            logger.info(
                "%s.%s: %s",
                spec.name,
                target.function,
                outcome,
                extra={
                    "plugin": spec.name,
                    "function": target.function,
                    "outcome": outcome,
                    "total_ms": round((time.perf_counter() - start) * 1000, 3),
                    "store_ms": round(memory.seconds * 1000, 3),
                    "reads": len(memory.read),
                    "prefetch_hits": memory.hits,
                },
            )

    def check(self, deadline: Deadline) -> None:
        """Makes sure that the default plugin can be called and the memory can be read.

        Raises:
            InvocationError: What is not ready.
        """
        self.warm(deadline)
        self._store.check(deadline)

    def warm(self, deadline: Deadline) -> None:
        """Makes sure that the default plugin has an instance that exports its functions."""
        spec = self.catalog[self.default_plugin]
        self._pools[spec.name].check(spec.functions, deadline)

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
