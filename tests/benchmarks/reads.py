"""What K sequential `hostMemoryGet` cost where each read takes a fixed time: how many round trips a request waits for.

`uv run python -m tests.benchmarks.reads [--rounds 20] [--json]`
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer

from infra.local import LocalContext
from tests.benchmarks import _local, _peers
from tests.benchmarks._events import http_event
from tests.benchmarks._measure import Column, Json, Result, interleaved, run
from tests.benchmarks._sandbox import free_port
from tests.benchmarks._slow_dynamodb import VALUE
from tests.benchmarks._tools import ROOT
from tests.guests import MEMORY_GET, make_plugin, module

KEYS = (1, 2, 5, 10, 50)
DELAYS = (0.0, 2.0, 10.0)
"""Milliseconds that a read takes."""
PREFETCH, SINGLE, PORT = "with_prefetch", "without_prefetch", "port"
GET_ITEM = "one GetItem"
TABLE = "memory"
STARTED = 30.0


def guest(counts: tuple[int, ...] = KEYS) -> str:
    """A guest whose function `read_K` reads the first K keys, one after the other, and answers their values' bytes."""
    names = "".join(f"k{number:02}" for number in range(max(counts)))
    functions = "".join(
        f'(func (export "read_{count}") (result i32) (call $read (i32.const {count})) (i32.const 0))'
        for count in counts
    )
    body = """
(func $read (param $count i32)
  (local $i i32) (local $value i64) (local $size i64)
  (loop $next
    (local.set $value (call $get (call $text (i32.mul (local.get $i) (i32.const 3)) (i32.const 3))))
    (if (i64.eqz (local.get $value)) (then unreachable))
    (local.set $size (i64.add (local.get $size) (call $length (local.get $value))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $i) (local.get $count))))
  (call $answer_number (local.get $size)))
"""
    return module(f'(data (i32.const 0) "{names}") {body} {functions}', imports=MEMORY_GET)


class Stand:
    """A running stand-in for DynamoDB."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {
            "AWS_ENDPOINT_URL_DYNAMODB": url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "EXTISM_LAMBDA_TABLE": TABLE,
        }

    def set_delay(self, milliseconds: float) -> None:
        """Sets how long a read takes."""
        self._ask(f"/delay/{milliseconds}", "PUT")

    def requests(self) -> int:
        """How many requests there were so far."""
        return int(self._ask("/requests", "GET"))

    def _ask(self, path: str, method: str) -> bytes:
        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            body: bytes = response.read()
            return body


@contextlib.contextmanager
def slow_dynamodb() -> Iterator[Stand]:
    """Runs the stand-in in a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks._slow_dynamodb", str(port)], cwd=ROOT, stdin=subprocess.DEVNULL
    )
    try:
        stand = Stand(f"http://127.0.0.1:{port}")
        end = time.monotonic() + STARTED
        while True:
            with contextlib.suppress(OSError):
                stand.requests()
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the stand-in for DynamoDB does not start")
            time.sleep(0.05)
        yield stand
    finally:
        process.terminate()
        process.wait()


def plugins(folder: Path, *, prefetch: bool) -> Path:
    """A folder of plugins with the guest in it."""
    make_plugin(
        folder,
        "reader",
        guest(),
        functions=[f"read_{count}" for count in KEYS],
        limits={"timeout_ms": 60_000},
        memory={"read": ["k*"], "prefetch": prefetch},
    )
    return folder


@contextlib.contextmanager
def variants(stand: Stand) -> Iterator[dict[str, dict[int, Callable[[], object]]]]:
    """What is measured: for every variant and K, a call that reads K keys and checks the answer."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(_local.variables(stand.environment))
        calls: dict[str, dict[int, Callable[[], object]]] = {}
        for name, prefetch in ((PREFETCH, True), (SINGLE, False)):
            settings = {
                "EXTISM_LAMBDA_PLUGINS": str(plugins(scratch / name, prefetch=prefetch)),
                "EXTISM_LAMBDA_DEFAULT_PLUGIN": "reader",
                "EXTISM_LAMBDA_MEMORY": "dynamodb",
            }
            invoke = stack.enter_context(_local.own_handler(settings))
            calls[name] = {count: _call(invoke, f"/reader/read_{count}", count) for count in KEYS}
        wasm = next((scratch / SINGLE).rglob("*.wat"))
        calls[PORT] = {count: _port_call(wasm, count) for count in KEYS}
        client = boto3.client("dynamodb")
        calls[GET_ITEM] = {1: lambda: client.get_item(TableName=TABLE, Key={"key": {"S": "k00"}})}
        yield calls


def _call(invoke: _local.Invoke, path: str, count: int) -> Callable[[], object]:
    event = http_event(path)

    def call() -> None:
        response = invoke(event)
        if response.get("body") != str(count * len(VALUE)):
            raise RuntimeError(f"{path} answered {response}")

    return call


def _port_call(wasm: Path, count: int) -> Callable[[], object]:
    handler = _peers.import_port(wasm, f"read_{count}", TABLE)
    return _call(lambda event: handler(event, LocalContext(_local.TIMEOUT)), "/", count)


def measure(stand: Stand, calls: Mapping[str, Mapping[int, Callable[[], object]]], rounds: int) -> dict[Any, Any]:
    """Milliseconds by (variant, K, delay), and requests by (variant, K)."""

    def timed(call: Callable[[], object], delay: float) -> Callable[[], float]:
        def once() -> float:
            stand.set_delay(delay)
            start = time.perf_counter()
            call()
            return (time.perf_counter() - start) * 1000

        return once

    runs = {
        f"{name} {count} {delay:g}": timed(call, delay)
        for name, by_count in calls.items()
        for count, call in by_count.items()
        for delay in DELAYS
    }
    # In the rounds before the first that counts, the prefetch learns the keys.
    samples = interleaved(runs, rounds, warm_up=2, what="Reads, round")
    stand.set_delay(0)
    requests: dict[str, dict[str, int]] = {}
    for name, by_count in calls.items():
        for count, call in by_count.items():
            before = stand.requests()
            call()
            requests.setdefault(name, {})[str(count)] = stand.requests() - before
    return {"samples": samples, "requests": requests}


def waited(samples: Mapping[str, list[float]], name: str, count: int, delay: float) -> float:
    """Milliseconds by which a delay of each read makes a request slower, from medians."""
    return statistics.median(samples[f"{name} {count} {delay:g}"]) - statistics.median(samples[f"{name} {count} 0"])


def main(
    rounds: Annotated[int, typer.Option(help="Requests for each variant, K and delay.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Sequential reads of a guest against a store with a fixed round trip."""
    os.environ.setdefault("EXTISM_CACHE_CONFIG", "")
    with slow_dynamodb() as stand, variants(stand) as calls:
        found = measure(stand, calls, rounds)
    samples = found["samples"]
    trip = {f"{delay:g}": waited(samples, GET_ITEM, 1, delay) for delay in DELAYS if delay}
    names = (PREFETCH, SINGLE, PORT)
    by_delay = {
        delay: {
            name: {str(count): round(waited(samples, name, count, float(delay)) / one, 3) for count in KEYS}
            for name in names
        }
        for delay, one in trip.items()
    }
    columns = [
        Column(
            f"request at {delay:g} ms a read",
            "ms",
            {f"{name}, K = {count}": samples[f"{name} {count} {delay:g}"] for name in names for count in KEYS},
        )
        for delay in DELAYS
    ]
    result = Result("reads", columns, {"round_trips": by_delay["10"]})
    result.extra = {
        "round_trips_by_delay_ms": by_delay,
        "requests": found["requests"],
        "one_round_trip_ms": {delay: round(one, 3) for delay, one in trip.items()},
        "rounds": rounds,
    }
    result.notes = [
        "round_trips: (median at 10 ms a read - median at 0 ms) / the same difference of one lone GetItem, "
        f"which is {trip['10']:.2f} ms",
        f"requests to the store for one request of K keys: {found['requests']}",
        "the keys are known: the prefetch has seen each function's calls before",
    ]
    result.show(as_json=as_json)


if __name__ == "__main__":
    run(main)
