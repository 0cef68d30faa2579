"""Cold start: from the first POST to a freshly started emulator to its answer, process start and two reads included.

`uv run python -m tests.benchmarks.cold_start [--rounds 15] [--cpus 0] [--json]`
"""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from infra.local_dynamodb import local_dynamodb
from tests.benchmarks import _peers
from tests.benchmarks._events import GREETING, http_event
from tests.benchmarks._measure import (
    CannotRun,
    Column,
    Json,
    Result,
    interleaved,
    is_optimized,
    optimization,
    ratio,
    run,
    stderr,
)
from tests.benchmarks._sandbox import Function, emulator, way_to_drop_privileges
from tests.benchmarks._tools import rie

OURS, PORT, BARE, NODE, GO, EMPTY = "ours", "port", "bare", "node", "go", "empty"
NO_CACHE, NO_BYTE_CODE = "ours without compile cache", "ours without byte code"


def measure(functions: Mapping[str, Function], rounds: int, cpus: str, environment: Mapping[str, str]) -> list[Column]:
    """Starts every function once a round; returns first answer, second answer and peak memory."""
    second: dict[str, list[float]] = {name: [] for name in functions}
    memory: dict[str, list[float]] = {name: [] for name in functions}
    program = rie()

    def start(name: str, function: Function) -> Callable[[], float]:
        started = Function(function.task, function.runtime, {**environment, **function.environment})

        def once() -> float:
            with emulator(started, program, cpus) as running:
                first = running.answer(http_event())
                check(name, first.json)
                second[name].append(running.answer(http_event()).milliseconds)
                memory[name].append(running.peak_memory_mb())
            return first.milliseconds

        return once

    variants = {name: start(name, function) for name, function in functions.items()}
    # The first round finds files that are not in the page cache yet.
    first = interleaved(variants, rounds, warm_up=1, what="Cold starts, round")
    return [
        Column("first answer", "ms", first),
        Column("second answer", "ms", {name: values[-rounds:] for name, values in second.items()}),
        Column("peak memory", "MiB", {name: values[-rounds:] for name, values in memory.items()}),
    ]


def check(name: str, response: Mapping[str, Any]) -> None:
    """Makes sure that the answer is right: a fast failure is no figure."""
    if response.get("statusCode") != 200 or (name != EMPTY and response.get("body") != GREETING):
        raise RuntimeError(f"{name} answered {response}")


def main(
    rounds: Annotated[int, typer.Option(help="Cold starts of each variant.", min=1)] = 15,
    cpus: Annotated[str, typer.Option(help="Processors for the function, as taskset lists them; default all.")] = "",
    peers: Annotated[str, typer.Option(help="Only these variants, separated by commas; default all.")] = "",
    as_json: Json = False,
) -> None:
    """Cold start of the artifact, beside what one would take instead."""
    way_to_drop_privileges()
    with stderr.status("Building") as status:
        own = functools.cache(_peers.ours)
        makers: dict[str, Callable[[], Function]] = {
            OURS: own,
            NO_CACHE: lambda: _peers.without_compile_cache(own()),
            NO_BYTE_CODE: lambda: _peers.without_byte_code(own()),
            PORT: _peers.port,
            BARE: _peers.bare,
            NODE: _peers.node_function,
            GO: _peers.go_function,
            EMPTY: _peers.empty,
        }
        wanted = [name.strip() for name in peers.split(",") if name.strip()] or list(makers)
        if unknown := [name for name in wanted if name not in makers]:
            raise CannotRun(f"--peers {unknown[0]!r}: expected some of {', '.join(makers)}")
        functions, missing = _peers.available(
            {name: makers[name] for name in wanted}, lambda name: status.update(f"Building {name}")
        )
    with local_dynamodb() as dynamodb:
        environment = {**dynamodb.environment(), "TABLE": dynamodb.table}
        columns = measure(functions, rounds, cpus, environment)

    first = columns[0].samples
    ratios = {
        "ours_over_bare": ratio(first, OURS, BARE),
        "port_over_ours": ratio(first, PORT, OURS),
        "ours_over_node": ratio(first, OURS, NODE),
        "ours_over_go": ratio(first, OURS, GO),
        "no_compile_cache_over_ours": ratio(first, NO_CACHE, OURS),
        "no_byte_code_over_ours": ratio(first, NO_BYTE_CODE, OURS),
    }
    optimized = is_optimized(_peers.python_configuration())
    notes = [
        "first answer: the first POST to a freshly started emulator, nothing subtracted; files are in the page cache",
        f"processors for the function: {cpus or 'all'}; DynamoDB is moto, whose two reads are in all but empty",
        f"the functions' Python was {optimization(optimized)}; AWS's is built with it",
    ]
    result = Result("cold_start", columns, ratios, missing, notes)
    result.extra = {"cpus": cpus or "all", "rounds": rounds, "function_python_optimized": optimized}
    result.show(as_json=as_json)


if __name__ == "__main__":
    run(main)
