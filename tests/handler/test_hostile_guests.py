"""Guests that mean harm, or are broken: each is held to its limits, and the next request does not notice."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from handler.errors import (
    GuestDeadlineExceeded,
    HostCallsExceeded,
    InvalidMemoryKey,
    InvocationError,
    PluginOutOfMemory,
    PluginReportedError,
    PluginTrapped,
    PluginUnusable,
)
from tests import guests
from tests.conftest import MakePlugin, MakeService
from tests.handler.test_guest import FAR, failure, run

READS: dict[str, Any] = {"memory": {"read": ["*"]}}
SHORT = {"timeout_ms": 100}

HOSTILE: dict[str, tuple[str, dict[str, Any], bytes, type[InvocationError] | bytes]] = {
    "loops": (guests.ENDLESS, {"limits": SHORT}, b"", GuestDeadlineExceeded),
    "loops in _initialize": (guests.LOOPS_WHEN_INITIALIZED, {"limits": SHORT}, b"", GuestDeadlineExceeded),
    "loops in its constructors": (guests.LOOPS_IN_CONSTRUCTORS, {"limits": SHORT}, b"", GuestDeadlineExceeded),
    "loops at its start": (guests.LOOPS_AT_START, {"limits": SHORT}, b"", GuestDeadlineExceeded),
    "reads in _initialize": (guests.GETS_WHEN_INITIALIZED, READS, b"", b"21"),
    "reads at its start": (guests.GETS_AT_START, READS, b"", b"21"),
    "reads at its start what it may not": (guests.GETS_AT_START, {}, b"", InvocationError),
    "traps at its start": (guests.TRAPS_AT_START, {}, b"", PluginTrapped),
    "sleeps": (guests.WASI_SLEEPS, {"wasi": True, "limits": SHORT}, b"30000", GuestDeadlineExceeded),
    "sleeps a little": (guests.WASI_SLEEPS, {"wasi": True}, b"5", b"5"),
    "grows": (guests.GROW, {}, b"", PluginOutOfMemory),
    "grows page by page": (guests.GROWS_STEPWISE, {}, b"", PluginOutOfMemory),
    "grows its table": (guests.GROWS_TABLE, {}, b"", b"1"),
    "begins too large": (guests.guest(guests.OK, memory="2000"), {}, b"", PluginOutOfMemory),
    "allocates in Extism's memory": (guests.ALLOCATE, {}, b"", PluginOutOfMemory),
    "reads a million times": (guests.READS_OFTEN, READS, b"1000000", HostCallsExceeded),
    "asks for nothing, often": (guests.GETS_OFTEN, READS, b"1000", InvalidMemoryKey),
    "recurses": (guests.RECURSE, {}, b"", PluginTrapped),
    "exits": (guests.NEEDS_WASI, {"wasi": True}, b"", PluginTrapped),
    "exits with 0": (guests.EXIT_ZERO, {"wasi": True}, b"x", b"x"),
    "returns 7": (guests.RETURNS_SEVEN, {}, b"", PluginReportedError),
    "sets a freed output": (guests.OUTPUT_FREED, {}, b"", bytes(100)),
    "imports what nobody grants": (guests.UNKNOWN_IMPORT, {}, b"", PluginUnusable),
    "imports with wrong types": (guests.WRONG_SIGNATURE, {}, b"", PluginUnusable),
    "imports from itself": (guests.IMPORTS_ITSELF, {}, b"", PluginUnusable),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_guest_is_held_and_the_next_request_is_served(
    make_plugin: MakePlugin, make_service: MakeService, name: str
) -> None:
    """Each fails in its own way or gives what it should, twice, within its time, and others go on as before.

    The bound on the time is generous; without its protection such a guest runs for ever, or ends the process.
    """
    wat, fields, data, expected = HOSTILE[name]
    make_plugin("hostile", wat, **fields)
    make_plugin("sound", guests.ECHO)
    service = make_service()
    for _ in range(2):
        start = time.monotonic()
        if isinstance(expected, bytes):
            assert run(service, data) == expected
        else:
            assert isinstance(failure(service, data), expected)
        assert time.monotonic() - start < 20

    assert service.run(service.find("sound"), b"next", FAR) == b"next"


@pytest.mark.parametrize(("often", "fits"), [(100, True), (101, False)])
def test_host_calls_are_counted(make_plugin: MakePlugin, make_service: MakeService, often: int, *, fits: bool) -> None:
    """As many calls as host_calls pass, in every invocation anew; one more fails it."""
    make_plugin("reads", guests.READS_OFTEN, limits={"host_calls": 100}, **READS)
    service = make_service()

    for _ in range(2):
        if fits:
            assert run(service, str(often).encode()) == str(often).encode()
        else:
            assert type(failure(service, str(often).encode())) is HostCallsExceeded


def test_a_module_begins_once(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """The start function runs before `_initialize`, each once in the life of an instance."""
    make_plugin("begins", guests.COUNTS_BEGINNINGS)
    service = make_service()

    assert [run(service) for _ in range(3)] == [b"12"] * 3


def test_a_beginning_that_failed_is_begun_anew(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """An instance whose beginning was refused is not used: the next one begins from the start, and fails as well."""
    make_plugin("reads", guests.GETS_AT_START)
    service = make_service()

    assert [failure(service).type for _ in range(2)] == ["memory-access-denied"] * 2


def test_checking_a_plugin_runs_none_of_its_code(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A plugin that never ends its beginning is ready all the same, since nothing of it runs before a call."""
    make_plugin("loops", guests.LOOPS_AT_START)

    make_service().warm(FAR)


def uleb(value: int) -> bytes:
    """A LEB128 number."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def many_functions(count: int) -> bytes:
    """A module of that many functions, empty, of which one is exported."""
    header = b"\0asm\x01\0\0\0"
    types = b"\x01\x04\x01\x60\0\0"
    functions = uleb(count) + bytes(count)
    exports = b"\x01\x03run\x00\x00"
    code = uleb(count) + b"\x02\x00\x0b" * count
    parts = b"".join(bytes([id_]) + uleb(len(body)) + body for id_, body in ((3, functions), (7, exports), (10, code)))
    return header + types + parts


@pytest.mark.parametrize(("count", "fits"), [(1000, True), (100_000, False)])
def test_functions_are_counted(make_plugin: MakePlugin, make_service: MakeService, count: int, *, fits: bool) -> None:
    """A module of 100,000 functions is refused before it keeps the compiler busy, which nobody can interrupt."""
    folder = make_plugin("large", guests.SILENT)
    (folder / "large.wat").write_bytes(many_functions(count))

    if fits:
        assert run(make_service()) == b""
    else:
        assert "more than 50,000 functions" in str(failure(make_service()).__cause__)


def test_a_module_of_50_megabytes_is_a_plugin(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Size alone does no harm."""
    folder = make_plugin("large", guests.SILENT)
    filling = b"\0" + uleb(50_000_001) + bytes(50_000_001)  # a custom section without a name
    (folder / "large.wat").write_bytes(bytes(wasmtime.wat2wasm(guests.ECHO)) + filling)

    assert run(make_service()) == b"hello"


@pytest.mark.parametrize("code", [b"not wasm", b"\x7fELF" + bytes(100), b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0"])
def test_what_is_no_module_is_unusable(make_plugin: MakePlugin, make_service: MakeService, code: bytes) -> None:
    """A file that is no module, is a component, or is empty, cannot be used, and the answer does not say more."""
    folder = make_plugin("broken", guests.SILENT)
    (folder / "broken.wat").write_bytes(code)

    assert type(failure(make_service())) is PluginUnusable


def test_two_modules_in_one_file_are_unusable(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A plugin is one module: a second one behind it is not loaded, whatever is in it."""
    folder = make_plugin("broken", guests.SILENT)
    code = bytes(wasmtime.wat2wasm(guests.ECHO))
    (folder / "broken.wat").write_bytes(code * 2)

    assert type(failure(make_service())) is PluginUnusable


def test_a_truncated_module_is_unusable(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A module that was cut off anywhere cannot be used."""
    folder = make_plugin("broken", guests.SILENT)
    code = bytes(wasmtime.wat2wasm(guests.ECHO))
    service = make_service()
    for cut in range(8, len(code), 97):
        (folder / "broken.wat").write_bytes(code[:cut])
        assert type(failure(service)) is PluginUnusable


ENDS_THE_PROCESS = """
import sys
from pathlib import Path
from extism.extism import CompiledPlugin, Plugin
from handler.host_functions import HOST_FUNCTIONS
Plugin(CompiledPlugin({"wasm": [{"path": sys.argv[1]}]}, functions=HOST_FUNCTIONS))
"""


@pytest.mark.parametrize("wat", [guests.GETS_AT_START, guests.IMPORTS_ITSELF], ids=["start", "itself"])
def test_extism_by_itself_would_not_survive(tmp_path: Path, wat: str) -> None:
    """What is done to modules is still needed: given such a module as it is, Extism ends the process.

    When this fails, Extism has learned better, and modules.py can do less.
    """
    module = tmp_path / "module.wasm"
    module.write_bytes(bytes(wasmtime.wat2wasm(wat)))

    child = subprocess.run(
        [sys.executable, "-c", ENDS_THE_PROCESS, str(module)], capture_output=True, timeout=60, check=False
    )

    assert child.returncode < 0
