"""Fields of a TOML table, taken one by one: what has another type or nobody takes is refused by name."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from handler.errors import ConfigurationError

T = TypeVar("T")


class Table:
    """A TOML table from which fields are taken; what is left at the end is unknown."""

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        self._where = where
        self._values = dict(values)

    def take(self, name: str, read: Callable[[Any], T], expected: str, default: Any = ...) -> T:
        """Takes one field; `...` as its default means that it is required."""
        if name not in self._values:
            if default is ...:
                raise ConfigurationError(f"{self._where}: {name} is missing: expected {expected}")
            return default  # type: ignore[no-any-return]
        value = self._values.pop(name)
        try:
            return read(value)
        except ValueError:
            raise ConfigurationError(f"{self._where}: {name} = {value!r} is not allowed: expected {expected}") from None

    def table(self, name: str) -> "Table":
        """Takes a table; one that is not there is empty."""
        values = self._values.pop(name, {})
        if not isinstance(values, dict):
            raise ConfigurationError(f"{self._where}: {name} = {values!r} is not allowed: expected a table")
        return Table(f"{self._where}: [{name}]", values)

    def names(self) -> list[str]:
        """The names of the fields that were not taken."""
        return list(self._values)

    def finish(self) -> None:
        """Refuses what nobody took."""
        for name, value in self._values.items():
            raise ConfigurationError(f"{self._where}: {name} = {value!r} is an unknown field")


def text(value: object) -> str:
    """Reads a text."""
    if not isinstance(value, str):
        raise ValueError(value)  # noqa: TRY004 - one kind of refusal, translated in one place
    return value


def texts(value: object) -> list[str]:
    """Reads a list of texts."""
    if not isinstance(value, list):
        raise ValueError(value)  # noqa: TRY004
    return [text(one) for one in value]


def boolean(value: object) -> bool:
    """Reads true or false."""
    if not isinstance(value, bool):
        raise ValueError(value)  # noqa: TRY004
    return value


def matching(pattern: re.Pattern[str]) -> Callable[[object], str]:
    """How to read a text of a certain form."""

    def read(value: object) -> str:
        if not pattern.fullmatch(text(value)):
            raise ValueError(value)
        return text(value)

    return read


def whole_number(least: int, most: int) -> tuple[Callable[[object], int], str]:
    """How to read a whole number of a range, and what is expected of it in words."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(value)
        return value

    return read, f"a whole number from {least} to {most}"
