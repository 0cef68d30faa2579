"""The warm path: a bare `plugin.call`, the smallest Mangum and FastAPI route around it, and ours; then servers.

`uv run python -m tests.benchmarks.warm [--rounds 100] [--calls 100] [--serve-seconds 5] [--json]`
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import extism
import typer
from fastapi import FastAPI, Request, Response
from mangum import Mangum

from handler.memory.map import ARTICLE
from infra.local import LocalContext
from tests.benchmarks import _local, _peers
from tests.benchmarks._events import GREETING, NAME, http_event
from tests.benchmarks._measure import Column, Json, Result, interleaved, ratio, run, time_block
from tests.benchmarks._sandbox import free_port
from tests.benchmarks._tools import ROOT, Missing, load_generator, node
from tests.benchmarks._tools import run as run_program

BARE, MINIMAL, OURS = "plugin.call", "minimal route", "ours"
QUIET = "ours, nothing logged"
NODE = "node"
CONNECTIONS = 10
STARTED = 60.0
"""Seconds that a server may take until it answers."""


@extism.host_fn(name="hostMemoryGet", signature=([extism.ValType.I64], [extism.ValType.I64]))
def _memory_get(plugin: Any, inputs: list[Any], outputs: list[Any]) -> None:
    """The article's Map, without anything that could fail."""
    plugin.return_bytes(outputs[0], ARTICLE[plugin.input_string(inputs[0])])


def minimal_plugin() -> Any:
    """The article's plugin as Extism alone runs it."""
    return extism.Plugin({"wasm": [{"path": str(_peers.WASM)}]}, wasi=True, functions=[_memory_get])


def minimal_handler(plugin: Any) -> Callable[[Any, Any], dict[str, Any]]:
    """The smallest possible route of FastAPI, behind Mangum, around a plugin's call."""
    app = FastAPI()

    @app.post("/")
    async def call(request: Request) -> Response:
        return Response(plugin.call("say_hello", await request.body()), media_type="text/plain; charset=utf-8")

    return Mangum(app, lifespan="off")


def in_process(rounds: int, calls: int) -> dict[str, list[float]]:
    """Microseconds per invocation, of blocks of calls that take turns."""
    os.environ.setdefault("EXTISM_CACHE_CONFIG", "")
    event, name = http_event(), NAME.encode()
    with contextlib.ExitStack() as stack:
        logged = {**_local.map_environment(), **stack.enter_context(_local.logged_as_in_lambda())}
        ours = stack.enter_context(_local.own_handler(logged))
        quiet = stack.enter_context(
            _local.own_handler({**_local.map_environment(), "EXTISM_LAMBDA_LOG_LEVEL": "WARNING"})
        )
        plugin, wrapped = minimal_plugin(), minimal_plugin()
        minimal = minimal_handler(wrapped)
        variants: dict[str, Callable[[], object]] = {
            BARE: lambda: plugin.call("say_hello", name),
            MINIMAL: lambda: minimal(event, LocalContext(_local.TIMEOUT)),
            OURS: lambda: ours(event),
            QUIET: lambda: quiet(event),
        }
        for variant, expected in ((BARE, GREETING.encode()), (MINIMAL, GREETING), (OURS, GREETING), (QUIET, GREETING)):
            answer = variants[variant]()
            if (answer["body"] if isinstance(answer, dict) else answer) != expected:
                raise RuntimeError(f"{variant} answered {answer!r}")
        blocks = {name: _block(call, calls) for name, call in variants.items()}
        return interleaved(blocks, rounds, warm_up=max(1, rounds // 10), what="Blocks of calls, round")


def _block(call: Callable[[], object], calls: int) -> Callable[[], float]:
    return lambda: time_block(call, calls)


@contextlib.contextmanager
def server(command: list[str], cwd: Path, **environment: str) -> Iterator[str]:
    """Runs a server until it answers, and ends it after the `with` block."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    process = subprocess.Popen(
        [word.replace("PORT", str(port)) for word in command],
        cwd=cwd,
        env={**os.environ, **environment, "PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    request = urllib.request.Request(url, NAME.encode(), {"content-type": "text/plain"})  # noqa: S310 - loopback
    end = time.monotonic() + STARTED
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            answer = response.read().decode()
            if answer != GREETING:
                raise RuntimeError(f"{url} answered {answer!r}")
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server at {url} does not answer")


def load(url: str, seconds: int) -> dict[str, Any]:
    """What autocannon reports of a server under load."""
    answer = run_program(
        *(node() / "bin" / "node", load_generator(), "--json", "--no-progress"),
        *("--connections", str(CONNECTIONS), "--duration", str(seconds), "--method", "POST"),
        *("--headers", "content-type=text/plain; charset=utf-8", "--body", NAME, "--expectBody", GREETING, url),
    )
    report: dict[str, Any] = json.loads(answer)
    if any(report[failures] for failures in ("non2xx", "errors", "timeouts", "mismatches")):
        raise RuntimeError(f"{url} failed under load: {report}")
    return report


def served(rounds: int, seconds: int) -> list[Column]:
    """Requests per second and latency of ours and of the article's Node server, in turns.

    Raises:
        Missing: Node, its packages or the load generator cannot be had.
    """
    serve = [str(Path(sys.executable).with_name("extism-lambda")), "serve", "--port", "PORT"]
    reports: dict[str, list[dict[str, Any]]] = {OURS: [], NODE: []}
    with (
        server(serve, ROOT, **_local.map_environment()) as ours,
        server([str(node() / "bin" / "node"), "server.mjs"], _peers.node_peer()) as peer,
    ):
        urls = {OURS: ours, NODE: peer}

        def loaded(name: str, count: int) -> Callable[[], float]:
            def once() -> float:
                reports[name].append(load(urls[name], count))
                return float(reports[name][-1]["requests"]["average"])

            return once

        per_second = interleaved(
            {name: loaded(name, seconds) for name in urls}, rounds, warm_up=1, what="Load on servers, round"
        )
    latencies = {
        f"{name} {share}": [float(one["latency"][key]) for one in found[-rounds:]]
        for name, found in reports.items()
        for share, key in (("p50", "p50"), ("p99", "p99"))
    }
    return [Column("served requests", "1/s", per_second), Column("served latency", "ms", latencies)]


def main(
    rounds: Annotated[int, typer.Option(help="Rounds of blocks, one block of each variant a round.", min=1)] = 100,
    calls: Annotated[int, typer.Option(help="Calls in a block.", min=1)] = 100,
    serve_rounds: Annotated[int, typer.Option(help="Rounds of load on each server; 0 leaves that out.", min=0)] = 5,
    serve_seconds: Annotated[int, typer.Option(help="Seconds of load on a server in a round.", min=1)] = 5,
    as_json: Json = False,
) -> None:
    """The warm path in this process and under `serve`."""
    samples = in_process(rounds, calls)
    columns = [Column("warm invocation", "µs", samples)]
    ratios = {
        "ours_over_minimal": ratio(samples, OURS, MINIMAL),
        "ours_without_log_line_over_minimal": ratio(samples, QUIET, MINIMAL),
        "ours_over_plugin_call": ratio(samples, OURS, BARE),
        "serve_rps_over_node": None,
    }
    result = Result("warm", columns, ratios)
    result.notes = [
        f"in process, HTTP API v2 event, memory in the process; blocks of {calls} calls in turns",
        "ours makes a log line (JSON) for every invocation, as on Lambda; the others make none",
    ]
    if serve_rounds:
        try:
            columns += served(serve_rounds, serve_seconds)
        except Missing as missing:
            result.missing[NODE] = str(missing)
        else:
            ratios["serve_rps_over_node"] = ratio(columns[1].samples, OURS, NODE)
            result.notes.append(
                f"served: autocannon, {CONNECTIONS} connections, keep-alive, {serve_seconds} s a round; the load "
                "generator shares the processors with the server"
            )
    else:
        result.missing[NODE] = "--serve-rounds 0"
    overhead = statistics.median(samples[OURS]) - statistics.median(samples[BARE])
    result.extra = {"overhead_us": round(overhead, 1), "calls": calls, "rounds": rounds}
    result.show(as_json=as_json)


if __name__ == "__main__":
    run(main)
