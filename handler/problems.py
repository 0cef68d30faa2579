"""Errors as RFC 9457 problem documents."""

import logging
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from handler.deadline import LambdaContext
from handler.errors import DeadlineExceeded, InternalError, InvocationError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def request_id_of(context: LambdaContext | None) -> str:
    """The id of the Lambda invocation; a new one where there is no such thing."""
    return str(uuid.uuid4()) if context is None else context.aws_request_id


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
    """Logs a failed request with what must not be in its answer: the causes, and a stack trace where it is a bug."""
    logger.log(
        logging.ERROR if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO,
        "request failed: %s%s",
        error.detail,
        "".join(f"; {type(cause).__name__}: {cause}" for cause in _causes(error)),
        exc_info=error if type(error) is InternalError else None,
        extra={"request": request_id, "type": error.type, "status": error.status},
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__) is not None:
        yield cause
        error = cause
