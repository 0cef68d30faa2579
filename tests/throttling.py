"""A throttle in front of a real server: moto's DynamoDB takes as much as it is given, DynamoDB itself does not."""

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

THROTTLED = json.dumps(
    {
        "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        "message": "The level of configured provisioned throughput for the table was exceeded.",
    }
).encode()


@contextmanager
def throttling(endpoint: str, batches: Sequence[int], *, afterwards: int = 25) -> Iterator[tuple[str, list[str]]]:
    """Runs the throttle until the block ends; all but BatchWriteItem goes through it as it is.

    Args:
        endpoint: The URL of the server.
        batches: How many items of each BatchWriteItem, one after another, get through; with 0 it is throttled whole.
        afterwards: How many items of every later one get through.

    Yields:
        Its URL, and the keys that it has let through so far.
    """
    left, taken = list(batches), list[str]()
    host = urlsplit(endpoint).netloc

    class Throttle(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if not self.headers["x-amz-target"].endswith(".BatchWriteItem"):
                self._answer(*self._ask(body))
                return
            (table, requests), *_ = json.loads(body)["RequestItems"].items()
            passing = left.pop(0) if left else afterwards
            if not passing:
                self._answer(400, THROTTLED)
                return
            status, answer = self._ask(json.dumps({"RequestItems": {table: requests[:passing]}}).encode())
            response: dict[str, Any] = json.loads(answer)
            if status == http.client.OK and requests[passing:]:
                response["UnprocessedItems"] = {table: requests[passing:]}
            taken.extend(request["PutRequest"]["Item"]["key"]["S"] for request in requests[:passing])
            self._answer(status, json.dumps(response).encode())

        def _ask(self, body: bytes) -> tuple[int, bytes]:
            passed_on = {name: self.headers[name] for name in ("authorization", "content-type", "x-amz-target")}
            connection = http.client.HTTPConnection(host, timeout=10)
            try:
                connection.request("POST", "/", body, passed_on)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/x-amz-json-1.0")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Throttle)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
