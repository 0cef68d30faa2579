"""One budget per invocation: whoever spends it, the call ends with it, and the answer says who it was."""

from collections.abc import Iterator

import pytest

from tests.overruns import OVERRUNS, Bench, bench

BOUND = 0.5
"""Seconds past the budget: ten times what is promised, since the tests share their machine. Nothing that goes on for
ever comes near; `python -m tests.benchmarks.deadlines` measures."""


@pytest.fixture(scope="module")
def overrunning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One handler for all, as one Lambda environment meets them all."""
    with bench(tmp_path_factory.mktemp("plugins")) as made:
        yield made


@pytest.mark.parametrize("by_lambda", [False, True], ids=["timeout_ms", "lambda"])
@pytest.mark.parametrize("name", OVERRUNS)
def test_a_call_ends_with_its_budget(overrunning: Bench, name: str, *, by_lambda: bool) -> None:
    """504, which side spent the time, and an end soon after the budget's."""
    problem, past = overrunning.run(OVERRUNS[name], by_lambda=by_lambda)

    assert (problem["status"], problem.get("spentIn")) == (504, OVERRUNS[name].spent_in)
    assert past < BOUND
