"""What a number of requests costs on AWS, from measured milliseconds and memory.

`uv run python -m tests.benchmarks.bill COLD_START.json WARM.json [--requests 1000000] [--json]`

The two files are what the benchmarks `cold_start` and `warm` print with `--json`. Every price is an option.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tests.benchmarks._measure import CannotRun, run

PRICES = "US East (N. Virginia), before the free tier, on AWS's public pages in 2025"
"""Where the default prices are from: the pages aws.amazon.com/lambda/pricing, /api-gateway/pricing (HTTP APIs) and
/dynamodb/pricing/on-demand (halved on 2024-11-01). Since 2025-08-01 Lambda bills the initialization too."""

MILLION = 1_000_000
UNIT_BYTES = 4096
"""Bytes of an item that one read unit covers; an eventually consistent read takes half (DynamoDB Developer Guide)."""

WARM_ROWS = {
    "ours": "ours",
    "ours without compile cache": "ours",
    "ours without byte code": "ours",
    "port": "minimal route",
}
"""Which row of `warm` has the warm time of a row of `cold_start`: the port's route is the minimal one. Node and Go are
not measured in process, so that they have no bill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Dollars: per GB-second, and per million requests, API calls and read units."""

    gb_second: float
    requests: float
    api: float
    read_units: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What requests use.

    Attributes:
        memory_mb: The function's configured memory.
        cold_share: Share of the requests that meet a cold start.
        keys: Keys that a request reads.
        value_bytes: Bytes of each item.
        consistent: Whether reads are strongly consistent.
        read_ms: Milliseconds that one round trip to DynamoDB takes the function.
    """

    memory_mb: int
    cold_share: float
    keys: int
    value_bytes: int
    consistent: bool
    read_ms: float

    def read_units(self) -> float:
        """Read units of one request; a batch costs what its items cost singly."""
        return self.keys * math.ceil(self.value_bytes / UNIT_BYTES) * (1.0 if self.consistent else 0.5)


def billed_ms(milliseconds: float) -> int:
    """Lambda rounds each duration up to a whole millisecond."""
    return math.ceil(round(milliseconds, 6))


def cost(cold_ms: float, warm_ms: float, usage: Usage, prices: Prices, requests: int) -> dict[str, float]:
    """Dollars by what they are paid for.

    Args:
        cold_ms: A request that meets a cold start, initialization included.
        warm_ms: One that does not, without its reads.
        usage: What requests use.
        prices: What that costs.
        requests: How many requests.
    """
    cold, warm = billed_ms(cold_ms), billed_ms(warm_ms)
    milliseconds = usage.cold_share * cold + (1 - usage.cold_share) * warm
    gb_seconds = requests * milliseconds / 1000 * usage.memory_mb / 1024
    parts = {
        "lambda_duration": gb_seconds * prices.gb_second,
        "lambda_requests": requests / MILLION * prices.requests,
        "api_gateway": requests / MILLION * prices.api,
        "dynamodb": requests / MILLION * usage.read_units() * prices.read_units,
    }
    return {**parts, "total": sum(parts.values())}


def bill(cold_start: Any, warm: Any, usage: Usage, prices: Prices, requests: int) -> dict[str, dict[str, float]]:
    """The bill of every function that both benchmarks measured, by its name."""
    cold_rows = _variants(cold_start, "first answer")
    warm_rows = _variants(warm, "warm invocation")
    memory = _variants(cold_start, "peak memory")
    rows = {}
    for name, warm_name in WARM_ROWS.items():
        if name not in cold_rows or warm_name not in warm_rows:
            continue
        cold_ms = cold_rows[name]["median"]
        # The prefetch asks for all keys in one batch; the port for one after the other.
        trips = usage.keys if name == "port" else min(1, usage.keys)
        warm_ms = warm_rows[warm_name]["median"] / 1000 + trips * usage.read_ms
        rows[name] = {
            "cold_ms": cold_ms,
            "warm_ms": warm_ms,
            "peak_memory_mib": memory[name]["median"],
            **cost(cold_ms, warm_ms, usage, prices, requests),
        }
    return rows


def _variants(document: Any, measurement: str) -> dict[str, dict[str, float]]:
    try:
        variants: dict[str, dict[str, float]] = document["measurements"][measurement]["variants"]
    except (KeyError, TypeError):
        raise CannotRun(f"a file holds no measurement {measurement!r}: expected what --json printed") from None
    return variants


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CannotRun(f"{path} is no JSON: {error}") from error


def main(
    cold_start: Annotated[Path, typer.Argument(metavar="COLD_START.json", exists=True, dir_okay=False)],
    warm: Annotated[Path, typer.Argument(metavar="WARM.json", exists=True, dir_okay=False)],
    requests: Annotated[int, typer.Option(help="How many requests.", min=1)] = MILLION,
    memory_mb: Annotated[int, typer.Option(help="The function's memory in MB.", min=128, max=10240)] = 1769,
    cold_share: Annotated[float, typer.Option(help="Share of requests that meet a cold start.", min=0, max=1)] = 0.01,
    keys: Annotated[int, typer.Option(help="Keys that a request reads.", min=0)] = 2,
    value_bytes: Annotated[int, typer.Option(help="Bytes of an item.", min=1)] = 1024,
    consistent: Annotated[bool, typer.Option(help="Strongly consistent reads.")] = False,
    read_ms: Annotated[float, typer.Option(help="Milliseconds of a round trip to DynamoDB.", min=0)] = 4.0,
    gb_second_price: Annotated[float, typer.Option(help=f"Dollars per GB-second, x86. {PRICES}.")] = 0.0000166667,
    request_price: Annotated[float, typer.Option(help="Dollars per million Lambda requests, there.")] = 0.20,
    api_price: Annotated[float, typer.Option(help="Dollars per million requests of an HTTP API, there.")] = 1.00,
    read_unit_price: Annotated[float, typer.Option(help="Dollars per million on-demand read units, there.")] = 0.125,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """What requests cost: Lambda's GB-seconds and requests, API Gateway, DynamoDB's read units."""
    usage = Usage(
        memory_mb=memory_mb,
        cold_share=cold_share,
        keys=keys,
        value_bytes=value_bytes,
        consistent=consistent,
        read_ms=read_ms,
    )
    prices = Prices(gb_second=gb_second_price, requests=request_price, api=api_price, read_units=read_unit_price)
    rows = bill(_read(cold_start), _read(warm), usage, prices, requests)
    if not rows:
        raise CannotRun("the files have no function in common")
    if as_json:
        document = {"requests": requests, "memory_mb": memory_mb, "cold_share": cold_share, "keys": keys}
        print(json.dumps({**document, "read_ms": read_ms, "prices": PRICES, "bill": rows}, indent=2))  # noqa: T201
        return
    table = Table(f"{requests:,} requests", "cold", "warm", "peak memory", "Lambda time", "Lambda requests", box=None)
    for title in ("API Gateway", "DynamoDB", "total"):
        table.add_column(title)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in rows.items():
        parts = ("lambda_duration", "lambda_requests", "api_gateway", "dynamodb", "total")
        table.add_row(
            name,
            f"{row['cold_ms']:.0f} ms",
            f"{row['warm_ms']:.1f} ms",
            f"{row['peak_memory_mib']:.0f} MiB",
            *(f"${row[part]:,.3f}" for part in parts),
        )
    out = Console(width=140)
    out.print(table)
    out.print(
        f"Memory {memory_mb} MB; {cold_share:.2%} of the requests meet a cold start; {keys} keys a request, "
        f"{read_ms:g} ms a round trip (ours: one for all keys, the port: one for each).\n"
        f"Prices: {PRICES}. Milliseconds are those of the machine that measured, taken as Lambda's.",
        markup=False,
        highlight=False,
    )


if __name__ == "__main__":
    run(main)
