"""Errors as problem documents."""

import json

import pytest

from handler.errors import GuestDeadlineExceeded, StoreDeadlineExceeded, UnknownPlugin
from handler.problems import problem, record_of
from tests.contexts import FakeContext


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


def test_a_request_has_the_id_of_its_lambda_invocation() -> None:
    """The record of a request has Lambda's id, and where there is no Lambda a new one each time."""
    assert record_of(FakeContext(aws_request_id="request-1")).request_id == "request-1"
    assert record_of(None).request_id != record_of(None).request_id
