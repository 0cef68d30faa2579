"""What happens around Lambda's snapshot."""

import logging
import random
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from handler.deadline import Deadline
from handler.snapstart import SnapStartHooks
from tests import guests
from tests.conftest import MakeHandler, MakePlugin, MakeService
from tests.contexts import FakeContext

if TYPE_CHECKING:
    from collections.abc import Callable

FAR = Deadline.after(3600)
SNAPSTART = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> dict[str, "Callable[[], None]"]:
    """The hooks that were registered with the module that only the Lambda runtime has."""
    hooks: dict[str, Callable[[], None]] = {}
    module = ModuleType("snapshot_restore_py")
    module.register_before_snapshot = lambda hook: hooks.update(before=hook)  # type: ignore[attr-defined]
    module.register_after_restore = lambda hook: hooks.update(after=hook)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", module)
    return hooks


def test_nothing_that_runs_is_in_the_snapshot(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Before the snapshot all modules are compiled, and no instance is left whose state would be in every copy."""
    make_plugin("counter", guests.COUNTER)
    service = make_service()
    assert service.run(service.find(), b"", FAR) == b"1"

    SnapStartHooks(service).before_snapshot()

    assert service.run(service.find(), b"", FAR) == b"1"


def test_after_the_restore_the_default_plugin_is_warm(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """The restored environment has an instance of its own, of which no function has run."""
    make_plugin("counter", guests.COUNTER)
    service = make_service()
    hooks = SnapStartHooks(service)
    hooks.before_snapshot()

    hooks.after_restore()

    assert service._pools["counter"]._free[0]._instance is not None
    assert service.run(service.find(), b"", FAR) == b"1"


def test_restored_environments_are_random_each(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Two environments made from one snapshot do not share their random numbers."""
    make_plugin("silent", guests.SILENT)
    hooks = SnapStartHooks(make_service())
    snapshot = random.getstate()
    try:
        numbers = []
        for _ in range(2):
            random.setstate(snapshot)
            hooks.after_restore()
            numbers.append(random.random())  # noqa: S311 - what is looked at is its seed
    finally:
        random.setstate(snapshot)

    assert numbers[0] != numbers[1]


def test_a_plugin_that_does_not_load_does_not_fail_the_restore(
    make_plugin: MakePlugin, make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken default plugin is logged; the environment lives, to tell it to each request."""
    make_plugin("broken", "(module (func")
    hooks = SnapStartHooks(make_service())

    hooks.before_snapshot()
    hooks.after_restore()

    assert any(record.levelno == logging.ERROR and "'broken'" in record.getMessage() for record in caplog.records)


def test_the_handler_registers_its_hooks(
    make_plugin: MakePlugin, make_handler: MakeHandler, runtime: dict[str, "Callable[[], None]"]
) -> None:
    """Where the runtime makes snapshots the handler takes part, and serves requests afterwards."""
    make_plugin("counter", guests.COUNTER)
    handler = make_handler(**SNAPSTART)

    runtime["before"]()
    runtime["after"]()

    assert handler({"input": ""}, FakeContext())["output"] == "1"


@pytest.mark.parametrize("kind", ["on-demand", "provisioned-concurrency", ""])
def test_elsewhere_nothing_is_registered(
    make_plugin: MakePlugin, make_handler: MakeHandler, runtime: dict[str, "Callable[[], None]"], kind: str
) -> None:
    """Without snapshots there are no hooks."""
    make_plugin("silent", guests.SILENT)

    make_handler(AWS_LAMBDA_INITIALIZATION_TYPE=kind)

    assert runtime == {}
