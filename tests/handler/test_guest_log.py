"""What guests write to the log."""

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from handler.guest_log import CALL_BYTES, LINE_BYTES, LINES, GuestLog
from handler.log_functions import LEVELS
from handler.telemetry import RequestRecord
from tests import guests
from tests.conftest import MakeHandler, MakePlugin
from tests.contexts import FakeContext

if TYPE_CHECKING:
    from handler.events import EventHandler

LOG_IMPORTS = (
    "\n".join(f'(import "extism:host/env" "{name}" (func ${name} (param i64)))' for name in LEVELS)
    + '(import "extism:host/env" "get_log_level" (func $get_log_level (result i32)))'
)

COPY = """
(func $copy (result i64)
  (local $block i64) (local $i i64)
  (local.set $block (call $alloc (call $input_length)))
  (block $end (loop $next
    (br_if $end (i64.ge_u (local.get $i) (call $input_length)))
    (call $store_u8 (i64.add (local.get $block) (local.get $i)) (call $input_load_u8 (local.get $i)))
    (local.set $i (i64.add (local.get $i) (i64.const 1)))
    (br $next)))
  (local.get $block))
"""
"""A new block with the input in it: log functions free the block that they are given."""


def logging_guest(body: str) -> str:
    """A guest with the log functions, whose function `run` has this body."""
    return guests.module(f'{COPY} (func (export "run") (result i32) {body})', imports=LOG_IMPORTS)


LOGS_INPUT = logging_guest(f"(call $log_info (call $copy)) {guests.OK}")
"""Writes its input to the log, at INFO."""

AT_EVERY_LEVEL = logging_guest("".join(f"(call ${name} (call $copy))" for name in LEVELS) + guests.OK)
"""Writes its input once at each level."""

LOGS_OFTEN = logging_guest(
    f"""(local $left i64)
    (local.set $left (call $input_number))
    (loop $again
      (call $log_error (call $copy))
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br_if $again (i64.gt_s (local.get $left) (i64.const 0))))
    {guests.OK}"""
)
"""Writes its input to the log as often as the input, a number, says."""

LOGS_NO_BLOCK = guests.guest(
    f"(call $log_info (i64.const 0)) (call $log_info (i64.const -1)) (call $log_info (i64.const 0x7fffffffffff)) "
    f"(call $output_set (call $input_offset) (call $input_length)) {guests.OK}",
    imports=LOG_IMPORTS,
)
"""Asks to log what is no block of Extism's memory, then answers with its input."""

LEVEL_AT_START = guests.module(
    """(global $level (mut i32) (i32.const -1))
    (func (export "_initialize") (global.set $level (call $get_log_level)))
    (func (export "run") (result i32)
      (call $answer_number (i64.extend_i32_u (global.get $level))) (i32.const 0))""",
    imports=LOG_IMPORTS,
)
"""Answers with the log level that it was told while it was instantiated."""

LOGS_MUCH = logging_guest(
    f"""(local $left i32)
    (local.set $left (i32.const 2000))
    (loop $again
      (call $log_debug (call $alloc (i64.const 65536)))
      (call $log_info (call $alloc (i64.const 65536)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $left) (i32.const 0))))
    {guests.OK}"""
)
"""Logs 4,000 blocks of 64 KiB, half of them at DEBUG."""

TRAPS_AFTER = logging_guest("(call $log_error (call $copy)) unreachable")
"""Writes its input to the log and traps."""


@pytest.fixture
def call(
    make_plugin: MakePlugin, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[dict[str, object], list[dict[str, object]]]]:
    """Calls a guest with an input as on Lambda; gives the answer and the lines that it left on stdout."""

    def do(wat: str, data: str, **environ: str) -> tuple[dict[str, object], list[dict[str, object]]]:
        make_plugin("logs", wat)
        handler = make_handler(AWS_LAMBDA_LOG_FORMAT="JSON", **environ)
        answer = handler({"input": data}, FakeContext(aws_request_id="request-1"))
        handler({"input": ""}, FakeContext(aws_request_id="request-2"))
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return answer, [line for line in lines if line["requestId"] == "request-1"]

    return do


Call = Callable[..., tuple[dict[str, object], list[dict[str, object]]]]


def test_a_line_has_its_request_its_plugin_and_its_level(call: Call) -> None:
    """A guest's lines come before its request's, with the same id; those below the level do not come."""
    answer, lines = call(AT_EVERY_LEVEL, "no such customer 😕")

    assert answer["status"] == 200
    *said, request = lines
    assert [(line["level"], line["message"]) for line in said] == [
        (level, "no such customer 😕") for level in ("INFO", "WARN", "ERROR")
    ]
    assert {(line["plugin"], line["function"], line["logger"]) for line in said} == {("logs", "run", "guest")}
    assert (request["outcome"], request["guestLines"]) == ("ok", 3)


def test_debug_is_written_where_it_is_wanted(call: Call) -> None:
    """With EXTISM_LAMBDA_LOG_LEVEL=DEBUG all five levels are written, trace as debug."""
    _, lines = call(AT_EVERY_LEVEL, "x", EXTISM_LAMBDA_LOG_LEVEL="DEBUG")

    assert [line["level"] for line in lines[:-1]] == ["DEBUG", "DEBUG", "INFO", "WARN", "ERROR"]


@pytest.mark.parametrize("text", ['\n{"level": "ERROR", "_aws": {}}\n', "\x1b[2J\r\b", "a\0b", '"}', "\u2028"])
def test_a_line_forges_nothing(call: Call, text: str) -> None:
    """Whatever a guest writes is one line's message, word for word."""
    _, lines = call(LOGS_INPUT, text)

    assert [line["message"] for line in lines[:-1]] == [text]
    assert "_aws" not in lines[0]


def test_many_lines_are_bounded(call: Call) -> None:
    """After 100 lines the rest is counted, not written."""
    _, lines = call(LOGS_OFTEN, "5000")

    *said, request = lines
    assert len(said) == LINES
    assert (request["guestLines"], request["guestLinesDropped"]) == (LINES, 5000 - LINES)


def test_a_long_line_is_cut(call: Call) -> None:
    """A line has up to 8 KiB."""
    _, lines = call(LOGS_INPUT, "x" * 500_000)

    assert lines[0]["message"] == "x" * LINE_BYTES


def test_what_is_no_block_is_no_line(call: Call) -> None:
    """An offset that means nothing reads nothing, and the guest goes on."""
    answer, lines = call(LOGS_NO_BLOCK, "Jane")

    assert answer["output"] == "Jane"
    assert len(lines) == 1


def test_what_was_logged_takes_no_memory(call: Call) -> None:
    """A block is freed once it is logged, as by Extism's own log functions; also where its level is not written."""
    answer, _ = call(LOGS_MUCH, "")

    assert answer["status"] == 200


def test_what_was_said_before_a_trap_is_there(call: Call) -> None:
    """A guest's last words are in the log."""
    answer, lines = call(TRAPS_AFTER, "about to crash")

    assert answer["type"] == "plugin-trapped"
    assert [line["message"] for line in lines] == ["about to crash", "logs.run: plugin-trapped"]


@pytest.mark.parametrize(("level", "number"), [("DEBUG", "0"), ("INFO", "2"), ("WARNING", "3"), ("ERROR", "4")])
def test_a_guest_can_ask_for_the_level_while_it_starts(call: Call, level: str, number: str) -> None:
    """PDKs ask before they format a line, and may do so from `_initialize`, where host functions cannot do more."""
    answer, _ = call(LEVEL_AT_START, "", EXTISM_LAMBDA_LOG_LEVEL=level)

    assert answer["output"] == number


def test_each_call_has_the_whole_bound(
    make_plugin: MakePlugin, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one call wrote takes nothing from the next one."""
    make_plugin("logs", LOGS_OFTEN)
    handler = make_handler(AWS_LAMBDA_LOG_FORMAT="JSON")
    for number in ("200", "50"):
        handler({"input": number}, FakeContext())

    requests = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"guestLines"' in line]
    assert [(line["guestLines"], line["guestLinesDropped"]) for line in requests] == [(100, 100), (50, 0)]


def test_on_a_terminal(make_plugin: MakePlugin, make_handler: MakeHandler, caplog: pytest.LogCaptureFixture) -> None:
    """Outside of Lambda a guest's lines are lines for a person."""
    make_plugin("logs", LOGS_INPUT)
    handler: EventHandler = make_handler()
    with caplog.at_level(logging.INFO, "handler"):
        handler({"input": "a\nb"}, FakeContext(aws_request_id="request-1"))

    assert "logs.run says: a\\nb [request-1]" in caplog.messages


class Counting:
    """A telemetry that counts bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    def finished(self, record: RequestRecord) -> None:
        """Not called."""

    def failed(self, record: RequestRecord, error: Exception) -> None:
        """Not called."""

    def guest_said(self, record: RequestRecord, level: int, text: str) -> None:
        """Counts."""
        self.bytes += len(text.encode())


def test_all_lines_of_a_call_are_bounded() -> None:
    """One call writes up to 64 KiB, and nothing after a line that was left out."""
    telemetry, record = Counting(), RequestRecord()
    log = GuestLog(telemetry, record)
    for _ in range(20):
        log.say(logging.INFO, b"x" * LINE_BYTES)
    log.say(logging.INFO, b"x")

    assert telemetry.bytes == CALL_BYTES
    assert record.guest_lines + record.guest_lines_dropped == 21


def test_bytes_that_are_no_text_are_replaced() -> None:
    """A line need not be UTF-8."""
    telemetry, record = Counting(), RequestRecord()
    GuestLog(telemetry, record).say(logging.INFO, b"\xff\xfe")

    assert (telemetry.bytes, record.guest_lines) == (6, 1)
