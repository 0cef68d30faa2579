"""A stand-in for DynamoDB that answers after a fixed time: GetItem and BatchGetItem, every key has a value.

A process of its own: `python -m tests.benchmarks._slow_dynamodb PORT`. `PUT /delay/MILLISECONDS` sets the time from a
request's arrival to its answer, `GET /requests` tells how many requests there were.
"""

import itertools
import sys
import time
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

VALUE = "v" * 100
"""Every key's value."""


class SlowDynamoDB:
    """What the routes share: the delay in seconds, and the number of requests so far."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.requests = 0
        self._count = itertools.count(1)

    async def answer(self, request: Request) -> Response:
        """Answers a request of DynamoDB's API."""
        due = time.perf_counter() + self.delay
        self.requests = next(self._count)
        body = await request.json()
        operation = request.headers["x-amz-target"].partition(".")[2]
        content = _batch(body) if operation == "BatchGetItem" else _single(body)
        if self.delay:
            # A thread's sleep ends within 0.1 ms of its time; the event loop's is rounded up to whole milliseconds.
            await run_in_threadpool(_sleep_until, due)
        return JSONResponse(content, media_type="application/x-amz-json-1.0")

    async def set_delay(self, request: Request) -> Response:
        """Sets the delay, in milliseconds."""
        self.delay = float(request.path_params["milliseconds"]) / 1000
        return Response()

    async def count(self, _request: Request) -> Response:
        """Tells the number of requests."""
        return JSONResponse(self.requests)


def _single(body: dict[str, Any]) -> dict[str, Any]:
    capacity = {"TableName": body["TableName"], "CapacityUnits": 0.5}
    return {"Item": {**body["Key"], "value": {"S": VALUE}}, "ConsumedCapacity": capacity}


def _batch(body: dict[str, Any]) -> dict[str, Any]:
    asked = {table: wanted["Keys"] for table, wanted in body["RequestItems"].items()}
    return {
        "Responses": {table: [{**key, "value": {"S": VALUE}} for key in keys] for table, keys in asked.items()},
        "UnprocessedKeys": {},
        "ConsumedCapacity": [{"TableName": table, "CapacityUnits": len(keys) / 2} for table, keys in asked.items()],
    }


def _sleep_until(due: float) -> None:
    time.sleep(max(0.0, due - time.perf_counter()))


def main(port: int) -> None:
    """Serves until it is ended."""
    slow = SlowDynamoDB()
    app = Starlette(
        routes=[
            Route("/", slow.answer, methods=["POST"]),
            Route("/delay/{milliseconds:float}", slow.set_delay, methods=["PUT"]),
            Route("/requests", slow.count),
        ]
    )
    uvicorn.run(app, host="127.0.0.1", port=port, lifespan="off", access_log=False, log_level="error")


if __name__ == "__main__":
    main(int(sys.argv[1]))
