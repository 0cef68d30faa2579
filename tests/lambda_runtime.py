"""An artifact under Lambda's real runtime client, behind the real runtime interface emulator, without Docker.

The code lies read-only in /var/task, /tmp is fresh and the only place to write, the user is unprivileged and has no
home: as on Lambda. What differs: libraries and certificates are this machine's instead of Amazon Linux's, the processor
is not throttled, and the network is this machine's.
"""

import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lambda_parts import Parts, unshare

RUNTIME_INTERFACE = "/2015-03-31/functions/function/invocations"
SANDBOX = Path(__file__).with_name("lambda_sandbox.sh")
START_SECONDS = 10.0
INVOKE_SECONDS = 60.0  # more than any function's timeout in the tests


class RuntimeFailed(AssertionError):
    """The emulator or the function's process broke; the message holds the log."""


@dataclass(frozen=True)
class Response:
    """What an invocation answered.

    Attributes:
        status: the emulator's status: 200 also for an exception and a timeout, 502 for a process that died.
        payload: the body.
        milliseconds: from the request to the whole answer; for the first invocation it holds the function's start.
    """

    status: int
    payload: bytes
    milliseconds: float

    @property
    def json(self) -> Any:
        """The payload as JSON."""
        return json.loads(self.payload)


class LambdaRuntime:
    """A running emulator; the function's process is started by the first invocation."""

    def __init__(self, port: int, log: Path) -> None:
        self._port = port
        self._log = log

    def invoke(self, event: object) -> Response:
        """Invokes the function and waits for its answer.

        One at a time: the emulator does not survive parallel invocations.

        Raises:
            RuntimeFailed: there is no answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=INVOKE_SECONDS)
        start = time.perf_counter()
        try:
            connection.request("POST", RUNTIME_INTERFACE, json.dumps(event))
            answer = connection.getresponse()
            payload = answer.read()
        except OSError as error:
            raise RuntimeFailed(f"no answer from the emulator ({error}):\n{self.log}") from error
        finally:
            connection.close()
        return Response(answer.status, payload, 1000 * (time.perf_counter() - start))

    @property
    def log(self) -> str:
        """What the function and the emulator have written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def lambda_runtime(parts: Parts, task: Path, handler: str, variables: Mapping[str, str]) -> Iterator[LambdaRuntime]:
    """Runs an artifact's handler, and ends everything that was started.

    Args:
        parts: what the runtime is made of.
        task: the artifact's folder; it is mounted, not copied, and cannot be written to.
        handler: "module.function".
        variables: the function's environment variables besides those that Lambda itself sets; the emulator heeds
            AWS_LAMBDA_FUNCTION_TIMEOUT (seconds) and tells AWS_LAMBDA_FUNCTION_MEMORY_SIZE (MB).

    Raises:
        RuntimeFailed: the emulator does not start.
    """
    port, api_port = _free_ports(2)
    python = ["/var/lang/bin/" + parts.interpreter, "-B", "-m", "awslambdaric", handler]
    emulator = ["/emulator", "--log-level", "info", "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command = [*emulator, "--runtime-api-address", f"127.0.0.1:{api_port}", *python]
    with tempfile.TemporaryDirectory(prefix="lambda-") as scratch:
        root, log = Path(scratch, "root"), Path(scratch, "log")
        root.mkdir()
        places = [root, task, parts.lang, parts.client, parts.emulator]
        sandbox = [*unshare(parts.drop), "sh", SANDBOX, *places, parts.drop, *command]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in sandbox],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_lambda_environment(parts) | dict(variables),
                start_new_session=True,  # Ctrl-C is for us to handle
            )
        try:
            runtime = LambdaRuntime(port, log)
            _wait_until_listening(port, process, runtime)
            yield runtime
        finally:
            _end(process)


def _lambda_environment(parts: Parts) -> dict[str, str]:
    """Returns what Lambda sets for every function, and what the emulator passes on to it."""
    return {
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{parts.interpreter}",
        "HOME": "/home/sbx_user1051",  # does not exist, as on Lambda
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": "/var/lang/lib",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONPATH": "/var/runtime",
        "TZ": ":UTC",
    }


def _free_ports(count: int) -> list[int]:
    """Returns ports that are free on loopback just now."""
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in with_ports]
    for listener in with_ports:
        listener.close()
    return ports


def _wait_until_listening(port: int, process: subprocess.Popen[bytes], runtime: LambdaRuntime) -> None:
    """Returns when the emulator takes connections."""
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeFailed(f"the emulator did not start within {START_SECONDS} s:\n{runtime.log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the sandbox's first process, and with it, by the kernel's hand, all the others in there."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()  # --kill-child ends the shell with it
        process.wait()
