"""How much of what a guest writes to the log is passed on."""

from handler.telemetry import RequestRecord, Telemetry

LINES = 100
"""Most lines of one call."""
LINE_BYTES = 8192
"""Most bytes of a line; the rest is cut off."""
CALL_BYTES = 65_536
"""Most bytes of one call's lines; CloudWatch bills them, and a guest must not be able to run up the bill."""


class GuestLog:
    """The log of one call: passes lines on until they are too many or too long, and counts the rest.

    Args:
        telemetry: Where to.
        record: The request's record, which counts the lines.
    """

    def __init__(self, telemetry: Telemetry, record: RequestRecord) -> None:
        self._telemetry = telemetry
        self._record = record
        self._bytes = 0

    def say(self, level: int, line: bytes) -> None:
        """Passes on a line, at a level of `logging`; bytes that are no UTF-8 are replaced."""
        line = line[:LINE_BYTES]
        self._bytes += len(line)
        if self._record.guest_lines >= LINES or self._bytes > CALL_BYTES:
            self._bytes = CALL_BYTES + 1  # a shorter line must not slip in behind those that are missing
            self._record.guest_lines_dropped += 1
            return
        self._record.guest_lines += 1
        self._telemetry.guest_said(self._record, level, line.decode(errors="replace"))
