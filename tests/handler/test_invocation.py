"""One call of a guest, as host functions see it."""

import threading

import pytest

from handler.deadline import Deadline
from handler.invocation import Invocation, current_invocation, serving
from handler.memory.granted import GrantedMemory
from handler.memory.map import MapStore
from handler.plugins import load_spec
from tests import guests
from tests.conftest import MakePlugin


@pytest.fixture
def memory(make_plugin: MakePlugin) -> GrantedMemory:
    """Some plugin's memory."""
    return GrantedMemory(MapStore(), load_spec(make_plugin("one", guests.SILENT)))


def test_there_is_an_invocation_while_one_is_served(memory: GrantedMemory) -> None:
    """Within the block host functions find their invocation, after it none; blocks may lie within each other."""
    outer, inner = (Invocation(memory, Deadline.never()) for _ in range(2))

    with serving(outer):
        with serving(inner):
            assert current_invocation() is inner
        assert current_invocation() is outer

    with pytest.raises(LookupError):
        current_invocation()


def test_it_ends_with_the_block_however_that_ends(memory: GrantedMemory) -> None:
    """An exception leaves no invocation behind."""
    with pytest.raises(ZeroDivisionError), serving(Invocation(memory, Deadline.never())):
        raise ZeroDivisionError

    with pytest.raises(LookupError):
        current_invocation()


def test_threads_do_not_see_each_others(memory: GrantedMemory) -> None:
    """Two threads that serve at the same time have an invocation each."""
    both = threading.Barrier(2, timeout=30)
    seen: list[bool] = []

    def serve() -> None:
        mine = Invocation(memory, Deadline.never())
        with serving(mine):
            both.wait()
            seen.append(current_invocation() is mine)
            both.wait()

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [True, True]
