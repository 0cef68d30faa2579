"""What a key may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import InvalidMemoryKey
from handler.memory.keys import KEY_BYTES, check_size, decode_key


@given(st.text(min_size=1, max_size=KEY_BYTES // 4))
def test_any_text_of_allowed_length_is_a_key(key: str) -> None:
    """Every text of 1 to 2048 bytes of UTF-8 can be a key."""
    assert decode_key(key.encode()) == key


@pytest.mark.parametrize("key", ["x", "💜", "x" * 2048, "💜" * 512])
def test_the_limits_are_within_the_limits(key: str) -> None:
    """1 byte and 2048 bytes are allowed, counted in UTF-8."""
    assert decode_key(key.encode()) == key


@pytest.mark.parametrize("raw", [b"", b"x" * 2049, "💜".encode() * 513])
def test_a_key_too_short_or_too_long_is_refused_with_its_size(raw: bytes) -> None:
    """0 and 2049 bytes are not allowed, and the message has the number."""
    with pytest.raises(InvalidMemoryKey, match=f"has {len(raw)} bytes; 1 to 2048"):
        decode_key(raw)


@pytest.mark.parametrize("size", [-1, 0, 2049, 2**40])
def test_a_size_can_be_refused_without_the_bytes(size: int) -> None:
    """What is too long need not be read first."""
    with pytest.raises(InvalidMemoryKey, match=f"has {size} bytes"):
        check_size(size)


@pytest.mark.parametrize(("raw", "at"), [(b"\xff", 0), (b"ab\xc3", 2), (b"a\xed\xa0\x80", 1), (b"\xc0\x80", 0)])
def test_a_key_that_is_not_utf8_is_refused_with_the_place(raw: bytes, at: int) -> None:
    """Broken, truncated, surrogate and overlong sequences are refused with the position of the first one."""
    with pytest.raises(InvalidMemoryKey, match=f"not UTF-8: .* at byte {at}"):
        decode_key(raw)
