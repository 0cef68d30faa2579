"""Items of the memory table, and the file format that they are loaded from.

A file is a JSON list of objects with the fields `key`, either `value` (text) or `value_base64` (bytes), and, if wanted,
`expires_at` (epoch seconds).
"""

import base64
import json
import reprlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from handler.memory.dynamodb import EXPIRES_AT, KEY, VALUE
from handler.memory.keys import KEY_BYTES
from infra.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

ITEM_BYTES = 400 * 1024
"""Most bytes of an item, the names of its attributes included (DynamoDB Developer Guide, "Constraints")."""
LAST_SECOND = 253_402_300_799
"""The end of the year 9999 in epoch seconds. A larger number is a time in milliseconds, which would never expire."""

_short = reprlib.repr
"""Values in messages: as much as tells which one it is."""

BASE64 = "value_base64"
FIELDS = ("key", "value", BASE64, "expires_at")


class ItemError(CommandError, ValueError):
    """An item, or a file of items, is not in the form that the table takes."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the table.

    Attributes:
        key: 1 to 2048 bytes of UTF-8.
        value: Text, or bytes that need not be text; at most what fits an item of 400 KB.
        expires_at: When the item expires, in epoch seconds; None for never.

    Raises:
        ItemError: One of them is not allowed.
    """

    key: str
    value: str | bytes
    expires_at: int | None = None

    def __post_init__(self) -> None:
        check_key(self.key)
        if self.expires_at is not None and not 0 <= self.expires_at <= LAST_SECOND:
            raise ItemError(f"expires_at {self.expires_at} is not allowed: expected epoch seconds, 0 to {LAST_SECOND}")
        if self.size > ITEM_BYTES:
            raise ItemError(f"key {_short(self.key)}: the item has {self.size} bytes, at most {ITEM_BYTES} are allowed")

    @property
    def size(self) -> int:
        """The item's size in bytes, as the Developer Guide counts it in "DynamoDB item sizes and formats"."""
        size = len(KEY) + len(_encode("key", self.key)) + len(VALUE) + len(self.raw_value)
        if self.expires_at is not None:
            size += len(EXPIRES_AT) + (len(str(self.expires_at)) + 1) // 2 + 1
        return size

    @property
    def raw_value(self) -> bytes:
        """The value as a plugin gets it: text in UTF-8."""
        return _encode("value", self.value) if isinstance(self.value, str) else self.value

    def has_expired(self, now: float | None = None) -> bool:
        """Whether the item counts as missing at a time in epoch seconds, by default now."""
        return self.expires_at is not None and self.expires_at <= (time.time() if now is None else now)

    def to_attributes(self) -> "dict[str, AttributeValueTypeDef]":
        """The item in DynamoDB's own types."""
        attributes: dict[str, AttributeValueTypeDef] = {
            KEY: {"S": self.key},
            VALUE: {"S": self.value} if isinstance(self.value, str) else {"B": self.value},
        }
        if self.expires_at is not None:
            attributes[EXPIRES_AT] = {"N": str(self.expires_at)}
        return attributes

    def to_entry(self) -> dict[str, Any]:
        """The item in the form of a file of items."""
        text = isinstance(self.value, str)
        value = {"value": self.value} if text else {BASE64: base64.b64encode(self.raw_value).decode()}
        return {"key": self.key, **value, **({} if self.expires_at is None else {"expires_at": self.expires_at})}

    @classmethod
    def from_attributes(cls, attributes: "Mapping[str, AttributeValueTypeDef]") -> Self:
        """Reads an item of the table.

        Raises:
            ItemError: An attribute is missing or has a type that the functions cannot read.
        """
        match attributes.get(KEY):
            case {"S": str(key)}:
                pass
            case other:
                raise ItemError(f"attribute {KEY!r} {_describe(other)}: expected S")
        value: str | bytes
        match attributes.get(VALUE):
            case {"S": str(text)}:
                value = text
            case {"B": bytes(raw)}:
                value = raw
            case other:
                raise ItemError(f"key {_short(key)}: attribute {VALUE!r} {_describe(other)}: expected S or B")
        match attributes.get(EXPIRES_AT):
            case None:
                return cls(key, value)
            case {"N": str(seconds)}:
                return cls(key, value, int(float(seconds)))
            case other:
                raise ItemError(f"key {_short(key)}: attribute {EXPIRES_AT!r} {_describe(other)}: expected N")


def check_key(key: str, name: str = "key") -> None:
    """Checks what the table takes as a key.

    Args:
        key: The key, or what one begins with.
        name: What messages call it.

    Raises:
        ItemError: It is not 1 to 2048 bytes of UTF-8.
    """
    if not 1 <= (length := len(_encode(name, key))) <= KEY_BYTES:
        raise ItemError(f"{name} {_short(key)} has {length} bytes: 1 to {KEY_BYTES} are allowed")


def read_items(path: Path) -> list[Item]:
    """Reads a file of items.

    Raises:
        ItemError: It cannot be read or breaks the format; the message names file, item, field, value and what is
            allowed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ItemError(f"{path} cannot be read: {error}") from error
    return parse_items(text, str(path))


def parse_items(text: str, source: str) -> list[Item]:
    """Reads items from JSON text.

    Args:
        text: A JSON list of objects.
        source: What messages call the text, such as the path of its file.

    Raises:
        ItemError: The text breaks the format; the message names source, item, field, value and what is allowed.
    """
    try:
        entries = json.loads(text, object_pairs_hook=_refuse_duplicates)
    except ValueError as error:
        raise ItemError(f"{source} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise ItemError(f"{source} holds {_json_type(entries)}: expected a list of items")
    items: list[Item] = []
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        try:
            item = _parse_entry(entry)
        except ItemError as error:
            raise ItemError(f"{source}: item {index}: {error}") from error
        if item.key in seen:
            raise ItemError(
                f"{source}: item {index}: field 'key': {_short(item.key)} is item {seen[item.key]}'s already"
            )
        seen[item.key] = index
        items.append(item)
    return items


def decode(text: str, source: str) -> bytes:
    """Reads base64.

    Raises:
        ItemError: It is none; the message calls it by its source.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ItemError(f"{source}: {_short(text)} is not allowed: expected base64 ({error})") from error


def _parse_entry(entry: Any) -> Item:
    if not isinstance(entry, dict):
        raise ItemError(f"{_short(entry)} is {_json_type(entry)}: expected an object")
    for name in entry:
        if name not in FIELDS:
            raise ItemError(f"unknown field {_short(name)}: expected {', '.join(FIELDS)}")
    if ("value" in entry) == (BASE64 in entry):
        found = "both" if "value" in entry else "neither"
        raise ItemError(f"there is {found} of the fields 'value' and 'value_base64': expected exactly one")
    return Item(
        key=_text(entry, "key"),
        value=_text(entry, "value") if "value" in entry else decode(_text(entry, BASE64), f"field {BASE64!r}"),
        expires_at=_seconds(entry["expires_at"]) if "expires_at" in entry else None,
    )


def _text(entry: dict[str, Any], field: str) -> str:
    if field not in entry:
        raise ItemError(f"there is no field {field!r}")
    if not isinstance(entry[field], str):
        raise _wrong(field, entry[field], "text")
    return str(entry[field])


def _seconds(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong("expires_at", value, "epoch seconds, a whole number")
    return value


def _wrong(field: str, value: Any, expected: str) -> ItemError:
    return ItemError(f"field {field!r}: {_short(value)} is not allowed: expected {expected}")


def _encode(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ItemError(f"{field} holds half of a surrogate pair at character {error.start}: it is no text") from error


def _refuse_duplicates(pairs: "Iterable[tuple[str, Any]]") -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"field {_short(name)} twice in one object")
        fields[name] = value
    return fields


def _json_type(value: Any) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _describe(value: Any) -> str:
    return "is missing" if value is None else f"has the type {next(iter(value), 'none')}"
