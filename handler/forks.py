"""What a fork leaves behind: a child process has none of its parent's threads but the one that forked.

Facts (measured with extism 1.1.1, extism-sys 1.41.0; source: Extism's timer.rs, Wasmtime's parallel compilation):

* Extism's timer is a thread that starts with a process's first instance, and with no later one. In the child of such a
  process no timeout and no cancel ever interrupts a guest, and nothing in Extism's API starts another timer.
* The compiler's threads start with a process's first compilation. In a child of such a process a further one never
  ends. Modules compiled before the fork work all the same, and the child's first instance starts a timer of its own.

So a process forks before it compiles or, to share the modules, after it has compiled and before it makes an instance.
Where it comes too late, the child refuses to run plugins: without a timer there would be no deadline.
"""

import os
from typing import Protocol
from weakref import WeakSet

from handler.errors import PluginUnusable

ADVICE = (
    "this process was forked from one that had {done} before; fork first and create the service in each child "
    "(gunicorn without --preload, uvicorn --workers, multiprocessing with spawn)"
)


class ForkedTooLate(RuntimeError):
    """What plugins need in this process was lost in a fork; the message says what to do."""


class Renewable(Protocol):
    """Something that holds locks, threads or connections, which a child process may not share."""

    def renew(self) -> None:
        """Makes, in a process just forked, all of them anew. Must not wait for anything."""
        ...


class Threads:
    """Threads that Extism starts once in a process, and not again in its children.

    Args:
        done: What a process has done when it has started them, in words.
    """

    def __init__(self, done: str) -> None:
        self._done = done
        self._started = False
        self.lost = False

    def use(self, plugin: str) -> None:
        """Notes that they are needed, and so have started.

        Raises:
            PluginUnusable: They ran in a process that this one was forked from.
        """
        if self.lost:
            refused = PluginUnusable(f"plugin {plugin!r} cannot be loaded; the log says why")
            raise refused from ForkedTooLate(ADVICE.format(done=self._done))
        self._started = True

    def renew(self) -> None:
        """Finds, in a child, that they are gone."""
        self.lost = self.lost or self._started


compiler = Threads("compiled plugins")
timer = Threads("made instances of plugins")
_renewables: "WeakSet[Renewable]" = WeakSet()


def renew_in_children(renewable: Renewable) -> None:
    """Has something renewed in every child process, for as long as it lives."""
    _renewables.add(renewable)


def _renew() -> None:
    for threads in (compiler, timer):  # first, since pools look at them
        threads.renew()
    for renewable in _renewables:
        renewable.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew)
