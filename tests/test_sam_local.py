"""Tests of the built artifact in a container: `sam local invoke` and `sam local start-api`, as the README has them.

Both exit with 0 whatever happens: what is looked at is what they print.
"""

import json
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.building import BuildError, Target, run
from infra.interpreters import find_interpreter
from tests.base_image import base_image, find_engine
from tests.command_line import CommandLine, free_port, running
from tests.lambda_parts import Unavailable, find_runtime
from tests.sam import SECONDS, Sam
from tests.servers import wait_for

pytestmark = pytest.mark.container

IMAGE = "EXTISM_LAMBDA_TEST_BASE_IMAGE"
"""The variable that names an image to use in place of the stand-in, such as AWS's own; it has to be there already."""
ENV_FILE = Path("build", "local-stack.json")
THREE_LINES = "👋 Hello Jane Doe\nkey: hello, value: 👋 Hello World 🌍\nkey: message, value: I 💜 Extism 😍"


@pytest.fixture(scope="session", autouse=True)  # before anything is built
def engine() -> None:
    """A Docker engine; skips where none answers."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip(f"a plain `sam build` is for x86_64, this machine is {platform.machine()}")
    try:
        find_engine()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def image(engine: None, sam_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base image's name."""
    if named := os.environ.get(IMAGE):
        yield named
        return
    try:
        target = Target("3.13", "x86_64", find_interpreter("3.13"))
        runtime = find_runtime(target, tmp_path_factory.mktemp("image"))
    except BuildError as error:
        pytest.skip(str(error))
    with base_image(runtime, sam_artifact) as name:
        yield name


@pytest.fixture(scope="module")
def options(image: str) -> tuple[str, ...]:
    """What makes SAM take an image that is here, in place of asking a registry."""
    return ("--skip-pull-image", "--invoke-image", image)


@pytest.fixture(scope="module")
def stack(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running `extism-lambda local-stack` with its file where SAM runs; gives the variables in it."""
    file = sam.folder / ENV_FILE
    arguments = ("local-stack", "--port", "0", "--env-file", file)
    with running(tmp_path_factory.mktemp("stack"), *arguments, until="memory list") as command:
        (variables,) = json.loads(file.read_text()).values()
        yield variables
        assert command.interrupt() == 0


def containers(image: str) -> list[str]:
    """The ids of all containers that SAM made of an image, running or not."""
    derived = f"{image.partition(':')[0]}:rapid-x86_64"
    return run("listing containers", "docker", "ps", "--all", "--quiet", "--filter", f"ancestor={derived}").split()


def invoke(sam: Sam, event: str, *options: str) -> Any:
    """What the function answered."""
    done = sam("local", "invoke", "-e", f"infra/events/{event}", *options)
    assert done.stdout.strip(), done.stderr  # empty after a timeout
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_command_of_the_readme(sam: Sam, options: tuple[str, ...]) -> None:
    """An HTTP API event is answered with the article's three lines, with no DynamoDB at all."""
    response = invoke(sam, "say-hello.json", *options)

    assert (response["statusCode"], response["body"]) == (200, THREE_LINES)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("say-hello.json", {"statusCode": 200, "body": THREE_LINES}),
        ("say-hello-rest.json", {"statusCode": 200, "body": THREE_LINES}),
        ("direct.json", {"status": 200, "output": THREE_LINES}),
        ("warmup.json", {"status": 200, "warm": "simple"}),
    ],
)
def test_every_kind_of_event_is_answered(
    sam: Sam, options: tuple[str, ...], stack: dict[str, str], *, image: str, event: str, expected: dict[str, Any]
) -> None:
    """HTTP API, REST API, direct and warm-up events, with the DynamoDB of `local-stack`; no container is left."""
    response = invoke(sam, event, "-n", str(ENV_FILE), *options)

    assert response.items() >= expected.items(), response
    assert containers(image) == []


def test_start_api_answers_from_one_warm_container(
    sam: Sam,
    options: tuple[str, ...],
    stack: dict[str, str],
    *,
    image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Twice the three lines, a documented problem, what was just written to the table; Ctrl-C leaves no container."""
    port, log = free_port(), tmp_path / "start-api.log"
    arguments = ("local", "start-api", "--port", str(port), "-n", str(ENV_FILE), *options)
    with (
        sam.server(log, *arguments) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, trust_env=False) as client,
    ):
        wait_for(lambda: listens(port) or server.poll() is not None, SECONDS)

        for _ in range(2):
            answer = client.post("/", content=b"Jane Doe", headers={"content-type": "text/plain; charset=utf-8"})
            assert (answer.status_code, answer.text) == (200, THREE_LINES), log.read_text()
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"

        missing = client.post("/nobody")
        assert missing.headers["content-type"] == "application/problem+json"
        assert (missing.status_code, missing.json()["type"]) == (404, "plugin-not-found")

        for name, value in stack.items():
            monkeypatch.setenv(name, value)
        assert CommandLine(monkeypatch, capfdbinary)("memory", "put", "message", "written just now").code == 0
        assert "message, value: written just now" in client.post("/", content=b"Jane Doe").text

        assert len(containers(image)) == 1, log.read_text()
    assert containers(image) == []


def listens(port: int) -> bool:
    """Whether somebody takes connections at a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
