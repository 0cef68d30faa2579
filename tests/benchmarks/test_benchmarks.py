"""The benchmarks run, with as little as they take, and print what they promise; what they measure is not looked at."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks._tools import ROOT
from tests.overruns import OVERRUNS

pytestmark = pytest.mark.benchmark

CANNOT_RUN = 2
BOUND = 600
"""Seconds; the first run on a machine installs the peers."""


def benchmark(name: str, *arguments: str) -> dict[str, Any]:
    """Runs a benchmark with --json and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{name}", *arguments, "--json"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=BOUND,
    )
    if done.returncode == CANNOT_RUN and "cannot run:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def cold_start() -> dict[str, Any]:
    """What `cold_start` prints."""
    return benchmark("cold_start", "--rounds", "1", "--peers", "ours,port,bare,empty")


@pytest.fixture(scope="module")
def warm() -> dict[str, Any]:
    """What `warm` prints."""
    return benchmark("warm", "--rounds", "1", "--calls", "5", "--serve-rounds", "0")


def test_cold_start(cold_start: dict[str, Any]) -> None:
    """Every artifact that was asked for is started and answers rightly; ratios of what was not measured are null."""
    ratios = cold_start["ratios"]
    assert ratios["ours_over_bare"] > 0
    assert ratios["port_over_ours"] > 0
    assert ratios["ours_over_node"] is None
    first = cold_start["measurements"]["first answer"]["variants"]
    assert set(first) == {"ours", "port", "bare", "empty"}
    assert cold_start["missing"] == {}


def test_cold_start_knows_its_variants() -> None:
    """A variant that there is none of is refused by its name."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.cold_start", "--peers", "ours,cobol"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=BOUND,
    )

    assert done.returncode == CANNOT_RUN
    assert "cobol" in done.stderr


def test_warm(warm: dict[str, Any]) -> None:
    """The three ways to call the plugin are measured, and a comparison that was left out is null, not guessed."""
    assert warm["ratios"]["ours_over_minimal"] > 0
    assert warm["ratios"]["serve_rps_over_node"] is None
    assert "node" in warm["missing"]
    variants = {"plugin.call", "minimal route", "ours", "ours, nothing logged"}
    assert set(warm["measurements"]["warm invocation"]["variants"]) == variants


def test_reads() -> None:
    """Round trips are told by K for ours with and without prefetch and for the port; known keys take one request."""
    document = benchmark("reads", "--rounds", "1")

    counts = {"1", "2", "5", "10", "50"}
    assert {name: set(by_count) for name, by_count in document["ratios"]["round_trips"].items()} == {
        "with_prefetch": counts,
        "without_prefetch": counts,
        "port": counts,
    }
    assert document["requests"]["with_prefetch"] == dict.fromkeys(counts, 1)
    assert document["requests"]["without_prefetch"] == {count: int(count) for count in counts}


def test_soak(tmp_path: Path) -> None:
    """Memory and latency are told for every window of calls, and drawn."""
    document = benchmark("soak", "--calls", "50", "--plot", str(tmp_path / "soak.png"))

    assert {"rss_growth_mb", "p99_last_over_first"} <= set(document["ratios"])
    assert document["calls"][-1] == 50
    assert len(document["rss_mib"]) == len(document["p99_us"]) == len(document["calls"])
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_scaling() -> None:
    """Artifacts with guests of several sizes, and with several plugins, start and answer."""
    document = benchmark("scaling", "--rounds", "1", "--sizes", "20,40", "--counts", "2", "--kilobytes", "20")

    assert set(document["measurements"]["first answer"]["variants"]) == {"20 KiB", "40 KiB", "2 plugins"}
    sizes = {name: part["module_bytes"] for name, part in document["artifacts"].items()}
    assert sizes["20 KiB"] == pytest.approx(20 * 1024, rel=0.25)
    assert sizes["40 KiB"] == pytest.approx(40 * 1024, rel=0.25)


def test_deadlines() -> None:
    """Every way to go on for ever is measured, under both kinds of budget."""
    document = benchmark("deadlines", "--rounds", "1")

    assert set(document["measurements"]["past the budget"]["variants"]) == {
        f"{name}, {source}" for name in OVERRUNS for source in ("timeout_ms", "Lambda")
    }
    assert {"highest_median_ms", "p99_ms", "share_within_promise"} <= set(document["ratios"])


def test_bill(tmp_path: Path, cold_start: dict[str, Any], warm: dict[str, Any]) -> None:
    """The bill is made from what two benchmarks printed."""
    files = tmp_path / "cold_start.json", tmp_path / "warm.json"
    for file, document in zip(files, (cold_start, warm), strict=True):
        file.write_text(json.dumps(document))

    found = benchmark("bill", *map(str, files), "--requests", "2000000")

    assert set(found["bill"]) == {"ours", "port"}
    assert found["bill"]["ours"]["lambda_requests"] == pytest.approx(0.40)
