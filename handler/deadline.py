"""When an invocation has to be over."""

import math
import time
from dataclasses import dataclass
from typing import Protocol, Self


class LambdaContext(Protocol):
    """What is used of the context object that the Lambda runtime hands to the handler."""

    @property
    def aws_request_id(self) -> str:
        """The invocation's id, as in every line of its log."""
        ...

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""
        ...


ANSWER_MARGIN = 0.25
"""Seconds kept back from what is left of a Lambda invocation, to make the answer and hand it over."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock that work may not run past.

    Attributes:
        at: Seconds on the clock of `time.monotonic`.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """The deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def never(cls) -> Self:
        """No deadline, as under `serve`, where no one ends a request from outside."""
        return cls(math.inf)

    @classmethod
    def of_lambda(cls, context: LambdaContext | None) -> Self:
        """The end of a Lambda invocation, less the margin for answering; never where there is no such thing."""
        if context is None:
            return cls.never()
        return cls.after(context.get_remaining_time_in_millis() / 1000 - ANSWER_MARGIN)

    def remaining(self) -> float:
        """Seconds left; 0.0 when it has passed, infinity where there is no deadline."""
        return max(0.0, self.at - time.monotonic())

    def timeout(self) -> float | None:
        """Seconds left, in the form that the waiting functions of `threading` take: None where there is no deadline."""
        return None if math.isinf(self.at) else self.remaining()

    def earliest(self, other: Self) -> Self:
        """The one of the two that comes first."""
        return self if self.at <= other.at else other
