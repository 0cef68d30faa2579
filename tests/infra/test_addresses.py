"""Addresses of this machine."""

import pytest

from infra.addresses import is_own_address


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("127.0.0.1", True),
        ("203.0.113.1", False),  # nobody's (RFC 5737)
        ("2001:db8::1", False),  # nobody's (RFC 3849)
        ("localhost", False),
        ("", False),
        ("127.0.0", False),
    ],
)
def test_an_own_address_is_known(text: str, own: bool) -> None:
    """Addresses count that this machine has; names are not looked up."""
    assert is_own_address(text) is own
