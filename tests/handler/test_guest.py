"""What a guest may do, and how each way of failing is told."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from handler.deadline import Deadline
from handler.errors import (
    GuestDeadlineExceeded,
    InvocationError,
    NetworkAccessDenied,
    OutputTooLarge,
    PluginOutOfMemory,
    PluginReportedError,
    PluginTrapped,
    PluginUnusable,
)
from handler.service import PluginService
from tests import guests
from tests.conftest import MakePlugin, MakeService
from tests.servers import serving

FAR = Deadline.after(3600)


def run(
    service: PluginService, data: bytes = b"hello", *, function: str | None = None, deadline: Deadline = FAR
) -> bytes:
    """The output of the default plugin."""
    return service.run(service.find(function=function), data, deadline)


def failure(service: PluginService, data: bytes = b"hello", *, deadline: Deadline = FAR) -> InvocationError:
    """What a call of the default plugin fails with."""
    with pytest.raises(InvocationError) as caught:
        run(service, data, deadline=deadline)
    return caught.value


@pytest.mark.parametrize("data", [b"", b"x", b"\x00", b"\xff\xfe", "👋".encode(), bytes(range(256)) * 4096])
def test_input_and_output_are_bytes(make_plugin: MakePlugin, make_service: MakeService, data: bytes) -> None:
    """What goes in comes out unchanged, whatever it is."""
    make_plugin("echo", guests.ECHO, limits={"input_bytes": 10**7})

    assert run(make_service(), data) == data


def test_six_megabytes_pass_with_limits_to_match(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A request as large as Lambda carries goes through a guest, if plugin.toml allows it."""
    make_plugin("echo", guests.ECHO, limits={"input_bytes": 10**7, "output_bytes": 10**7})
    data = os.urandom(6 * 1024 * 1024)

    assert run(make_service(), data) == data


def test_a_guest_may_answer_with_nothing(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A guest that sets no output gives the empty one, whatever an earlier call gave."""
    make_plugin("silent", guests.SILENT)

    assert run(make_service()) == b""


def test_a_function_need_not_return_a_code(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """An export without a result is called too."""
    make_plugin("nothing", guests.RETURNS_NOTHING)

    assert run(make_service()) == b"hello"


def test_a_binary_module_runs_as_its_text_does(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A .wasm with its hash in plugin.toml is loaded."""
    make_plugin("echo", guests.ECHO, binary=True)

    assert run(make_service()) == b"hello"


def test_the_config_reaches_the_guest(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A value of [config] can be read, whatever characters it has."""
    make_plugin("config", guests.CONFIG, config={"greeting": "Grüß 💜", "other": ""})

    assert run(make_service()) == "Grüß 💜".encode()


@pytest.mark.parametrize(
    ("wat", "expected"),
    [
        (guests.TRAP, PluginTrapped),
        (guests.RECURSE, PluginTrapped),
        (guests.ENDLESS, GuestDeadlineExceeded),
        (guests.GROW, PluginOutOfMemory),
        (guests.ALLOCATE, PluginOutOfMemory),
        (guests.guest(guests.OK, memory="2000"), PluginOutOfMemory),
        (guests.RETURNS_SEVEN, PluginReportedError),
        (guests.SETS_ERROR, PluginReportedError),
        (guests.SETS_ERROR_RETURNS_ZERO, PluginReportedError),
        (guests.SETS_ERROR_TRAPS, PluginReportedError),
        (guests.SETS_ERROR_LOOPS, GuestDeadlineExceeded),
        (guests.SETS_EMPTY_ERROR, PluginReportedError),
        (guests.OTHER_EXPORTS, PluginUnusable),
        (guests.UNKNOWN_IMPORT, PluginUnusable),
        (guests.UNKNOWN_KERNEL_IMPORT, PluginUnusable),
        (guests.WRONG_SIGNATURE, PluginUnusable),
        (guests.NEEDS_WASI, PluginUnusable),
        (guests.TRAPS_AT_START, PluginTrapped),
        (guests.TRAPS_WHEN_INITIALIZED, PluginTrapped),
        ("(module (func", PluginUnusable),
        ("", PluginUnusable),
    ],
)
def test_each_way_of_failing_has_its_error(
    make_plugin: MakePlugin, make_service: MakeService, wat: str, expected: type[InvocationError]
) -> None:
    """How a guest fails decides the error, and its public words hold no internals."""
    folder = make_plugin("guest", wat, limits={"timeout_ms": 100})

    error = failure(make_service())

    assert type(error) is expected
    assert error.detail
    for internal in (str(folder), "guest.wat", "backtrace", "unreachable", "Extism", "0x", "<unknown>"):
        assert internal not in error.detail


@pytest.mark.parametrize(
    "wat", [guests.SETS_ERROR, guests.SETS_ERROR_RETURNS_ZERO, guests.SETS_ERROR_TRAPS], ids=["1", "0", "trap"]
)
def test_a_guests_own_words_are_the_detail(make_plugin: MakePlugin, make_service: MakeService, wat: str) -> None:
    """The error that a guest sets is passed on as it is, whatever it does afterwards."""
    make_plugin("complains", wat)

    assert failure(make_service()).detail == guests.COMPLAINT_TEXT


def test_a_code_without_words_is_told(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A guest that returns 7 and says nothing leaves the number to go by."""
    make_plugin("seven", guests.RETURNS_SEVEN)

    assert "7" in failure(make_service()).detail


def test_words_that_are_not_utf8_are_passed_on_all_the_same(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Bytes that are no text are replaced, and the rest is told."""
    make_plugin("garbles", guests.SETS_ERROR_NOT_UTF8)

    error = failure(make_service())

    assert type(error) is PluginReportedError
    assert error.detail == "bad \ufffd\ufffd"


@pytest.mark.parametrize("words", ["wasm backtrace: x", "oom", "Error code: 1"])
def test_a_guests_words_do_not_pass_for_extisms(make_plugin: MakePlugin, make_service: MakeService, words: str) -> None:
    """An error message is the guest's own, however much it sounds like a crash."""
    make_plugin(
        "mimics",
        guests.module(
            f'(data (i32.const 0) "{words}") (func (export "run") (result i32)'
            f" (call $error_set (call $text (i32.const 0) (i32.const {len(words)}))) (i32.const 1))"
        ),
    )

    error = failure(make_service())

    assert (type(error), error.detail) == (PluginReportedError, words)


def test_the_backtrace_is_kept_as_the_cause(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """What went wrong inside is with the error, for the log."""
    make_plugin("traps", guests.TRAP)

    error = failure(make_service())

    assert "wasm backtrace" in str(error.__cause__)


@pytest.mark.parametrize(
    ("wat", "word"),
    [
        (guests.UNKNOWN_IMPORT, "nobodyGrantsThis"),
        (guests.UNKNOWN_KERNEL_IMPORT, "from_the_future"),
        (guests.WRONG_SIGNATURE, "types incompatible"),
        (guests.NEEDS_WASI, "wasi_snapshot_preview1::proc_exit"),
    ],
)
def test_an_import_that_nobody_grants_is_named_for_the_log(
    make_plugin: MakePlugin, make_service: MakeService, wat: str, word: str
) -> None:
    """The cause of the error says which import does not fit."""
    make_plugin("needy", wat)

    assert word in str(failure(make_service()).__cause__)


@pytest.mark.parametrize("function", ["run", "with_parameter", "two_results", "result_i64", "not_a_function"])
def test_an_export_that_cannot_be_called_is_named(
    make_plugin: MakePlugin, make_service: MakeService, function: str
) -> None:
    """A function that is missing, has parameters, or another result than an i32, is refused before the call."""
    make_plugin("other", guests.OTHER_EXPORTS, functions=[function])

    error = failure(make_service())

    assert type(error) is PluginUnusable
    assert repr(function) in error.detail


def test_a_hash_that_does_not_match_is_refused(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A module that is not the one of plugin.toml is not loaded."""
    folder = make_plugin("echo", guests.ECHO, binary=True)
    code = (folder / "echo.wasm").read_bytes()
    (folder / "echo.wasm").write_bytes(code + b"\x00\x01\x00")  # an empty custom section: valid, but another module

    error = failure(make_service())

    assert type(error) is PluginUnusable
    assert "hash" in str(error.__cause__).lower()


def test_a_text_may_have_a_hash_too(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Where plugin.toml names the hash of a .wat file, it is checked as well."""
    make_plugin("echo", guests.ECHO, sha256="0" * 64)

    assert type(failure(make_service())) is PluginUnusable


def test_a_file_that_vanished_is_refused(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A module that is gone when it is needed is an unusable plugin."""
    folder = make_plugin("echo", guests.ECHO)
    service = make_service()
    (folder / "echo.wat").unlink()

    assert type(failure(service)) is PluginUnusable


class TestLimits:
    """The limits of plugin.toml are enforced."""

    @pytest.mark.parametrize(
        ("size", "fits"), [(0, True), (999, True), (1000, True), (1001, False), (5_000_000, False)]
    )
    def test_output(self, make_plugin: MakePlugin, make_service: MakeService, size: int, *, fits: bool) -> None:
        """An output of output_bytes passes, one byte more does not, and none of it is given out."""
        make_plugin("sized", guests.ANSWERS_SIZE, limits={"output_bytes": 1000})
        service = make_service()

        if fits:
            assert run(service, str(size).encode()) == bytes(size)
        else:
            error = failure(service, str(size).encode())
            assert type(error) is OutputTooLarge
            assert str(size) in error.detail

    def test_memory_holds_the_input(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """An input that input_bytes allows, but memory_pages does not, is the plugin out of memory."""
        make_plugin("echo", guests.ECHO, limits={"memory_pages": 4, "input_bytes": 10**6})
        service = make_service()

        assert run(service, bytes(50_000)) == bytes(50_000)
        assert type(failure(service, bytes(500_000))) is PluginOutOfMemory
        assert run(service, b"hello") == b"hello"

    @pytest.mark.parametrize(("pages", "fits"), [(2100, True), (1900, False)])
    @pytest.mark.parametrize("wat", [guests.GROW, guests.ALLOCATE])
    def test_memory_pages(
        self, make_plugin: MakePlugin, make_service: MakeService, wat: str, pages: int, *, fits: bool
    ) -> None:
        """The guest's own memory and Extism's both count; within the limit they can be had."""
        make_plugin("grows", wat, limits={"memory_pages": pages})

        if fits:
            assert run(make_service()) == b""
        else:
            assert type(failure(make_service())) is PluginOutOfMemory


class TestDeadlines:
    """The nearer of the plugin's timeout and the invocation's deadline ends a call."""

    def test_the_plugins_timeout(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """With a far deadline the plugin's own timeout counts."""
        make_plugin("endless", guests.ENDLESS, limits={"timeout_ms": 100})
        deadline = Deadline.after(60)

        assert type(failure(make_service(), deadline=deadline)) is GuestDeadlineExceeded
        assert deadline.remaining() > 30

    def test_the_deadline(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """With a near deadline it is the deadline, however long the plugin's timeout."""
        make_plugin("endless", guests.ENDLESS, limits={"timeout_ms": 900_000})
        far = Deadline.after(60)

        assert type(failure(make_service(), deadline=Deadline.after(0.3))) is GuestDeadlineExceeded
        assert far.remaining() > 30

    @pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.001])
    def test_nothing_is_begun_without_time(
        self, make_plugin: MakePlugin, make_service: MakeService, seconds: float
    ) -> None:
        """With next to nothing left no guest runs, since nobody could be sure to interrupt it."""
        make_plugin("counter", guests.COUNTER, functions=guests.COUNTER_FUNCTIONS)
        service = make_service()
        assert run(service) == b"1"

        assert failure(service, deadline=Deadline.after(seconds)).status in (503, 504)

        assert run(service) == b"2"

    def test_a_call_within_both_is_left_alone(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """A guest that works for a while, and is watched, ends by itself."""
        make_plugin("busy", guests.BUSY, limits={"timeout_ms": 60_000})

        assert run(make_service(), b"5000", deadline=Deadline.after(30)) == b"5000"


class TestWasi:
    """WASI shows a guest nothing of the machine."""

    @pytest.mark.parametrize(
        "wat", [guests.WASI_ENVIRONMENT, guests.WASI_ARGUMENTS, guests.WASI_FILES, guests.WASI_OPENS]
    )
    def test_nothing_to_see(self, make_plugin: MakePlugin, make_service: MakeService, wat: str) -> None:
        """There are no environment variables, no arguments and no folders, and so no files."""
        make_plugin("curious", wat, wasi=True)

        assert run(make_service()) == b"0"

    def test_the_time_is_the_machines(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """The clock is not hidden: PDKs need it, and it tells nothing of the machine."""
        make_plugin("looks", guests.WASI_CLOCK, wasi=True)

        assert abs(int(run(make_service())) - time.time()) < 60

    @pytest.mark.parametrize("isolation", ["reuse", "fresh"])
    def test_random_numbers_differ(self, make_plugin: MakePlugin, make_service: MakeService, isolation: str) -> None:
        """From call to call, and from instance to instance."""
        make_plugin("rolls", guests.WASI_RANDOM, wasi=True, isolation=isolation)
        service = make_service()

        assert len({run(service) for _ in range(10)}) == 10

    def test_no_output_gets_out(
        self, make_plugin: MakePlugin, make_service: MakeService, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """What a guest prints does not become part of the answer."""
        make_plugin("prints", guests.WASI_STDOUT, wasi=True)

        assert run(make_service()) == b""

    def test_exit_code_0_is_a_success(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """A guest that ends itself with 0 has done its work: what it set as output counts."""
        make_plugin("exits", guests.EXIT_ZERO, wasi=True)
        service = make_service()

        assert [run(service, data) for data in (b"one", b"two")] == [b"one", b"two"]

    @pytest.mark.parametrize("code", [1, 3, 134, -1, 255])
    def test_any_other_exit_code_is_a_crash(
        self, make_plugin: MakePlugin, make_service: MakeService, code: int
    ) -> None:
        """A guest that ends itself with anything else has failed, and not in its own words."""
        make_plugin("exits", guests.NEEDS_WASI.replace("(i32.const 3)", f"(i32.const {code})"), wasi=True)

        assert type(failure(make_service())) is PluginTrapped


@pytest.mark.parametrize(("hosts", "reached"), [(None, False), (["example.com"], False), (["127.0.0.1"], True)])
def test_only_allowed_hosts_are_reached(
    make_plugin: MakePlugin, make_service: MakeService, hosts: list[str] | None, *, reached: bool
) -> None:
    """A guest's HTTP request goes to a host of allowed_hosts; any other, and by default every one, fails the call."""
    fields: dict[str, Any] = {"network": {"allowed_hosts": hosts}} if hosts else {}
    make_plugin("fetches", guests.FETCHES, **fields)
    asked: list[bytes] = []

    def answer(connection: socket.socket, over: threading.Event) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nreally")

    with serving(answer) as url:
        wish = f'{{"url": "{url}/"}}'.encode()
        if reached:
            assert run(make_service(), wish) == b"really"
        else:
            error = failure(make_service(), wish)
            assert type(error) is NetworkAccessDenied
            assert url not in error.detail

    assert bool(asked) == reached


CHILD = """
import sys
from pathlib import Path
from handler.deadline import Deadline
from handler.errors import InvocationError
from handler.memory.map import MapStore
from handler.plugins import load_catalog
from handler.pool import PluginPool
from handler.service import PluginService

catalog = load_catalog(Path(sys.argv[1]))
service = PluginService({name: PluginPool(spec) for name, spec in catalog.items()}, "garbage", MapStore())
for _ in range(2):
    try:
        output = service.run(service.find(), sys.argv[2].encode(), Deadline.after(30))
    except InvocationError as error:
        assert error.status in (422, 500, 502), error
        assert error.type != "internal-error", error
    else:
        assert output.decode() == sys.argv[3], output
assert service.run(service.find("sound"), b"next", Deadline.after(30)) == b"next"
print("served")
"""


def run_child(plugins: Path, data: str, output: str) -> "subprocess.CompletedProcess[str]":
    """Calls `garbage` twice and `sound` once in a process of its own.

    Each call of `garbage` has to fail in its own words or to give the output.
    """
    command = [sys.executable, "-c", CHILD, str(plugins), data, output]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


PROCESS_TESTS = {
    "output at 0": (guests.OUTPUT_AT, (0, 10)),
    "output beyond the memory": (guests.OUTPUT_AT, (10**12, 5)),
    "output at the last address": (guests.OUTPUT_AT, (2**64 - 1, 1)),
    "output longer than the memory": (guests.OUTPUT_AT, (200, 70_000)),
    "output of 4 GB": (guests.OUTPUT_AT, (200, 4_000_000_000)),
    "output whose end wraps around": (guests.OUTPUT_AT, (100, 2**64 - 26)),
    "config name whose length is forged": (
        guests.forging("(drop (call $config_get (local.get $block)))"),
        (0, 0),
    ),
    "variable whose length is forged": (guests.forging("(drop (call $var_get (local.get $block)))"), (0, 0)),
    "value whose length is forged": (guests.forging("(call $var_set (local.get $block) (local.get $block))"), (0, 0)),
    "error whose length is forged": (guests.forging("(call $error_set (local.get $block))"), (0, 0)),
    "log line whose length is forged": (guests.forging("(call $log (local.get $block))"), (0, 0)),
    "request whose length is forged": (guests.forging("(drop (call $fetch (local.get $block) (i64.const 0)))"), (0, 0)),
    "key whose length is forged": (guests.CORRUPTS_HEADER, (0, 0)),
    "output whose length is forged": (guests.FORGES_OUTPUT, (0, 0)),
    "key whose end is forged": (guests.FORGES_KEY_AT_END, (0, 0)),
    "log line whose end is forged": (guests.FORGES_LINE_AT_END, (0, 0)),
}


@pytest.mark.parametrize("name", PROCESS_TESTS)
def test_garbage_from_a_guest_does_not_end_the_process(make_plugin: MakePlugin, tmp_path: Path, name: str) -> None:
    """Offsets and lengths that make no sense fail the call or give an empty output, and the next call is served.

    In a process of its own, since a mistake here reads memory that is not there.
    """
    wat, numbers = PROCESS_TESTS[name]
    make_plugin("garbage", wat, memory={"read": ["*"]})
    make_plugin("sound", guests.ECHO)
    child = run_child(tmp_path / "plugins", "{:020} {:020}".format(*numbers), "")

    assert (child.returncode, child.stdout) == (0, "served\n"), child.stderr


def test_an_output_of_impossible_length_is_too_large(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A length beyond any memory is told as an output that is too large."""
    make_plugin("garbage", guests.OUTPUT_AT)

    assert type(failure(make_service(), f"{100:020} {2**64 - 26:020}".encode())) is OutputTooLarge


def test_extisms_own_log_stays_quiet(
    make_plugin: MakePlugin, make_service: MakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    """Loading and calling a plugin writes nothing to standard output or error."""
    make_plugin("echo", guests.ECHO)
    logging.getLogger("handler").setLevel(logging.WARNING)

    run(make_service())

    assert capfd.readouterr() == ("", "")
