"""The module that Lambda imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import guests
from tests.conftest import MakePlugin

CALL = """
import json
from handler.main import handler
from tests.contexts import FakeContext
print(json.dumps(handler({"input": "hello"}, FakeContext())))
"""


def run(code: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program in an environment."""
    environment = {**os.environ, **environ}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )


def test_importing_it_makes_a_handler(make_plugin: MakePlugin, plugins: Path) -> None:
    """The environment variables of the process are the settings, and `handler` answers events."""
    make_plugin("simple", guests.ECHO)

    child = run(CALL, EXTISM_LAMBDA_PLUGINS=str(plugins), EXTISM_LAMBDA_MEMORY="map")

    assert child.returncode == 0, child.stderr
    assert '"output": "hello"' in child.stdout


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({}, "EXTISM_LAMBDA_TABLE=''"),
        ({"EXTISM_LAMBDA_MEMORY": "redis"}, "EXTISM_LAMBDA_MEMORY='redis'"),
        ({"EXTISM_LAMBDA_MEMORY": "map", "EXTISM_LAMBDA_DEFAULT_PLUGIN": "x"}, "EXTISM_LAMBDA_DEFAULT_PLUGIN='x'"),
    ],
)
def test_a_wrong_environment_does_not_start(
    make_plugin: MakePlugin, plugins: Path, environ: dict[str, str], complaint: str
) -> None:
    """The import fails, and its last line names variable, value and what is allowed."""
    make_plugin("simple", guests.ECHO)

    child = run("import handler.main", EXTISM_LAMBDA_PLUGINS=str(plugins), **environ)

    assert child.returncode != 0
    last = child.stderr.strip().splitlines()[-1]
    assert last.startswith("handler.errors.ConfigurationError: ")
    assert complaint in last


def test_the_handler_needs_nothing_but_what_is_deployed(make_plugin: MakePlugin, plugins: Path) -> None:
    """Neither moto nor any other tool of development is imported with the handler, nor boto3 for the article's Map."""
    make_plugin("simple", guests.ECHO, binary=True)  # as in the artifact: a text would need wasmtime
    code = (
        "import handler.main, sys; "
        "print([name for name in ('boto3', 'moto', 'typer', 'rich', 'wasmtime', 'infra', 'uvicorn', 'httpx', 'yaml')"
        " if name in sys.modules])"
    )

    child = run(code, EXTISM_LAMBDA_PLUGINS=str(plugins), EXTISM_LAMBDA_MEMORY="map")

    assert child.stdout == "[]\n", child.stderr


COLD = """
import json, sys
from handler.main import handler
from tests.contexts import FakeContext
from tests.http_events import request

status = handler(request("/", b"hello"), FakeContext())["statusCode"]
from fastapi.openapi.models import OpenAPI
imported = [name for name in ("pydantic.v1", "moto", "handler.openapi") if name in sys.modules]
deferred = not OpenAPI.__pydantic_complete__
document = json.loads(handler(request("/openapi.json", method="GET"), FakeContext())["body"])
print(json.dumps({
    "status": status,
    "imported": imported,
    "deferred": deferred,
    "openapi": OpenAPI.model_validate(document).openapi,
    "described": "/simple/run" in document["paths"],
}))
"""


def test_a_cold_start_leaves_out_what_no_request_needs(make_plugin: MakePlugin, plugins: Path) -> None:
    """No pydantic.v1, no schemas of OpenAPI's models; the document is there, whole, once it is asked for."""
    make_plugin("simple", guests.ECHO)

    child = run(COLD, EXTISM_LAMBDA_PLUGINS=str(plugins), EXTISM_LAMBDA_MEMORY="map")

    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout.splitlines()[-1]) == {
        "status": 200,
        "imported": [],
        "deferred": True,
        "openapi": "3.1.0",
        "described": True,
    }
