"""What the benchmarks share: runs that alternate, medians with their spread, the machine, and how a result is shown."""

import json
import os
import platform
import random
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

PACKAGES = (
    "extism",
    "extism-sys",
    "fastapi",
    "starlette",
    "pydantic",
    "mangum",
    "boto3",
    "botocore",
    "uvicorn",
    "moto",
)

stderr = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


@dataclass(frozen=True, slots=True)
class Column:
    """One measured quantity of every variant.

    Attributes:
        name: What is measured.
        unit: Its unit, which also goes into the JSON.
        samples: All values by variant.
    """

    name: str
    unit: str
    samples: Mapping[str, Sequence[float]]


@dataclass(slots=True)
class Result:
    """What a benchmark found, as a table or as JSON.

    Attributes:
        name: The benchmark.
        columns: What was measured, by variant.
        ratios: The figures that the project is held to, by name; nested by parameter where there is one.
        missing: Variants that this machine cannot have, with the reason.
        notes: What a reader has to know to read the figures right.
        extra: Whatever else goes into the JSON.
    """

    name: str
    columns: list[Column] = field(default_factory=list)
    ratios: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def show(self, *, as_json: bool) -> None:
        """Prints the result on stdout."""
        about = machine()
        if as_json:
            print(json.dumps(self._document(about), indent=2, ensure_ascii=False))  # noqa: T201
            return
        out = Console()
        for column in self.columns:
            out.print(_table(column))
        for name, reason in self.missing.items():
            out.print(f"{name}: missing, {reason}", markup=False, highlight=False)
        for name, value in self.ratios.items():
            out.print(f"{name} = {_plain(value)}", markup=False, highlight=False)
        for note in self.notes:
            out.print(note, markup=False, highlight=False, soft_wrap=True)
        out.print(describe(about), markup=False, highlight=False, soft_wrap=True)

    def _document(self, about: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "benchmark": self.name,
            "ratios": self.ratios,
            "measurements": {
                column.name: {
                    "unit": column.unit,
                    "variants": {name: summary(values) for name, values in column.samples.items() if values},
                }
                for column in self.columns
            },
            "missing": self.missing,
            "notes": self.notes,
            **self.extra,
            "machine": about,
        }


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, spread and number of values; `samples` holds them all where they are few."""
    document = {"median": round(statistics.median(values), 4), "p5": round(quantile(values, 0.05), 4)}
    document |= {"p95": round(quantile(values, 0.95), 4), "mad": round(_mad(values), 4), "n": len(values)}
    few = 100
    return document | ({"samples": [round(value, 4) for value in values]} if len(values) <= few else {})


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies, between two values by their distance."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=1000, method="inclusive")[min(998, max(0, round(share * 1000) - 1))]


def _mad(values: Sequence[float]) -> float:
    """The median absolute deviation from the median."""
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values)


def ratio(samples: Mapping[str, Sequence[float]], over: str, under: str) -> float | None:
    """The ratio of two variants' medians; None where one is missing."""
    if not samples.get(over) or not samples.get(under):
        return None
    return round(statistics.median(samples[over]) / statistics.median(samples[under]), 4)


def interleaved(
    variants: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: int = 0, seed: int = 1, what: str = ""
) -> dict[str, list[float]]:
    """Runs every variant once a round, in an order drawn anew each round, so that a slow minute slows all of them.

    Args:
        variants: What to run, by name; each returns its measured value.
        rounds: How many rounds count.
        warm_up: How many rounds go before these and do not count.
        seed: Of the order.
        what: Words for the progress bar.
    """
    draw = random.Random(seed)  # noqa: S311 - an order of runs
    samples: dict[str, list[float]] = {name: [] for name in variants}
    with stderr.status(what) as status:
        for number in range(warm_up + rounds):
            order = list(variants)
            draw.shuffle(order)
            for name in order:
                status.update(f"{what} {number + 1}/{warm_up + rounds}: {name}")
                value = variants[name]()
                if number >= warm_up:
                    samples[name].append(value)
    return samples


def time_block(call: Callable[[], object], calls: int) -> float:
    """Microseconds per call, over a block of calls."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - start) / calls / 1000


def machine() -> dict[str, Any]:
    """The machine and the versions that a figure belongs to."""
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(one, 2) for one in os.getloadavg()],
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "python_optimized": is_optimized(sysconfig.get_config_var("CONFIG_ARGS")),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def describe(about: Mapping[str, Any]) -> str:
    """The machine in a line or two."""
    packages = ", ".join(f"{name} {found}" for name, found in about["packages"].items())
    built = optimization(about["python_optimized"])
    return (
        f"Machine: {about['cpu']}, {about['cores']} cores, {about['memory_gb']} GiB, {about['kernel']}, "
        f"load {about['load_average'][0]}; Python {about['python']} ({built}), {packages}; "
        f"{about['date']}"
    )


def is_optimized(config_args: str | None) -> bool | None:
    """Whether a Python was built with profile-guided optimization, as AWS's own is; None where it does not tell."""
    return "--enable-optimizations" in config_args if config_args else None


def optimization(optimized: bool | None) -> str:
    """That, in words."""
    words = {True: "built with", False: "built without", None: "perhaps built with"}
    return f"{words[optimized]} profile-guided optimization"


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _table(column: Column) -> Table:
    table = Table(column.name, "median", "p5 … p95", "MAD", "n", box=None, title_justify="left")
    for one in table.columns[1:]:
        one.justify = "right"
    for name, values in column.samples.items():
        if values:
            table.add_row(
                name,
                f"{statistics.median(values):,.2f} {column.unit}",
                f"{quantile(values, 0.05):,.2f} … {quantile(values, 0.95):,.2f}",
                f"{_mad(values):,.2f}",
                str(len(values)),
            )
    return table


def _plain(value: Any) -> str:
    return "missing" if value is None else json.dumps(value)


def run(main: Callable[..., None]) -> None:
    """Runs a benchmark's command line; one that cannot run here says why in a line and exits with 2."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    try:
        app()
    except CannotRun as error:
        stderr.print(f"cannot run: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


class CannotRun(Exception):
    """The benchmark cannot run on this machine; the message says what is missing and what to do."""
