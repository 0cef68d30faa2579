"""Blocking calls that may not outlast a deadline."""

import threading
import time
from typing import Any

import pytest

from handler.deadline import Deadline
from handler.errors import StoreDeadlineExceeded, StoreFailed
from handler.memory.bounded import Bounded, result_of
from tests.servers import wait_for


def test_a_call_gives_what_the_function_gives() -> None:
    """Without a deadline and with a far one, the function's result comes back."""
    assert Bounded().call(lambda: 42, Deadline.never()) == 42
    assert Bounded().call(lambda: 42, Deadline.after(60)) == 42


@pytest.mark.parametrize("error", [StoreFailed("x"), ValueError("x"), TimeoutError("x"), KeyboardInterrupt("x")])
def test_a_call_raises_what_the_function_raises(error: BaseException) -> None:
    """The function's own exception comes out, one that looks like a timeout of waiting too."""

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        Bounded().call(fail, Deadline.after(60))

    assert caught.value is error


def test_a_call_is_given_up_at_its_deadline() -> None:
    """A function that hangs is not waited for beyond the deadline."""
    release = threading.Event()
    try:
        with pytest.raises(StoreDeadlineExceeded, match="did not answer in time"):
            Bounded().call(release.wait, Deadline.after(0.05))
    finally:
        release.set()


def test_nothing_is_begun_after_the_deadline() -> None:
    """With no time left the function does not run at all."""
    ran = threading.Event()

    with pytest.raises(StoreDeadlineExceeded, match="before the memory could be asked"):
        Bounded().call(ran.set, Deadline.after(0))

    assert not ran.wait(0.05)


def test_calls_given_up_hold_their_places_until_they_end() -> None:
    """The number of threads is bounded: with all places held a call waits for one, at most until its deadline."""
    release = threading.Event()
    bounded = Bounded(calls=2)
    for _ in range(2):
        with pytest.raises(StoreDeadlineExceeded):
            bounded.call(release.wait, Deadline.after(0.01))

    with pytest.raises(StoreDeadlineExceeded, match="before the memory could be asked"):
        bounded.call(lambda: 42, Deadline.after(0.05))
    threading.Timer(0.05, release.set).start()

    assert bounded.call(lambda: 42, Deadline.after(60)) == 42


def test_a_thread_that_cannot_start_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread left the call fails, and a later one works as if nothing had happened."""

    class NoThread:
        def __init__(self, **_: Any) -> None: ...

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    bounded = Bounded(calls=1)
    with monkeypatch.context() as patch:
        patch.setattr("handler.memory.bounded.Thread", NoThread)
        with pytest.raises(RuntimeError, match="start new thread"):
            bounded.call(lambda: 42, Deadline.after(60))

    assert bounded.call(lambda: 42, Deadline.after(1)) == 42


def test_threads_do_not_pile_up() -> None:
    """After the calls have ended, their threads are gone."""
    bounded = Bounded()
    before = threading.active_count()

    for _ in range(100):
        bounded.call(lambda: time.sleep(0), Deadline.after(60))

    wait_for(lambda: threading.active_count() <= before)


def test_a_call_can_be_begun_and_waited_for_later() -> None:
    """What was begun runs beside the caller; its result, or its exception, comes when it is asked for."""
    bounded = Bounded()
    error = StoreFailed("x")

    def fail() -> None:
        raise error

    good, bad = bounded.begin(lambda: 42), bounded.begin(fail)

    assert good is not None
    assert bad is not None
    assert result_of(good, Deadline.after(60)) == 42
    with pytest.raises(StoreFailed) as caught:
        result_of(bad, Deadline.after(60))
    assert caught.value is error


def test_waiting_for_what_was_begun_ends_at_the_deadline() -> None:
    """A call that hangs is given up by who waits for it."""
    release = threading.Event()
    begun = Bounded().begin(release.wait)
    assert begun is not None
    try:
        with pytest.raises(StoreDeadlineExceeded, match="did not answer in time"):
            result_of(begun, Deadline.after(0.05))
    finally:
        release.set()


def test_nothing_is_begun_without_a_place() -> None:
    """With all places held nothing is begun, and nobody waits; with one given back it is."""
    release = threading.Event()
    bounded = Bounded(calls=1)
    begun = bounded.begin(release.wait)
    assert begun is not None

    assert bounded.begin(lambda: 42) is None
    release.set()
    result_of(begun, Deadline.after(60))

    assert bounded.call(lambda: 42, Deadline.after(60)) == 42


def test_nothing_is_begun_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread left nothing is begun, and the place is free again."""

    def no_thread(**_: Any) -> None:
        raise RuntimeError("can't start new thread")

    bounded = Bounded(calls=1)
    with monkeypatch.context() as patch:
        patch.setattr("handler.memory.bounded.Thread", no_thread)
        assert bounded.begin(lambda: 42) is None

    assert bounded.call(lambda: 42, Deadline.after(1)) == 42
