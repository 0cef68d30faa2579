"""Blocking calls that may not outlast a deadline."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread
from typing import TypeVar

from handler.deadline import Deadline
from handler.errors import StoreDeadlineExceeded
from handler.forks import renew_in_children

T = TypeVar("T")

CALLS = 32
"""Most calls under way at once, those included that nobody waits for any more."""


class Bounded:
    """Runs each call in a thread of its own and stops waiting for it when the deadline has passed.

    Socket timeouts alone do not bound a call: they begin anew with every byte that trickles in. A call that is given up
    ends by its socket timeouts; until then it holds one of the places. Threads are daemons made per call (0.11 ms on
    2 quiet cores, against the 0.8 ms that boto3 takes for a GetItem), so that nothing has to survive a fork or a
    snapshot and no exit waits for them.
    """

    def __init__(self, calls: int = CALLS) -> None:
        self._calls = calls
        self._places = BoundedSemaphore(calls)
        renew_in_children(self)

    def renew(self) -> None:
        """Gives back, in a process just forked, the places of calls that are under way in its parent only."""
        self._places = BoundedSemaphore(self._calls)

    def call(self, function: Callable[[], T], deadline: Deadline) -> T:
        """Calls the function and returns or raises what it does.

        Raises:
            StoreDeadlineExceeded: The deadline passed first.
        """
        timeout = deadline.timeout()
        if timeout == 0.0 or not self._places.acquire(timeout=timeout):
            raise StoreDeadlineExceeded("the time was over before the memory could be asked")
        return result_of(self._start(function), deadline)

    def begin(self, function: Callable[[], T]) -> Future[T] | None:
        """Begins a call whose result `result_of` waits for; None where all places are taken or no thread can start."""
        if not self._places.acquire(blocking=False):
            return None
        try:
            return self._start(function)
        except RuntimeError:
            return None

    def _start(self, function: Callable[[], T]) -> Future[T]:
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(function())
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it
                outcome.set_exception(error)
            finally:
                self._places.release()

        try:
            Thread(target=run, name="memory-read", daemon=True).start()
        except RuntimeError:  # no thread left: there will be, but not a place that nobody gives back
            self._places.release()
            raise
        return outcome


def result_of(outcome: Future[T], deadline: Deadline) -> T:
    """Waits for a call that was begun, and returns or raises what it does.

    Raises:
        StoreDeadlineExceeded: The deadline passed first.
    """
    try:
        error = outcome.exception(timeout=deadline.timeout())
    except TimeoutError:
        raise StoreDeadlineExceeded("the memory did not answer in time") from None
    if error is not None:
        raise error
    return outcome.result()
