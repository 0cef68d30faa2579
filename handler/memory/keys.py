"""What a key may be."""

from handler.errors import InvalidMemoryKey

KEY_BYTES = 2048
"""Most bytes of a DynamoDB partition key of type S (DynamoDB Developer Guide, "Constraints"). moto accepts more."""


def check_size(size: int) -> None:
    """Refuses a size, in bytes, that no key has.

    Raises:
        InvalidMemoryKey: It is not 1 to 2048.
    """
    if not 1 <= size <= KEY_BYTES:
        raise InvalidMemoryKey(f"the key has {size} bytes; 1 to {KEY_BYTES} are allowed")


def decode_key(raw: bytes) -> str:
    """Reads a key as a guest gave it.

    Raises:
        InvalidMemoryKey: It is not 1 to 2048 bytes of UTF-8.
    """
    check_size(len(raw))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidMemoryKey(f"the key is not UTF-8: {error.reason} at byte {error.start}") from error
