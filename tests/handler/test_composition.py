"""How the parts are put together."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handler.composition import create_handler
from handler.errors import ConfigurationError
from tests import guests
from tests.conftest import MakeHandler, MakePlugin
from tests.contexts import FakeContext

IMPORT = """
import json, sys
from handler.main import handler
class Context:
    aws_request_id = "request-1"
    def get_remaining_time_in_millis(self):
        return 30_000
answer = handler({"plugin": "echo", "input": "hello"}, Context())
import gc
print(json.dumps({"output": answer["output"], "modules": sorted(sys.modules), "collects": gc.isenabled()}))
"""


def test_the_entry_point_works_and_imports_no_more_than_it_needs(plugins: Path, make_plugin: MakePlugin) -> None:
    """handler.main makes a handler without the command line's packages, and collects garbage again afterwards."""
    make_plugin("echo", guests.ECHO)
    environ = {
        "EXTISM_LAMBDA_MEMORY": "map",
        "EXTISM_LAMBDA_PLUGINS": str(plugins),
        "EXTISM_LAMBDA_DEFAULT_PLUGIN": "echo",
    }

    run = subprocess.run(
        [sys.executable, "-c", IMPORT], env=os.environ | environ, check=True, capture_output=True, text=True, timeout=60
    )

    answer = json.loads(run.stdout)
    assert answer["output"] == "hello"
    assert answer["collects"] is True
    assert not {"moto", "typer", "uvicorn", "wasmtime", "yaml", "infra", "boto3"} & set(answer["modules"])


def test_the_default_plugin_has_to_be_there(plugins: Path, make_plugin: MakePlugin) -> None:
    """A default plugin that no folder has is refused with the names that there are."""
    make_plugin("echo", guests.ECHO)

    with pytest.raises(ConfigurationError, match=r"EXTISM_LAMBDA_DEFAULT_PLUGIN='other'.* expected one of echo"):
        create_handler(
            {
                "EXTISM_LAMBDA_MEMORY": "map",
                "EXTISM_LAMBDA_PLUGINS": str(plugins),
                "EXTISM_LAMBDA_DEFAULT_PLUGIN": "other",
            }
        )


def test_a_wrong_setting_keeps_the_environment_from_starting() -> None:
    """The variable, its value and what is allowed are named before anything is loaded."""
    with pytest.raises(ConfigurationError, match="EXTISM_LAMBDA_CONCURRENCY='0'"):
        create_handler({"EXTISM_LAMBDA_MEMORY": "map", "EXTISM_LAMBDA_CONCURRENCY": "0"})


def test_a_region_is_needed_for_dynamodb(
    plugins: Path, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a region the message names the variable to set."""
    make_plugin("echo", guests.ECHO)
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        create_handler(
            {
                "EXTISM_LAMBDA_TABLE": "memory",
                "EXTISM_LAMBDA_PLUGINS": str(plugins),
                "EXTISM_LAMBDA_DEFAULT_PLUGIN": "echo",
            }
        )


def test_the_log_level_is_that_of_our_own_loggers(make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
    """The libraries' chatter stays out of the log at every level."""
    make_plugin("echo", guests.ECHO)

    make_handler(EXTISM_LAMBDA_LOG_LEVEL="DEBUG")

    assert logging.getLogger("handler").level == logging.DEBUG
    assert {logging.getLogger(name).level for name in ("botocore", "mangum")} == {logging.WARNING}


def test_a_configured_base_path_is_taken_off(make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
    """EXTISM_LAMBDA_BASE_PATH precedes the routes, and nothing that only begins like it."""
    make_plugin("echo", guests.ECHO)
    handler = make_handler(EXTISM_LAMBDA_BASE_PATH="/v1")

    def status(path: str) -> int:
        event = {
            "requestContext": {"elb": {"targetGroupArn": "any"}},
            "httpMethod": "POST",
            "path": path,
            "headers": {"host": "example.com"},
            "body": "hello",
            "isBase64Encoded": False,
        }
        return int(handler(event, FakeContext())["statusCode"])

    assert [status(path) for path in ("/v1", "/v1/", "/v1/echo", "/echo", "/v1echo")] == [200, 200, 200, 200, 404]


def test_a_handler_can_be_closed(make_plugin: MakePlugin, make_handler: MakeHandler) -> None:
    """Where the process goes on, as under `extism-lambda invoke`, nothing is left open."""
    make_plugin("echo", guests.ECHO)
    handler = make_handler()
    assert handler({"plugin": "echo", "input": "hello"}, FakeContext())["output"] == "hello"

    handler.close()
