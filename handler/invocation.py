"""One call of a guest, as the host functions see it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handler.deadline import Deadline
from handler.errors import InvocationError
from handler.memory.granted import GrantedMemory
from handler.telemetry import RequestRecord

if TYPE_CHECKING:
    from handler.guest_http import Response


@dataclass(slots=True)
class Invocation:
    """What the host functions of one call work with.

    Attributes:
        memory: What `hostMemoryGet` reads.
        deadline: When the call has to be over.
        host_calls_left: How many more calls of host functions it may make; the pool says it.
        allowed_hosts: The hosts that it may ask; the pool says it.
        config: What plugin.toml configures; the pool says it.
        variables: The variables of the instance; the pool says it.
        error: The error that the guest has set.
        response: What the last of them answered; None before the first.
        failure: The first failure of a host function in this call.
        record: What is to be told about the request.
        say: What passes on a line of the guest's, with its level of `logging`.
    """

    memory: GrantedMemory
    deadline: Deadline
    host_calls_left: int = 0
    allowed_hosts: tuple[str, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    variables: dict[bytes, bytes] = field(default_factory=dict)
    error: bytes | None = None
    response: "Response | None" = None
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
