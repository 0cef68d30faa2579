"""Calls that would go on for ever, each by another doing, and how far each runs past its budget."""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler.composition import create_handler
from handler.deadline import ANSWER_MARGIN
from tests import guests
from tests.contexts import FakeContext
from tests.faults import Exchange, Fault, FaultProxy, hang, reply, trickle
from tests.http_events import request

if TYPE_CHECKING:
    from handler.events import EventHandler

BUDGET = 0.4
"""Seconds that a call may take: less than the DynamoDB client's own patience, which would end some of them sooner."""
SLOW = 0.03
"""Seconds that the slow store takes for a read."""
READS_ON = guests.module(
    """(func (export "run") (result i32) (local $number i64) (local $key i64)
      (loop $again
        (local.set $number (i64.add (local.get $number) (i64.const 1)))
        (local.set $key (call $alloc (i64.const 8)))
        (call $store_u8 (local.get $key) (i32.const 107))
        (call $digits (local.get $key) (local.get $number))
        (drop (call $get (local.get $key)))
        (br $again))
      (i32.const 0))
    (func $digits (param $key i64) (param $number i64) (local $i i64)
      (loop $next
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (call $store_u8 (i64.add (local.get $key) (local.get $i))
          (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
        (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
        (br_if $next (i64.lt_u (local.get $i) (i64.const 7)))))""",
    imports=guests.MEMORY_GET,
)
"""Asks for one key after another, each another one, without end."""


@dataclass(frozen=True, slots=True)
class Overrun:
    """One way to go on for ever.

    Attributes:
        plugin: The plugin that is called: `loops`, `gets` or `reads-on`.
        fault: What the store does meanwhile; None for one that does not take connections.
        spent_in: Which of the two sides the answer has to name.
        learned: Whether the key comes from a batch that was begun before the guest.
    """

    plugin: str
    fault: Fault | None
    spent_in: str
    learned: bool = False


def slow(exchange: Exchange) -> None:
    """Answers after a moment, that there is no such key."""
    exchange.over.wait(SLOW)
    answer: dict[str, Any] = {"ConsumedCapacity": {}}
    if b"BatchGetItem" in exchange.request:
        answer = {"Responses": {}, "UnprocessedKeys": {}, "ConsumedCapacity": []}
    reply(exchange, json.dumps(answer).encode())


OVERRUNS: Mapping[str, Overrun] = {
    "guest loops": Overrun("loops", slow, "guest"),
    "store does not take connections": Overrun("gets", None, "store"),
    "store accepts and never answers": Overrun("gets", hang, "store"),
    "store trickles": Overrun("gets", trickle, "store"),
    "prefetched batch never comes": Overrun("gets", hang, "store", learned=True),
    "prefetched batch trickles": Overrun("gets", trickle, "store", learned=True),
    "guest loops over slow reads": Overrun("reads-on", slow, "store"),
}


class Bench:
    """The handler over such guests and such a store.

    Args:
        handler: The handler.
        proxy: Its store.
    """

    def __init__(self, handler: "EventHandler", proxy: FaultProxy) -> None:
        self._handler = handler
        self._proxy = proxy

    def run(self, overrun: Overrun, *, by_lambda: bool) -> tuple[dict[str, Any], float]:
        """Makes one call; returns its problem document, and how many seconds it took beyond its budget.

        Args:
            overrun: What to do.
            by_lambda: Whether the budget comes from the Lambda invocation, and not from the plugin's timeout_ms.
        """
        path = f"/{overrun.plugin}-{'patient' if by_lambda else 'hasty'}"
        self._proxy.switch(slow)
        if overrun.plugin == "gets":
            # An input of its own makes the function forget, or learn, what it reads.
            for _ in range(2):
                self._call(path, b"key" if overrun.learned else os.urandom(4).hex().encode(), 30)
        with ExitStack() as stack:
            if overrun.fault is None:
                self._proxy.refuse()
                stack.enter_context(_full(self._proxy.port))
            else:
                self._proxy.switch(overrun.fault)
            return self._call(path, b"key", BUDGET + ANSWER_MARGIN if by_lambda else 30)

    def _call(self, path: str, data: bytes, seconds: float) -> tuple[dict[str, Any], float]:
        event = request(path, data)
        start = time.monotonic()
        answer = self._handler(event, FakeContext(seconds))
        taken = time.monotonic() - start
        problem = json.loads(answer["body"]) if answer["statusCode"] != 200 else {"status": 200}
        return problem, taken - BUDGET


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Makes one over plugins that it writes into a folder: each guest with this budget, and with much more."""
    plugins = {"loops": guests.ENDLESS, "gets": guests.GET, "reads-on": READS_ON}
    for name, wat in plugins.items():
        for kind, timeout_ms in (("hasty", round(BUDGET * 1000)), ("patient", 60_000)):
            guests.make_plugin(folder, f"{name}-{kind}", wat, memory={"read": ["*"]}, limits={"timeout_ms": timeout_ms})
    proxy = FaultProxy(("127.0.0.1", 0))
    proxy.switch(slow)
    before = dict(os.environ)
    os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = proxy.url
    try:
        handler = create_handler(
            {
                "EXTISM_LAMBDA_PLUGINS": str(folder),
                "EXTISM_LAMBDA_DEFAULT_PLUGIN": "loops-hasty",
                "EXTISM_LAMBDA_TABLE": "any",
                "AWS_REGION": "eu-central-1",
            }
        )
        for name in plugins:  # compiled, and what ends a late call too, before anything is measured
            for kind in ("hasty", "patient"):
                handler({"plugin": f"{name}-{kind}", "input": "key"}, FakeContext(BUDGET + ANSWER_MARGIN))
        yield Bench(handler, proxy)
        handler.close()
    finally:
        os.environ.clear()
        os.environ.update(before)
        proxy.close()


@contextmanager
def _full(port: int) -> Iterator[None]:
    """Listens at a port and takes no connection: those that wait already fill its queue, so the next ones hang."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port), backlog=0))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield
