"""One call of a guest, as the host functions see it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from handler.deadline import Deadline
from handler.errors import InvocationError
from handler.memory.granted import GrantedMemory
from handler.telemetry import RequestRecord


@dataclass(slots=True)
class Invocation:
    """What the host functions of one call work with.

    Attributes:
        memory: What `hostMemoryGet` reads.
        deadline: When the call has to be over.
        failure: The first failure of a host function in this call.
        record: What is to be told about the request.
        say: What passes on a line of the guest's, with its level of `logging`.
    """

    memory: GrantedMemory
    deadline: Deadline
    failure: InvocationError | None = None
    record: RequestRecord = field(default_factory=RequestRecord)
    say: Callable[[int, bytes], None] = lambda _level, _line: None


# Host functions run in the thread of the call, so this finds their invocation without Extism's host context.
_current: ContextVar[Invocation] = ContextVar("invocation")


@contextmanager
def serving(invocation: Invocation) -> Iterator[None]:
    """Makes this the invocation that host functions, called in this thread, work for."""
    token = _current.set(invocation)
    try:
        yield
    finally:
        _current.reset(token)


def current_invocation() -> Invocation:
    """The invocation that a host function was called in."""
    return _current.get()
