"""An artifact under Lambda's own emulator and runtime client, as on Lambda and without Docker.

The sandbox is the tests' own (tests/lambda_sandbox.sh); beside Python it takes any other runtime here. The emulator
starts the function's process inside the first POST, so that the first answer's time is the cold start: process start,
initialization and first invocation.
"""

import contextlib
import functools
import os
import platform
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks._measure import CannotRun
from tests.lambda_parts import unshare
from tests.lambda_runtime import SANDBOX, LambdaRuntime, Response

MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}
STARTED = 10.0
"""Seconds that the emulator may take until it listens."""
MEMORY_MB = 1769
"""What the function is told to have: one vCPU's worth (AWS Lambda Developer Guide, "Configure memory")."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What Lambda brings for a language.

    Attributes:
        lang: The folder that becomes /var/lang.
        client: The folder that becomes /var/runtime.
        command: What the emulator starts, the handler's name included.
        environment: What the language needs to find itself.
    """

    lang: Path
    client: Path
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Function:
    """An artifact with its runtime.

    Attributes:
        task: The artifact's folder.
        runtime: What runs it.
        environment: The function's own variables.
    """

    task: Path
    runtime: Runtime
    environment: Mapping[str, str] = field(default_factory=dict)


class Emulator(LambdaRuntime):
    """A running emulator; its function is not started before the first invocation."""

    def __init__(self, port: int, log: Path, pid: int) -> None:
        super().__init__(port, log)
        self._pid = pid

    def answer(self, event: Any) -> Response:
        """Invokes the function with an event, one at a time.

        Raises:
            RuntimeError: The function failed; the message has the answer and the log.
        """
        response = self.invoke(event)
        if response.status != HTTPStatus.OK or b'"errorType"' in response.payload:
            raise RuntimeError(f"the function failed: {response.status} {response.payload[:2000]!r}\n{self.log}")
        return response

    def peak_memory_mb(self) -> float:
        """Most resident memory of the function's own process so far, in MiB (VmHWM)."""
        # The sandbox's shell starts the emulator, and that the function; one process holds nearly all of it.
        peaks = [
            int(line.split()[1]) / 1024
            for process in psutil.Process(self._pid).children(recursive=True)
            if process.name() != "emulator"
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM")
        ]
        return max(peaks)


@contextlib.contextmanager
def emulator(function: Function, rie: Path, cpus: str = "") -> Iterator[Emulator]:
    """Runs a function under the emulator for the length of a `with` block.

    Args:
        function: What to run.
        rie: The emulator's program.
        cpus: The processors that it may use, as taskset lists them; all where empty.

    Raises:
        CannotRun: There are no such namespaces here.
    """
    drop = way_to_drop_privileges()
    port, api = free_port(), free_port()
    program = ["/emulator", "--log-level", "warn", "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    program += ["--runtime-api-address", f"127.0.0.1:{api}", *function.runtime.command]
    pinned = ["taskset", "--cpu-list", cpus] if cpus else []
    with tempfile.TemporaryDirectory(prefix="emulator-") as scratch:
        root, log = Path(scratch, "root"), Path(scratch, "log")
        root.mkdir()
        places = [root, function.task, function.runtime.lang, function.runtime.client, rie]
        command = [*pinned, *unshare(drop), "sh", SANDBOX, *places, drop, *program]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in command],
                env=_environment(function),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        running = Emulator(port, log, process.pid)
        try:
            _wait_until_listening(running, process, port)
            yield running
        finally:
            process.kill()  # and with it, by --kill-child, all that it started
            process.communicate()


@functools.cache
def way_to_drop_privileges() -> str:
    """How the sandbox becomes Lambda's user here: as `root`, or as a `user` with namespaces of its own.

    Raises:
        CannotRun: There are no such namespaces here.
    """
    drop = "root" if os.geteuid() == 0 else "user"
    try:
        tried = subprocess.run([*unshare(drop), "true"], check=False, capture_output=True, text=True)
    except OSError as error:
        raise CannotRun(f"the function is confined as on Lambda, which takes Linux: {error}") from error
    if tried.returncode != 0:
        raise CannotRun(f"the function is confined as on Lambda, which cannot be done here: {tried.stderr.strip()}")
    return drop


def machine_architecture() -> str:
    """This machine's architecture in Lambda's words."""
    return MACHINES.get(platform.machine(), platform.machine())


def _environment(function: Function) -> dict[str, str]:
    """What Lambda sets, what the runtime needs, and the function's own; nothing of this process's."""
    return {
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "HOME": "/home/sbx_user1051",  # which does not exist
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        **function.runtime.environment,
        **function.environment,
    }


def free_port() -> int:
    """A port of loopback that is free just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_listening(running: Emulator, process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + STARTED
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"the emulator does not listen:\n{running.log}")
