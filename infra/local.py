"""The function on a developer's machine: behind a web server, or on one event."""

import asyncio
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import uvicorn
from rich.console import Console

from handler.composition import create_app, create_handler, create_service
from handler.deadline import Deadline
from handler.errors import ConfigurationError, InvocationError, Unavailable
from handler.service import PluginService
from handler.settings import Settings
from infra.addresses import in_url, listen
from infra.connection import ENDPOINTS, TABLE
from infra.local_dynamodb import local_dynamodb

T = TypeVar("T")

OWN_MEMORY = ("EXTISM_LAMBDA_TABLE", *ENDPOINTS)
"""Variables that say where the memory is; with one of them set, no DynamoDB is embedded."""


GRACE_SECONDS = 3
"""How long requests may take to their end after Ctrl-C."""


@contextmanager
def memory_environment(console: Console) -> Iterator[None]:
    """Makes sure that the process's environment names a memory, embedding a DynamoDB where it names none.

    The variables are set in `os.environ`, where boto3 looks for them, and put back at the end.
    """
    before = dict(os.environ)
    with ExitStack() as stack:
        stack.callback(os.environ.update, before)
        stack.callback(os.environ.clear)
        if os.environ.get("EXTISM_LAMBDA_MEMORY") == "map" or any(os.environ.get(name) for name in OWN_MEMORY):
            if not os.environ.get("EXTISM_LAMBDA_TABLE"):  # empty counts as not set, as it does for the settings
                os.environ["EXTISM_LAMBDA_TABLE"] = TABLE  # an endpoint alone: the table that `serve` has there
        else:
            with console.status("Starting an embedded DynamoDB …"):
                dynamodb = stack.enter_context(local_dynamodb())
            os.environ.update(dynamodb.environment())
            console.print(
                f"Embedded DynamoDB at {dynamodb.endpoint}, table {dynamodb.table}, with infra/seed.json in it."
            )
        yield


async def in_thread(work: Callable[[], T], /) -> T:
    """Runs blocking work in a thread, so that it does not block the loop of the web server.

    The process does not wait for the thread when it ends, as it would for those of asyncio and anyio: a guest may run
    for as long as its plugin.toml lets it.

    Raises:
        Unavailable: The server ends before the work does.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from here on nobody can cancel it under the thread's hands

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the work gets it
            future.set_exception(error)

    Thread(target=run, name="request", daemon=True).start()
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:  # how uvicorn ends what takes longer than GRACE_SECONDS
        raise Unavailable("the server ends") from None


def serve(host: str, port: int, console: Console) -> None:
    """Serves the application until it is interrupted.

    Requests that come before the plugin is compiled wait for it.

    Raises:
        AddressError: The address is taken or is not this machine's.
        ConfigurationError: A setting or a plugin.toml is wrong.
        InvocationError: The default plugin cannot be loaded.
    """
    with listen(host, port) as listener, memory_environment(console):
        settings = Settings.from_environ(os.environ)
        service = create_service(settings)
        with console.status(f"Compiling plugin {settings.default_plugin} …"):
            start = time.perf_counter()
            service.warm(Deadline.never())
        console.print(f"Plugin {settings.default_plugin} is ready ({time.perf_counter() - start:.1f} s).")
        tell_if_not_ready(service, console)
        config = uvicorn.Config(
            create_app(settings, service, in_thread),
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        url = f"http://{in_url(host)}:{port}"
        with suppress(KeyboardInterrupt):  # uvicorn, too, raises it, once it has shut down
            console.print(f"Serving at {url} until Ctrl-C. Try:")
            console.print(f"curl -X POST {url} -H 'Content-Type: text/plain; charset=utf-8' -d 'Jane Doe'")
            uvicorn.Server(config).run(sockets=[listener])
        service.release()


def tell_if_not_ready(service: PluginService, console: Console) -> None:
    """Says what keeps the memory from being read, and what to do; as it may pass, the server starts all the same."""
    try:
        service.check(Deadline.never())
    except InvocationError as error:
        todo = f": {error.__cause__}" if error.__cause__ else ""
        console.print(f"Not ready: {error.detail}{todo}", style="red", markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class LocalContext:
    """What Lambda's context object would be.

    Attributes:
        timeout: The function's timeout in seconds, counted from the context's making.
    """

    timeout: float
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    _start: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the timeout."""
        return max(0, int((self._start + self.timeout - time.monotonic()) * 1000))


def invoke(event: Any, timeout: float, console: Console) -> dict[str, Any]:
    """Makes the Lambda handler and gives it one event, as a cold start would.

    Raises:
        ConfigurationError: A setting or a plugin.toml is wrong.
        QueueEventRefused: The event holds records of a queue or a stream.
    """
    with memory_environment(console):
        handler = create_handler(os.environ)
        try:
            return handler(event, LocalContext(timeout))
        finally:
            handler.close()


def read_event(path: Path) -> Any:
    """Reads an event file.

    Raises:
        ConfigurationError: It cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as an event: {error}") from error
