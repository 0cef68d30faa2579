"""Errors as RFC 9457 problem documents."""

from typing import Any

from handler.deadline import LambdaContext
from handler.errors import DeadlineExceeded, InvocationError
from handler.telemetry import RequestRecord

MEDIA_TYPE = "application/problem+json"


def record_of(context: LambdaContext | None) -> RequestRecord:
    """The record of a new request, by the id of its Lambda invocation; by a new one where there is no such thing."""
    return RequestRecord() if context is None else RequestRecord(context.aws_request_id)


def problem(error: InvocationError, request_id: str) -> dict[str, Any]:
    """The problem document of a failed request: what may be told, and the id under which the log has the rest."""
    document: dict[str, Any] = {
        "type": error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "requestId": request_id,
    }
    if isinstance(error, DeadlineExceeded):
        document["spentIn"] = error.spent_in
    return document
