"""Servers on loopback that misbehave, in place of a DynamoDB that does."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Misbehaviour = Callable[[socket.socket, threading.Event], None]
TICK = 0.02
"""Seconds between two looks at whether the server has to end, and between two bytes that trickle."""


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Accepts, and never answers."""
    over.wait()


def trickling(connection: socket.socket, over: threading.Event) -> None:
    """Answers a byte at a time, and never comes to the end; no socket timeout ever ends that."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nX-Slow: ")
    while not over.wait(TICK):
        connection.sendall(b"a")


def hanging_up(connection: socket.socket, over: threading.Event) -> None:
    """Closes the connection without an answer."""


def _take_request(connection: socket.socket) -> None:
    """Reads a request whole: to close a connection with some of it unread would reset it."""
    with connection.makefile("rb") as file:
        file.readline()
        headers = http.client.parse_headers(file)
        file.read(int(headers["Content-Length"] or 0))


def cutting_off(connection: socket.socket, over: threading.Event) -> None:
    """Announces more than it sends, then closes the connection."""
    _take_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 100\r\n\r\n{")


def talking_nonsense(connection: socket.socket, over: threading.Event) -> None:
    """Answers 200 with something that is no JSON, as a captive proxy does."""
    _take_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")


@contextmanager
def serving(misbehaviour: Misbehaviour) -> Iterator[str]:
    """Runs a server until the block ends, and gives its URL."""
    over = threading.Event()
    threads = []

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            misbehaviour(connection, over)

    def accept(listener: socket.socket) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(5)
                threads.append(threading.Thread(target=handle, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TICK)
        acceptor = threading.Thread(target=accept, args=(listener,))
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            for thread in [acceptor, *threads]:
                thread.join()


@contextmanager
def keep_alive() -> Iterator[tuple[str, list[object]]]:
    """Runs a DynamoDB that knows no key and, unlike moto's server, keeps connections open until their clients close.

    Gives its URL, and a list with one entry for every connection that was ever opened.
    """
    opened: list[object] = []

    class Empty(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            opened.append(self.client_address)
            super().setup()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            batch = self.headers["x-amz-target"].endswith("BatchGetItem")
            answer: dict[str, object] = (
                {"Responses": {}, "UnprocessedKeys": {}, "ConsumedCapacity": []} if batch else {"ConsumedCapacity": {}}
            )
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/x-amz-json-1.0")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", opened
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def closed_port() -> str:
    """The URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits until something is so.

    Raises:
        AssertionError: It was not so for that many seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} was never true"
        time.sleep(0.001)
