"""How cold start and memory grow with the guest's size and with the number of plugins, of artifacts built for it.

`uv run python -m tests.benchmarks.scaling [--rounds 5] [--sizes 100,1000,10000] [--counts 1,5,20] [--json]`
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
import wasmtime

from tests.benchmarks import _peers
from tests.benchmarks._events import http_event
from tests.benchmarks._measure import Column, Json, Result, interleaved, ratio, run, stderr
from tests.benchmarks._sandbox import Function, emulator, way_to_drop_privileges
from tests.benchmarks._tools import ROOT, rie
from tests.guests import make_plugin, module

BODY = 20
"""Rounds of arithmetic in each made-up function."""
INSTRUCTIONS = "".join(
    f"""
    (local.set $a (i64.add (i64.mul (local.get $a) (i64.const {3 + 2 * number})) (i64.shr_u (local.get $b)
      (i64.const {1 + number}))))
    (local.set $b (i64.xor (local.get $b) (i64.rotl (local.get $a) (i64.const {7 + number}))))"""
    for number in range(BODY)
)
ANSWER = "ready"


def guest(kilobytes: int) -> str:
    """A guest of about that size in WebAssembly: functions with arithmetic, each of which calls the next.

    All of it is code, which is what has to be compiled or loaded; a real guest of that size holds data too and is
    cheaper. Its `run` answers without calling any of them.
    """
    count = max(1, kilobytes * 1024 // function_bytes())
    functions = "".join(_function(number, count) for number in range(count))
    return module(
        f"""(data (i32.const 0) "{ANSWER}") {functions}
        (func (export "run") (result i32)
          (if (i64.gt_u (call $input_length) (i64.const 1000000)) (then (drop (call $f0 (i64.const 1) (i64.const 2)))))
          (call $answer (call $text (i32.const 0) (i32.const {len(ANSWER)})))
          (i32.const 0))"""
    )


def function_bytes() -> int:
    """Bytes that one function takes in the module."""
    few, many = (
        len(wasmtime.wat2wasm(f"(module {''.join(_function(number, count) for number in range(count))})"))
        for count in (10, 110)
    )
    return (many - few) // 100


def _function(number: int, count: int) -> str:
    # The constant keeps functions apart: equal ones could share their machine code.
    after = f"(call $f{number + 1} (local.get $a) (local.get $b))" if number + 1 < count else "(local.get $a)"
    return f"""
    (func $f{number} (param $a i64) (param $b i64) (result i64)
    (local.set $a (i64.add (local.get $a) (i64.const {number}))) {INSTRUCTIONS} {after})"""


def project(root: Path, wat: str, plugins: int) -> Path:
    """A project of this one's handler and of plugins that are made up, all of one guest."""
    shutil.copytree(ROOT / "handler", root / "handler", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", root)
    for number in range(plugins):
        # One more function makes each module another one, with machine code of its own
        distinct = f'{wat.removesuffix(")")} (func (export "plugin-{number}")))'
        make_plugin(root / "plugins", f"plugin-{number}", distinct, binary=True)
    return root


def built(name: str, kilobytes: int, plugins: int) -> tuple[Function, int, int]:
    """An artifact of such a project, the bytes of one module and of the compile cache."""
    with TemporaryDirectory() as scratch:
        root = project(Path(scratch) / "project", guest(kilobytes), plugins)
        function = _peers.ours(root, name)
    module_bytes = (function.task / "plugins" / "plugin-0" / "plugin-0.wasm").stat().st_size
    cached = sum(path.stat().st_size for path in (function.task / "compile-cache").rglob("*") if path.is_file())
    environment = {"EXTISM_LAMBDA_DEFAULT_PLUGIN": "plugin-0", "EXTISM_LAMBDA_MEMORY": "map"}
    return Function(function.task, function.runtime, environment), module_bytes, cached


def main(
    rounds: Annotated[int, typer.Option(help="Cold starts of each artifact.", min=1)] = 5,
    sizes: Annotated[str, typer.Option(help="Guest sizes in KiB.")] = "100,300,1000,3000,10000",
    counts: Annotated[str, typer.Option(help="Numbers of plugins.")] = "1,5,20",
    kilobytes: Annotated[int, typer.Option(help="Guest size in KiB where the number of plugins varies.")] = 300,
    cpus: Annotated[str, typer.Option(help="Processors for the function, as taskset lists them; default all.")] = "",
    as_json: Json = False,
) -> None:
    """Cold start and memory against the guest's size and the number of plugins."""
    way_to_drop_privileges()
    program = rie()
    wanted = [(f"{size} KiB", int(size), 1) for size in sizes.split(",") if size]
    wanted += [(f"{count} plugins", kilobytes, int(count)) for count in counts.split(",") if count]
    functions: dict[str, Function] = {}
    parts: dict[str, dict[str, int]] = {}
    with stderr.status("Building") as status:
        for name, size, count in wanted:
            status.update(f"Building {name}")
            functions[name], module_bytes, cached = built(f"scaling-{name.replace(' ', '-')}", size, count)
            parts[name] = {"module_bytes": module_bytes, "compile_cache_bytes": cached, "plugins": count}

    memory: dict[str, list[float]] = {name: [] for name in functions}
    every: dict[str, list[float]] = {name: [] for name in functions}

    def start(name: str, function: Function, plugins: int) -> Callable[[], float]:
        def once() -> float:
            with emulator(function, program, cpus) as running:
                first = running.answer(http_event("/plugin-0"))
                if first.json.get("body") != ANSWER:
                    raise RuntimeError(f"{name} answered {first.json}")
                spent = [running.answer(http_event(f"/plugin-{number}")).milliseconds for number in range(1, plugins)]
                memory[name].append(running.peak_memory_mb())
                every[name].append(first.milliseconds + sum(spent))
            return first.milliseconds

        return once

    variants = {name: start(name, functions[name], count) for name, _, count in wanted}
    cold = interleaved(variants, rounds, warm_up=1, what="Cold starts, round")
    result = Result(
        "scaling",
        [
            Column("first answer", "ms", cold),
            Column("first answers of all plugins", "ms", {name: values[-rounds:] for name, values in every.items()}),
            Column(
                "peak memory, all plugins called", "MiB", {name: values[-rounds:] for name, values in memory.items()}
            ),
        ],
    )
    names = [name for name, _, _ in wanted]
    of_sizes, of_counts = ([name for name in names if name.endswith(unit)] for unit in ("KiB", "plugins"))
    result.ratios = {
        "largest_over_smallest_guest": ratio(cold, of_sizes[-1], of_sizes[0]) if of_sizes else None,
        "most_over_fewest_plugins": ratio(cold, of_counts[-1], of_counts[0]) if of_counts else None,
    }
    result.notes = [
        "guests are made up and hold nothing but code; memory in the process; artifacts of `extism-lambda build`",
        "only the default plugin is loaded at the start; each other one at its first call",
    ]
    result.extra = {"artifacts": parts, "rounds": rounds, "cpus": cpus or "all"}
    result.show(as_json=as_json)


if __name__ == "__main__":
    run(main)
