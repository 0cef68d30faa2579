"""Items and the files they are loaded from."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from infra import local_dynamodb
from infra.items import ITEM_BYTES, KEY_BYTES, LAST_SECOND, Item, ItemError, parse_items, read_items


def parse(*entries: Any) -> list[Item]:
    """What a file with these entries holds."""
    return parse_items(json.dumps(entries), "some.json")


class TestFile:
    """The file format."""

    def test_the_seed_is_the_articles_map(self) -> None:
        """infra/seed.json holds the article's two messages."""
        assert read_items(local_dynamodb.SEED) == [
            Item("hello", "👋 Hello World 🌍"),
            Item("message", "I 💜 Extism 😍"),
        ]

    def test_text_bytes_and_expiry(self) -> None:
        """A value is text, or bytes in base64, and may expire."""
        assert parse(
            {"key": "text", "value": ""},
            {"key": "bytes", "value_base64": base64.b64encode(b"\x00\xff").decode(), "expires_at": 1_800_000_000},
        ) == [Item("text", ""), Item("bytes", b"\x00\xff", 1_800_000_000)]

    def test_no_items(self) -> None:
        """An empty list is no error."""
        assert parse() == []

    def test_a_byte_order_mark_is_no_part_of_the_text(self, tmp_path: Path) -> None:
        """Files as some editors write them can be read."""
        path = tmp_path / "items.json"
        path.write_text('[{"key": "a", "value": "b"}]', encoding="utf-8-sig")
        assert read_items(path) == [Item("a", "b")]

    @pytest.mark.parametrize(
        ("entry", "told"),
        [
            ("text", "'text' is text: expected an object"),
            ({"value": "v"}, "there is no field 'key'"),
            ({"key": "k"}, "there is neither of the fields 'value' and 'value_base64': expected exactly one"),
            ({"key": "k", "value": "", "value_base64": ""}, "there is both of the fields"),
            (
                {"key": "k", "value": "v", "ttl": 1},
                "unknown field 'ttl': expected key, value, value_base64, expires_at",
            ),
            ({"key": 7, "value": "v"}, "field 'key': 7 is not allowed: expected text"),
            ({"key": "k", "value": 7}, "field 'value': 7 is not allowed: expected text"),
            ({"key": "k", "value": None}, "field 'value': None is not allowed: expected text"),
            ({"key": "k", "value_base64": "a"}, "field 'value_base64': 'a' is not allowed: expected base64"),
            ({"key": "k", "value_base64": "a b="}, "field 'value_base64': 'a b=' is not allowed: expected base64"),
            (
                {"key": "k", "value": "v", "expires_at": "1"},
                "field 'expires_at': '1' is not allowed: expected epoch seconds",
            ),
            ({"key": "k", "value": "v", "expires_at": 1.5}, "field 'expires_at': 1.5 is not allowed"),
            ({"key": "k", "value": "v", "expires_at": True}, "field 'expires_at': True is not allowed"),
            ({"key": "k", "value": "v", "expires_at": -1}, "expires_at -1 is not allowed"),
            ({"key": "k", "value": "v", "expires_at": 1_800_000_000_000}, "expires_at 1800000000000 is not allowed"),
            ({"key": "", "value": "v"}, "key '' has 0 bytes: 1 to 2048 are allowed"),
            ({"key": "ü" * 1025, "value": "v"}, "has 2050 bytes: 1 to 2048 are allowed"),
            ({"key": "\ud800", "value": "v"}, "key holds half of a surrogate pair at character 0"),
            ({"key": "k", "value": "ab\udfff"}, "value holds half of a surrogate pair at character 2"),
        ],
    )
    def test_a_wrong_item_is_named(self, entry: Any, told: str) -> None:
        """The message names the file, the item, the field, the value and what is allowed."""
        with pytest.raises(ItemError) as raised:
            parse({"key": "fine", "value": "v"}, entry)
        assert str(raised.value).startswith("some.json: item 1: ")
        assert told in str(raised.value)

    def test_a_key_twice_is_refused(self) -> None:
        """Of two items with one key neither wins silently."""
        with pytest.raises(ItemError, match="item 2: field 'key': 'a' is item 0's already"):
            parse({"key": "a", "value": "1"}, {"key": "b", "value": "2"}, {"key": "a", "value": "3"})

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("{}", "some.json holds an object: expected a list of items"),
            ("7", "some.json holds a number: expected a list of items"),
            ("null", "some.json holds null: expected a list of items"),
            ("", "some.json is not JSON"),
            ("[", "some.json is not JSON"),
            ('[{"key": "a", "key": "b", "value": ""}]', "some.json is not JSON: field 'key' twice in one object"),
        ],
    )
    def test_a_wrong_file_is_named(self, text: str, told: str) -> None:
        """The message names the file and what is expected of it."""
        with pytest.raises(ItemError) as raised:
            parse_items(text, "some.json")
        assert told in str(raised.value)

    @pytest.mark.parametrize("content", [None, b"\xff"])
    def test_a_file_that_cannot_be_read(self, tmp_path: Path, content: bytes | None) -> None:
        """A file that is missing, or is not UTF-8, is named."""
        path = tmp_path / "items.json"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ItemError, match=r"items\.json cannot be read"):
            read_items(path)


class TestItem:
    """One item."""

    def test_the_longest_key(self) -> None:
        """A key may have 2048 bytes."""
        assert len(Item("k" * KEY_BYTES, "").key) == KEY_BYTES

    @pytest.mark.parametrize("value", ["v", b"v"])
    def test_the_largest_value(self, value: str | bytes) -> None:
        """An item may have 400 KB with the names of its attributes, and not a byte more."""
        room = ITEM_BYTES - len("key" + "k" + "value")
        assert Item("k", value * room).size == ITEM_BYTES
        with pytest.raises(ItemError, match=r"key 'k': the item has 409601 bytes, at most 409600 are allowed"):
            Item("k", value * (room + 1))

    def test_a_value_counts_in_bytes(self) -> None:
        """Text takes as many bytes as it has in UTF-8."""
        assert Item("k", "😍").size == Item("k", b"1234").size

    @pytest.mark.parametrize(
        ("item", "attributes"),
        [
            (Item("k", "v"), {"key": {"S": "k"}, "value": {"S": "v"}}),
            (Item("k", b"\xff"), {"key": {"S": "k"}, "value": {"B": b"\xff"}}),
            (Item("k", "", 0), {"key": {"S": "k"}, "value": {"S": ""}, "expires_at": {"N": "0"}}),
            (
                Item("k", "", LAST_SECOND),
                {"key": {"S": "k"}, "value": {"S": ""}, "expires_at": {"N": str(LAST_SECOND)}},
            ),
        ],
    )
    def test_attributes_there_and_back(self, item: Item, attributes: Any) -> None:
        """Text is S, bytes are B, the expiry is N, and reading them gives the item again."""
        assert item.to_attributes() == attributes
        assert Item.from_attributes(attributes) == item

    def test_a_fraction_of_a_second_is_dropped(self) -> None:
        """An expiry that others wrote with a fraction can be read."""
        attributes: Any = {"key": {"S": "k"}, "value": {"S": "v"}, "expires_at": {"N": "12.9"}}
        assert Item.from_attributes(attributes).expires_at == 12

    @pytest.mark.parametrize(
        ("attributes", "told"),
        [
            ({"value": {"S": "v"}}, "attribute 'key' is missing: expected S"),
            ({"key": {"S": "k"}}, "key 'k': attribute 'value' is missing: expected S or B"),
            ({"key": {"S": "k"}, "value": {"N": "1"}}, "key 'k': attribute 'value' has the type N: expected S or B"),
            (
                {"key": {"S": "k"}, "value": {"S": "v"}, "expires_at": {"S": "1"}},
                "key 'k': attribute 'expires_at' has the type S: expected N",
            ),
        ],
    )
    def test_attributes_of_another_form(self, attributes: Any, told: str) -> None:
        """An item that others wrote in another form is named, with its type and without its value."""
        with pytest.raises(ItemError) as raised:
            Item.from_attributes(attributes)
        assert str(raised.value) == told

    def test_expiry(self) -> None:
        """An item is missing from its expiry on, and one without expiry never."""
        item = Item("k", "v", 100)
        assert not item.has_expired(99.9)
        assert item.has_expired(100)
        assert item.has_expired()
        assert not Item("k", "v").has_expired()
