"""What stands around a function that SAM runs in a container here: a DynamoDB, and the file that tells SAM of it."""

import contextlib
import ipaddress
import json
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.console import Console

from infra.addresses import in_url
from infra.errors import CommandError
from infra.local_dynamodb import SEED, local_dynamodb
from infra.template import FUNCTION

BRIDGE = "docker0"
"""The interface by which containers of Docker's default network reach a Linux machine."""
FROM_DOCKER_DESKTOP = "host.docker.internal"
"""The name by which they reach a machine whose containers run in a virtual machine, as those of Docker Desktop do."""
PORT = 8000
"""DynamoDB local's own port."""
ENV_FILE = Path("build", "local-stack.json")
STDOUT = Path("-")

VARIABLES = frozenset({"EXTISM_LAMBDA_MEMORY", "EXTISM_LAMBDA_TABLE", "AWS_ENDPOINT_URL_DYNAMODB"})
"""What the file sets. `sam local` takes no variable that template.yaml does not declare; credentials and a region that
DynamoDB's client needs it makes up itself."""


class LocalStackError(CommandError):
    """The stack cannot be started; the message says why, and what to do."""


def local_stack(
    console: Console,
    host: str | None = None,
    port: int = PORT,
    *,
    reached_as: str | None = None,
    env_file: Path = ENV_FILE,
    seed: Path = SEED,
) -> None:
    """Runs a DynamoDB for `sam local invoke` and `sam local start-api` until it is interrupted or terminated.

    Args:
        console: Where it tells what runs.
        host: The address to listen at; None for one that containers reach.
        port: The port to listen at; 0 for any that is free.
        reached_as: The host under which containers reach that address, where they do not by the address itself.
        env_file: The file for SAM's option `--env-vars`; it is removed at the end. `-` is standard output.
        seed: The file of items that the table begins with.

    Raises:
        AddressError: The address is taken or is not this machine's.
        LocalStackError: There is no such address, or the file is somebody else's.
        ItemError: The seed file breaks its format.
    """
    host, reached_as = _addresses(host, reached_as)
    _check(env_file)
    with contextlib.suppress(KeyboardInterrupt), _terminable(), local_dynamodb(host, port, seed=seed) as dynamodb:
        endpoint = f"http://{in_url(reached_as)}:{dynamodb.endpoint.rpartition(':')[2]}"
        variables = {
            "EXTISM_LAMBDA_MEMORY": "dynamodb",
            "EXTISM_LAMBDA_TABLE": dynamodb.table,
            "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
        }
        with _written(env_file, json.dumps({FUNCTION: variables}, indent=2) + "\n"):
            console.print(
                f"DynamoDB at {dynamodb.endpoint}, table {dynamodb.table}, with {seed.name} in it, until Ctrl-C.",
                markup=False,
                highlight=False,
            )
            console.print("In another terminal:", highlight=False)
            option = f"-n {shlex.quote(str(env_file))}" if env_file != STDOUT else "-n FILE"
            for command in (
                f"sam local invoke -e infra/events/say-hello.json {option}",
                f"sam local start-api {option}",
                f"AWS_ENDPOINT_URL_DYNAMODB={dynamodb.endpoint} uv run extism-lambda memory list",
            ):
                console.print(f"  {command}", markup=False, highlight=False)
            while True:
                time.sleep(3600)  # an interruption ends it; on Windows it does not end the waits of threading


def _addresses(host: str | None, reached_as: str | None) -> tuple[str, str]:
    """Where to listen, and where containers find that."""
    if host is not None:
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host).is_unspecified:
                raise LocalStackError(
                    f"--host {host} is not allowed: anybody could read and write there, and containers need one address"
                )
        return host, reached_as or host
    if sys.platform != "linux":
        return "127.0.0.1", reached_as or FROM_DOCKER_DESKTOP
    for address in psutil.net_if_addrs().get(BRIDGE, []):
        if address.family == socket.AF_INET:
            return address.address, reached_as or address.address
    raise LocalStackError(
        f"there is no interface {BRIDGE} on this machine, by which containers would reach it: start Docker, or give "
        f"--host ADDRESS, and --reached-as HOST where containers know it by another one (Docker Desktop: "
        f"--host 127.0.0.1 --reached-as {FROM_DOCKER_DESKTOP})"
    )


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Lets the signals that ask a process to end do what Ctrl-C does, so that it leaves nothing.

    SIGINT among them: a shell's background jobs begin with it ignored.
    """
    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.default_int_handler) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check(env_file: Path) -> None:
    """Refuses to replace a file that is not one of ours, which a killed process may have left."""
    if env_file == STDOUT or not env_file.exists():
        return
    try:
        document = json.loads(env_file.read_text(encoding="utf-8"))
        ours = document.keys() == {FUNCTION} and document[FUNCTION].keys() == VARIABLES
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        raise LocalStackError(f"--env-file {env_file} is there already, and not from a former local-stack")


@contextlib.contextmanager
def _written(env_file: Path, text: str) -> Iterator[None]:
    """Writes the file for the length of a block, or prints its content."""
    if env_file == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
        yield
        return
    made = [folder for folder in env_file.parents if not folder.exists()]
    try:
        env_file.parent.mkdir(parents=True, exist_ok=True)
        env_file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LocalStackError(f"--env-file {env_file} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if env_file.read_text(encoding="utf-8") == text:  # not one that replaced it
                env_file.unlink()
            for folder in made:
                folder.rmdir()
