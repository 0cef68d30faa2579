"""The DynamoDB side of `sam local`: a real process, asked by real clients."""

import json
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest

from infra import local_stack
from infra.connection import TABLE
from infra.local_dynamodb import CLIENT_CONFIG
from infra.template import FUNCTION, Template
from tests.command_line import CommandLine, Running, is_free, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mypy_boto3_dynamodb import DynamoDBClient

LOOPBACK = ("--host", "127.0.0.1", "--port", "0")
READY = "memory list"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> CommandLine:
    """Runs commands in this process."""
    return CommandLine(monkeypatch, capfdbinary)


def stack(folder: Path, *options: str | Path) -> "AbstractContextManager[Running]":
    """A stack with its file in a folder that it has to make."""
    return running(folder, "local-stack", "--env-file", file_in(folder), *options, until=READY)


def file_in(folder: Path) -> Path:
    """The file that `stack` writes."""
    return folder / "made" / "env.json"


def variables(folder: Path) -> dict[str, str]:
    """What the file sets for the function."""
    document: dict[str, dict[str, str]] = json.loads(file_in(folder).read_text())
    assert document.keys() == {FUNCTION}
    return document[FUNCTION]


def client_in_a_container(endpoint: str) -> "DynamoDBClient":
    """A client with the credentials and the region that SAM makes up."""
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="defaultkey",
        aws_secret_access_key="defaultsecret",
        config=CLIENT_CONFIG,
    )


def test_a_client_finds_the_seed_by_the_file(tmp_path: Path) -> None:
    """The file's endpoint and table are all that a client needs; after Ctrl-C no process, file or port is left."""
    with stack(tmp_path, *LOOPBACK) as command:
        found = variables(tmp_path)
        assert (found["EXTISM_LAMBDA_MEMORY"], found["EXTISM_LAMBDA_TABLE"]) == ("dynamodb", TABLE)
        client = client_in_a_container(found["AWS_ENDPOINT_URL_DYNAMODB"])
        item = client.get_item(TableName=found["EXTISM_LAMBDA_TABLE"], Key={"key": {"S": "hello"}})["Item"]
        assert item["value"] == {"S": "👋 Hello World 🌍"}
        assert found["AWS_ENDPOINT_URL_DYNAMODB"] in command.err

        assert command.interrupt() == 0

        assert command.is_gone()
        assert not (tmp_path / "made").exists()
        assert is_free(int(found["AWS_ENDPOINT_URL_DYNAMODB"].rpartition(":")[2]))
        assert "Traceback" not in command.err


def test_the_memory_commands_reach_it(run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the endpoint alone, also where there are neither credentials nor a region."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    seed = tmp_path / "seed.json"
    seed.write_text('[{"key": "only", "value": "one"}]')
    # An address of this machine that is not called by a name for the machine itself, as the bridge's is not.
    with stack(tmp_path, "--host", own_address(), "--port", "0", "--seed", seed):
        for name, value in variables(tmp_path).items():
            monkeypatch.setenv(name, value)
        outcome = run("memory", "list", "--json")
    assert (outcome.code, outcome.text) == (0, '{"key": "only", "value": "one"}\n')


def test_what_the_file_sets_is_declared(run: CommandLine) -> None:
    """`sam local` drops variables that template.yaml does not declare for the function."""
    assert Template.read().environment().keys() >= local_stack.VARIABLES


def test_the_file_can_go_to_standard_output(tmp_path: Path) -> None:
    """There it is all that is printed, and no file is written."""
    with running(tmp_path, "local-stack", "--env-file", "-", *LOOPBACK, until=READY) as command:
        assert json.loads(command.out.read_text()).keys() == {FUNCTION}
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix not in (".err", ".out")] == []


def test_containers_may_know_the_address_by_another_name(tmp_path: Path) -> None:
    """The file then has that name, with the port. A `kill` ends it as Ctrl-C does."""
    with stack(tmp_path, *LOOPBACK, "--reached-as", "host.docker.internal") as command:
        endpoint = variables(tmp_path)["AWS_ENDPOINT_URL_DYNAMODB"]
        port = endpoint.rpartition(":")[2]
        assert endpoint == f"http://host.docker.internal:{port}"
        assert f"AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:{port} " in command.err

        assert command.interrupt(signal.SIGTERM) == 0

        assert not (tmp_path / "made").exists()
        assert "Traceback" not in command.err


def test_a_file_that_a_killed_one_left_is_replaced(tmp_path: Path) -> None:
    """It does not stand in the way of the next start."""
    with stack(tmp_path, *LOOPBACK) as command:
        command.process.kill()
        command.process.wait()
        left = variables(tmp_path)
    with stack(tmp_path, *LOOPBACK):
        assert variables(tmp_path).keys() == left.keys()
        assert variables(tmp_path) != left


@pytest.mark.parametrize("content", ["mine", "[]", '{"ExtismFunction": {"EXTISM_LAMBDA_MEMORY": "map"}}'])
def test_somebody_elses_file_stays(run: CommandLine, tmp_path: Path, content: str) -> None:
    """A file that it did not write is refused before anything is started."""
    file = tmp_path / "env.json"
    file.write_text(content)

    outcome = run("local-stack", "--env-file", file, *LOOPBACK)

    assert (outcome.code, outcome.out) == (1, b"")
    assert f"{file} is there already" in outcome.err
    assert file.read_text() == content


def test_a_file_that_cannot_be_written_is_told(run: CommandLine, tmp_path: Path) -> None:
    """The error names it."""
    (tmp_path / "file").touch()

    outcome = run("local-stack", "--env-file", tmp_path / "file" / "env.json", *LOOPBACK)

    assert outcome.code == 1
    assert "env.json cannot be written" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_taken_port_is_told(run: CommandLine, tmp_path: Path) -> None:
    """The error names the address, and no file is written."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        outcome = run("local-stack", "--env-file", file_in(tmp_path), "--host", "127.0.0.1", "--port", port)

    assert outcome.code == 1
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in outcome.err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - to be refused
def test_every_address_at_once_is_refused(run: CommandLine, host: str) -> None:
    """It would offer the table to the whole network, and tell containers no address."""
    outcome = run("local-stack", "--host", host)

    assert outcome.code == 1
    assert f"--host {host} is not allowed" in outcome.err


def test_a_wrong_seed_is_told(run: CommandLine, tmp_path: Path) -> None:
    """Before anything listens."""
    outcome = run("local-stack", "--seed", tmp_path / "nothing.json", *LOOPBACK)

    assert outcome.code == 1
    assert "nothing.json cannot be read" in outcome.err


class TestDefaultAddress:
    """Where it listens by default. The interfaces are made up: this machine need not have Docker's."""

    @pytest.fixture
    def interfaces(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
        """The interfaces of a Linux machine, at first none."""
        made: dict[str, list[Any]] = {}
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: made)
        return made

    def test_is_dockers_bridge(self, run: CommandLine, tmp_path: Path, interfaces: dict[str, list[Any]]) -> None:
        """The IPv4 address of docker0. Its port is taken here, so that the error tells where it would have listened."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            interfaces["eth0"] = [address(socket.AF_INET, "192.0.2.1")]
            interfaces["docker0"] = [address(socket.AF_INET6, "fe80::1"), address(socket.AF_INET, "127.0.0.1")]

            outcome = run("local-stack", "--env-file", tmp_path / "env.json", "--port", str(port))

        assert outcome.code == 1
        assert f"cannot listen at 127.0.0.1:{port}" in outcome.err

    def test_there_may_be_no_bridge(self, run: CommandLine, interfaces: dict[str, list[Any]]) -> None:
        """The error says what to do: start Docker, or name an address."""
        outcome = run("local-stack")

        assert outcome.code == 1
        assert "there is no interface docker0" in outcome.err
        assert "--host ADDRESS" in outcome.err


def address(family: socket.AddressFamily, text: str) -> Any:
    """An interface's address, as psutil tells it."""
    return SimpleNamespace(family=family, address=text)


def own_address() -> str:
    """An IPv4 address of this machine that is not 127.0.0.1."""
    return "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
