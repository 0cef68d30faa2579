"""A server under load while its DynamoDB breaks at random: is every answer documented, and the end all right?

`uv run python -m tests.benchmarks.faults [--minutes 3] [--clients 4] [--seed 1] [--json]`

`extism-lambda serve` runs over a proxy in front of an embedded DynamoDB. Clients ask for sound, failing and hostile
plugins, while faults are switched on and off. Exits with 1 where an answer was not documented, or the end not all 200.
"""

import collections
import http.client
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tests.environment  # noqa: F401 - nobody's AWS account

# isort: split
import typer

from infra.local_dynamodb import local_dynamodb
from tests import guests
from tests.benchmarks._measure import Column, Json, Result, run, stderr
from tests.command_line import Server, serve
from tests.faults import FAULTS, FaultProxy, fault_proxy, none
from tests.handler.test_prefetch import READS_TWO

SLOTS = 4
TIMEOUT_MS = 500
LAST = 100
"""Requests after the last fault."""
SECONDS = 30
"""After which a request counts as not answered."""
SOUND = 0.4
"""Share of the time in which there is no fault."""
REFUSE = "refuse"
STORE = frozenset({502, 503, 504})
"""What a request that reads may be answered with while the store is broken."""
BUSY = frozenset({503})
"""What any request may be answered with while all instances are taken."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    Attributes:
        path: Where it goes.
        usual: The status that it is answered with when nothing is broken.
        during: Further documented statuses while something is.
        output: What a 200 has to hold; None for the input.
    """

    path: str
    usual: int
    during: frozenset[int] = BUSY
    output: bytes | None = None


VALUES = "👋 Hello World 🌍I 💜 Extism 😍".encode()
GOOD = (
    Kind("/batch", 200, STORE, VALUES),
    Kind("/single", 200, STORE, VALUES),
    Kind("/counter/echo", 200),
)
BAD = (
    Kind("/counter/trap", 500),
    Kind("/counter/grow", 500),
    Kind("/counter/fail", 422),
    Kind("/counter/big", 500),
    Kind("/counter/loop", 504),
    Kind("/batch/get", 500),  # a key that is not granted
    Kind("/batch/none", 404),
    Kind("/none", 404),
)


@dataclass(slots=True)
class Log:
    """What was answered.

    Attributes:
        statuses: How often each status came.
        by_path: The same by path.
        milliseconds: How long each answer took.
        wrong: Answers that are not documented, in words.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    by_path: dict[str, Counter[int]] = field(default_factory=lambda: collections.defaultdict(Counter))
    milliseconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: Kind, status: int, milliseconds: float, wrong: str | None) -> None:
        """Takes in one answer."""
        with self._lock:
            self.statuses[status] += 1
            self.by_path[kind.path][status] += 1
            self.milliseconds.append(milliseconds)
            if wrong is not None:
                self.wrong.append(f"{kind.path}: {wrong}")


def ask(server: Server, kind: Kind, data: bytes, log: Log, *, broken: bool) -> None:
    """Sends a request, and looks whether its answer is documented."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    start = time.perf_counter()
    status, wrong = 0, None
    try:
        connection.request("POST", kind.path, data)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        milliseconds = (time.perf_counter() - start) * 1000
        overdue = (
            status == http.HTTPStatus.GATEWAY_TIMEOUT and milliseconds >= TIMEOUT_MS
        )  # on a busy machine, any may be
        if status != kind.usual and not (broken and (status in kind.during or overdue)):
            wrong = f"{status} after {milliseconds:.0f} ms {body[:300]!r}"
        elif status == http.HTTPStatus.OK and body != (data if kind.output is None else kind.output):
            wrong = f"another one's answer or a broken one: {body[:300]!r}"
        elif status != http.HTTPStatus.OK and json.loads(body)["status"] != status:
            wrong = f"a problem document of another status: {body[:300]!r}"
    except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
        wrong = f"no answer: {error!r}"
    finally:
        connection.close()
    log.add(kind, status, (time.perf_counter() - start) * 1000, wrong)


def break_at_random(proxy: FaultProxy, draw: random.Random, seconds: float) -> Counter[str]:
    """Switches faults on and off until the time is over; returns how often each was on."""
    seen: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        fault = "none" if draw.random() < SOUND else draw.choice([*FAULTS, REFUSE])
        if fault == REFUSE:
            proxy.refuse()
        else:
            proxy.switch(FAULTS.get(fault, none))
        seen[fault] += 1
        time.sleep(min(left, draw.uniform(0.1, 1.0)))
    proxy.switch()
    return seen


@contextmanager
def running() -> Iterator[tuple[Server, FaultProxy]]:
    """The server over a DynamoDB that can break."""
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch, local_dynamodb() as dynamodb:
        folder = Path(scratch, "plugins")
        limits = {"timeout_ms": TIMEOUT_MS, "output_bytes": 1000}
        memory: dict[str, Any] = {"read": ["hello", "message"]}
        functions = ["run", "get"]
        guests.make_plugin(folder, "batch", READS_TWO, functions=functions, memory=memory, limits=limits)
        memory |= {"prefetch": False}
        guests.make_plugin(folder, "single", READS_TWO, functions=functions, memory=memory, limits=limits)
        guests.make_plugin(folder, "counter", guests.COUNTER, functions=guests.COUNTER_FUNCTIONS, limits=limits)
        with fault_proxy(dynamodb.endpoint) as proxy:
            environ = dynamodb.environment() | {
                "AWS_ENDPOINT_URL_DYNAMODB": proxy.url,
                "EXTISM_LAMBDA_PLUGINS": str(folder),
                "EXTISM_LAMBDA_DEFAULT_PLUGIN": "batch",
                "EXTISM_LAMBDA_CONCURRENCY": str(SLOTS),
                "EXTISM_LAMBDA_LOG_LEVEL": "ERROR",
            }
            with serve(Path(scratch), **environ) as server:
                yield server, proxy
                if server.process.poll() is not None:
                    raise RuntimeError(f"the server is gone:\n{server.err}")


def storm(server: Server, proxy: FaultProxy, log: Log, *, seconds: float, clients: int, seed: int) -> Counter[str]:
    """Clients ask at random while faults come and go; returns how often each was on."""
    over = threading.Event()

    def client(number: int) -> None:
        draw = random.Random(f"{seed}/{number}")  # noqa: S311 - an order of requests
        for count in itertools.count():
            if over.is_set():
                return
            kind = draw.choice(GOOD if draw.random() < 0.8 else BAD)
            ask(server, kind, b"%d of client %d" % (count, number), log, broken=True)

    with ThreadPoolExecutor(clients) as threads:
        asking = [threads.submit(client, number) for number in range(clients)]
        try:
            return break_at_random(proxy, random.Random(seed), seconds)  # noqa: S311 - an order of faults
        finally:
            over.set()
            for one in asking:
                one.result()


def main(
    minutes: Annotated[float, typer.Option(help="How long faults come and go.", min=0.01)] = 3.0,
    clients: Annotated[int, typer.Option(help="Clients that ask at the same time.", min=1)] = SLOTS,
    seed: Annotated[int, typer.Option(help="Of the order of faults and requests.")] = 1,
    as_json: Json = False,
) -> None:
    """Requests while DynamoDB breaks at random, and the hundred after that."""
    log, end = Log(), Log()
    with running() as (server, proxy), stderr.status("Breaking"):
        faults = storm(server, proxy, log, seconds=minutes * 60, clients=clients, seed=seed)
        for number in range(LAST):
            ask(server, GOOD[number % len(GOOD)], b"%d of the last" % number, end, broken=False)
    samples = {"while faults came and went": log.milliseconds, "the last": end.milliseconds}
    result = Result("faults", [Column("answer", "ms", samples)])
    result.ratios = {
        "undocumented": len(log.wrong) + len(end.wrong),
        "last_all_right": end.statuses == Counter({200: LAST}) and not end.wrong,
    }
    result.notes = [
        f"{log.statuses.total():,} requests by {clients} clients in {minutes:g} minutes, {faults.total()} switches "
        f"between {len(FAULTS) + 1} faults and none, seed {seed}; then {LAST} requests without a fault",
        f"statuses: {dict(sorted(log.statuses.items()))}",
        f"slowest answer: {max(log.milliseconds):.0f} ms (a plugin may take {TIMEOUT_MS} ms, and wait as long)",
        *(f"not documented: {wrong}" for wrong in (log.wrong + end.wrong)[:20]),
    ]
    result.extra = {
        "requests": log.statuses.total(),
        "statuses": dict(sorted(log.statuses.items())),
        "by_path": {path: dict(sorted(statuses.items())) for path, statuses in sorted(log.by_path.items())},
        "faults": dict(sorted(faults.items())),
        "slowest_ms": round(max(log.milliseconds), 1),
    }
    result.show(as_json=as_json)
    if result.ratios["undocumented"] or not result.ratios["last_all_right"]:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
