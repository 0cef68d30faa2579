"""Tests that a call can always be interrupted, whenever its deadline comes."""

import subprocess
import sys
from pathlib import Path

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
