"""Tests of the artifact under Lambda's real runtime client, behind the runtime interface emulator."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.artifact import BuildReport
from infra.connection import ACCESS_KEY, REGION
from infra.local_dynamodb import local_dynamodb
from tests.faults import Exchange, FaultProxy, hang, reply, reset, trickle
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


def slow(exchange: Exchange) -> None:
    """Answers after 0.3 s that there is no such key."""
    exchange.over.wait(0.3)
    reply(exchange, b'{"ConsumedCapacity": {"TableName": "any", "CapacityUnits": 0.5}}')


@contextmanager
def breaking_store() -> Iterator[FaultProxy]:
    """A stand-in for DynamoDB that knows no key and breaks as it is told to."""
    proxy = FaultProxy(("127.0.0.1", 0))
    proxy.switch(slow)
    try:
        yield proxy
    finally:
        proxy.close()


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


def variables(store: FaultProxy) -> dict[str, str]:
    """The environment of a function over that store."""
    return {
        "AWS_LAMBDA_FUNCTION_TIMEOUT": TIMEOUT,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_ENDPOINT_URL_DYNAMODB": store.url,
        "EXTISM_LAMBDA_TABLE": "any",
    }


def test_answers_before_lambda_ends_the_invocation(with_plugins: Path, runtime_parts: Parts) -> None:
    """Out of time in guest or store, or a store that breaks: our own answer says so, and Lambda never has to end us.

    The same process serves all events, and a request that needs no broken part is served in between.
    """
    with (
        breaking_store() as store,
        lambda_runtime(runtime_parts, with_plugins, "handler.main.handler", variables(store)) as runtime,
    ):
        for plugin, fault, status, spent_in in (
            ("loop", slow, 504, "guest"),
            ("read-on", slow, 504, "store"),
            ("read-on", trickle, 504, "store"),
            ("read-on", hang, 503, None),
            ("read-on", reset, 503, None),
        ):
            store.switch(fault)
            response = runtime.invoke(event(f"/{plugin}"))
            assert response.status == 200, runtime.log
            assert response.json["statusCode"] == status, runtime.log
            assert json.loads(response.json["body"]).get("spentIn") == spent_in
            store.switch(slow)
            assert runtime.invoke(event("/simple")).json["statusCode"] == 422  # "no such key": the store knows none
        assert runtime.log.count("INIT START") == 1
        assert "Task timed out" not in runtime.log


def test_tells_each_request_in_one_line_of_json(artifact: BuildReport, runtime_parts: Parts) -> None:
    """With Lambda's JSON log format a request's line, metrics included, reaches the log as it is, once."""
    settings = {
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "EXTISM_LAMBDA_MEMORY": "map",
        "EXTISM_LAMBDA_METRICS": "Extism",
    }
    with lambda_runtime(runtime_parts, artifact.out, "handler.main.handler", settings) as runtime:
        for path in ("/", "/", "/nobody"):
            runtime.invoke(event(path))

    lines = [json.loads(line) for line in runtime.log.splitlines() if line.startswith("{") and '"requestId"' in line]
    told = [line for line in lines if "outcome" in line]
    assert [(line["outcome"], line["coldStart"], line["level"]) for line in told] == [
        ("ok", True, "INFO"),
        ("ok", False, "INFO"),
        ("plugin-not-found", False, "INFO"),
    ], runtime.log
    assert len({line["requestId"] for line in told}) == 3
    assert all(line["_aws"]["CloudWatchMetrics"] for line in told)
    assert told[0]["compileCacheHits"] == 1


def test_without_credentials_the_start_is_not_held(artifact: BuildReport, runtime_parts: Parts) -> None:
    """A function without credentials starts, and answers at once what is missing: in words, and without names.

    Nobody waits for the metadata of an EC2 instance, which a stand-in here would never give.
    """
    with breaking_store() as store, breaking_store() as metadata:
        metadata.switch(hang)
        environ = {name: value for name, value in variables(store).items() if "ACCESS_KEY" not in name}
        environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
        with lambda_runtime(runtime_parts, artifact.out, "handler.main.handler", environ) as runtime:
            response = runtime.invoke(event("/simple"))

    problem = json.loads(response.json["body"])
    assert (problem["status"], problem["type"]) == (502, "store-failed")
    assert problem["detail"] == "there are no credentials to read the memory with"
    assert "give the function a role" in runtime.log
    assert "Task timed out" not in runtime.log
    assert store.seen == metadata.seen == []
