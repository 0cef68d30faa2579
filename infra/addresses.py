"""Addresses to listen at, and how they fail."""

import ipaddress
import socket

from infra.errors import CommandError

LAST_PORT = 65535
IPV6 = 6


class AddressError(CommandError):
    """An address is taken, or is not this machine's."""


def listen(host: str, port: int) -> socket.socket:
    """Binds an address here, where a failure can be told: web servers log it and exit the process.

    Its connections send what is written at once (TCP_NODELAY, which they have from the listening socket). asyncio does
    so only for sockets whose protocol is named, as Python's own `create_server` does not, and a server that writes
    headers and body apart would answer 40 ms late on every connection that is kept.

    Args:
        host: The address, IPv4 or IPv6.
        port: The port; 0 for any that is free.

    Raises:
        AddressError: It cannot be listened at; the message names it and says why.
    """
    if not 0 <= port <= LAST_PORT:
        raise AddressError(f"cannot listen at {in_url(host)}:{port}: a port is a number from 0 to {LAST_PORT}")
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise AddressError(f"cannot listen at {in_url(host)}:{port}: {error.strerror or error}") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def is_own_address(host: str) -> bool:
    """Whether a text is an IP address, and one of this machine's own: nobody else's can be bound."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == IPV6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except (ValueError, OSError):
        return False
    return True


def in_url(host: str) -> str:
    """A host as URLs write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
