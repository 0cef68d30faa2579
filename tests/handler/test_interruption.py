"""Tests that a call can always be interrupted, whenever its deadline comes."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from handler.deadline import Deadline
from handler.interruption import CANCEL_AGAIN, Watch

CALLS = """
import random
from contextlib import suppress
from pathlib import Path
from handler.deadline import Deadline
from handler.errors import GuestDeadlineExceeded
from handler.guest import BEGIN, Module
from handler.invocation import Invocation
from handler.memory.granted import GrantedMemory
from handler.memory.map import MapStore
from handler.plugins import load_spec

module = Module(load_spec(Path(__import__("sys").argv[1])))
for _ in range(100):
    with suppress(GuestDeadlineExceeded):
        deadline = Deadline.after(BEGIN + random.random() * 0.001)
        invocation = Invocation(GrantedMemory(MapStore(), module.spec), deadline)
        module.instantiate().call("run", b"", invocation)
print("all came back")
"""


def test_deadline_at_the_very_start_of_a_call_is_kept(tmp_path: Path) -> None:
    """A guest that never ends is interrupted however near the deadline is when it is begun.

    Extism loses an interruption that comes between a call's start message and the call itself.
    """
    folder = tmp_path / "endless"
    folder.mkdir()
    (folder / "endless.wat").write_text('(module (func (export "run") (loop (br 0))))')
    (folder / "plugin.toml").write_text('wasm = "endless.wat"\nfunctions = ["run"]\n[limits]\ntimeout_ms = 60000\n')
    # In a process of its own: a guest that cannot be interrupted can only be ended with its process
    done = subprocess.run([sys.executable, "-c", CALLS, folder], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "all came back\n"


class Idle:
    """Stands in for a plugin whose call computes nothing, and notes its cancels: a real guest always computes a bit."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel_handle(self) -> "Idle":
        """Itself."""
        return self

    def cancel(self) -> None:
        """Notes it."""
        self.cancelled.set()


@pytest.mark.parametrize("begun", [True, False])
def test_a_call_that_has_begun_is_cancelled_at_once(begun: bool) -> None:
    """Whether it computes or waits; one that may not have begun is not cancelled before it has used the processor."""
    plugin = Idle()
    watch = Watch(plugin, Deadline.after(0), lambda: begun)

    plugin.cancelled.wait(60 if begun else 20 * CANCEL_AGAIN)

    assert watch.end() is begun
    assert plugin.cancelled.is_set() is begun
