"""The service between a request and a guest."""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import pytest

from handler.deadline import Deadline
from handler.errors import (
    FunctionNotExposed,
    InputTooLarge,
    InvocationError,
    PluginUnusable,
    StoreThrottled,
    UnknownPlugin,
)
from handler.memory.map import MapStore
from handler.service import PluginService
from handler.telemetry import RequestRecord
from tests import guests
from tests.conftest import MakePlugin, MakeService
from tests.servers import wait_for
from tests.stores import ScriptedStore, failing

FAR = Deadline.after(3600)
EVERYTHING = {"read": ["*"]}


@pytest.fixture
def two(make_plugin: MakePlugin, make_service: MakeService) -> PluginService:
    """A service with the plugins `counter`, the default one, and `echo`."""
    make_plugin("counter", guests.COUNTER, functions=["run", "echo"])
    make_plugin("echo", guests.ECHO)
    return make_service(default="counter")


class TestFinding:
    """What the names of a request mean."""

    @pytest.mark.parametrize(
        ("plugin", "function", "found"),
        [
            (None, None, ("counter", "run")),
            (None, "echo", ("counter", "echo")),
            ("counter", None, ("counter", "run")),
            ("counter", "echo", ("counter", "echo")),
            ("echo", None, ("echo", "run")),
        ],
    )
    def test_names(self, two: PluginService, plugin: str | None, function: str | None, found: tuple[str, str]) -> None:
        """Without a plugin the default one is meant, without a function the first that plugin.toml lists."""
        target = two.find(plugin, function)

        assert (target.plugin.name, target.function) == found

    @pytest.mark.parametrize("plugin", ["", "Echo", "nobody", "../echo", "echo/run"])
    def test_unknown_plugin(self, two: PluginService, plugin: str) -> None:
        """Any other name is no plugin, also the empty one."""
        with pytest.raises(UnknownPlugin) as caught:
            two.find(plugin)

        assert repr(plugin) in caught.value.detail

    @pytest.mark.parametrize("function", ["", "trap", "_initialize", "memory", "Run"])
    def test_not_exposed(self, two: PluginService, function: str) -> None:
        """What plugin.toml does not list cannot be called, whatever the module exports."""
        with pytest.raises(FunctionNotExposed) as caught:
            two.find("counter", function)

        assert repr(function) in caught.value.detail


class TestInput:
    """The limit of an input."""

    @pytest.mark.parametrize(("size", "fits"), [(0, True), (10, True), (11, False), (10**6, False)])
    def test_size(self, make_plugin: MakePlugin, make_service: MakeService, size: int, *, fits: bool) -> None:
        """An input of input_bytes passes, one byte more is refused, with both numbers."""
        make_plugin("echo", guests.ECHO, limits={"input_bytes": 10})
        service = make_service()

        if fits:
            assert service.run(service.find(), bytes(size), FAR) == bytes(size)
        else:
            with pytest.raises(InputTooLarge, match=rf"{size} bytes.* up to 10\b"):
                service.run(service.find(), bytes(size), FAR)


class TestRecord:
    """What is known about a request after its call; `test_telemetry` has what is told of it."""

    def test_a_call_that_worked(
        self, make_plugin: MakePlugin, make_service: MakeService, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It says who was called, how long it took, and how many keys were read; its line holds no key and no value."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        service = make_service(MapStore({"secret-key": b"secret-value"}))
        caplog.set_level(logging.INFO, "handler.telemetry")
        record = RequestRecord("request-1")

        service.run(service.find(), b"secret-key", FAR, record)

        assert (record.plugin, record.function, record.outcome, record.reads) == ("gets", "run", "ok", 1)
        assert 0 < record.guest_seconds + record.store_seconds < record.total_seconds
        assert record.compile_cache == "off"
        (line,) = [line for line in caplog.records if line.name == "handler.telemetry"]
        assert (line.levelno, line.requestId, line.plugin) == (logging.INFO, "request-1", "gets")  # type: ignore[attr-defined]
        assert "secret" not in str(vars(line))

    def test_where_the_time_goes(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """Time that the memory takes counts as the store's, and time that the guest takes as the guest's."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        make_plugin("busy", guests.BUSY)
        waiting, computing = RequestRecord(), RequestRecord()
        service = make_service(ScriptedStore(lambda _key, _deadline: time.sleep(0.1)))

        service.run(service.find("gets"), b"any", FAR, waiting)
        service.run(service.find("busy"), b"20000", FAR, computing)

        assert waiting.store_seconds >= 0.1 > waiting.guest_seconds
        assert computing.store_seconds == 0.0 < computing.guest_seconds

    def test_a_call_that_failed(
        self, make_plugin: MakePlugin, make_service: MakeService, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It says as much of a failed call, of which whoever makes the answer tells."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        service = make_service(failing(StoreThrottled("x")))
        caplog.set_level(logging.INFO, "handler.telemetry")
        record = RequestRecord()

        with pytest.raises(StoreThrottled):
            service.run(service.find(), b"broken", FAR, record)

        assert (record.plugin, record.function) == ("gets", "run")
        assert record.total_seconds > 0
        assert not [line for line in caplog.records if line.name == "handler.telemetry"]

    def test_a_ping(self, make_plugin: MakePlugin, make_service: MakeService, caplog: pytest.LogCaptureFixture) -> None:
        """A warm-up ping calls no function, and leaves a line too."""
        make_plugin("echo", guests.ECHO)
        caplog.set_level(logging.INFO, "handler.telemetry")
        record = RequestRecord()

        make_service().ping(FAR, record)

        assert (record.plugin, record.function, record.outcome) == ("echo", "", "warm")
        assert [line.outcome for line in caplog.records if line.name == "handler.telemetry"] == ["warm"]  # type: ignore[attr-defined]


class BatchingStore(ScriptedStore):
    """A store of one value for every key, which notes the batches that were begun.

    Attributes:
        batches: The keys of each batch.
        error: What batches fail with, if they do.
    """

    def __init__(self) -> None:
        super().__init__(lambda key, _: f"value of {key}".encode())
        self.batches: list[list[str]] = []
        self.error: InvocationError | None = None

    def begin_many(self, keys: Sequence[str]) -> Future[Mapping[str, bytes | None]]:
        """Reads all keys at once."""
        self.batches.append(list(keys))
        outcome: Future[Mapping[str, bytes | None]] = Future()
        if self.error is None:
            outcome.set_result({key: f"value of {key}".encode() for key in keys})
        else:
            outcome.set_exception(self.error)
        return outcome


class TestPrefetch:
    """What a function read last time is fetched beside the start of its next call."""

    def test_a_key_read_again_comes_in_a_batch(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """The first call reads, the second finds its key fetched; the answers are the same."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        store = BatchingStore()
        service = make_service(store)

        answers = [service.run(service.find(), b"key", FAR) for _ in range(3)]

        assert answers == [b"value of key"] * 3
        assert (store.asked, store.batches) == (["key"], [["key"], ["key"]])

    def test_another_key_is_not_mistaken_for_it(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """A call that reads another key than the last one gets that key's value."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        service = make_service(BatchingStore())

        answers = [service.run(service.find(), f"{turn % 3}".encode(), FAR) for turn in range(9)]

        assert answers == [f"value of {turn % 3}".encode() for turn in range(9)]

    def test_functions_and_plugins_learn_apart(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """What one plugin read is not fetched for another, which might not be granted it."""
        make_plugin("one", guests.GET, memory={"read": ["key"]})
        make_plugin("two", guests.GET, memory={"read": ["other"]})
        store = BatchingStore()
        service = make_service(store)

        service.run(service.find("one"), b"key", FAR)
        service.run(service.find("two"), b"other", FAR)

        assert store.batches == []

    def test_a_failed_batch_nobody_asked_for_fails_nobody(
        self, make_plugin: MakePlugin, make_service: MakeService
    ) -> None:
        """A call that does not want what was fetched does not fail with it."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        store = BatchingStore()
        service = make_service(store)
        service.run(service.find(), b"key", FAR)
        store.error = StoreThrottled("x")

        assert service.run(service.find(), b"other", FAR) == b"value of other"

    def test_a_throttled_batch_that_was_wanted_fails_the_call(
        self, make_plugin: MakePlugin, make_service: MakeService
    ) -> None:
        """A failure of the batch is the failure of the read that waited for it, and the next call works again."""
        make_plugin("gets", guests.GET, memory=EVERYTHING)
        store = BatchingStore()
        service = make_service(store)
        service.run(service.find(), b"key", FAR)
        store.error = StoreThrottled("x")

        with pytest.raises(StoreThrottled):
            service.run(service.find(), b"key", FAR)
        store.error = None

        assert service.run(service.find(), b"key", FAR) == b"value of key"

    def test_it_can_be_turned_off(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """With prefetch = false every key is read when it is asked for."""
        make_plugin("gets", guests.GET, memory={"read": ["*"], "prefetch": False})
        store = BatchingStore()
        service = make_service(store)

        for _ in range(3):
            service.run(service.find(), b"key", FAR)

        assert (store.asked, store.batches) == (["key"] * 3, [])


class TestReadiness:
    """Checks, warming, and giving back."""

    def test_a_check_looks_at_plugin_and_store(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """`check` makes an instance of the default plugin and reads from the store."""
        make_plugin("echo", guests.ECHO)
        asked: list[str] = []
        service = make_service(ScriptedStore(lambda key, _: asked.append(key)))

        service.check(FAR)

        assert len(asked) == 1

    def test_a_store_that_fails(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """`check` raises what the store raises; `warm` does not ask it."""
        make_plugin("echo", guests.ECHO)
        service = make_service(failing(StoreThrottled("x"), for_key="check"))

        service.warm(FAR)
        with pytest.raises(StoreThrottled):
            service.check(FAR)

    def test_a_default_plugin_that_does_not_load(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """Neither passes with a broken default plugin; another plugin's trouble does not matter."""
        make_plugin("broken", "(module (func")
        make_plugin("echo", guests.ECHO)
        broken, sound = make_service(default="broken"), make_service(default="echo")

        for check in (broken.check, broken.warm):
            with pytest.raises(PluginUnusable):
                check(FAR)
        sound.check(FAR)

    def test_all_can_be_compiled_beforehand(
        self, make_plugin: MakePlugin, make_service: MakeService, caplog: pytest.LogCaptureFixture
    ) -> None:
        """`compile_all` compiles each plugin once; one that cannot be compiled is told by its first request."""
        make_plugin("broken", "(module (func")
        make_plugin("counter", guests.COUNTER)
        make_plugin("echo", guests.ECHO)
        service = make_service(default="echo")
        caplog.set_level(logging.INFO)

        service.compile_all(FAR)
        service.compile_all(FAR)

        def loaded() -> list[str]:
            return sorted(record.plugin for record in caplog.records if "loaded" in record.getMessage())  # type: ignore[attr-defined]

        wait_for(lambda: len(loaded()) > 1)  # the line is written by the thread that compiled
        assert loaded() == ["counter", "echo"]
        assert service.run(service.find(), b"x", FAR) == b"x"
        with pytest.raises(PluginUnusable):
            service.run(service.find("broken"), b"x", FAR)

    def test_what_was_released_is_made_anew(self, make_plugin: MakePlugin, make_service: MakeService) -> None:
        """After `release` the next call gets a new instance of the module that is still there."""
        make_plugin("counter", guests.COUNTER)
        service = make_service()
        assert [service.run(service.find(), b"", FAR) for _ in range(2)] == [b"1", b"2"]

        service.release()
        service.release()

        assert [service.run(service.find(), b"", FAR) for _ in range(2)] == [b"1", b"2"]
