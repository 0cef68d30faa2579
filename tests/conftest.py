"""What all tests share: an environment without anybody's AWS account, plugins, services, handlers, a local DynamoDB."""

import tests.environment  # noqa: F401 - before anything that reads the environment

# isort: split
import asyncio
import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import hypothesis
import pytest
from moto import mock_aws
from moto.server import ThreadedMotoServer

from handler.composition import create_handler
from handler.memory.map import MapStore
from handler.memory.store import MemoryStore
from handler.plugins import load_catalog
from handler.pool import PluginPool
from handler.service import PluginService
from tests import guests, tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from handler.events import EventHandler


pytest_plugins = ["tests.artifact", "tests.sam"]

# On a busy machine an example can take any time, which says nothing about the code.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lets a test fail that is skipped where the environment says that all it needs is there."""
    report = yield
    if report.skipped and os.environ.get("EXTISM_LAMBDA_TEST_SKIPS") == "refused" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


class MakePlugin(Protocol):
    """Writes a plugin into the test's folder of plugins; see `guests.make_plugin`."""

    def __call__(self, name: str, wat: str, *, binary: bool = False, **fields: Any) -> Path:
        """Returns the plugin's folder."""
        ...


class MakeService(Protocol):
    """Makes a service over all plugins of the test's folder."""

    def __call__(
        self, store: MemoryStore | None = None, *, slots: int = 1, default: str | None = None
    ) -> PluginService:
        """Over a MapStore with the article's values where no store is given; the default plugin is the first one."""
        ...


class MakeHandler(Protocol):
    """Makes the Lambda handler over all plugins of the test's folder, as Lambda would: from environment variables."""

    def __call__(self, **environ: str) -> "EventHandler":
        """With the article's Map as the memory unless EXTISM_LAMBDA_MEMORY says otherwise."""
        ...


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Puts back the levels of the loggers that a handler sets for its whole process."""
    loggers = [logging.getLogger(name) for name in ("handler", "botocore", "mangum")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """The test's folder of plugins, empty at first."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


@pytest.fixture
def make_plugin(plugins: Path) -> MakePlugin:
    """Writes plugins into the test's folder of plugins."""

    def make(name: str, wat: str, *, binary: bool = False, **fields: Any) -> Path:
        return guests.make_plugin(plugins, name, wat, binary=binary, **fields)

    return make


@pytest.fixture
def make_service(plugins: Path) -> Iterator[MakeService]:
    """Makes services, and closes them after the test."""
    made: list[PluginService] = []

    def make(store: MemoryStore | None = None, *, slots: int = 1, default: str | None = None) -> PluginService:
        catalog = load_catalog(plugins)
        pools = {name: PluginPool(spec, slots) for name, spec in catalog.items()}
        made.append(PluginService(pools, default or next(iter(catalog)), store or MapStore()))
        return made[-1]

    yield make
    for service in made:
        service.release()


@pytest.fixture
def make_handler(plugins: Path) -> Iterator[MakeHandler]:
    """Makes Lambda handlers; closes the event loops that they leave in this thread."""
    loops = []

    def make(**environ: str) -> "EventHandler":
        defaults = {
            "EXTISM_LAMBDA_PLUGINS": str(plugins),
            "EXTISM_LAMBDA_MEMORY": "map",
            "EXTISM_LAMBDA_DEFAULT_PLUGIN": next(path.name for path in sorted(plugins.iterdir())),
        }
        handler = create_handler(defaults | environ)
        loops.append(asyncio.get_event_loop_policy().get_event_loop())
        return handler

    yield make
    for loop in loops:
        loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def dynamodb() -> Iterator["DynamoDBClient"]:
    """A DynamoDB in this process (moto), with an empty table."""
    with mock_aws():
        client = tables.create_client()
        tables.create_table(client)
        yield client


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The URL of a DynamoDB over HTTP (moto's server) on a free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    patient = tables.create_session().client("dynamodb", endpoint_url=endpoint)
    patient.list_tables()  # the first request loads moto's backend, for longer than the handler's client waits
    patient.close()
    yield endpoint
    server.stop()
