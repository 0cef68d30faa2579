"""Tests of tests.lambda_runtime: that what the artifact is tested under is like Lambda, and ends."""

import re
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.lambda_parts import Parts
from tests.lambda_runtime import LambdaRuntime, RuntimeFailed, lambda_runtime

pytestmark = pytest.mark.lambda_runtime

PROBE = """
import os, subprocess
print("started with", sorted(os.environ))

def refusal(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    os.unlink(path)
    return "written"

def handler(event, context):
    if event == "raise":
        raise ValueError("on purpose")
    if event == "die":
        os._exit(7)
    if event == "leave":
        subprocess.Popen(["sleep", os.environ["TOKEN"]])
    return {
        "event": event,
        "user": [os.getuid(), os.geteuid(), os.getgid()],
        "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")][1:3],
        "home": os.path.exists(os.path.expanduser("~")),
        "write": {path: refusal(path) for path in ("/var/task/x", "/var/runtime/x", "/x", "/usr/x", "/tmp/x")},
        "tmp": os.listdir("/tmp"),
        "cwd": os.getcwd(),
        "variables": sorted(os.environ),
        "milliseconds": context.get_remaining_time_in_millis(),
    }
"""

Probe = Callable[..., AbstractContextManager[LambdaRuntime]]


@pytest.fixture
def probe(runtime_parts: Parts, tmp_path: Path) -> Probe:
    """Starts a runtime around a handler of one file that tells what it sees."""
    task = tmp_path / "task"
    task.mkdir(mode=0o755)
    (task / "probe.py").write_text(PROBE)
    return lambda **variables: lambda_runtime(runtime_parts, task, "probe.handler", variables)


def test_function_is_confined_as_on_lambda(probe: Probe) -> None:
    """Unprivileged, without a home, in read-only code, with a fresh /tmp as the only place to write."""
    with probe() as runtime:
        seen = runtime.invoke("see").json
    assert seen["user"] == [993, 993, 990]
    assert seen["capabilities"] == ["0000000000000000"] * 2
    assert seen["home"] is False
    assert seen["cwd"] == "/var/task"
    assert seen["tmp"] == []
    usr = seen["write"].pop("/usr/x")
    assert usr in ("Permission denied", "Read-only file system")
    assert seen["write"] == {
        "/tmp/x": "written",  # noqa: S108 - the sandbox's own
        "/var/runtime/x": "Read-only file system",
        "/var/task/x": "Read-only file system",
        "/x": "Read-only file system",
    }


def test_function_sees_the_given_variables_alone(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's environment does not reach the function; what is given does, besides what Lambda sets."""
    monkeypatch.setenv("OF_THE_HOST", "x")
    with probe(GIVEN="x") as runtime:
        names = set(runtime.invoke("see").json["variables"])
    assert "GIVEN" in names
    assert "OF_THE_HOST" not in names
    of_lambda = re.compile(r"AWS_|_HANDLER$|LAMBDA_|HOME$|PATH$|PYTHONPATH$|PWD$|LANG$|LC_CTYPE$|TZ$|LD_LIBRARY_PATH$")
    assert {name for name in names if not of_lambda.match(name)} == {"GIVEN"}


def test_function_timeout_is_told_to_the_handler(probe: Probe) -> None:
    """AWS_LAMBDA_FUNCTION_TIMEOUT is what the handler's context counts down from."""
    with probe(AWS_LAMBDA_FUNCTION_TIMEOUT="50") as runtime:
        assert 30_000 < runtime.invoke("see").json["milliseconds"] <= 50_000


def test_log_holds_what_the_function_prints(probe: Probe) -> None:
    """The function's output can be read while it runs."""
    with probe(GIVEN="x") as runtime:
        runtime.invoke("see")
        assert "started with" in runtime.log
        assert "'GIVEN'" in runtime.log


def test_one_process_serves_several_invocations(probe: Probe) -> None:
    """The first invocation starts the function, the others find it running; events come through as they are."""
    with probe() as runtime:
        answers = [runtime.invoke({"number": number, "text": "🌍"}).json["event"] for number in range(3)]
        assert runtime.log.count("started with") == 1
    assert answers == [{"number": number, "text": "🌍"} for number in range(3)]


def test_exception_is_answered_and_the_process_goes_on(probe: Probe) -> None:
    """An exception of the handler is the runtime client's answer with status 200, as Lambda's own API has it."""
    with probe() as runtime:
        response = runtime.invoke("raise")
        assert (response.status, response.json["errorType"], response.json["errorMessage"]) == (
            200,
            "ValueError",
            "on purpose",
        )
        assert runtime.invoke("see").json["event"] == "see"
        assert runtime.log.count("started with") == 1


def test_dead_process_is_seen_and_replaced(probe: Probe) -> None:
    """A process that dies is status 502, and the next invocation starts another one."""
    with probe() as runtime:
        assert runtime.invoke("die").status == 502
        assert runtime.invoke("see").json["event"] == "see"
        assert runtime.log.count("started with") == 2


def test_runtimes_run_side_by_side(probe: Probe) -> None:
    """Several at the same time, each with ports and a /tmp of its own."""
    with probe(FIRST="x") as first, probe(SECOND="x") as second:
        for _ in range(2):
            assert "FIRST" in first.invoke("see").json["variables"]
            assert "SECOND" in second.invoke("see").json["variables"]


def processes(token: str) -> list[str]:
    """The command lines of all processes on this machine that hold a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended by now
            continue
        if token in line:
            found.append(line)
    return found


def test_everything_that_was_started_ends(probe: Probe) -> None:
    """With the block ends every process, also one that the function had left behind, and after an error too."""
    token = str(uuid.uuid4().int)[:9]

    def fail() -> None:
        with probe(TOKEN=token) as runtime:
            runtime.invoke("leave")
            assert processes(f"sleep {token}")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    end = time.monotonic() + 5
    while processes(token) and time.monotonic() < end:
        time.sleep(0.01)
    assert not processes(token)


def test_broken_sandbox_is_told_with_its_reason(runtime_parts: Parts, tmp_path: Path) -> None:
    """Where the emulator cannot start, the error holds what was written about it."""
    with (
        pytest.raises(RuntimeFailed, match=r"did not start(?s:.*)special device .*nowhere does not exist"),
        lambda_runtime(runtime_parts, tmp_path / "nowhere", "probe.handler", {}),
    ):
        pytest.fail("it started")
