"""What a Lambda event is: HTTP, a direct invocation, a warm-up ping, or something to refuse."""

import base64
import json
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from typing import Any

from handler.deadline import Deadline, LambdaContext
from handler.errors import (
    BadRequest,
    InternalError,
    InvocationError,
    OutputTooLarge,
    QueueEventRefused,
    UnsupportedEvent,
)
from handler.problems import MEDIA_TYPE, problem, record_of
from handler.service import PluginService
from handler.telemetry import RequestRecord

HttpHandler = Callable[[dict[str, Any], Any], dict[str, Any]]

DIRECT_FIELDS: Mapping[str, tuple[type, Any]] = {
    "plugin": (str, None),
    "function": (str, None),
    "input": (str, ""),
    "isBase64Encoded": (bool, False),
}
"""The fields of a direct invocation: type and default."""

PAYLOAD_BYTES = 6 * 1024 * 1024
"""Most bytes that Lambda carries in an answer to a synchronous invocation (Lambda quotas)."""


class EventHandler:
    """The Lambda handler: tells the kinds of events apart and answers each in its form.

    Args:
        service: What runs plugins.
        http: What answers HTTP events: Mangum.
        loop: The event loop that `http` runs on; closed with the handler.
    """

    def __init__(self, service: PluginService, http: HttpHandler, loop: AbstractEventLoop) -> None:
        self._service = service
        self._http = http
        self._loop = loop

    def __call__(self, event: Any, context: LambdaContext | None) -> dict[str, Any]:
        """Answers one event.

        Raises:
            QueueEventRefused: The event holds records, which must not be acknowledged.
        """
        if is_http(event):
            return self._answer_http(event, context)
        record = record_of(context)
        try:
            if is_warm_up(event):
                self._service.ping(Deadline.of_lambda(context), record)
                return {"status": 200, "warm": self._service.default_plugin}
            if is_direct(event):
                return self._answer_direct(event, Deadline.of_lambda(context), record)
            if isinstance(event, dict) and "Records" in event:
                raise QueueEventRefused(
                    "events with Records are not supported: map the queue or stream to another function"
                )
            raise UnsupportedEvent(
                f"the event ({_describe(event)}) is neither an HTTP event of API Gateway, a load balancer or a "
                'function URL, nor {"plugin": ..., "function": ..., "input": ...}, nor {"warmup": true}'
            )
        except QueueEventRefused:
            raise
        except InvocationError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - Lambda would show the stack trace to whoever invoked
            failure = _unexpected(error)
        self._service.telemetry.failed(record, failure)
        return problem(failure, record.request_id)

    def close(self) -> None:
        """Frees the instances and the loop, where the process outlives the handler, as it does not in Lambda."""
        self._service.release()
        self._loop.close()

    def _answer_http(self, event: dict[str, Any], context: LambdaContext | None) -> dict[str, Any]:
        try:
            if event.get("isBase64Encoded"):
                _decode(event.get("body") or "", "body", is_base64=True)  # Mangum skips what is no base64
            response = self._http(event, context)
        except BadRequest as error:
            return self._http_problem(error, context)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # What Mangum raises on an event with a field missing or malformed.
            refused = BadRequest("the HTTP event cannot be read: a field is missing or malformed")
            refused.__cause__ = error
            return self._http_problem(refused, context)
        except Exception as error:  # noqa: BLE001 - Lambda would show the stack trace to whoever invoked
            return self._http_problem(_unexpected(error), context)
        size = _json_size(response.get("body", ""))
        if size > PAYLOAD_BYTES:
            return self._http_problem(_too_large(size), context)
        return response

    def _http_problem(self, error: InvocationError, context: LambdaContext | None) -> dict[str, Any]:
        """A problem document in the form that all HTTP event sources take."""
        record = record_of(context)
        self._service.telemetry.failed(record, error)
        return {
            "statusCode": error.status,
            "headers": {"content-type": MEDIA_TYPE},
            "body": json.dumps(problem(error, record.request_id)),
            "isBase64Encoded": False,
        }

    def _answer_direct(self, event: dict[str, Any], deadline: Deadline, record: RequestRecord) -> dict[str, Any]:
        fields = _direct_fields(event)
        target = self._service.find(fields["plugin"], fields["function"])
        data = _decode(fields["input"], "input", is_base64=fields["isBase64Encoded"])
        output = self._service.run(target, data, deadline, record)
        text, encoded = _encode(output)
        if (size := _json_size(text)) > PAYLOAD_BYTES:
            raise _too_large(size)
        return {"status": 200, "contentType": target.plugin.content_type, "output": text, "isBase64Encoded": encoded}


def is_http(event: Any) -> bool:
    """Whether Mangum can read the event: API Gateway in either format, a load balancer, or a function URL."""
    if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
        return False
    return "version" in event or "resource" in event or "elb" in event["requestContext"]


def is_warm_up(event: Any) -> bool:
    """Whether the event only wants an environment to be warm: {"warmup": true}, or a schedule of EventBridge."""
    if not isinstance(event, dict):
        return False
    return event.get("warmup") is True or (event.get("source"), event.get("detail-type")) == (
        "aws.events",
        "Scheduled Event",
    )


def is_direct(event: Any) -> bool:
    """Whether the event means to be a direct invocation."""
    return isinstance(event, dict) and any(name in event for name in ("plugin", "function", "input"))


def _direct_fields(event: dict[str, Any]) -> dict[str, Any]:
    for name in event:
        if name not in DIRECT_FIELDS:
            raise BadRequest(f"unknown field {name!r}: a direct invocation has {', '.join(DIRECT_FIELDS)}")
    fields = {name: event.get(name, default) for name, (_, default) in DIRECT_FIELDS.items()}
    for name, (kind, default) in DIRECT_FIELDS.items():
        if fields[name] is not default and not isinstance(fields[name], kind):
            raise BadRequest(f"{name} is of type {type(fields[name]).__name__}: expected {kind.__name__}")
    return fields


def _decode(text: str, name: str, *, is_base64: bool) -> bytes:
    if not is_base64:
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise BadRequest(
                f"{name} holds half of a surrogate pair at character {error.start}: it is no text"
            ) from error
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadRequest(f"{name} is not base64, though isBase64Encoded is true: {error}") from error


def _encode(output: bytes) -> tuple[str, bool]:
    """The output as text, or in base64 where it is none."""
    try:
        return output.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(output).decode(), True


def _json_size(text: str) -> int:
    """How many bytes a text takes in the answer's JSON; counted only where it may matter."""
    # A byte of UTF-8 takes at most six in JSON.
    if len(text) * 6 < PAYLOAD_BYTES:
        return len(text)
    return len(json.dumps(text, ensure_ascii=False).encode())


def _unexpected(error: Exception) -> InternalError:
    failure = InternalError("something went wrong that should not; the log says what")
    failure.__cause__ = error
    return failure


def _too_large(size: int) -> OutputTooLarge:
    return OutputTooLarge(f"the answer would have {size} bytes; Lambda carries up to {PAYLOAD_BYTES}")


def _describe(event: Any) -> str:
    if not isinstance(event, dict):
        return f"of type {type(event).__name__}"
    return "with the fields " + ", ".join(sorted(map(repr, event))[:10]) if event else "empty"
