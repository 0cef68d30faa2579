"""Errors as RFC 9457 problem documents."""

import logging
from http import HTTPStatus
from typing import Any

from handler.errors import DeadlineExceeded, InvocationError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


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


def log_failure(error: InvocationError, request_id: str) -> None:
    """Logs a failed request: with all causes where the fault is on this side, in a line where it is the client's."""
    fault = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    logger.log(
        logging.ERROR if fault else logging.INFO,
        "request failed: %s",
        error.detail,
        exc_info=error if fault else None,
        extra={"request": request_id, "type": error.type, "status": error.status},
    )
