"""What is told about each request: one line when it is over, and the lines that its guest writes meanwhile.

On Lambda that line is JSON with CloudWatch's metrics in it (`handler.json_lines`). Everywhere else it goes through
`logging`, for a person's eyes.
"""

import logging
import traceback
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any, Protocol

from handler.errors import InternalError, InvocationError

logger = logging.getLogger(__name__)

TOLD_CHARACTERS = 4000
"""Most characters of a detail or a cause in the log; a guest's error message can be as long as its memory."""
TOLD_CAUSES = 8
OK = "ok"
WARM = "warm"


@dataclass(slots=True)
class RequestRecord:
    """What is known about one request; filled while it is served.

    Attributes:
        request_id: The Lambda invocation's id; one of its own where there is no such thing.
        plugin: The plugin that was called, or warmed; empty where the request did not come so far.
        function: The function that was called; empty where none was.
        outcome: `ok`, `warm`, or the type of the error.
        status: The HTTP status.
        compile_cache: What the compile cache did for the plugin in this process: `hit`, `miss` or `off`.
        total_seconds: From the request's arrival at the service to its output.
        guest_seconds: Of them, in the guest.
        store_seconds: Of them, waiting for the memory.
        reads: How many different keys were asked for.
        prefetch_hits: How many of them had been fetched beside the start of the call.
        guest_lines: How many lines of the guest were logged.
        guest_lines_dropped: How many were not.
        told: Whether its line has been written.
    """

    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    plugin: str = ""
    function: str = ""
    outcome: str = OK
    status: int = 200
    compile_cache: str = "unknown"
    total_seconds: float = 0.0
    guest_seconds: float = 0.0
    store_seconds: float = 0.0
    reads: int = 0
    prefetch_hits: int = 0
    guest_lines: int = 0
    guest_lines_dropped: int = 0
    told: bool = False

    def facts(self) -> dict[str, Any]:
        """The fields of the request's line, by the names that the README documents."""
        facts: dict[str, Any] = {"outcome": self.outcome, "status": self.status}
        if self.plugin:
            facts |= {"plugin": self.plugin, "compileCache": self.compile_cache}
        if self.function:
            facts |= {
                "function": self.function,
                "durationMs": round(self.total_seconds * 1000, 3),
                "guestMs": round(self.guest_seconds * 1000, 3),
                "storeMs": round(self.store_seconds * 1000, 3),
                "reads": self.reads,
                "prefetchHits": self.prefetch_hits,
            }
        if self.guest_lines or self.guest_lines_dropped:
            facts |= {"guestLines": self.guest_lines, "guestLinesDropped": self.guest_lines_dropped}
        return facts

    def server_timing(self) -> str:
        """The value of a `Server-Timing` header (W3C Server Timing): durations in milliseconds."""
        return (
            f"total;dur={self.total_seconds * 1000:.3f}, guest;dur={self.guest_seconds * 1000:.3f}, "
            f"store;dur={self.store_seconds * 1000:.3f}"
        )


class Telemetry(Protocol):
    """Where requests and guests are told about. Safe to use from several threads at once."""

    def finished(self, record: RequestRecord) -> None:
        """Tells of a request that was served."""
        ...

    def failed(self, record: RequestRecord, error: InvocationError) -> None:
        """Tells of a request that failed, with what its answer must not hold: the causes, a bug's stack trace."""
        ...

    def guest_said(self, record: RequestRecord, level: int, text: str) -> None:
        """Passes on a line of a guest, at a level of `logging`."""
        ...


class ReadableTelemetry:
    """Tells by `logging`, in lines for a person; the fields are those of the record, too."""

    def finished(self, record: RequestRecord) -> None:
        """Tells of a request that was served."""
        if not logger.isEnabledFor(logging.INFO):
            return
        figures = ""
        if record.function:
            figures = (
                f" in {record.total_seconds * 1000:.1f} ms (guest {record.guest_seconds * 1000:.1f}, memory "
                f"{record.store_seconds * 1000:.1f}; keys read {record.reads}, prefetched {record.prefetch_hits})"
            )
        if record.guest_lines_dropped:
            figures += f", {record.guest_lines_dropped} lines of the guest dropped"
        logger.info("%s%s [%s]", headline(record), figures, one_line(record.request_id), extra=_extra(record))

    def failed(self, record: RequestRecord, error: InvocationError) -> None:
        """Tells of a request that failed."""
        record.outcome, record.status = error.type, error.status
        logger.log(
            level_of(error),
            "%s: %s [%s]",
            headline(record),
            one_line("; ".join([error.detail[:TOLD_CHARACTERS], *causes(error)])),
            one_line(record.request_id),
            exc_info=error if type(error) is InternalError else None,
            extra=_extra(record),
        )

    def guest_said(self, record: RequestRecord, level: int, text: str) -> None:
        """Passes on a line of a guest."""
        logger.log(level, "%s says: %s [%s]", _name(record), one_line(text), record.request_id, extra=_extra(record))


def headline(record: RequestRecord) -> str:
    """The request in a few words."""
    return f"{_name(record)}: {record.outcome}"


def level_of(error: InvocationError) -> int:
    """ERROR for what went wrong on this side, INFO for what the client asked for."""
    return logging.ERROR if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO


def causes(error: BaseException) -> list[str]:
    """What led to an error, the nearest cause first."""
    return [f"{type(cause).__name__}: {cause}"[:TOLD_CHARACTERS] for cause in islice(_chain(error), TOLD_CAUSES)]


def stack_trace(error: BaseException) -> list[str]:
    """An error's stack trace, its causes' included, in lines."""
    return "".join(traceback.format_exception(error)).splitlines()


def one_line(text: str) -> str:
    """A text of somebody else's, in which nothing ends the line or moves a terminal's cursor."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _name(record: RequestRecord) -> str:
    return f"{record.plugin}.{record.function}" if record.function else record.plugin or "request"


def _extra(record: RequestRecord) -> dict[str, Any]:
    return {"requestId": record.request_id, **record.facts()}


def _chain(error: BaseException) -> Iterator[BaseException]:
    while (cause := error.__cause__) is not None:
        yield cause
        error = cause
