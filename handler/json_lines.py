"""The request's line as JSON on stdout, which is also its metrics, in CloudWatch's embedded metric format.

Lambda takes a line of JSON on stdout as it is, and heeds its `timestamp` and `level` (AWS Lambda Developer Guide, "Log
level filtering"). CloudWatch extracts the metrics that `_aws` at the root of a line describes (CloudWatch User Guide,
"Specification: Embedded metric format").

Facts that shape it (measured on 2 busy cores, to a null device): a line without metrics took 64 µs through `logging`
and the runtime client's formatter; this line takes 31 µs as a dict and `json`, and 8 µs as a text with slots for what
differs from call to call. Powertools 3.37 (Logger and Metrics) took 160 µs for the two lines that it writes, and 16 ms
of a cold start beyond what is imported anyway, where this module and `handler.telemetry` take 2 to 6.
"""

import logging
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as quote
from typing import Any, TextIO

from handler.errors import InternalError, InvocationError, StoreThrottled
from handler.telemetry import OK, TOLD_CHARACTERS, WARM, RequestRecord, causes, headline, level_of, stack_trace

encode = JSONEncoder(separators=(",", ":")).encode

LEVELS = {logging.DEBUG: "DEBUG", logging.INFO: "INFO", logging.WARNING: "WARN", logging.ERROR: "ERROR"}
"""How Lambda spells levels."""

UNITS = {
    "invocations": "Count",
    "errors": "Count",
    "clientErrors": "Count",
    "durationMs": "Milliseconds",
    "guestMs": "Milliseconds",
    "storeMs": "Milliseconds",
    "reads": "Count",
    "prefetchHits": "Count",
    "throttles": "Count",
    "coldStarts": "Count",
    "compileCacheHits": "Count",
    "compileCacheMisses": "Count",
}
"""The metrics, each the name of the field that holds it."""

BY_PLUGIN = frozenset({"invocations", "errors", "clientErrors", "durationMs"})
BY_OUTCOME = frozenset({"errors", "clientErrors"})

SLOTS = {
    "Timestamp": "d",
    "timestamp": "s",
    "requestId": "s",
    "durationMs": ".3f",
    "guestMs": ".3f",
    "storeMs": ".3f",
    "reads": "d",
    "prefetchHits": "d",
}
"""What differs between the lines of a function's ordinary calls, and how it is written there."""


class JsonTelemetry:
    """Tells in lines of JSON.

    Args:
        namespace: CloudWatch's namespace for the metrics; empty for none.
        function_name: The Lambda function's name, a dimension of all metrics.
        level: The lowest level of `logging` that is written. Lines with metrics are written at any.
        stream: Where to; by default the stdout of the moment, which Lambda's runtime client replaces.
    """

    def __init__(self, namespace: str, function_name: str, level: int, stream: TextIO | None = None) -> None:
        self._namespace = namespace
        self._function_name = function_name
        self._level = level
        self._stream = stream
        self._told: set[str] = set()  # the plugins whose first call has been told
        self._cold = True
        self._templates: dict[tuple[str, str, str], str] = {}

    def finished(self, record: RequestRecord) -> None:
        """Tells of a request that was served."""
        if not self._namespace and self._level > logging.INFO:
            return
        ordinary = not self._cold and record.plugin in self._told and record.outcome == OK and not record.guest_lines
        self._write(self._from_template(record) if ordinary else encode(self._document(record)))
        record.told = True

    def failed(self, record: RequestRecord, error: InvocationError) -> None:
        """Tells of a request that failed, at the level INFO where it is the client's doing, and ERROR otherwise."""
        if record.told:  # the call went well, and is counted; it is the answer that does not fit
            record = RequestRecord(record.request_id)
        record.outcome, record.status = error.type, error.status
        level = level_of(error)
        if not self._namespace and self._level > level:
            return
        document = self._document(record, level)
        document |= {"detail": error.detail[:TOLD_CHARACTERS], "causes": causes(error)}
        if type(error) is InternalError:
            document["stackTrace"] = stack_trace(error)
        self._write(encode(document))

    def guest_said(self, record: RequestRecord, level: int, text: str) -> None:
        """Passes on a line of a guest."""
        if level < self._level:
            return
        origin = {"requestId": record.request_id, "plugin": record.plugin, "function": record.function}
        self._write(encode({**_head(level, text, "guest"), **origin}))

    def _document(self, record: RequestRecord, level: int = logging.INFO) -> dict[str, Any]:
        """The whole line, as it is at any time."""
        cold, self._cold = self._cold, False
        first = bool(record.plugin) and record.plugin not in self._told
        if record.plugin:
            self._told.add(record.plugin)
        document = {
            **_head(level, headline(record), "request"),
            "requestId": record.request_id,
            "functionName": self._function_name,
            **record.facts(),
            **_counts(record, cold=cold, first=first),
            "coldStart": cold,
        }
        if self._namespace:
            document["_aws"] = {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": self._directives(document, record),
            }
        return document

    def _directives(self, document: dict[str, Any], record: RequestRecord) -> list[dict[str, Any]]:
        """Which of the line's fields are metrics, under which dimensions."""
        present = [name for name in UNITS if name in document]
        sets = [(["functionName"], present)]
        if record.function:
            sets.append((["functionName", "plugin"], [name for name in present if name in BY_PLUGIN]))
        if record.outcome not in (OK, WARM):
            sets.append((["functionName", "outcome"], [name for name in present if name in BY_OUTCOME]))
        return [
            {
                "Namespace": self._namespace,
                "Dimensions": [dimensions],
                "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in names],
            }
            for dimensions, names in sets
        ]

    def _from_template(self, record: RequestRecord) -> str:
        """The same line as `_document`'s for a call that went well and was not the first."""
        key = record.plugin, record.function, record.compile_cache
        template = self._templates.get(key)
        if template is None:
            template = self._templates[key] = _template(self._document(record))
        now = time.time()
        return template % {
            "Timestamp": now * 1000,
            "timestamp": quote(_timestamp(now)),
            "requestId": quote(record.request_id),
            "durationMs": record.total_seconds * 1000,
            "guestMs": record.guest_seconds * 1000,
            "storeMs": record.store_seconds * 1000,
            "reads": record.reads,
            "prefetchHits": record.prefetch_hits,
        }

    def _write(self, line: str) -> None:
        stream = self._stream or sys.stdout
        with suppress(OSError, ValueError):  # a log that cannot be written is no reason to fail a request
            stream.write(line + "\n")  # at once, so that lines of several threads do not mix
            stream.flush()


def _counts(record: RequestRecord, *, cold: bool, first: bool) -> dict[str, int]:
    """The metrics that count; one that does not apply to the request is left out, so that averages are rates."""
    counts = {"coldStarts": int(cold)}
    if record.outcome != WARM:
        counts["errors"] = int(record.status >= HTTPStatus.INTERNAL_SERVER_ERROR)
        counts["clientErrors"] = int(HTTPStatus.BAD_REQUEST <= record.status < HTTPStatus.INTERNAL_SERVER_ERROR)
    if record.function:
        counts["invocations"] = 1
        counts["throttles"] = int(record.outcome == StoreThrottled.type)
    if first and record.compile_cache in ("hit", "miss"):
        counts["compileCacheHits"] = int(record.compile_cache == "hit")
        counts["compileCacheMisses"] = int(record.compile_cache == "miss")
    return counts


def _head(level: int, message: str, logger: str) -> dict[str, str]:
    return {
        "timestamp": _timestamp(time.time()),
        "level": LEVELS.get(level, "INFO"),
        "message": message,
        "logger": logger,
    }


def _timestamp(seconds: float) -> str:
    """A time in RFC 3339, in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _template(document: dict[str, Any]) -> str:
    """A %-format that makes the document again, with other values in the slots."""
    open_ = {name: f"\0{name}" for name in SLOTS}
    filled = {name: open_.get(name, value) for name, value in document.items()}
    if "_aws" in document:
        filled["_aws"] = {**document["_aws"], "Timestamp": open_["Timestamp"]}
    text = encode(filled).replace("%", "%%")
    for name, form in SLOTS.items():
        text = text.replace(f'"{name}":{encode(open_[name])}', f'"{name}":%({name}){form}')
    return text
