"""The function behind a web server on this machine."""

import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from handler.memory.dynamodb import PROBE_KEY
from tests import guests
from tests.command_line import SCRIPT, SECONDS, is_free, serve


def write_plugins(folder: Path, name: str, wat: str, **fields: Any) -> dict[str, str]:
    """Writes a folder with one plugin; returns the settings that make `serve` use it, without a DynamoDB."""
    guests.make_plugin(folder / "plugins", name, wat, **fields)
    return {
        "EXTISM_LAMBDA_PLUGINS": str(folder / "plugins"),
        "EXTISM_LAMBDA_DEFAULT_PLUGIN": name,
        "EXTISM_LAMBDA_MEMORY": "map",
    }


def test_ctrl_c_does_not_wait_for_a_guest(tmp_path: Path) -> None:
    """A request that runs for longer than the grace is told 503, and the process ends without a stack trace."""
    grants = {"limits": {"timeout_ms": 600_000}, "memory": {"read": ["*"], "prefetch": False}}
    environ = write_plugins(tmp_path, "endless", guests.LOOPS_AFTER_FAILURE, **grants)
    with socket.create_server(("127.0.0.1", 0)) as store, ThreadPoolExecutor() as pool:
        store.settimeout(SECONDS)
        environ |= {
            "EXTISM_LAMBDA_MEMORY": "dynamodb",
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{store.getsockname()[1]}",
        }
        with serve(tmp_path, **environ) as server:
            answer = pool.submit(server.request)
            while PROBE_KEY.encode() in (connection := store.accept()[0]).recv(65536):
                connection.close()  # what `serve` asked before it began
            connection.close()  # the guest runs: it has asked for its key, and will loop from now on

            assert server.interrupt() == 0

            response = answer.result(SECONDS)
            assert (response.status_code, response.json()["type"]) == (503, "unavailable")
            assert "Traceback" not in server.err
            assert server.is_gone()
            assert is_free(server.port)


def test_parallel_requests_get_their_own_answers(tmp_path: Path) -> None:
    """With two slots, requests at the same time are answered each with what it sent."""
    environ = write_plugins(tmp_path, "busy", guests.BUSY, limits={"timeout_ms": 60_000})
    inputs = [str(3000 + number).encode() for number in range(16)]
    with serve(tmp_path, **environ, EXTISM_LAMBDA_CONCURRENCY="2") as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda content: server.request(content=content), inputs))
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, content) for content in inputs]


@pytest.mark.parametrize("memory", ["map", "dynamodb"])
def test_a_taken_port_is_one_line(memory: str) -> None:
    """The error names the address, before anything is started or compiled."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [SCRIPT, "serve", "--port", str(port)],
            env={"EXTISM_LAMBDA_MEMORY": memory, "EXTISM_CACHE_CONFIG": ""},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"extism-lambda: cannot listen at 127.0.0.1:{port}: Address already in use")


@pytest.mark.parametrize(
    ("changes", "told", "todo"),
    [
        ({"EXTISM_LAMBDA_TABLE": "nobodys-table"}, "table does not exist", "set EXTISM_LAMBDA_TABLE and AWS_REGION"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials", "set AWS_ACCESS_KEY_ID and"),
    ],
)
def test_what_is_missing_is_told_at_the_start(
    tmp_path: Path, moto_endpoint: str, changes: dict[str, str], told: str, todo: str
) -> None:
    """The terminal and the log say what to do; /readyz says what kind of thing is missing, and no name of anything."""
    environ = write_plugins(tmp_path, "gets", guests.GET, memory={"read": ["*"]})
    environ |= {"EXTISM_LAMBDA_MEMORY": "dynamodb", "AWS_ENDPOINT_URL_DYNAMODB": moto_endpoint}
    with serve(tmp_path, **environ | changes) as server:
        assert "Not ready: " in server.err
        assert told in server.err
        assert todo in server.err
        before = len(server.err)

        ready, healthy = (httpx.get(server.url + path, timeout=SECONDS) for path in ("/readyz", "/healthz"))

        assert (ready.status_code, ready.json()["type"]) == (502, "store-failed")
        assert told in ready.json()["detail"]
        assert "nobodys" not in ready.text
        assert "EXTISM" not in ready.text
        assert "AWS_" not in ready.text
        assert todo in server.err[before:]
        assert healthy.status_code == 200
