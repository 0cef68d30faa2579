"""Addresses to listen at, and how they fail."""

import socket

from infra.errors import CommandError

LAST_PORT = 65535


class AddressError(CommandError):
    """An address is taken, or is not this machine's."""


def listen(host: str, port: int) -> socket.socket:
    """Binds an address here, where a failure can be told: web servers log it and exit the process.

    Args:
        host: The address, IPv4 or IPv6.
        port: The port; 0 for any that is free.

    Raises:
        AddressError: It cannot be listened at; the message names it and says why.
    """
    if not 0 <= port <= LAST_PORT:
        raise AddressError(f"cannot listen at {in_url(host)}:{port}: a port is a number from 0 to {LAST_PORT}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise AddressError(f"cannot listen at {in_url(host)}:{port}: {error.strerror or error}") from error


def in_url(host: str) -> str:
    """A host as URLs write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
