"""Errors as problem documents, and in the log."""

import json
import logging

import pytest

from handler.errors import GuestDeadlineExceeded, PluginTrapped, StoreDeadlineExceeded, UnknownPlugin
from handler.problems import log_failure, problem


def test_a_problem_has_the_fields_of_rfc_9457_and_the_request_id() -> None:
    """The document holds type, title, status, detail and requestId, and no more."""
    document = problem(UnknownPlugin("there is no plugin '💜'"), "request-1")

    assert document == {
        "type": "plugin-not-found",
        "title": "There is no such plugin",
        "status": 404,
        "detail": "there is no plugin '💜'",
        "requestId": "request-1",
    }
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("error", "place"), [(GuestDeadlineExceeded("x"), "guest"), (StoreDeadlineExceeded("x"), "store")]
)
def test_a_deadline_says_where_the_time_went(error: GuestDeadlineExceeded, place: str) -> None:
    """The field spentIn names guest or store."""
    assert problem(error, "request-1")["spentIn"] == place


def test_a_fault_is_logged_with_its_causes(caplog: pytest.LogCaptureFixture) -> None:
    """What went wrong on this side is in the log, cause included, with the request's id."""
    error = PluginTrapped("plugin 'x' crashed")
    error.__cause__ = ValueError("wasm backtrace")

    log_failure(error, "request-1")

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert (record.request, record.type, record.status) == ("request-1", "plugin-trapped", 500)  # type: ignore[attr-defined]
    assert "plugin 'x' crashed" in caplog.text
    assert "wasm backtrace" in caplog.text


def test_a_clients_mistake_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong path is no reason for a stack trace."""
    caplog.set_level(logging.INFO)

    log_failure(UnknownPlugin("there is no plugin 'x'"), "request-1")

    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
