"""Deadlines."""

import math

from hypothesis import given
from hypothesis import strategies as st

from handler.deadline import ANSWER_MARGIN, Deadline
from tests.contexts import FakeContext

SECONDS = st.floats(min_value=-1e6, max_value=1e6)


def test_without_a_deadline_there_is_no_timeout() -> None:
    """`never` leaves infinity, and waits without a timeout."""
    never = Deadline.never()

    assert math.isinf(never.remaining())
    assert never.timeout() is None


def test_a_deadline_that_has_passed_leaves_nothing() -> None:
    """What remains is never negative, nor is a timeout."""
    past = Deadline.after(-5)

    assert past.remaining() == 0.0
    assert past.timeout() == 0.0


def test_remaining_time_shrinks() -> None:
    """What remains is at most what there was at first, and less later."""
    deadline = Deadline.after(60)

    first, second = deadline.remaining(), deadline.remaining()

    assert 0 < second <= first <= 60


def test_lambda_leaves_a_margin_for_the_answer() -> None:
    """The deadline of an invocation is what Lambda says is left, less the margin."""
    remaining = Deadline.of_lambda(FakeContext(seconds=30)).remaining()

    assert 0 < remaining <= 30 - ANSWER_MARGIN


def test_an_invocation_about_to_end_leaves_nothing() -> None:
    """With less left than the margin there is no time to work."""
    assert Deadline.of_lambda(FakeContext(seconds=ANSWER_MARGIN / 2)).remaining() == 0.0


@given(SECONDS, SECONDS)
def test_the_earliest_of_two_is_the_nearer_one(one: float, other: float) -> None:
    """`earliest` is the minimum, whichever is asked."""
    first, second = Deadline(one), Deadline(other)

    assert first.earliest(second) == second.earliest(first) == Deadline(min(one, other))


@given(SECONDS)
def test_any_deadline_is_earlier_than_never(at: float) -> None:
    """`never` gives way to every deadline."""
    assert Deadline.never().earliest(Deadline(at)) == Deadline(at)
