"""A proxy in front of a DynamoDB that can break, on the wire, in every way that this project promises to stand.

No package of the Python index does this for HTTP between two ends of one's own (Toxiproxy is a server in Go).
"""

import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from tests.servers import trickling

BEYOND_PATIENCE = 0.8
"""Seconds that are more than the handler's DynamoDB client waits for an answer."""
SECRET = "arn:aws:dynamodb:eu-central-1:111122223333:table/secret-table"
"""Stands in every message of an error that a fault makes up: it must not reach any client."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request that came through.

    Attributes:
        connection: The client's connection.
        request: The request, whole.
        upstream: Host and port of the DynamoDB.
        over: Set when the fault is switched off, or the proxy ends.
    """

    connection: socket.socket
    request: bytes
    upstream: tuple[str, int]
    over: threading.Event

    def answer(self) -> tuple[bytes, bytes]:
        """What DynamoDB answers: head and body."""
        with socket.create_connection(self.upstream, timeout=10) as upstream:
            upstream.sendall(self.request)
            response = http.client.HTTPResponse(upstream)
            response.begin()
            body = response.read()
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += [f"{name}: {value}" for name, value in response.getheaders() if name.lower() != "connection"]
        return "\r\n".join([*lines, "connection: close", "", ""]).encode(), body

    def send(self, *parts: bytes) -> None:
        """Sends to the client."""
        self.connection.sendall(b"".join(parts))


Fault = Callable[[Exchange], None]


def none(exchange: Exchange) -> None:
    """Passes everything on."""
    exchange.send(*exchange.answer())


def reset(exchange: Exchange) -> None:
    """Resets the connection instead of an answer."""
    _reset(exchange.connection)


def reset_mid_answer(exchange: Exchange) -> None:
    """Resets the connection in the middle of the body."""
    head, body = exchange.answer()
    exchange.send(head, body[: len(body) // 2])
    _reset(exchange.connection)


def truncate(exchange: Exchange) -> None:
    """Closes the connection in the middle of the body."""
    head, body = exchange.answer()
    exchange.send(head, body[: len(body) // 2])


def truncate_head(exchange: Exchange) -> None:
    """Closes the connection in the middle of the head."""
    head, _ = exchange.answer()
    exchange.send(head[: len(head) // 2])


def shorten(exchange: Exchange) -> None:
    """Sends half of the body as if it were all of it, without DynamoDB's checksum."""
    _, body = exchange.answer()
    exchange.send(_head(200, len(body) // 2), body[: len(body) // 2])


def flip(exchange: Exchange) -> None:
    """Changes a letter of the body, which is sound JSON all the same: only the checksum tells."""
    head, body = exchange.answer()
    exchange.send(head, body.replace(b"value of", b"value oF"))


def delay(exchange: Exchange) -> None:
    """Answers rightly, later than the client waits."""
    answer = exchange.answer()
    exchange.over.wait(BEYOND_PATIENCE)
    exchange.send(*answer)


def hang(exchange: Exchange) -> None:
    """Never answers."""
    exchange.over.wait()


def trickle(exchange: Exchange) -> None:
    """Answers a byte at a time, and never comes to the end."""
    trickling(exchange.connection, exchange.over)


def garbage(exchange: Exchange) -> None:
    """Answers with bytes that are no HTTP."""
    exchange.send(bytes(range(256)) * 4)


def reply(exchange: Exchange, body: bytes, status: int = 200) -> None:
    """Answers in DynamoDB's stead."""
    exchange.send(_head(status, len(body)), body)


def page(exchange: Exchange) -> None:
    """Answers 200 with a page, as a captive proxy does."""
    body = f"<html>{SECRET}</html>".encode()
    exchange.send(_head(200, len(body), "text/html"), body)


def bare(status: int) -> Fault:
    """Makes a fault: this status, and no body that is DynamoDB's."""

    def fault(exchange: Exchange) -> None:
        body = SECRET.encode()
        exchange.send(_head(status, len(body), "text/plain"), body)

    return fault


def refused(status: int, code: str) -> Fault:
    """Makes a fault: an error as DynamoDB itself tells it."""

    def fault(exchange: Exchange) -> None:
        error = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": f"User is not: {SECRET}"}
        reply(exchange, json.dumps(error).encode(), status)

    return fault


FAULTS: MappingProxyType[str, Fault] = MappingProxyType(
    {
        "reset": reset,
        "reset_mid_answer": reset_mid_answer,
        "truncate": truncate,
        "truncate_head": truncate_head,
        "shorten": shorten,
        "flip": flip,
        "delay": delay,
        "hang": hang,
        "trickle": trickle,
        "garbage": garbage,
        "page": page,
        "400": bare(400),
        "500": bare(500),
        "503": bare(503),
        "ProvisionedThroughputExceeded": refused(400, "ProvisionedThroughputExceededException"),
        "Throttling": refused(400, "ThrottlingException"),
        "RequestLimitExceeded": refused(400, "RequestLimitExceeded"),
        "InternalServerError": refused(500, "InternalServerError"),
        "ServiceUnavailable": refused(503, "ServiceUnavailable"),
        "AccessDenied": refused(400, "AccessDeniedException"),
        "ResourceNotFound": refused(400, "ResourceNotFoundException"),
        "UnrecognizedClient": refused(400, "UnrecognizedClientException"),
        "ExpiredToken": refused(400, "ExpiredTokenException"),
    }
)
"""All faults but that nobody listens, which is `FaultProxy.refuse`."""


@dataclass(slots=True)
class FaultProxy:
    """A running proxy. Its methods may be called while requests are under way.

    Attributes:
        port: Where it listens, on loopback.
        seen: The DynamoDB operations that came through, in order.
    """

    upstream: tuple[str, int]
    port: int = 0
    seen: list[str] = field(default_factory=list)
    _fault: Fault = none
    _over: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket | None = None
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The endpoint to give to clients."""
        return f"http://127.0.0.1:{self.port}"

    def switch(self, fault: Fault = none) -> None:
        """Switches to a fault, or to none; what hung by the last one ends."""
        self._over.set()
        self._fault, self._over = fault, threading.Event()
        if self._listener is None:
            self._listen()

    def refuse(self) -> None:
        """Stops listening, so that the system refuses connections, until the next `switch`."""
        self._over.set()
        if self._listener is not None:
            listener, self._listener = self._listener, None
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
            listener.close()

    def close(self) -> None:
        """Ends everything."""
        self.refuse()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, http.client.HTTPException):
            connection.settimeout(10)
            request = _read_request(connection)
            self.seen.append(_operation(request))
            self._fault(Exchange(connection, request, self.upstream, self._over))

    def _start(self, work: Callable[[socket.socket], None], argument: socket.socket) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=work, args=(argument,), daemon=True))
        self._threads[-1].start()


@contextmanager
def fault_proxy(endpoint: str) -> Iterator[FaultProxy]:
    """Runs a proxy in front of a DynamoDB, without a fault at first, until the block ends."""
    parts = urlsplit(endpoint)
    proxy = FaultProxy((str(parts.hostname), int(parts.port or 80)))
    proxy.switch()
    try:
        yield proxy
    finally:
        proxy.close()


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += _receive(connection)
    head, _, body = request.partition(b"\r\n\r\n")
    length = int(_header(head, b"content-length") or 0)
    while len(body) < length:
        body += _receive(connection)
    return head + b"\r\n\r\n" + body


def _receive(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise ConnectionError("the client hung up")
    return received


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(name + b":"):
            return line.partition(b":")[2].strip()
    return b""


def _operation(request: bytes) -> str:
    return _header(request.partition(b"\r\n\r\n")[0], b"x-amz-target").rpartition(b".")[2].decode()


def _head(status: int, length: int, content_type: str = "application/x-amz-json-1.0") -> bytes:
    lines = [f"HTTP/1.1 {status} Any", f"content-type: {content_type}", f"content-length: {length}"]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode()


def _reset(connection: socket.socket) -> None:
    """Makes the system send a reset when the connection is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
