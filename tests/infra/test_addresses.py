"""Addresses of this machine."""

import socket

import pytest

from infra.addresses import is_own_address, listen


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


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_sends_at_once(host: str) -> None:
    """A server that writes an answer in two pieces must not wait with the second for the first one's receipt."""
    with listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
