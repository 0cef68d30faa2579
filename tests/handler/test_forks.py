"""Child processes after a fork: each test forks for real, in a process of its own, and reads what the children say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import guests
from tests.conftest import MakePlugin

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

HEAD = """
import os, signal, sys, threading, time, warnings
from pathlib import Path
from handler.deadline import Deadline
from handler.errors import InvocationError
from handler.memory.map import MapStore
from handler.plugins import load_catalog
from handler.pool import PluginPool
from handler.service import PluginService

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads

def create_service(slots=1):
    catalog = load_catalog(Path(sys.argv[1]))
    return PluginService({name: PluginPool(spec, slots) for name, spec in catalog.items()}, "counter", MapStore())

def outcome(service, function, data=b""):
    start = time.monotonic()
    try:
        answer = service.run(service.find("counter", function), data, Deadline.never()).decode()
    except InvocationError as error:
        answer = f"{error.type}, {error.__cause__}"
    return answer if time.monotonic() - start < 10 else f"late: {answer}"

def in_child(*works):
    if (child := os.fork()) == 0:
        signal.alarm(60)  # ends the child where it hangs
        for work in works:
            print(work(), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child hangs or crashed"

def all_of(service):
    return [outcome(service, function) for function in ("run", "run", "loop", "run", "trap", "run")]
"""
SERVED = "['1', '2', 'deadline-exceeded, plugin 'counter' did not end in time', '1', 'plugin-trapped, "


@pytest.fixture
def counter(plugins: Path, make_plugin: MakePlugin) -> Path:
    """A folder with one plugin: `run` counts the calls of its instance, `loop` never ends, `trap` traps."""
    make_plugin("counter", guests.COUNTER, functions=guests.COUNTER_FUNCTIONS, limits={"timeout_ms": 300})
    return plugins


def forking(folder: Path, script: str) -> list[str]:
    """Runs a script that forks, and returns what it and its children printed."""
    command = [sys.executable, "-c", HEAD + script, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def served(line: str) -> bool:
    """Whether a child's line tells of a service that works, with deadlines, and with an instance of the child's own."""
    answers = line.replace('"', "'")
    return answers.startswith(SERVED) and answers.endswith("'1']")


def test_children_that_compose_themselves_have_deadlines(counter: Path) -> None:
    """Fork first, compose afterwards, as servers with several processes do: every child serves and interrupts."""
    lines = forking(counter, "for _ in range(2): in_child(lambda: all_of(create_service()))")

    assert [served(line) for line in lines] == [True] * 2, lines


def test_children_share_modules_that_were_compiled_before(counter: Path) -> None:
    """Compile, fork, and call only then: every child makes instances of its parent's modules, with deadlines."""
    lines = forking(
        counter,
        """
service = create_service(slots=3)
service.compile_all(Deadline.never())
for _ in range(2): in_child(lambda: all_of(service))
print(all_of(service))
in_child(lambda: outcome(service, "run"))
""",
    )

    assert [served(line) for line in lines[:3]] == [True] * 3, lines
    assert lines[3].startswith("plugin-unusable, ")  # by then the parent had made instances


def test_more_calls_than_inherited_modules_wait_for_one(counter: Path) -> None:
    """A child cannot compile, so its slots are those whose modules were there; calls at the same time take turns."""
    lines = forking(
        counter,
        """
from concurrent.futures import ThreadPoolExecutor
def together():
    with ThreadPoolExecutor(4) as threads:
        return sorted(map(int, threads.map(lambda _: outcome(service, "run"), range(40))))
service = create_service(slots=4)
service.compile_all(Deadline.never())
in_child(together)
""",
    )

    assert lines == [str(list(range(1, 41)))]


def test_a_child_without_a_timer_refuses(counter: Path) -> None:
    """Where the parent has made instances a guest could never be interrupted: refused, in words, and at once.

    The parent goes on as before; its deadlines hold.
    """
    lines = forking(
        counter,
        """
service = create_service()
outcome(service, "run")
in_child(lambda: outcome(service, "run"), lambda: outcome(service, "loop"), lambda: outcome(create_service(), "run"))
print(outcome(service, "run"), outcome(service, "loop"), sep="; ")
""",
    )

    for line in lines[:3]:
        assert line.startswith("plugin-unusable, this process was forked from one that had ")
        assert "fork first and create the service in each child" in line
    assert lines[3].startswith("2; deadline-exceeded, ")


def test_a_fork_while_a_module_compiles(counter: Path) -> None:
    """The compiling thread is not in the child, which refuses instead of waiting for it; in the parent it goes on."""
    lines = forking(
        counter,
        """
import handler.guest
may_compile, real = threading.Event(), handler.guest.CompiledPlugin
def compile_later(*arguments, **options):
    may_compile.wait()
    return real(*arguments, **options)
handler.guest.CompiledPlugin = compile_later
service = create_service()
service._pools["counter"].prepare()
time.sleep(0.1)
in_child(lambda: outcome(service, "run"))
may_compile.set()
print(outcome(service, "run"))
""",
    )

    assert lines[0].startswith("plugin-unusable, this process was forked from one that had compiled plugins before")
    assert lines[1] == "1"


@pytest.mark.parametrize(
    ("lock", "work", "answer"),
    [
        ("service._pools['counter']._returned", "outcome(service, 'run')", "1"),
        ("fence._lock", "fence()", "None"),
        ("cached._lock", "cached.get('message', Deadline.never()).decode()", "I 💜 Extism 😍"),
    ],
)
def test_a_lock_that_another_thread_holds(counter: Path, lock: str, work: str, answer: str) -> None:
    """What other threads held when the process was forked is free in the child."""
    lines = forking(
        counter,
        f"""
from handler.interruption import fence
from handler.memory.cached import CachedStore
from handler.plugins import ReadCache
cached = CachedStore(MapStore(), ReadCache(seconds=60))
service = create_service()
service.compile_all(Deadline.never())
held, over = threading.Event(), threading.Event()
def hold():
    with {lock}:
        held.set()
        over.wait()
threading.Thread(target=hold).start()
held.wait()
in_child(lambda: {work})
over.set()
""",
    )

    assert lines == [answer]


READS = """
from handler.memory.dynamodb import DynamoDBStore
from handler.memory.bounded import Bounded
from tests import tables
from tests.servers import keep_alive

def get(store): return store.get("key", Deadline.after(30))

with keep_alive() as (url, connections):
    store = DynamoDBStore(tables.create_client(url), "memory")
    for _ in range(3): get(store)
    print(len(connections))
    in_child(lambda: [get(store), get(store)])
    print(len(connections))
    get(store)
    print(len(connections))
"""


def test_a_child_opens_connections_of_its_own(counter: Path) -> None:
    """A connection of the parent's is never used by a child, where answers would go to whoever reads first."""
    lines = forking(counter, READS)

    assert lines == ["1", "[None, None]", "2", "2"]


def test_reads_under_way_hold_no_place_in_a_child(counter: Path) -> None:
    """A read that hangs in the parent takes no place from the child's."""
    lines = forking(
        counter,
        """
from handler.memory.bounded import Bounded
bounded, over = Bounded(calls=1), threading.Event()
bounded.begin(over.wait)
in_child(lambda: bounded.call(lambda: 42, Deadline.after(10)))
over.set()
""",
    )

    assert lines == ["42"]


SERVER = """
import http.client, socket, uvicorn
from handler.composition import create_app, create_service as compose
from handler.settings import Settings
from infra.local import in_thread

environ = {"EXTISM_LAMBDA_PLUGINS": sys.argv[1], "EXTISM_LAMBDA_MEMORY": "map",
           "EXTISM_LAMBDA_DEFAULT_PLUGIN": "counter", "EXTISM_LAMBDA_CONCURRENCY": "4"}
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]

def serve():
    settings = Settings.from_environ(environ)
    config = uvicorn.Config(create_app(settings, compose(settings), in_thread), lifespan="off", log_level="error")
    uvicorn.Server(config).run(sockets=[listener])

children = []
for _ in range(2):
    if (child := os.fork()) == 0:
        signal.alarm(60)
        serve()
        os._exit(0)
    children.append(child)

def post(number):
    path, data = [("/counter/loop", ""), ("/counter/trap", ""), ("/counter/echo", f"call {number}")][number % 3]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, data)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status != 200 or text == data
    return path, answer.status

try:
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(4) as threads:
        answers = set(threads.map(post, range(24)))
finally:
    for child in children: os.kill(child, signal.SIGTERM)
    for child in children: os.waitpid(child, 0)
print(sorted(answers))
"""


def test_a_server_of_several_processes(counter: Path) -> None:
    """Forked children with `serve`'s composition on one socket: answers belong to requests, and deadlines hold."""
    lines = forking(counter, SERVER)

    assert lines == ["[('/counter/echo', 200), ('/counter/loop', 504), ('/counter/trap', 500)]"]
