"""How far calls that would go on for ever run past their budget: guests that loop, stores that hang or trickle.

`uv run python -m tests.benchmarks.deadlines [--rounds 20] [--json]`
"""

import logging
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tests.environment  # noqa: F401 - nobody's AWS account

# isort: split
import typer

from tests.benchmarks._measure import Column, Json, Result, interleaved, quantile, run
from tests.overruns import BUDGET, OVERRUNS, Bench, Overrun, bench

if TYPE_CHECKING:
    from collections.abc import Callable

PROMISED_MS = 50
"""Milliseconds after its budget's end in which a call is answered."""


def _past(bench: Bench, overrun: Overrun, *, by_lambda: bool) -> float:
    """Milliseconds past the budget of one call."""
    problem, past = bench.run(overrun, by_lambda=by_lambda)
    if (problem["status"], problem.get("spentIn")) != (504, overrun.spent_in):
        raise RuntimeError(f"expected a 504 that was spent in the {overrun.spent_in}: {problem}")
    return past * 1000


def main(
    rounds: Annotated[int, typer.Option(help="Calls of each kind.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Milliseconds past the budget, by what spends it."""
    os.environ.setdefault("EXTISM_CACHE_CONFIG", "")
    logging.disable()  # every call fails, as it should
    with tempfile.TemporaryDirectory(prefix="deadlines-") as folder, bench(Path(folder)) as made:
        variants: dict[str, Callable[[], float]] = {
            f"{name}, {source}": partial(_past, made, overrun, by_lambda=by_lambda)
            for name, overrun in OVERRUNS.items()
            for source, by_lambda in (("timeout_ms", False), ("Lambda", True))
        }
        samples = interleaved(variants, rounds, what="Waiting")
    result = Result("deadlines", [Column("past the budget", "ms", samples)])
    every = [value for values in samples.values() for value in values]
    result.ratios = {
        "highest_median_ms": round(max(statistics.median(values) for values in samples.values()), 2),
        "p99_ms": round(quantile(every, 0.99), 2),
        "share_within_promise": round(sum(value <= PROMISED_MS for value in every) / len(every), 4),
    }
    result.notes = [
        f"A budget is {BUDGET * 1000:.0f} ms, from the plugin's timeout_ms or from what is left of the invocation; "
        f"promised is an answer within {PROMISED_MS} ms after it."
    ]
    result.show(as_json=as_json)


if __name__ == "__main__":
    run(main)
