"""What the benchmarks share."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.benchmarks._measure import interleaved, quantile, ratio, summary


class Variants:
    """Variants that note when they ran, and measure how many ran before them."""

    def __init__(self, names: str) -> None:
        self.names = names
        self.runs: list[str] = []

    def all(self) -> dict[str, Callable[[], float]]:
        """The variants by name."""
        return {name: partial(self._run, name) for name in self.names}

    def rounds(self) -> list[str]:
        """The order of each round."""
        size = len(self.names)
        return ["".join(self.runs[start : start + size]) for start in range(0, len(self.runs), size)]

    def _run(self, name: str) -> float:
        self.runs.append(name)
        return float(len(self.runs) - 1)


def test_variants_take_turns() -> None:
    """Every variant runs once a round, and the rounds of the warm-up do not count."""
    variants = Variants("abc")

    samples = interleaved(variants.all(), 4, warm_up=2)

    assert ["".join(sorted(order)) for order in variants.rounds()] == ["abc"] * 6
    assert {name: len(values) for name, values in samples.items()} == {"a": 4, "b": 4, "c": 4}
    assert min(value for values in samples.values() for value in values) == 6


def test_orders_differ() -> None:
    """Rounds have different orders, so that none of the variants is always the one behind the slowest."""
    variants = Variants("abcd")

    interleaved(variants.all(), 20)

    assert len(set(variants.rounds())) > 1


def test_ratio_is_of_medians() -> None:
    """A ratio is that of two medians, whatever an outlier does."""
    assert ratio({"ours": [1.0, 2.0, 900.0], "bare": [4.0, 4.0, 4.0]}, "ours", "bare") == 0.5


@pytest.mark.parametrize("samples", [{"ours": [1.0]}, {"ours": [1.0], "bare": []}])
def test_no_ratio_without_both(samples: dict[str, list[float]]) -> None:
    """Where one of the two is missing there is no ratio, rather than a guess."""
    assert ratio(samples, "ours", "bare") is None


def test_summary() -> None:
    """A summary holds median and spread, and the values themselves where they are few."""
    values = [float(value) for value in range(1, 102)]

    assert summary(values[:3])["samples"] == [1.0, 2.0, 3.0]
    found = summary(values)
    assert "samples" not in found
    assert (found["median"], found["mad"], found["n"]) == (51.0, 25.0, 101)
    assert (found["p5"], found["p95"]) == (6.0, 96.0)


@pytest.mark.parametrize(("share", "expected"), [(0.05, 1.1), (0.5, 2.0), (0.99, 2.98)])
def test_quantile(share: float, expected: float) -> None:
    """A quantile lies between two values by its distance from them."""
    assert quantile([1.0, 2.0, 3.0], share) == pytest.approx(expected)


def test_quantile_of_one_value() -> None:
    """One value is its own quantile."""
    assert quantile([7.0], 0.99) == 7.0
