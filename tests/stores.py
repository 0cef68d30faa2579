"""Stores that do what a test says."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from handler.deadline import Deadline
from handler.memory.map import ARTICLE

Get = Callable[[str, Deadline], bytes | None]


class ScriptedStore:
    """A store whose every read is a function's doing; it begins nothing beforehand.

    Attributes:
        asked: The keys that were asked for, in order.
    """

    def __init__(self, get: Get) -> None:
        self._get = get
        self.asked: list[str] = []

    def get(self, key: str, deadline: Deadline) -> bytes | None:
        """What the function returns or raises."""
        self.asked.append(key)
        return self._get(key, deadline)

    def begin_many(self, keys: Sequence[str]) -> Future[Mapping[str, bytes | None]] | None:
        """None: each key is read by itself."""
        return None

    def check(self, deadline: Deadline) -> None:
        """Reads a key."""
        self._get("check", deadline)

    def disconnect(self) -> None:
        """Does nothing."""


def failing(error: Exception, *, for_key: str = "broken") -> ScriptedStore:
    """A store with the article's values that fails for one key."""

    def get(key: str, deadline: Deadline) -> bytes | None:
        if key == for_key:
            raise error
        return ARTICLE.get(key)

    return ScriptedStore(get)
