"""HTTP for guests, in place of Extism's own, which looks at the first address only and follows redirects to any other.

Redirects are not followed: the guest gets the answer with its status and its `location`, and may ask there, if that
host is granted too. What is connected to is the address that was looked at, so that a name cannot change its meaning.
"""

import ipaddress
import json
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Timeout, Url, parse_url

from handler.deadline import Deadline
from handler.errors import GuestDeadlineExceeded, NetworkAccessDenied, NetworkFailed, StoreDeadlineExceeded
from handler.memory.bounded import Bounded

RESPONSE_BYTES = 50 * 1024 * 1024
"""Largest response, as in Extism; it has to fit into the plugin's memory_pages besides."""
CHUNK = 65_536
METHOD = re.compile(r"[A-Z]{1,20}")
OURS = frozenset({"host", "connection", "content-length", "transfer-encoding"})
"""Headers that a guest cannot set: they say where a request goes and where it ends."""
PORTS = {"http": 80, "https": 443}

_bounded = Bounded(8)


@dataclass(frozen=True, slots=True)
class Response:
    """What a host answered.

    Attributes:
        status: The HTTP status code; 0 where nothing was asked.
        headers: By name in lower case.
        body: As it came, not decompressed.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Wish:
    """A request that the grants allow, and the address to connect to."""

    url: Url
    host: str
    address: str
    method: str
    headers: dict[str, str]
    body: bytes | None


def fetch(wish: bytes, body: bytes | None, allowed_hosts: tuple[str, ...], deadline: Deadline) -> Response:
    """Makes the request that a guest describes in JSON, as Extism's PDKs do: `url`, `method` and `headers`.

    Raises:
        NetworkAccessDenied: The host is not allowed, or has an address that is not.
        NetworkFailed: There is no such host, it did not answer properly, or the wish makes no sense.
        GuestDeadlineExceeded: The deadline passed first.
    """
    url, method, headers = _read(wish)
    host = (url.host or "").strip("[]").lower()
    if not any(fnmatchcase(host, pattern.lower()) for pattern in allowed_hosts):
        denied = NetworkAccessDenied("the plugin asked a host that its plugin.toml does not grant")
        raise denied from PermissionError(f"host {host!r}")

    def work() -> Response:
        address = _address(host, url, allowed_hosts)
        return _exchange(_Wish(url, host, address, method, headers, body), deadline)

    try:
        return _bounded.call(work, deadline)  # the name service and a host that trickles know no deadline
    except StoreDeadlineExceeded:
        raise GuestDeadlineExceeded("the host that the plugin asked did not answer in time") from None
    except (OSError, ValueError, HTTPError) as error:
        if deadline.remaining() == 0.0:
            raise GuestDeadlineExceeded("the host that the plugin asked did not answer in time") from error
        raise NetworkFailed("the host that the plugin asked did not answer properly") from error


def _read(wish: bytes) -> tuple[Url, str, dict[str, str]]:
    try:
        fields = json.loads(wish)
        url = parse_url(fields["url"])
        method = str(fields.get("method") or "GET").upper()
        headers = {str(name): str(value) for name, value in (fields.get("headers") or {}).items()}
    except (ValueError, LookupError, TypeError, AttributeError, LocationParseError) as error:
        raise NetworkFailed("the plugin's HTTP request cannot be read") from error
    if url.scheme not in PORTS or not url.host or not METHOD.fullmatch(method):
        raise NetworkFailed("the plugin's HTTP request needs a method, and a URL with http or https and a host")
    return url, method, {name: value for name, value in headers.items() if name.lower() not in OURS}


def _address(host: str, url: Url, allowed_hosts: Iterable[str]) -> str:
    """The address to connect to.

    A pattern opens the internet, not the machine and its network: an address inside needs its host by name, and one of
    the machine itself, where Lambda's own interfaces are, by the address or as `localhost`.
    """
    named = {name.lower() for name in allowed_hosts}
    found = socket.getaddrinfo(host, url.port or PORTS[url.scheme or "http"], type=socket.SOCK_STREAM)
    addresses = [str(where[0]) for *_, where in found]
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        inner = getattr(address, "ipv4_mapped", None) or address
        if inner.is_loopback or inner.is_link_local or inner.is_unspecified:
            allowed = text in named or (host == "localhost" and host in named)
        else:
            allowed = inner.is_global or host in named
        if not allowed:
            denied = NetworkAccessDenied("the plugin asked a host whose address its plugin.toml does not grant")
            raise denied from PermissionError(f"host {host!r}, address {text}")
    return addresses[0]


def _exchange(wish: _Wish, deadline: Deadline) -> Response:
    timeout = Timeout(total=deadline.timeout())
    port = wish.url.port or PORTS[wish.url.scheme or "http"]
    headers = wish.headers | {"Host": wish.url.netloc or wish.host}
    pool = (
        urllib3.HTTPSConnectionPool(wish.address, port, server_hostname=wish.host, assert_hostname=wish.host)
        if wish.url.scheme == "https"
        else urllib3.HTTPConnectionPool(wish.address, port)
    )
    with pool:
        response = pool.urlopen(
            wish.method,
            wish.url.request_uri,
            body=wish.body,
            headers=headers,
            retries=False,
            redirect=False,
            timeout=timeout,
            preload_content=False,
            decode_content=False,
        )
        parts, size = [], 0
        for part in response.stream(CHUNK):
            parts.append(part)
            size += len(part)
            if size > RESPONSE_BYTES or deadline.remaining() == 0.0:
                response.close()
                raise ValueError(f"more than {RESPONSE_BYTES} bytes, or too slow")
        response.release_conn()
        found = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, found, b"".join(parts))
