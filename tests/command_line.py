"""The command line `extism-lambda`: in this process, and `serve` in a process of its own."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.cli import main
from tests.servers import wait_for

SCRIPT = Path(sys.executable).with_name("extism-lambda")
SECONDS = 60.0
"""How long a start or an end may take; a Go guest compiles for seconds on a busy machine."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """What it printed on stdout."""
        return self.out.decode()


class CommandLine:
    """Runs commands in this process, as the installed script does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> None:
        self._monkeypatch = monkeypatch
        self._capture = capture

    def __call__(self, *arguments: str | Path, stdin: bytes = b"", **environ: str) -> Outcome:
        """Runs one, with these environment variables beside the tests' own."""
        self._capture.readouterr()
        code: Any = 0
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [SCRIPT.name, *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name, value in environ.items():
                patch.setenv(name, value)
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
        captured = self._capture.readouterr()
        return Outcome(int(code), captured.out, captured.err.decode())


@dataclass(frozen=True)
class Running:
    """A command that runs until Ctrl-C, alone in a process group.

    Attributes:
        process: Its process.
        log: The file that its stderr goes to.
        out: The file that its stdout goes to.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    out: Path

    @property
    def err(self) -> str:
        """What it printed on stderr so far."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, line: str) -> None:
        """Waits until a text is on its stderr."""
        wait_for(lambda: line in self.err or self.process.poll() is not None, SECONDS)
        assert line in self.err, self.err

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """Presses Ctrl-C, waits for the end and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def is_gone(self) -> bool:
        """Whether no process that it started is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


@dataclass(frozen=True)
class Server(Running):
    """A running `extism-lambda serve`.

    Attributes:
        port: Where it listens.
        url: The same as a URL.
    """

    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        """The endpoint of the DynamoDB that it embeds."""
        found = re.search(r"Embedded DynamoDB at (http://127\.0\.0\.1:\d+),", self.err)
        assert found is not None, self.err
        return found[1]

    def request(self, path: str = "/", content: bytes = b"Jane Doe") -> httpx.Response:
        """Posts to it, as curl does."""
        headers = {"content-type": "text/plain; charset=utf-8"}
        return httpx.post(self.url + path, content=content, headers=headers, timeout=SECONDS, trust_env=False)


@contextmanager
def serve(folder: Path, *, until: str = "Serving at", **environ: str) -> Iterator[Server]:
    """Runs `extism-lambda serve` on a free port, and ends it whatever happens.

    Args:
        folder: Where its log is written.
        until: The text on its stderr to wait for.
        **environ: Environment variables beside the tests' own.
    """
    port = free_port()
    with running(folder, "serve", "--port", str(port), until=until, **environ) as command:
        yield Server(command.process, command.log, command.out, port)


@contextmanager
def running(folder: Path, *arguments: str | Path, until: str, **environ: str) -> Iterator[Running]:
    """Runs a command in the background, and ends it whatever happens.

    Args:
        folder: Where what it prints is written.
        *arguments: The command and its options.
        until: The text on its stderr to wait for.
        **environ: Environment variables beside the tests' own.
    """
    log, out = (folder / f"{arguments[0]}-{uuid.uuid4()}.{stream}" for stream in ("err", "out"))
    # Where Ctrl-C is ignored, as in a shell's background jobs, a child would ignore it too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("wb") as stderr, out.open("wb") as stdout:
            process = subprocess.Popen(
                [SCRIPT, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | environ,
                start_new_session=True,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    command = Running(process, log, out)
    try:
        command.wait_for(until)
        yield command
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a port can be listened at."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
