"""The arithmetic of the bill."""

import pytest

from tests.benchmarks.bill import Prices, Usage, billed_ms, cost

PRICES = Prices(gb_second=0.00001, requests=0.2, api=1.0, read_units=0.125)


def usage(**changes: float) -> Usage:
    """Two keys of a kilobyte in a function of one GB, and no cold start."""
    values = {"memory_mb": 1024, "cold_share": 0.0, "keys": 2, "value_bytes": 1024, "consistent": False, "read_ms": 0.0}
    return Usage(**{**values, **changes})  # type: ignore[arg-type]


def test_a_million_requests() -> None:
    """A million requests of 10 ms in 1 GB are 10,000 GB-seconds, a million calls and two half read units each."""
    bill = cost(500.0, 10.0, usage(), PRICES, 1_000_000)

    assert bill["lambda_duration"] == pytest.approx(0.1)
    assert bill["lambda_requests"] == pytest.approx(0.2)
    assert bill["api_gateway"] == pytest.approx(1.0)
    assert bill["dynamodb"] == pytest.approx(0.125)
    assert bill["total"] == pytest.approx(1.425)


def test_cold_starts_are_billed() -> None:
    """A request that meets a cold start is billed its initialization too, by the share of such requests."""
    bill = cost(1000.0, 10.0, usage(cold_share=0.5), PRICES, 1_000_000)

    assert bill["lambda_duration"] == pytest.approx(5.05)


@pytest.mark.parametrize(("milliseconds", "billed"), [(0.2, 1), (1.0, 1), (1.0001, 2), (9.5, 10)])
def test_durations_are_rounded_up(milliseconds: float, billed: int) -> None:
    """Each duration is billed as whole milliseconds, rounded up."""
    assert billed_ms(milliseconds) == billed


@pytest.mark.parametrize(
    ("changes", "units"),
    [
        ({}, 1.0),
        ({"consistent": True}, 2.0),
        ({"value_bytes": 4096}, 1.0),
        ({"value_bytes": 4097}, 2.0),
        ({"keys": 0}, 0.0),
    ],
)
def test_read_units(changes: dict[str, float], units: float) -> None:
    """A read takes half a unit for each 4 KiB that its item has begun, and a whole one where it is consistent."""
    assert usage(**changes).read_units() == units
