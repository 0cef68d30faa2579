"""An artifact under Lambda's own emulator and runtime client, as on Lambda and without Docker.

In mount and process namespaces of its own the artifact is /var/task and read-only, the language is /var/lang, its
runtime client is /var/runtime, /tmp is empty, the user is unprivileged and has no home. Linux only, and only for root.

The emulator starts the function's process inside the first POST, so that the first answer's time is the cold start:
process start, initialization and first invocation. It is AWS's own aws-lambda-rie, as the package aws-sam-cli ships it.
"""

import contextlib
import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from tests.benchmarks._measure import CannotRun

PATH = "/2015-03-31/functions/function/invocations"
MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}
STARTED = 10.0
"""Seconds that the emulator may take until it listens."""
ANSWERED = 60.0
"""Seconds that an answer may take."""
MEMORY_MB = 1769
"""What the function is told to have: one vCPU's worth (AWS Lambda Developer Guide, "Configure memory")."""

ENTER = """
umask 022
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/task /mnt/lang /mnt/runtime /mnt/rie
for name in task lang runtime rie; do
    from=$1; shift
    mount --bind "$from" /mnt/$name
    mount -o remount,ro,bind /mnt/$name
done
mount --rbind /mnt /var
mount -t tmpfs -o mode=1777,size=512m tmpfs /tmp
cd /var/task
exec setpriv --reuid 993 --regid 990 --clear-groups --no-new-privs "$@"
"""
"""Users 993 and 990 are Lambda's sbx_user1051; the four folders come first, then the program."""


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What an invocation gave.

    Attributes:
        milliseconds: From the POST to the end of its answer.
        body: The answer, parsed.
    """

    milliseconds: float
    body: Any


class Emulator:
    """A running emulator; its function is not started before the first invocation."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
        self._port = port
        self._process = process
        self._log = log

    def invoke(self, event: Any) -> Answer:
        """Invokes the function with an event, one at a time.

        Raises:
            RuntimeError: The function failed; the message has the answer and the log.
        """
        payload = json.dumps(event).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWERED)
        with contextlib.closing(connection):
            start = time.perf_counter()
            connection.request("POST", PATH, payload)
            response = connection.getresponse()
            raw = response.read()
            milliseconds = (time.perf_counter() - start) * 1000
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict) or "errorType" in body or response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the function failed: {response.status} {raw[:2000]!r}\n{self.log()}")
        return Answer(milliseconds, body)

    def peak_memory_mb(self) -> float:
        """Most resident memory of the function's processes so far, in MiB (VmHWM)."""
        peak = 0.0
        # unshare starts the emulator, and that the function.
        for process in psutil.Process(self._process.pid).children(recursive=True):
            status = Path(f"/proc/{process.pid}/status").read_text()
            if "aws-lambda-rie" not in process.name():
                peak += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
        return peak

    def log(self) -> str:
        """The end of what the function and the emulator have written."""
        self._log.flush()
        return Path(self._log.name).read_text(errors="replace")[-4000:]


@contextlib.contextmanager
def emulator(function: Function, rie: Path, cpus: str = "") -> Iterator[Emulator]:
    """Runs a function under the emulator for the length of a `with` block.

    Args:
        function: What to run.
        rie: The emulator's program.
        cpus: The processors that it may use, as taskset lists them; all where empty.

    Raises:
        CannotRun: This is not Linux, or the user is not root.
    """
    check_platform()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.NamedTemporaryFile(prefix="emulator-", suffix=".log"))
        port, api = _free_port(), _free_port()
        addresses = (
            *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
            *("--runtime-api-address", f"127.0.0.1:{api}", "--log-level", "warn"),
        )
        folders = (function.task, function.runtime.lang, function.runtime.client, rie.parent)
        command = [
            *(("taskset", "--cpu-list", cpus) if cpus else ()),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"),
            *("sh", "-ec", ENTER, "sandbox", *(str(folder.resolve()) for folder in folders)),
            *(f"/var/rie/{rie.name}", *addresses, *function.runtime.command),
        ]
        process = subprocess.Popen(
            command,
            env=_environment(function),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            running = Emulator(port, process, log)
            _wait_for(running, process, port)
            yield running
        finally:
            process.kill()  # and with it, by --kill-child, all that it started
            process.wait()


def check_platform() -> None:
    """Makes sure that an emulator can run here.

    Raises:
        CannotRun: This is not Linux, or the user is not root.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise CannotRun("an artifact is mounted at /var/task in a namespace of its own: that takes Linux, and root")
    for program in ("unshare", "setpriv", "taskset"):
        if shutil.which(program) is None:
            raise CannotRun(f"{program} is not on PATH: it comes with util-linux")


def machine_architecture() -> str:
    """This machine's architecture in Lambda's words."""
    return MACHINES.get(platform.machine(), platform.machine())


def _environment(function: Function) -> dict[str, str]:
    """What Lambda sets, what the runtime needs, and the function's own; nothing of this process's."""
    return {
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin",
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


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(running: Emulator, process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + STARTED
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the emulator ended with {process.returncode}:\n{running.log()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"the emulator does not listen:\n{running.log()}")
