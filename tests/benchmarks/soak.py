"""Does it stay flat: resident memory and latency over many invocations in one process, the memory in the process too.

`uv run python -m tests.benchmarks.soak [--calls 100000] [--plot build/benchmarks/soak.png] [--json]`
"""

import gc
import os
import statistics
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer

from tests.benchmarks import _local
from tests.benchmarks._events import GREETING, http_event
from tests.benchmarks._measure import Column, Json, Result, quantile, run, stderr
from tests.benchmarks._tools import BUILT

WINDOWS = 100
"""Points of the plot."""
WARM_UP = 0.1
"""Share of the calls that counts as warm-up."""
MEGABYTE = 2**20


class Soak:
    """What was measured in each window of calls.

    Attributes:
        calls: Calls so far at each window's end.
        rss: Resident memory there, in MiB.
        p50: Median latency of the window in microseconds.
        p99: The 99th percentile.
    """

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.rss: list[float] = []
        self.p50: list[float] = []
        self.p99: list[float] = []

    def add(self, latencies: list[float]) -> None:
        """Takes in a window's latencies, in microseconds."""
        self.calls.append((self.calls[-1] if self.calls else 0) + len(latencies))
        self.rss.append(psutil.Process().memory_info().rss / MEGABYTE)
        self.p50.append(statistics.median(latencies))
        self.p99.append(quantile(latencies, 0.99))

    @property
    def first(self) -> int:
        """The first window after the warm-up."""
        return min(len(self.calls) - 1, round(len(self.calls) * WARM_UP))

    @property
    def tenth(self) -> int:
        """How many windows are a tenth of them."""
        return max(1, len(self.calls) // 10)

    def rss_growth(self) -> float:
        """MiB from the end of the warm-up to the end, each as the median of some windows."""
        start = self.rss[self.first : self.first + self.tenth]
        return statistics.median(self.rss[-self.tenth :]) - statistics.median(start)

    def p99_last_over_first(self) -> float:
        """The p99 of the last tenth of the windows over that of the first tenth after the warm-up, as medians."""
        start = self.p99[self.first : self.first + self.tenth]
        return statistics.median(self.p99[-self.tenth :]) / statistics.median(start)


def soak(calls: int) -> Soak:
    """Invokes the handler that often and looks at memory and latency."""
    event, found = http_event(), Soak()
    windows = min(WINDOWS, calls)
    sizes = [calls * (number + 1) // windows - calls * number // windows for number in range(windows)]
    with (
        _local.logged_as_in_lambda() as logging,
        _local.own_handler({**_local.map_environment(), **logging}) as invoke,
        stderr.status("Soaking") as status,
    ):
        for number, size in enumerate(sizes):
            status.update(f"Soaking, {number}/{windows}")
            latencies = []
            for _ in range(size):
                start = time.perf_counter_ns()
                response = invoke(event)
                latencies.append((time.perf_counter_ns() - start) / 1000)
                if response["body"] != GREETING:
                    raise RuntimeError(f"the handler answered {response}")
            found.add(latencies)
    return found


def plot(found: Soak, path: Path) -> None:
    """Draws memory and p99 over the calls as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (memory, latency) = pyplot.subplots(2, sharex=True, figsize=(8, 6), layout="constrained")
    memory.plot(found.calls, found.rss, color="tab:blue")
    memory.set_ylim(0, max(found.rss) * 1.2)
    memory.set_ylabel("resident memory (MiB)")
    latency.plot(found.calls, found.p99, color="tab:red", label="p99")
    latency.plot(found.calls, found.p50, color="tab:green", label="median")
    latency.set_ylim(0, max(found.p99) * 1.2)
    latency.set_ylabel("invocation (µs)")
    latency.set_xlabel("invocations")
    latency.legend(loc="upper right")
    for axes in (memory, latency):
        axes.axvline(found.calls[found.first], color="grey", linestyle=":")
        axes.grid(visible=True, alpha=0.3)
    figure.suptitle(f"{found.calls[-1]:,} invocations in one process (left of the dotted line: warm-up)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(
    calls: Annotated[int, typer.Option(help="Invocations.", min=2)] = 100_000,
    picture: Annotated[Path, typer.Option("--plot", help="Where the plot goes.")] = BUILT / "soak.png",
    as_json: Json = False,
) -> None:
    """Resident memory and latency over many invocations."""
    os.environ.setdefault("EXTISM_CACHE_CONFIG", "")
    gc.collect()
    found = soak(calls)
    plot(found, picture)
    tenth = found.tenth
    columns = [
        Column(
            "resident memory", "MiB", {"after warm-up": found.rss[found.first :][:tenth], "end": found.rss[-tenth:]}
        ),
        Column("p99", "µs", {"after warm-up": found.p99[found.first :][:tenth], "end": found.p99[-tenth:]}),
    ]
    result = Result("soak", columns)
    result.ratios = {
        "rss_growth_mb": round(found.rss_growth(), 3),
        "p99_last_over_first": round(found.p99_last_over_first(), 4),
    }
    result.notes = [
        f"{calls:,} invocations, the first {WARM_UP:.0%} for warming up; compared are medians of {found.tenth} windows",
        f"plot: {picture}",
    ]
    result.extra = {
        "calls": found.calls,
        "rss_mib": [round(value, 3) for value in found.rss],
        "p50_us": [round(value, 1) for value in found.p50],
        "p99_us": [round(value, 1) for value in found.p99],
        "plot": str(picture),
    }
    result.show(as_json=as_json)


if __name__ == "__main__":
    run(main)
