"""What is told about requests, in lines for a person."""

import logging

import pytest

from handler.errors import InternalError, PluginReportedError, PluginTrapped, StoreFailed, UnknownPlugin
from handler.telemetry import (
    TOLD_CHARACTERS,
    ReadableTelemetry,
    RequestRecord,
    causes,
    one_line,
    stack_trace,
)

CALL = RequestRecord(
    "request-1",
    "gets",
    "run",
    total_seconds=0.0123,
    guest_seconds=0.004,
    store_seconds=0.008,
    reads=2,
    prefetch_hits=1,
)


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    """The level that is the default."""
    caplog.set_level(logging.INFO, "handler")


def caused(error: Exception, cause: Exception) -> Exception:
    """The error, with its cause."""
    error.__cause__ = cause
    return error


class TestReadable:
    """A developer's terminal."""

    def test_a_call(self, caplog: pytest.LogCaptureFixture) -> None:
        """One line says what was called, how it ended, where the time went, what was read, and for which request."""
        ReadableTelemetry().finished(CALL)

        assert caplog.messages == [
            "gets.run: ok in 12.3 ms (guest 4.0, memory 8.0; keys read 2, prefetched 1) [request-1]"
        ]

    def test_nothing_below_the_level(self, caplog: pytest.LogCaptureFixture) -> None:
        """Where warnings are wanted, a call that went well leaves nothing."""
        caplog.set_level(logging.WARNING, "handler")

        ReadableTelemetry().finished(CALL)

        assert caplog.messages == []

    def test_a_fault_is_told_with_its_causes(self, caplog: pytest.LogCaptureFixture) -> None:
        """What went wrong on this side is an error, its causes included, which no answer shows."""
        error = PluginTrapped("plugin 'x' crashed")
        error.__cause__ = ValueError("wasm backtrace")

        ReadableTelemetry().failed(RequestRecord("request-1"), error)

        (record,) = caplog.records
        assert (record.levelno, record.exc_info) == (logging.ERROR, None)
        assert record.getMessage() == (
            "request: plugin-trapped: plugin 'x' crashed; ValueError: wasm backtrace [request-1]"
        )
        assert vars(record).items() >= {"requestId": "request-1", "outcome": "plugin-trapped", "status": 500}.items()

    def test_a_bug_is_told_with_its_stack_trace(self, caplog: pytest.LogCaptureFixture) -> None:
        """What nobody foresaw has a stack trace."""
        ReadableTelemetry().failed(RequestRecord("request-1"), InternalError("something went wrong"))

        (record,) = caplog.records
        assert record.exc_info

    def test_a_clients_mistake_is_one_line(self, caplog: pytest.LogCaptureFixture) -> None:
        """A wrong path is no reason for a stack trace."""
        ReadableTelemetry().failed(RequestRecord("request-1"), UnknownPlugin("there is no plugin 'x'"))

        (record,) = caplog.records
        assert (record.levelno, record.exc_info) == (logging.INFO, None)

    def test_a_guest(self, caplog: pytest.LogCaptureFixture) -> None:
        """A guest's line has its level, and says whose it is."""
        ReadableTelemetry().guest_said(CALL, logging.WARNING, "no such customer 😕")

        (record,) = caplog.records
        assert (record.levelno, record.getMessage()) == (
            logging.WARNING,
            "gets.run says: no such customer 😕 [request-1]",
        )

    @pytest.mark.parametrize("text", ["one\nERROR two", "\x1b[2J", "\r", "\0", "\u2028", "\x9b1A"])
    def test_nothing_forges_a_line(self, caplog: pytest.LogCaptureFixture, text: str) -> None:
        """Neither a guest nor an error's message can end a line or move the cursor."""
        telemetry = ReadableTelemetry()
        telemetry.guest_said(RequestRecord(), logging.INFO, text)
        telemetry.failed(RequestRecord(), PluginReportedError(text))
        telemetry.failed(RequestRecord(), caused(StoreFailed("x"), ValueError(text)))  # type: ignore[arg-type]

        assert len(caplog.messages) == 3
        assert all(message.isprintable() for message in caplog.messages)


def test_a_printable_line_stays_as_it_is() -> None:
    """What is printable in any language is not touched."""
    assert one_line("👋 Hello Wörld 🌍, 你好") == "👋 Hello Wörld 🌍, 你好"


def test_causes_are_bounded() -> None:
    """Neither a chain of errors nor a message as long as a guest's memory makes the line endless."""
    error: Exception = StoreFailed("x")
    for _ in range(20):
        error = caused(StoreFailed("x"), caused(ValueError("y" * 100_000), error))

    assert len(causes(error)) == 8
    assert all(len(cause) <= TOLD_CHARACTERS for cause in causes(error))


def test_a_stack_trace_has_its_causes() -> None:
    """A bug's stack trace begins where it began."""
    trace = stack_trace(caused(InternalError("x"), KeyError("sourceIp")))

    assert trace[0] == "KeyError: 'sourceIp'"
    assert trace[-1].endswith("InternalError: x")


def test_server_timing() -> None:
    """The header has the three durations, in milliseconds, in the form that W3C's Server Timing gives it."""
    assert CALL.server_timing() == "total;dur=12.300, guest;dur=4.000, store;dur=8.000"
