"""Tests of the artifact under Lambda's real runtime client, behind the runtime interface emulator."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infra.artifact import BuildReport
from infra.connection import ACCESS_KEY, REGION
from infra.local_dynamodb import local_dynamodb
from tests.guests import make_plugin
from tests.lambda_parts import Parts
from tests.lambda_runtime import LambdaRuntime, lambda_runtime

pytestmark = pytest.mark.lambda_runtime

EVENT = json.loads((Path(__file__).parent / "events" / "http-v2-default-stage.json").read_text())
THREE_LINES = ["👋 Hello Jane Doe", "key: hello, value: 👋 Hello World 🌍", "key: message, value: I 💜 Extism 😍"]
TIMEOUT = "4"  # seconds; the start of the function has to fit in, on a busy machine too

LOOP = '(module (func (export "run") (result i32) (loop (br 0)) (i32.const 0)))'

# Asks for one key after another, aa, ba, ca, ..., until somebody stops it
READ_ON = """
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (import "extism:host/user" "hostMemoryGet" (func $get (param i64) (result i64)))
  (func (export "run") (result i32) (local $key i64) (local $i i32)
    (local.set $key (call $alloc (i64.const 2)))
    (loop
      (call $store (local.get $key) (i32.add (i32.const 97) (i32.and (local.get $i) (i32.const 15))))
      (call $store (i64.add (local.get $key) (i64.const 1))
        (i32.add (i32.const 97) (i32.shr_u (local.get $i) (i32.const 4))))
      (drop (call $get (local.get $key)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br 0))
    (i32.const 0)))
"""


@contextmanager
def slow_store() -> Iterator[str]:
    """A stand-in for DynamoDB that knows no key and takes 0.3 s to say so; gives its URL."""

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            time.sleep(0.3)
            answer = b'{"ConsumedCapacity": {"TableName": "any", "CapacityUnits": 0.5}}'
            self.send_response(200)
            self.send_header("content-type", "application/x-amz-json-1.0")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def with_plugins(artifact: BuildReport, tmp_path: Path) -> Path:
    """The artifact, and two more plugins that go on for a minute if nobody stops them."""
    task = Path(shutil.copytree(artifact.out, tmp_path / "artifact", copy_function=os.link))
    for name, text in (("loop", LOOP), ("read-on", READ_ON)):
        make_plugin(task / "plugins", name, text, binary=True, limits={"timeout_ms": 60_000}, memory={"read": ["*"]})
    return task


def event(path: str) -> dict[str, Any]:
    """The event of a POST to a path."""
    changed: dict[str, Any] = json.loads(json.dumps(EVENT))
    changed["rawPath"] = changed["requestContext"]["http"]["path"] = path
    return changed


def assert_nothing_went_wrong(runtime: LambdaRuntime) -> None:
    """The log tells of one start, and of no refused access, no warning and no stack trace."""
    assert runtime.log.count("INIT START") == 1, runtime.log
    wrong = re.compile(r"denied|read-only|permission|errno|traceback|warn|task timed out|error", re.IGNORECASE)
    harmless = "Expected?: false"  # the emulator, about credentials that are not set
    lines = [line for line in runtime.log.splitlines() if wrong.search(line) and harmless not in line]
    assert not lines, runtime.log


def test_answers_an_api_gateway_event_twice(artifact: BuildReport, runtime_parts: Parts) -> None:
    """An HTTP API event gets the article's three lines, twice from one environment, from DynamoDB over HTTP.

    Nothing tried to write where it may not: neither the compile cache nor byte code.
    """
    with (
        local_dynamodb() as dynamodb,
        lambda_runtime(runtime_parts, artifact.out, "handler.main.handler", dynamodb.environment()) as runtime,
    ):
        for _ in range(2):
            response = runtime.invoke(EVENT)
            assert response.status == 200
            assert response.json["statusCode"] == 200, runtime.log
            assert response.json["body"].splitlines() == THREE_LINES
            assert response.json["isBase64Encoded"] is False
        assert_nothing_went_wrong(runtime)


@pytest.mark.parametrize(("plugin", "spent_in"), [("loop", "guest"), ("read-on", "store")])
def test_answers_before_lambda_ends_the_invocation(
    with_plugins: Path, runtime_parts: Parts, plugin: str, spent_in: str
) -> None:
    """Out of time in guest or store: our own 504 says in which, and the same process serves the next event."""
    with slow_store() as endpoint:
        variables = {
            "AWS_LAMBDA_FUNCTION_TIMEOUT": TIMEOUT,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
            "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
            "EXTISM_LAMBDA_TABLE": "any",
        }
        with lambda_runtime(runtime_parts, with_plugins, "handler.main.handler", variables) as runtime:
            response = runtime.invoke(event(f"/{plugin}"))
            assert response.status == 200, runtime.log
            assert response.json["statusCode"] == 504, runtime.log
            assert json.loads(response.json["body"])["spentIn"] == spent_in
            assert runtime.invoke(event("/simple")).json["statusCode"] == 422  # "no such key": the store knows none
            assert runtime.log.count("INIT START") == 1
            assert "Task timed out" not in runtime.log
