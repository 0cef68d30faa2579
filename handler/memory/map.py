"""The article's Map: values held in the process."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from handler.deadline import Deadline

ARTICLE = {"hello": "👋 Hello World 🌍".encode(), "message": "I 💜 Extism 😍".encode()}
"""The two entries of the article's host application."""


class MapStore:
    """A store over a mapping; by default the article's."""

    def __init__(self, values: Mapping[str, bytes] = ARTICLE) -> None:
        self._values = values

    def get(self, key: str, deadline: Deadline) -> bytes | None:  # noqa: ARG002 - it never waits
        """The value of a key, or None."""
        return self._values.get(key)

    def begin_many(self, keys: Sequence[str]) -> Future[Mapping[str, bytes | None]] | None:  # noqa: ARG002
        """Begins nothing: there is nothing to wait for, and a batch would take longer than the reads."""
        return None

    def check(self, deadline: Deadline) -> None:
        """Does nothing: a mapping is always there."""

    def disconnect(self) -> None:
        """Does nothing: there is no connection."""
