"""What guests may ask by HTTP. Every address is loopback."""

import json
import socket
import threading
from typing import Any

import pytest

from handler.errors import GuestDeadlineExceeded, InvocationError, NetworkAccessDenied, NetworkFailed
from tests import guests
from tests.conftest import MakePlugin, MakeService
from tests.handler.test_guest import failure, run
from tests.servers import closed_port, cutting_off, serving, silent, trickling


class Site:
    """A host that answers everything in one way, and remembers what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    def __call__(self, connection: socket.socket, over: threading.Event) -> None:
        """Answers one request."""
        self.asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 " + self.answer)


def wish(url: str, **fields: Any) -> bytes:
    """A request as Extism's PDKs describe it."""
    return json.dumps({"url": url} | fields).encode()


OK = b"200 OK\r\nContent-Length: 6\r\nX-Some: thing\r\nConnection: close\r\n\r\nreally"


def test_a_redirect_to_a_host_that_is_not_granted_is_not_followed(
    make_plugin: MakePlugin, make_service: MakeService
) -> None:
    """The guest gets the redirect itself; the host behind it is not asked, and refused when the guest asks it."""
    secret = Site(OK)
    make_plugin("fetches", guests.FETCHES_STATUS, network={"allowed_hosts": ["localhost"]})
    service = make_service()
    with serving(secret) as inner:
        redirect = Site(f"302 Found\r\nLocation: {inner}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        with serving(redirect) as outer:
            assert run(service, wish(outer.replace("127.0.0.1", "localhost") + "/")) == b"302"
            assert type(failure(service, wish(inner + "/"))) is NetworkAccessDenied

    assert (len(redirect.asked), secret.asked) == (1, [])


@pytest.mark.parametrize(
    ("hosts", "host", "granted"),
    [
        (["127.0.0.1"], "127.0.0.1", True),
        (["localhost"], "localhost", True),
        (["local*", "localhost"], "LOCALHOST", True),
        ([], "127.0.0.1", False),
        (["example.com"], "127.0.0.1", False),
        (["localhost"], "127.0.0.1", False),
        (["127.0.0.1"], "localhost", True),
        (["*"], "127.0.0.1", False),
        (["127.*"], "127.0.0.1", False),
        (["*"], "localhost", False),
        (["127.0.0.1"], "127.0.0.2", False),
        (["*"], "0.0.0.0", False),  # noqa: S104 - to be refused
        (["*"], "2130706433", False),
        (["127.0.0.1"], "127.0.0.1@127.0.0.2", False),
    ],
)
def test_only_what_is_granted_is_asked(
    make_plugin: MakePlugin, make_service: MakeService, hosts: list[str], host: str, *, granted: bool
) -> None:
    """The machine's own addresses, where Lambda's interfaces are, are granted by name and never by a pattern."""
    if (hosts, host) == (["127.0.0.1"], "localhost"):
        hosts = ["127.0.0.1", "local?ost"]  # the pattern lets the name pass, and the address is named
    make_plugin("fetches", guests.FETCHES, network={"allowed_hosts": hosts})
    site = Site(OK)
    with serving(site) as url:
        asked = wish(url.replace("127.0.0.1", host) + "/")
        if granted:
            assert run(make_service(), asked) == b"really"
        else:
            assert type(failure(make_service(), asked)) is NetworkAccessDenied

    assert bool(site.asked) == granted


def test_method_headers_and_answer_go_through(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """The guest's method and headers are sent, but for those that say where the request goes; headers come back."""
    make_plugin("fetches", guests.FETCHES_HEADERS, network={"allowed_hosts": ["127.0.0.1"]})
    site = Site(OK)
    with serving(site) as url:
        answer = run(make_service(), wish(f"{url}/a?b=c", method="put", headers={"X-Mine": "1", "Host": "evil"}))

    assert json.loads(answer)["x-some"] == "thing"
    assert site.asked[0].startswith(b"PUT /a?b=c HTTP/1.1\r\n")
    assert b"X-Mine: 1\r\n" in site.asked[0]
    assert b"evil" not in site.asked[0]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"url": 1}', b'{"url": "file:///etc/passwd"}', b'{"url": "http:///"}', b'{"url": "x"}']
)
def test_a_wish_that_cannot_be_read_fails_the_call(
    make_plugin: MakePlugin, make_service: MakeService, text: bytes
) -> None:
    """What is no HTTP request is refused, whatever is granted."""
    make_plugin("fetches", guests.FETCHES, network={"allowed_hosts": ["*"]})

    assert type(failure(make_service(), text)) is NetworkFailed


@pytest.mark.parametrize(
    ("misbehaviour", "expected"),
    [(silent, GuestDeadlineExceeded), (trickling, GuestDeadlineExceeded), (cutting_off, NetworkFailed)],
)
def test_a_host_that_misbehaves(
    make_plugin: MakePlugin, make_service: MakeService, misbehaviour: Any, expected: type[InvocationError]
) -> None:
    """A host that never answers or trickles costs the plugin's time and no more; one that breaks off fails the call."""
    make_plugin("fetches", guests.FETCHES, network={"allowed_hosts": ["127.0.0.1"]}, limits={"timeout_ms": 500})
    with serving(misbehaviour) as url:
        assert isinstance(failure(make_service(), wish(url + "/")), expected)


def test_a_host_that_is_not_there(make_plugin: MakePlugin, make_service: MakeService) -> None:
    """Where nobody listens, the call fails, and the answer does not name the host."""
    make_plugin("fetches", guests.FETCHES, network={"allowed_hosts": ["127.0.0.1"]})
    error = failure(make_service(), wish(closed_port()))

    assert type(error) is NetworkFailed
    assert "127.0.0.1" not in error.detail
