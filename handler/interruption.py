"""Interrupts guests when their time is over, so that it hits the call that is meant, always, and no other.

Facts that shape it (measured with extism 1.1.1, extism-sys 1.41.0; source: Extism's plugin.rs and timer.rs):

* All instances of one compiled module share an engine, and an interruption hits whatever runs in it.
* Extism's timer is one thread per process that handles messages (start, stop, cancel) in order. It interrupts an engine
  when it gets round to it, which can be after the call that was meant, so that the next call or instance dies of it.
* A cancel that arrives before the call's start message is dropped. An interruption between that message and the call
  itself is lost for good: Extism sets the call's epoch deadline after it, and the timer has forgotten the call by then,
  so that neither its timeout nor a further cancel ends the guest.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread, get_ident

from extism.extism import CompiledPlugin, CurrentPlugin, Error, Function, Plugin, host_fn

from handler.deadline import Deadline
from handler.forks import renew_in_children

CANCEL_AGAIN = 0.005
"""Seconds after which a cancel is sent again, since one that was too early is dropped."""
BEGUN = 0.02
"""Seconds of CPU time of its thread after which a call has begun for sure, and may be cancelled, if nothing else tells.

What Extism does before takes less, and a guest that waits instead of computing could not be interrupted anyway. Time on
the clock would not do: on a busy machine a thread can stand still for a second, anywhere.
"""


class Watch:
    """Interrupts a call at a deadline nearer than the timeout that is compiled into the plugin.

    Args:
        plugin: The instance; the call is to begin in this thread.
        deadline: When to interrupt it.
        begun: Whether the guest is known to run, as once it has called a host function.
    """

    def __init__(self, plugin: Plugin, deadline: Deadline, begun: Callable[[], bool]) -> None:
        self._cancel = plugin.cancel_handle().cancel
        self._deadline = deadline
        self._begun = begun
        self._used = _cpu_time_of_this_thread()
        self._over = Event()
        self._cancelled = False
        self._thread = Thread(target=self._run, name="guest-deadline", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait = self._deadline.remaining()
        while not self._over.wait(wait):
            if self._begun() or self._used() > BEGUN:
                self._cancelled = True
                self._cancel()
            wait = CANCEL_AGAIN

    def end(self) -> bool:
        """Stops watching; returns whether the call was interrupted, or may yet be."""
        self._over.set()
        self._thread.join()
        return self._cancelled


def _cpu_time_of_this_thread() -> Callable[[], float]:
    """What tells any thread how many seconds of CPU time this one has used since now."""
    if not hasattr(time, "pthread_getcpuclockid"):  # macOS, where nothing but `serve` runs: time has to do
        before = time.monotonic()
        return lambda: time.monotonic() - before
    clock, used = time.pthread_getcpuclockid(get_ident()), time.thread_time()
    return lambda: time.clock_gettime(clock) - used


_WAITING = b'(module (import "fence" "running" (func $running)) (func (export "run") (call $running) (loop (br 0))))'


def _cancel_caller(plugin: CurrentPlugin, *_: object) -> None:
    plugin.host_context()()


_RUNNING: Function = host_fn(name="running", namespace="fence", signature=([], []))(_cancel_caller)


class Fence:
    """What returns, when it is called, once Extism's timer has handled everything that was sent to it so far.

    The timer handles its messages in order, so a guest that never ends and cancels itself comes back behind all of
    them. It does so once it runs, because an interruption before that would be lost: a timeout of 1 ms met that gap in
    1 of 20 calls.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._module: CompiledPlugin | None = None
        renew_in_children(self)

    def renew(self) -> None:
        """Frees, in a process just forked, a lock that a thread of its parent held."""
        self._lock = Lock()

    @property
    def compiled(self) -> bool:
        """Whether it needs no compiler any more."""
        return self._module is not None

    def compile(self) -> CompiledPlugin:
        """Its module; compiled once, and before a fork or a snapshot where there is one."""
        with self._lock:
            if self._module is None:
                self._module = CompiledPlugin({"wasm": [{"data": _WAITING}]}, functions=[_RUNNING])
            return self._module

    def __call__(self) -> None:
        """Waits."""
        module = self.compile()
        with self._lock, Plugin(module) as plugin, suppress(Error):
            plugin.call("run", b"", host_context=plugin.cancel_handle().cancel)


fence = Fence()
