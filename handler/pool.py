"""Instances of one plugin: compiled once, leased to one call at a time, discarded when they are no longer sound."""

import logging
import os
import time
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition, Thread
from typing import TYPE_CHECKING

from handler.deadline import Deadline
from handler.errors import (
    DeadlineExceeded,
    GuestDeadlineExceeded,
    InvocationError,
    NoFreeInstance,
    StoreDeadlineExceeded,
)
from handler.forks import compiler, renew_in_children, timer
from handler.invocation import Invocation, serving
from handler.plugins import Isolation, PluginSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handler.guest import Instance, Module

logger = logging.getLogger(__name__)

CALLS_OF_AN_INSTANCE = 1000
"""Calls after which an instance is replaced; the 2 ms that a Go guest takes for it are 2 µs a call."""
LOOK_EVERY = 50
"""Calls between two looks at how much memory the process has, at some 10 µs each."""
WASM_PAGES = 65_536 // os.sysconf("SC_PAGE_SIZE")
"""The system's pages in a page of WebAssembly."""


class PluginPool:
    """The slots of one plugin; each has an engine of its own, so that an interruption in one leaves the others alone.

    Nothing is compiled before `prepare` or the first call; compilation runs in a thread and releases the GIL. Safe to
    use from several threads at once, and in a child process where `handler.forks` allows it.

    Args:
        spec: The plugin.
        slots: How many calls may run at the same time; the ones after the first are compiled when they are first
            needed.
    """

    def __init__(self, spec: PluginSpec, slots: int = 1) -> None:
        self.spec = spec
        self._limit = slots
        self._free: list[_Slot] = []
        self._slots = 0
        self._returned = Condition()
        renew_in_children(self)

    def prepare(self) -> None:
        """Begins to compile the first slot, and returns at once."""
        with self._returned:
            if self._slots == 0:
                self._free.append(self._new_slot())

    def wait(self, deadline: Deadline) -> None:
        """Waits until the free slots, and what interrupts their calls, are compiled, or cannot be."""
        with self._returned:
            slots = list(self._free)
        for slot in slots:
            slot.wait(deadline)
        if any(slot.compiled for slot in slots):
            from handler.interruption import fence  # noqa: PLC0415 - it loads libextism

            fence.compile()

    def check(self, functions: tuple[str, ...], deadline: Deadline) -> str:
        """Makes sure that there is an instance which exports these functions, without calling one.

        Returns:
            What the compile cache did for its module.

        Raises:
            PluginUnusable: The plugin does not load or lacks an export.
            NoFreeInstance: All slots were busy until the deadline.
            GuestDeadlineExceeded: Compilation did not end in time.
        """
        with self._lease(deadline) as slot:
            slot.instance(deadline).check(functions)
            return slot.compile_cache

    def call(self, function: str, data: bytes, invocation: Invocation) -> bytes:
        """Calls a function on a sound instance and returns its output.

        Raises:
            InvocationError: The first failure of a host function, or else how the guest failed.
        """
        with self._lease(invocation.deadline) as slot:
            return slot.call(function, data, invocation)

    def release(self) -> None:
        """Frees all instances that are not in use; the modules stay."""
        with self._returned:
            for slot in self._free:
                slot.release()

    def renew(self) -> None:
        """Keeps, in a process just forked, the modules that work there; slots that other threads held are gone."""
        self._returned = Condition()
        self._free = [slot for slot in self._free if slot.survives_fork]
        self._slots = len(self._free)
        if compiler.lost and self._free:
            self._limit = self._slots  # a further one could not be compiled

    def _new_slot(self) -> "_Slot":
        slot = _Slot(self.spec)  # first, since it can fail where the system has no thread left
        self._slots += 1
        return slot

    @contextmanager
    def _lease(self, deadline: Deadline) -> "Iterator[_Slot]":
        """Takes a slot for exclusive use and gives it back."""
        wait = min(deadline.remaining(), self.spec.limits.timeout_ms / 1000)
        with self._returned:
            # A slot whose module did not compile is dropped, so that waiting can end with room for a new one.
            if not self._returned.wait_for(lambda: bool(self._free) or self._slots < self._limit, wait):
                raise NoFreeInstance(f"all {self._limit} instances of plugin {self.spec.name!r} are busy")
            slot = self._free.pop() if self._free else self._new_slot()
        try:
            yield slot
        finally:
            with self._returned:
                if slot.usable:
                    self._free.append(slot)
                else:
                    self._slots -= 1
                self._returned.notify()


class _Slot:
    """A compiled module and at most one instance of it."""

    def __init__(self, spec: PluginSpec) -> None:
        self._spec = spec
        self._module: Future[Module] = Future()
        self._instance: Instance | None = None
        self._calls = 0
        self._resident = 0
        Thread(target=self._compile, name=f"compile-{spec.name}", daemon=True).start()

    @property
    def compiled(self) -> bool:
        """Whether the module is compiled."""
        return self._module.done() and self._module.exception() is None

    @property
    def survives_fork(self) -> bool:
        """Whether it can be called, and its calls interrupted, in a child, which can compile nothing."""
        if timer.lost or not self.compiled:
            return False
        from handler.interruption import fence  # noqa: PLC0415 - it loads libextism

        return fence.compiled

    @property
    def usable(self) -> bool:
        """Whether the module is compiled, or may yet be."""
        return not self._module.done() or self._module.exception() is None

    @property
    def compile_cache(self) -> str:
        """What the compile cache did for the module, which is compiled."""
        return self._module.result().cache

    def call(self, function: str, data: bytes, invocation: Invocation) -> bytes:
        """Calls a function; an instance that is not sound afterwards is discarded."""
        instance = self.instance(invocation.deadline)
        invocation.record.compile_cache = self.compile_cache
        # The plugin's own time starts here: waiting for a slot and for the compiler is not the guest's doing.
        started, deadline = time.monotonic(), Deadline.after(self._spec.limits.timeout_ms / 1000)
        invocation.deadline = invocation.deadline.earliest(deadline)
        invocation.host_calls_left = self._spec.limits.host_calls
        invocation.allowed_hosts, invocation.config = self._spec.allowed_hosts, self._spec.config
        invocation.variables = instance.variables
        failure: InvocationError | None = None
        try:
            with serving(invocation):
                output = instance.call(function, data, invocation)
        except InvocationError as error:
            failure = error
        finally:
            invocation.record.guest_seconds = max(0.0, time.monotonic() - started - invocation.memory.seconds)
            if (
                invocation.failure is not None
                or not instance.sound
                or self._spec.isolation is Isolation.FRESH
                or self._worn_out()
            ):
                self.release()
        failure = invocation.failure or failure
        if isinstance(failure, DeadlineExceeded):
            raise _overdue(self._spec.name, invocation.memory.seconds, time.monotonic() - started) from failure
        if failure is not None:
            raise failure
        return output

    def instance(self, deadline: Deadline) -> "Instance":
        """The slot's instance; a new one where there is none."""
        if self._instance is None:
            try:
                module = self._module.result(deadline.timeout())
            except TimeoutError:
                raise GuestDeadlineExceeded(f"plugin {self._spec.name!r} was not loaded in time") from None
            timer.use(self._spec.name)
            self._instance = module.instantiate()
            self._calls, self._resident = 0, resident_pages()
        return self._instance

    def _worn_out(self) -> bool:
        """Whether the instance has served its calls, or its process has grown as much as one instance should.

        A guest that leaks would otherwise come to its memory_pages in the middle of somebody's call.
        """
        self._calls += 1
        if self._calls % LOOK_EVERY:
            return False
        grown = resident_pages() - self._resident
        return self._calls >= CALLS_OF_AN_INSTANCE or grown > self._spec.limits.memory_pages * WASM_PAGES // 2

    def wait(self, deadline: Deadline) -> None:
        """Waits until the module is compiled, or cannot be."""
        futures.wait([self._module], deadline.timeout())

    def release(self) -> None:
        """Frees the instance; the module stays."""
        if self._instance is not None:
            self._instance.close()
            self._instance = None

    def _compile(self) -> None:
        try:
            compiler.use(self._spec.name)
            from handler.guest import Module  # noqa: PLC0415 - loading libextism takes its time too

            module = Module(self._spec)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the module gets it
            self._module.set_exception(error)
            return
        self._module.set_result(module)
        logger.info(
            "plugin %s loaded: compile cache %s",
            self._spec.name,
            module.cache,
            extra={
                "plugin": self._spec.name,
                "compile_cache": module.cache,
                "compile_ms": round(module.milliseconds, 1),
            },
        )


def _overdue(plugin: str, store_seconds: float, seconds: float) -> DeadlineExceeded:
    """Says which of the two, guest or store, spent the greater part of a call's time."""
    if store_seconds > seconds / 2:
        return StoreDeadlineExceeded(f"plugin {plugin!r} did not end in time: it was waiting for the memory")
    return GuestDeadlineExceeded(f"plugin {plugin!r} did not end in time")


def resident_pages() -> int:
    """How many of the system's pages the process has in memory; 0 where the system does not tell (macOS)."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123 - Path takes longer
            return int(file.read(64).split()[1])
    except OSError:
        return 0
