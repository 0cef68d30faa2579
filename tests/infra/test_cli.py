"""The command line, as its user meets it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import guests
from tests.command_line import CommandLine, Outcome, is_free, serve

ROOT = Path(__file__).parent.parent.parent
EVENTS = ROOT / "infra" / "events"
THREE_LINES = "👋 Hello Jane Doe\nkey: hello, value: 👋 Hello World 🌍\nkey: message, value: I 💜 Extism 😍"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> CommandLine:
    """Runs commands in this process."""
    return CommandLine(monkeypatch, capfdbinary)


def test_serve_answers_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """The article's request gets the article's three lines; after Ctrl-C no process is left and the port is free."""
    with serve(tmp_path) as server:
        assert server.request().content == THREE_LINES.encode()
        assert server.request("/lookup", b"message").content == "I 💜 Extism 😍".encode()
        missing = server.request("/lookup", b"public/nothing")
        assert (missing.status_code, missing.json()["detail"]) == (422, "no such key: public/nothing")
        assert server.request("/lookup", b"secret").json()["type"] == "memory-access-denied"
        endpoint_port = int(server.endpoint.rpartition(":")[2])

        server.interrupt()

        assert server.is_gone()
        assert is_free(server.port)
        assert is_free(endpoint_port)
        assert "Traceback" not in server.err


def test_ctrl_c_ends_a_start_too(tmp_path: Path) -> None:
    """Also while the plugin is still being compiled."""
    with serve(tmp_path, until="Embedded DynamoDB") as server:
        server.interrupt()

        assert server.is_gone()
        assert "Traceback" not in server.err


@pytest.mark.parametrize("event", ["say-hello.json", "say-hello-rest.json", "direct.json"])
def test_invoke_prints_the_response(run: CommandLine, event: str) -> None:
    """Standard output is one JSON document with the article's three lines, and the exit code is 0."""
    outcome = run("invoke", EVENTS / event)

    response = json.loads(outcome.text)
    assert outcome.code == 0
    assert response.get("statusCode", response.get("status")) == 200
    assert response.get("body", response.get("output")) == THREE_LINES


def test_invoke_warms_up(run: CommandLine) -> None:
    """A warm-up ping is answered with the plugin that is warm."""
    outcome = run("invoke", EVENTS / "warmup.json", EXTISM_LAMBDA_MEMORY="map")

    assert (outcome.code, json.loads(outcome.text)) == (0, {"status": 200, "warm": "simple"})


def test_invoke_exits_with_1_when_the_response_is_an_error(run: CommandLine, tmp_path: Path) -> None:
    """The response is printed all the same."""
    event = tmp_path / "event.json"
    event.write_text('{"plugin": "nobody"}')

    outcome = run("invoke", event, EXTISM_LAMBDA_MEMORY="map")

    assert (outcome.code, json.loads(outcome.text)["type"]) == (1, "plugin-not-found")


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "cannot be read as an event"), ("{", "cannot be read as an event"), ('{"Records": []}', "Records")],
)
def test_invoke_tells_what_is_wrong_with_an_event(
    run: CommandLine, tmp_path: Path, content: str | None, expected: str
) -> None:
    """A line on stderr, nothing on stdout, exit code 1."""
    event = tmp_path / "event.json"
    if content is not None:
        event.write_text(content)

    outcome = run("invoke", event, EXTISM_LAMBDA_MEMORY="map")

    assert (outcome.code, outcome.out) == (1, b"")
    assert expected in outcome.err
    assert "Traceback" not in outcome.err


def test_a_wrong_setting_is_one_line(run: CommandLine) -> None:
    """The variable, its value and what is allowed."""
    outcome = run("invoke", EVENTS / "direct.json", EXTISM_LAMBDA_MEMORY="map", EXTISM_LAMBDA_CONCURRENCY="0")

    assert outcome.code == 1
    assert "EXTISM_LAMBDA_CONCURRENCY='0' is not allowed: expected a whole number from 1 to 64" in outcome.err
    assert "Traceback" not in outcome.err


def test_plugins_are_sound(run: CommandLine) -> None:
    """The committed plugins pass their check."""
    outcome = run("plugins")

    assert outcome.code == 0
    assert "simple" in outcome.text
    assert "lookup" in outcome.text


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no-export": (guests.ECHO, {"functions": ["nothing"]}, "does not export"),
    "unknown-import": (guests.UNKNOWN_IMPORT, {}, "nobodyGrantsThis"),
    "no-grant": (guests.GET, {}, "grants no key"),
    "no-wasi": (guests.NEEDS_WASI, {"wasi": False}, "wasi_snapshot_preview1"),
    "wrong-hash": (guests.ECHO, {"sha256": "0" * 64}, "Hash mismatch"),
    "unknown-field": (guests.ECHO, {"function": "run"}, "unknown field"),
}


def test_every_bad_plugin_is_told_with_its_reason(run: CommandLine, tmp_path: Path) -> None:
    """One that is wrong does not hide the others; the exit code is 1."""
    for name, (wat, fields, _) in BAD.items():
        guests.make_plugin(tmp_path, name, wat, **fields)
    guests.make_plugin(tmp_path, "good", guests.ECHO)
    (tmp_path / "no-toml").mkdir()

    outcome = run("plugins", "--plugins", tmp_path)

    assert outcome.code == 1
    lines = {line.partition(":")[0]: line for line in outcome.err.splitlines()}
    for name, (_, _, reason) in BAD.items():
        assert reason in outcome.err
        assert name in lines
    assert "has no plugin.toml" in lines["no-toml"]
    assert "good" not in lines
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ((), ["serve", "invoke", "plugins", "memory", "build", "local-stack"]),
        (("serve",), ["--port", "--host"]),
        (("invoke",), ["--timeout", "EVENT.json"]),
        (("plugins",), ["--plugins", "--policy", "--check", "--write"]),
        (("build",), ["--out", "--python", "--arch"]),
        (("local-stack",), ["--host", "--port", "--env-file", "--reached-as", "--seed"]),
        (("memory",), ["get", "put", "delete", "list", "load"]),
        (("memory", "load"), ["--table", "--dry-run"]),
    ],
)
def test_every_command_has_help(run: CommandLine, command: tuple[str, ...], options: list[str]) -> None:
    """It names the options or commands, and exits with 0."""
    outcome = run(*command, "--help", NO_COLOR="1", COLUMNS="100")

    assert outcome.code == 0
    for option in options:
        assert option in outcome.text


def test_build_tells_which_pythons_there_are(run: CommandLine, tmp_path: Path) -> None:
    """A runtime that Lambda does not have is refused before anything is written."""
    outcome = run("build", "--out", tmp_path / "artifact", "--python", "2.7")

    assert outcome.code == 1
    assert "2.7" in outcome.err
    assert not (tmp_path / "artifact").exists()


def test_memory_round_trip(run: CommandLine, tmp_path: Path) -> None:
    """What is put is got, listed and deleted again, over HTTP in the DynamoDB that `serve` embeds."""
    plugins = tmp_path / "plugins"
    shutil.copytree(ROOT / "plugins" / "lookup", plugins / "lookup")
    variables = {"EXTISM_LAMBDA_PLUGINS": str(plugins), "EXTISM_LAMBDA_DEFAULT_PLUGIN": "lookup"}
    with serve(tmp_path, **variables) as server:

        def memory(*arguments: str | Path) -> Outcome:
            return run("memory", *arguments, AWS_ENDPOINT_URL_DYNAMODB=server.endpoint)

        assert memory("put", "public/größe", "42 🎉").code == 0
        assert memory("get", "public/größe").text == "42 🎉"
        assert server.request("/", "public/größe".encode()).text == "42 🎉"
        assert "public/größe" in memory("list", "--prefix", "public/").text
        assert memory("delete", "public/größe").code == 0
        missing = memory("get", "public/größe")
        assert (missing.code, missing.out) == (1, b"")
        assert memory("load", ROOT / "infra" / "seed.json").code == 0


@pytest.mark.parametrize("table", [{}, {"EXTISM_LAMBDA_TABLE": ""}])
def test_an_endpoint_alone_means_the_table_that_serve_embeds(
    run: CommandLine, tmp_path: Path, table: dict[str, str]
) -> None:
    """With only the endpoint of a running `serve`, `invoke` reads its table; an empty variable counts as not set."""
    credentials = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "eu-central-1"}
    with serve(tmp_path) as server:
        environ = credentials | table | {"AWS_ENDPOINT_URL_DYNAMODB": server.endpoint}

        outcome = run("invoke", EVENTS / "direct.json", stdin=b"", **environ)

    assert (outcome.code, json.loads(outcome.text)["output"]) == (0, THREE_LINES)
