"""What happens around a SnapStart snapshot."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from handler.deadline import Deadline
from handler.memory.dynamodb import DynamoDBStore
from handler.snapstart import SnapStartHooks
from tests import guests, tables
from tests.conftest import MakePlugin, MakeService
from tests.servers import keep_alive

SNAPSHOT = """
import os, sys
from pathlib import Path
from handler.deadline import Deadline
from handler.memory.map import MapStore
from handler.plugins import load_catalog
from handler.pool import PluginPool
from handler.service import PluginService
from handler.snapstart import SnapStartHooks

pools = {name: PluginPool(spec) for name, spec in load_catalog(Path(sys.argv[1])).items()}
service = PluginService(pools, "random", MapStore())
hooks = SnapStartHooks(service)
hooks.before_snapshot()
for _ in range(2):
    if (child := os.fork()) == 0:
        hooks.after_restore()
        outputs = [service.run(service.find(), b"", Deadline.never()).decode() for _ in range(2)]
        os.write(1, (" ".join(outputs) + chr(10)).encode())
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_two_restored_environments_have_different_random_numbers(plugins: Path, make_plugin: MakePlugin) -> None:
    """What is compiled before the snapshot works after it, and no two environments share a guest's random seed.

    Two forks of one process stand in for two environments restored from one snapshot: both begin with the same memory.
    """
    make_plugin("random", guests.WASI_RANDOM, wasi=True)

    run = subprocess.run(
        [sys.executable, "-c", SNAPSHOT, str(plugins)], check=True, capture_output=True, text=True, timeout=60
    )

    numbers = run.stdout.split()
    assert len(numbers) == len(set(numbers)) == 4
    assert all(number.isdecimal() for number in numbers)


@pytest.fixture
def keep_alive_endpoint() -> Iterator[str]:
    """The URL of a DynamoDB that keeps connections open."""
    with keep_alive() as (url, _):
        yield url


def connections(port: int) -> int:
    """How many connections of this process's machine lead to a port of the loopback address, by the kernel's table."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    remote = f"0100007F:{port:04X}"
    return sum(line.split()[2] == remote and line.split()[3] == "01" for line in lines)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel's table of connections is Linux's")
def test_no_connection_and_no_instance_survives(
    make_plugin: MakePlugin, make_service: MakeService, keep_alive_endpoint: str
) -> None:
    """Before the snapshot idle connections are closed and instances freed; afterwards both are made anew."""
    make_plugin("counter", guests.COUNTER, functions=guests.COUNTER_FUNCTIONS, memory={"read": ["*"]})
    client = tables.create_client(keep_alive_endpoint)
    service = make_service(DynamoDBStore(client, "any"))
    counter = service.find("counter", "run")
    port = int(keep_alive_endpoint.rpartition(":")[2])
    service.run(service.find("counter", "read"), b"key", Deadline.after(30))
    service.run(counter, b"", Deadline.after(30))
    assert connections(port) == 1

    SnapStartHooks(service).before_snapshot()

    assert connections(port) == 0
    assert service.run(counter, b"", Deadline.after(30)) == b"1"
    service.run(service.find("counter", "read"), b"key", Deadline.after(30))
    assert connections(port) == 1
    client.close()


def test_every_plugin_is_compiled_before_the_snapshot(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Not only the default one; and one that cannot be compiled does not keep the function from starting."""
    make_plugin("broken", "(module (nonsense))")
    make_plugin("echo", guests.ECHO)
    service = make_service(default="echo")
    hooks = SnapStartHooks(service)

    hooks.before_snapshot()
    hooks.after_restore()

    assert service.run(service.find("echo"), b"hello", Deadline.after(30)) == b"hello"


def test_a_default_plugin_that_does_not_load_is_logged(
    make_plugin: MakePlugin, make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    """A restore never fails; the requests that follow tell what is wrong."""
    make_plugin("broken", "(module (nonsense))")
    hooks = SnapStartHooks(make_service())

    with caplog.at_level(logging.ERROR, "handler.snapstart"):
        hooks.after_restore()

    assert "not warm after the restore" in caplog.text


@pytest.mark.parametrize(("kind", "count"), [("snap-start", 1), ("on-demand", 0), (None, 0)])
def test_hooks_are_registered_where_lambda_uses_snapstart(
    make_plugin: MakePlugin,
    make_service: MakeService,
    monkeypatch: pytest.MonkeyPatch,
    kind: str | None,
    count: int,
) -> None:
    """Only then; a stand-in for Lambda's module notes what it is given, since the real one keeps it to itself."""
    before: list[object] = []
    after: list[object] = []
    module = ModuleType("snapshot_restore_py")
    module.register_before_snapshot = before.append  # type: ignore[attr-defined]
    module.register_after_restore = after.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", module)
    make_plugin("echo", guests.ECHO)
    hooks = SnapStartHooks(make_service())

    hooks.register({} if kind is None else {"AWS_LAMBDA_INITIALIZATION_TYPE": kind})

    assert (before, after) == ([hooks.before_snapshot] * count, [hooks.after_restore] * count)
    assert os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") is None
