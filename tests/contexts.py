"""A stand-in for the context object that the Lambda runtime hands to a handler."""

import time
from dataclasses import dataclass, field


@dataclass
class FakeContext:
    """An invocation that Lambda will end after some time, which runs from the object's creation.

    Attributes:
        seconds: How long the invocation may take.
        aws_request_id: The invocation's id.
    """

    seconds: float = 30.0
    aws_request_id: str = "5b0c9e2a-0000-4000-8000-000000000001"
    _start: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""
        return int((self._start + self.seconds - time.monotonic()) * 1000)
