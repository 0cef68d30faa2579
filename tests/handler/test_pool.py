"""Instances: compiled once, leased to one call at a time, discarded when they are not sound."""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from extism.extism import CompiledPlugin

import handler.guest
from handler.deadline import Deadline
from handler.errors import (
    GuestDeadlineExceeded,
    InvocationError,
    NoFreeInstance,
    OutputTooLarge,
    PluginOutOfMemory,
    PluginReportedError,
    PluginTrapped,
    PluginUnusable,
    StoreDeadlineExceeded,
    StoreFailed,
)
from handler.interruption import fence
from handler.service import PluginService
from tests import guests
from tests.conftest import MakePlugin, MakeService
from tests.servers import wait_for
from tests.stores import ScriptedStore, failing

FAR = Deadline.after(3600)
EVERYTHING = {"read": ["*"]}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The modules that were compiled, by path, in order."""
    paths: list[str] = []
    real = CompiledPlugin

    def compile_and_note(manifest: Any, **options: Any) -> Any:
        if path := manifest["wasm"][0].get("path"):
            paths.append(path)
        return real(manifest, **options)

    monkeypatch.setattr("handler.guest.CompiledPlugin", compile_and_note)
    return paths  # type: ignore[return-value]


@pytest.fixture
def instances(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Extism's ids of the instances that were made, in order."""
    ids: list[str] = []

    class Noted(handler.guest.Instance):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            ids.append(self.id)

    monkeypatch.setattr("handler.guest.Instance", Noted)
    return ids


def run(service: PluginService, function: str = "run", data: bytes = b"", deadline: Deadline = FAR) -> bytes:
    """The output of a function of the default plugin."""
    return service.run(service.find(None, function), data, deadline)


def outcome(service: PluginService, function: str, data: bytes = b"", deadline: Deadline = FAR) -> int:
    """The status that a call of the default plugin is answered with."""
    try:
        run(service, function, data, deadline)
    except InvocationError as error:
        return error.status
    return 200


def counter(make_plugin: MakePlugin, **fields: Any) -> None:
    """Writes the plugin whose `run` counts the calls of its instance."""
    limits = {"timeout_ms": 100, "output_bytes": 1000} | fields.pop("limits", {})
    make_plugin(
        "counter", guests.COUNTER, functions=guests.COUNTER_FUNCTIONS, limits=limits, memory=EVERYTHING, **fields
    )


class TestReuse:
    """One instance serves call after call."""

    def test_a_thousand_calls_use_one_instance(
        self, make_plugin: MakePlugin, make_service: MakeService, compiled: list[str], instances: list[str]
    ) -> None:
        """The guest's own count goes on from call to call, and nothing is compiled or made but once."""
        counter(make_plugin)
        service = make_service()

        answers = [int(run(service)) for _ in range(1000)]

        assert answers == list(range(1, 1001))
        assert (len(compiled), len(instances)) == (1, 1)

    def test_fresh_isolation_makes_an_instance_per_call(
        self, make_plugin: MakePlugin, make_service: MakeService, compiled: list[str], instances: list[str]
    ) -> None:
        """With isolation = "fresh" no call sees what another left behind; the module is compiled once all the same."""
        counter(make_plugin, isolation="fresh")
        service = make_service()

        answers = [run(service) for _ in range(20)]

        assert answers == [b"1"] * 20
        assert (len(compiled), len(set(instances))) == (1, 20)

    def test_functions_of_a_plugin_share_its_instance(
        self, make_plugin: MakePlugin, make_service: MakeService, instances: list[str]
    ) -> None:
        """State is the plugin's, not a function's."""
        counter(make_plugin)
        service = make_service()

        assert [run(service), run(service, "echo", b"x"), run(service)] == [b"1", b"x", b"2"]
        assert len(instances) == 1

    def test_plugins_do_not_share_anything(
        self, make_plugin: MakePlugin, make_service: MakeService, compiled: list[str]
    ) -> None:
        """Two plugins with the same module have an instance, and a count, each."""
        for name in ("one", "two"):
            make_plugin(name, guests.COUNTER)
        service = make_service()

        answers = [service.run(service.find(name), b"", FAR) for name in ("one", "one", "two", "one", "two")]

        assert answers == [b"1", b"2", b"1", b"3", b"2"]
        assert len(compiled) == 2


class TestAfterAFailure:
    """The next call is served from a sound instance."""

    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            ("trap", PluginTrapped),
            ("loop", GuestDeadlineExceeded),
            ("grow", PluginOutOfMemory),
            ("big", OutputTooLarge),
            ("read", StoreFailed),
        ],
    )
    def test_an_instance_that_is_not_sound_is_replaced(
        self,
        make_plugin: MakePlugin,
        make_service: MakeService,
        instances: list[str],
        function: str,
        expected: type[InvocationError],
    ) -> None:
        """After a trap, a timeout, too much memory or output, or a failed read, the next call gets a new instance."""
        counter(make_plugin)
        service = make_service(failing(StoreFailed("x"), for_key="none"))

        for turn in range(1, 4):
            assert [run(service), run(service)] == [b"1", b"2"]
            with pytest.raises(expected):
                run(service, function)
            assert len(instances) == turn

        assert run(service) == b"1"
        assert len(set(instances)) == len(instances) == 4

    @pytest.mark.parametrize(("function", "expected"), [("fail", PluginReportedError)])
    def test_an_instance_that_only_said_no_is_kept(
        self, make_plugin: MakePlugin, make_service: MakeService, function: str, expected: type[InvocationError]
    ) -> None:
        """A guest that reports an error has come to its end, and goes on with the next call."""
        counter(make_plugin)
        service = make_service()
        assert run(service) == b"1"

        with pytest.raises(expected):
            run(service, function)

        assert run(service) == b"2"

    def test_failures_by_the_hundred(
        self, make_plugin: MakePlugin, make_service: MakeService, compiled: list[str]
    ) -> None:
        """However calls fail in between, every other one is right."""
        counter(make_plugin, limits={"timeout_ms": 2000})
        service = make_service(failing(StoreFailed("x"), for_key="none"))

        for turn in range(300):
            with pytest.raises(InvocationError):
                run(service, ("trap", "grow", "big", "read", "fail")[turn % 5])
            assert run(service, "echo", f"{turn}".encode()) == f"{turn}".encode()

        assert len(compiled) == 1

    def test_a_module_that_does_not_compile_is_tried_again(
        self, make_plugin: MakePlugin, make_service: MakeService
    ) -> None:
        """A plugin that could not be loaded is loaded when it has become loadable."""
        folder = make_plugin("echo", "(module (func")
        service = make_service()
        for _ in range(2):
            with pytest.raises(PluginUnusable):
                run(service)

        (folder / "echo.wat").write_text(guests.ECHO)

        assert run(service, data=b"hello") == b"hello"

    def test_an_input_refused_before_the_guest_costs_nothing(
        self, make_plugin: MakePlugin, make_service: MakeService, instances: list[str]
    ) -> None:
        """A call that never reaches the guest leaves the instance alone."""
        counter(make_plugin, limits={"input_bytes": 10})
        service = make_service()
        assert run(service) == b"1"

        with pytest.raises(InvocationError):
            run(service, data=bytes(11))

        assert run(service) == b"2"


class TestPreparing:
    """Compilation happens beside other work."""

    def test_preparing_compiles_once(
        self, make_plugin: MakePlugin, make_service: MakeService, compiled: list[str]
    ) -> None:
        """`prepare` begins what the first call waits for; a second one does nothing."""
        counter(make_plugin)
        service = make_service()
        pool = service._pools["counter"]

        pool.prepare()
        pool.prepare()
        assert run(service) == b"1"

        assert len(compiled) == 1

    def test_a_check_calls_nothing(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """`warm` makes an instance and looks at its exports; no function of the guest runs."""
        counter(make_plugin)
        service = make_service()

        service.warm(FAR)
        service.warm(FAR)

        assert run(service) == b"1"

    def test_a_check_finds_a_missing_export(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """Every function that plugin.toml exposes has to be there, not only the first."""
        make_plugin("echo", guests.ECHO, functions=["run", "missing"])

        with pytest.raises(PluginUnusable, match="'missing'"):
            make_service().warm(FAR)

    def test_a_module_not_compiled_in_time(
        self, make_plugin: MakePlugin, make_service: MakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A call whose deadline passes while the module compiles fails with 504; a later one finds it compiled."""
        counter(make_plugin)
        service = make_service()
        may_compile = threading.Event()
        real = CompiledPlugin

        def compile_later(*arguments: Any, **options: Any) -> Any:
            may_compile.wait()
            return real(*arguments, **options)

        monkeypatch.setattr("handler.guest.CompiledPlugin", compile_later)

        with pytest.raises(GuestDeadlineExceeded, match="not loaded in time"):
            run(service, deadline=Deadline.after(0.05))
        may_compile.set()

        assert run(service) == b"1"

    def test_waiting_for_the_compiler_is_not_the_guests_time(
        self, make_plugin: MakePlugin, make_service: MakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A module that compiles for longer than timeout_ms does not take it from its first call."""
        counter(make_plugin, limits={"timeout_ms": 100})
        real = CompiledPlugin

        def compile_slowly(*arguments: Any, **options: Any) -> Any:
            time.sleep(0.3)
            return real(*arguments, **options)

        monkeypatch.setattr("handler.guest.CompiledPlugin", compile_slowly)

        assert run(make_service()) == b"1"


class TestThreads:
    """Calls at the same time."""

    @pytest.mark.parametrize("slots", [1, 2, 5])
    def test_every_answer_belongs_to_its_request(
        self, make_plugin: MakePlugin, make_service: MakeService, compiled: list[str], slots: int
    ) -> None:
        """8 threads with some hundred calls each get their own inputs back, from no more engines than slots."""
        make_plugin("echo", guests.ECHO, limits={"timeout_ms": 30_000})
        service = make_service(slots=slots)

        def calls(thread: int) -> list[bool]:
            inputs = [f"thread {thread} call {number} ".encode() * (1 + number % 50) for number in range(250)]
            return [run(service, data=data) == data for data in inputs]

        with ThreadPoolExecutor(8) as threads:
            answers = [answer for answers in threads.map(calls, range(8)) for answer in answers]

        assert answers == [True] * 2000
        assert 1 <= len(compiled) <= slots

    def test_values_read_at_the_same_time_do_not_mix(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """Each guest gets the value of the key that it asked for, while others wait for theirs."""
        make_plugin("gets", guests.GET, memory=EVERYTHING, limits={"timeout_ms": 30_000})

        def get(key: str, deadline: Deadline) -> bytes:
            time.sleep(random.uniform(0, 0.002))  # noqa: S311 - no secret
            return f"value of {key}".encode()

        service = make_service(ScriptedStore(get), slots=4)

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda number: run(service, data=f"{number}".encode()), range(400)))

        assert answers == [f"value of {number}".encode() for number in range(400)]

    def test_an_instance_has_one_call_at_a_time(
        self, make_plugin: MakePlugin, make_service: MakeService, instances: list[str]
    ) -> None:
        """With one slot calls wait for each other; they are in the guest one after the other."""
        make_plugin("gets", guests.GET, memory=EVERYTHING, limits={"timeout_ms": 30_000})
        inside, most = 0, 0

        def get(key: str, deadline: Deadline) -> bytes:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.002)
            inside -= 1
            return b"value"

        service = make_service(ScriptedStore(get), slots=1)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: run(service, data=b"key"), range(40)))

        assert most == 1
        assert len(instances) == 1

    def test_a_timeout_in_one_slot_leaves_the_others_alone(
        self, make_plugin: MakePlugin, make_service: MakeService
    ) -> None:
        """While calls in one slot time out again and again, the calls in another all end well."""
        counter(make_plugin, limits={"timeout_ms": 50})
        make_plugin("busy", guests.BUSY)
        both = guests.module(
            """(func (export "loop") (result i32) (loop $again (br $again)) (i32.const 0))
            (func (export "work") (result i32) (local $left i64) (local.set $left (i64.const 3000000))
              (loop $again (local.set $left (i64.sub (local.get $left) (i64.const 1)))
                (br_if $again (i64.gt_s (local.get $left) (i64.const 0))))
              (call $output_set (call $input_offset) (call $input_length)) (i32.const 0))"""
        )
        make_plugin("both", both, functions=["loop", "work"], limits={"timeout_ms": 30_000})
        service = make_service(slots=2, default="both")
        over = threading.Event()

        def time_out() -> int:
            turns = 0
            while not over.is_set():
                with pytest.raises(GuestDeadlineExceeded):
                    run(service, "loop", deadline=Deadline.after(0.03))
                turns += 1
            return turns

        with ThreadPoolExecutor(1) as thread:
            turns = thread.submit(time_out)
            try:
                answers = [run(service, "work", f"{number}".encode()) for number in range(150)]
            finally:
                over.set()

        assert answers == [f"{number}".encode() for number in range(150)]
        assert turns.result() > 3

    def test_a_busy_plugin_says_so(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """A call that gets no instance until its deadline is refused, and asks to try again, when there is one."""
        make_plugin("gets", guests.GET, memory=EVERYTHING, limits={"timeout_ms": 30_000})
        release = threading.Event()
        store = ScriptedStore(lambda *_: b"value" if release.wait() else None)
        service = make_service(store, slots=2)

        with ThreadPoolExecutor(2) as threads:
            first = [threads.submit(run, service, "run", b"key") for _ in range(2)]
            try:
                wait_for(lambda: len(store.asked) == 2)
                with pytest.raises(NoFreeInstance) as caught:
                    run(service, deadline=Deadline.after(0.05))
            finally:
                release.set()

        assert caught.value.retry_after is not None
        assert [call.result() for call in first] == [b"value"] * 2
        assert run(service, data=b"key") == b"value"

    def test_a_call_waits_no_longer_than_a_call_may_take(
        self, make_plugin: MakePlugin, make_service: MakeService
    ) -> None:
        """Without a deadline a call waits for an instance as long as the plugin's timeout, and then gives up."""
        make_plugin("gets", guests.GET, memory=EVERYTHING, limits={"timeout_ms": 200})
        release = threading.Event()
        store = ScriptedStore(lambda *_: b"value" if release.wait() else None)
        service = make_service(store)

        with ThreadPoolExecutor(1) as thread:
            thread.submit(run, service, "run", b"key").add_done_callback(lambda _: None)
            try:
                wait_for(lambda: len(store.asked) == 1)
                with pytest.raises(NoFreeInstance):
                    run(service, deadline=Deadline.never())
            finally:
                release.set()

    def test_a_slot_whose_thread_cannot_start_is_not_lost(
        self, make_plugin: MakePlugin, make_service: MakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the system has no thread left to compile in, the call fails, and a later one works."""
        counter(make_plugin)
        service = make_service()

        def no_thread(**_: Any) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr("handler.pool.Thread", no_thread)
            with pytest.raises(RuntimeError):
                run(service)

        assert run(service, deadline=Deadline.after(5)) == b"1"


class TestWhoSpentTheTime:
    """A deadline says whether guest or store spent the time."""

    @pytest.mark.parametrize(
        ("in_store", "expected"),
        [(0.9, StoreDeadlineExceeded), (0.1, GuestDeadlineExceeded)],
    )
    def test_the_greater_part_counts(
        self, make_plugin: MakePlugin, make_service: MakeService, in_store: float, expected: type[InvocationError]
    ) -> None:
        """Whichever of the two had more of the time is named."""
        make_plugin("loops", guests.LOOPS_AFTER_FAILURE, memory=EVERYTHING, limits={"timeout_ms": 500})

        def get(key: str, deadline: Deadline) -> bytes:
            time.sleep(0.5 * in_store)
            return b"value"

        with pytest.raises(expected):
            run(make_service(ScriptedStore(get)), data=b"key")


NEAR = guests.module(
    """(func (export "read") (result i32) (drop (call $get (call $input_offset))) (i32.const 0))
    (func (export "work") (result i32) (local $left i64) (local.set $left (i64.const 1000000))
      (loop $again (local.set $left (i64.sub (local.get $left) (i64.const 1)))
        (br_if $again (i64.gt_s (local.get $left) (i64.const 0))))
      (call $output_set (call $input_offset) (call $input_length)) (i32.const 0))""",
    imports=guests.MEMORY_GET,
)
"""`read` ends as soon as the store has answered; `work` takes about a millisecond."""


class TestNearTheDeadline:
    """Calls that end when their time does never harm the next one."""

    @pytest.fixture
    def fenced(self, monkeypatch: pytest.MonkeyPatch) -> list[None]:
        """One entry for every fence."""
        fences: list[None] = []
        real = fence

        def note() -> None:
            real()
            fences.append(None)

        monkeypatch.setattr("handler.guest.fence", note)
        return fences

    @pytest.mark.parametrize("ends", [-0.02, -0.001, 0.0, 0.001])
    def test_such_a_call_is_fenced(
        self, make_plugin: MakePlugin, make_service: MakeService, fenced: list[None], ends: float
    ) -> None:
        """After a call that ended near the plugin's timeout Extism's timer is waited for."""
        make_plugin("near", NEAR, functions=["read", "work"], memory=EVERYTHING, limits={"timeout_ms": 500})

        def get(key: str, deadline: Deadline) -> bytes:
            time.sleep(max(0.0, deadline.remaining() + ends))
            return b"value"

        service = make_service(ScriptedStore(get))
        run(service, "work")

        assert outcome(service, "read", b"key") in (200, 504)
        assert len(fenced) == 1

    def test_a_cancelled_call_is_fenced(
        self, make_plugin: MakePlugin, make_service: MakeService, fenced: list[None]
    ) -> None:
        """After a call that was cancelled, at a deadline nearer than its timeout, Extism's timer is waited for."""
        counter(make_plugin, limits={"timeout_ms": 36_000})
        service = make_service()

        assert outcome(service, "loop", b"", Deadline.after(0.3)) == 504
        assert len(fenced) == 1

    def test_others_are_not(self, make_plugin: MakePlugin, make_service: MakeService, fenced: list[None]) -> None:
        """A call that ends in good time, well or badly, waits for nobody."""
        counter(make_plugin, limits={"timeout_ms": 5000})
        service = make_service(failing(StoreFailed("x"), for_key="none"))

        statuses = [outcome(service, function) for function in ("run", "trap", "grow", "big", "read", "fail", "echo")]

        assert statuses == [200, 500, 500, 500, 502, 422, 200]
        assert not fenced

    @pytest.mark.parametrize("watched", [False, True])
    def test_the_next_call_lives(self, make_plugin: MakePlugin, make_service: MakeService, *, watched: bool) -> None:
        """Of calls that end within a millisecond of their deadline, none takes the next one with it."""
        timeout = 0.015
        make_plugin(
            "near",
            NEAR,
            functions=["read", "work"],
            memory=EVERYTHING,
            limits={"timeout_ms": 36_000 if watched else round(timeout * 1000)},
        )

        def get(key: str, deadline: Deadline) -> bytes:
            end = deadline.at + random.uniform(-0.001, 0.001)  # noqa: S311 - no secret
            while time.monotonic() < end:
                pass
            return b"value"

        service = make_service(ScriptedStore(get))
        run(service, "work")
        killed = 0

        for turn in range(60):
            assert outcome(service, "read", b"key", Deadline.after(timeout) if watched else FAR) in (200, 504)
            start = time.monotonic()
            status = outcome(service, "work", f"{turn}".encode())
            # On a busy machine `work` can spend its own time, which is no one's fault.
            killed += status != 200 and (watched or time.monotonic() - start < timeout)

        assert killed == 0

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux ties a process to a processor")
    def test_the_fence_ends_with_one_processor_too(self) -> None:
        """Where Extism's timer and the guest share a processor, as in a small Lambda environment, no fence hangs."""
        script = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from handler.interruption import fence
for _ in range(300):
    fence()
print("through")
"""
        command = [sys.executable, "-c", script]

        child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        assert (child.returncode, child.stdout) == (0, "through\n"), child.stderr


def test_all_who_wait_for_a_broken_plugin_are_told_why(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """A module that does not load is 500 for every waiting call, not 503 for all but one."""
    make_plugin("broken", "(module (nonsense))")
    service = make_service()

    with ThreadPoolExecutor(3) as threads:
        statuses = list(threads.map(lambda _: outcome(service, "run"), range(3)))

    assert statuses == [500, 500, 500]
